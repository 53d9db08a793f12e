//! Output generated from the definition of the command line: completions, man pages and the reference.

use std::io::{self, Write as _};

use clap::{Command, ValueEnum};
use clap_complete::Shell;

use super::{fields, metrics, output::eprint_line, reasons};
use crate::reason::exit;

/// The width of generated text, independent of the terminal.
const WIDTH: usize = 100;

/// Print a shell completion script
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    source <(modelcache completions bash)\n  \
    modelcache completions zsh > \"${fpath[1]}/_modelcache\"\n  \
    modelcache completions fish > ~/.config/fish/completions/modelcache.fish")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Print the man page of modelcache, or of one of its commands
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    modelcache man fetch | man -l -\n  \
    modelcache man > /usr/local/share/man/man1/modelcache.1")]
pub(super) struct Man {
    /// The command
    command: Option<String>,
}

/// Print a page of the reference, in Markdown
#[derive(Debug, clap::Args)]
pub(super) struct Reference {
    /// Which page
    page: Page,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Page {
    /// All commands
    Cli,
    /// All reasons
    Reasons,
    /// All fields of the resource
    Fields,
    /// All metrics of the operator
    Metrics,
}

impl Completions {
    /// Prints it and returns the exit code.
    pub(super) fn run(self, definition: Command) -> u8 {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut sized(definition), "modelcache", &mut script);
        put(&script)
    }
}

impl Man {
    /// Prints it and returns the exit code.
    pub(super) fn run(self, definition: Command) -> u8 {
        let mut all = sized(definition);
        all.build();
        let page = match &self.command {
            None => Some(&all),
            Some(name) => all.get_subcommands().find(|command| command.get_name() == name),
        };
        let Some(page) = page else {
            eprint_line("error: there is no such command; see `modelcache --help`");
            return exit::USAGE;
        };
        let mut text = Vec::new();
        match clap_mangen::Man::new(page.clone()).render(&mut text) {
            Ok(()) => put(&text),
            Err(error) => {
                eprint_line(&format!("cannot render the page: {error}"));
                exit::FAILURE
            }
        }
    }
}

impl Reference {
    /// Prints it and returns the exit code.
    pub(super) fn run(self, definition: Command) -> u8 {
        let page = match self.page {
            Page::Cli => cli(definition),
            Page::Reasons => reasons::page(),
            Page::Fields => fields::page(),
            Page::Metrics => metrics::page(),
        };
        put(page.as_bytes())
    }
}

/// The command line with a fixed width.
fn sized(definition: Command) -> Command {
    definition.term_width(WIDTH)
}

fn cli(definition: Command) -> String {
    let mut all = sized(definition);
    all.build();
    let mut text = String::from(
        "<!-- Generated from src/cli by `make generate`: change it there. -->\n\n# The command line\n",
    );
    let mut add = |title: &str, command: &Command| {
        let help = command.clone().term_width(WIDTH).render_long_help().to_string();
        let lines: Vec<_> = help.lines().map(str::trim_end).collect();
        text.push_str(&["\n## ", title, "\n\n```text\n", lines.join("\n").trim_end(), "\n```\n"].concat());
    };
    add("modelcache", &all);
    for command in
        all.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
    {
        add(&format!("modelcache {}", command.get_name()), command);
    }
    text
}

/// Prints to stdout. A closed pipe is not an error.
fn put(text: &[u8]) -> u8 {
    let _ = io::stdout().write_all(text);
    exit::OK
}
