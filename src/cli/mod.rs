//! The command line: what is given becomes a request to the other rooms, and their answers become text and exit codes.

mod arguments;
mod check;
mod controller;
mod crd;
mod endpoints;
mod env;
mod fetch;
mod fields;
mod generated;
mod list;
mod manifest;
mod metrics;
mod mount;
mod place;
mod prune;
mod reasons;
mod source;
mod stop;
mod table;
mod verify;

use std::io::{self, Write as _};

use clap::{Parser, Subcommand, ValueEnum};

use crate::text::{self, json};

/// Fills volumes with models from the Hugging Face Hub, and says what is wrong when it cannot.
#[derive(Debug, Parser)]
#[command(
    name = "modelcache",
    version,
    after_help = "Examples:\n  \
        modelcache check meta-llama/Llama-3.1-8B    # may this token read it?\n  \
        modelcache fetch meta-llama/Llama-3.1-8B    # fill the cache of this machine\n  \
        modelcache list                             # what is there\n\n\
        Exit codes:\n  \
        0 done · 1 failed · 2 wrong usage · 65 wrong bytes · 66 not found\n  \
        69 Hub unreachable · 73 volume full or not writable\n  \
        75 rate limited, try later · 77 a person must act · 143 stopped\n\n\
        fetch, check and verify end on stderr with one word for the reason."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Fetch(fetch::Args),
    Check(check::Args),
    Verify(verify::Args),
    List(list::Args),
    Prune(prune::Args),
    Mount(mount::Args),
    Controller(controller::Args),
    Crd(crd::Args),
    Completions(generated::Completions),
    Man(generated::Man),
    #[command(hide = true)]
    Reference(generated::Reference),
}

impl Cli {
    /// Does what was asked, and gives the exit code.
    pub async fn run(self) -> u8 {
        match self.command {
            Command::Fetch(args) => args.run().await,
            Command::Check(args) => args.run().await,
            Command::Verify(args) => args.run().await,
            Command::List(args) => args.run(),
            Command::Prune(args) => args.run(),
            Command::Mount(args) => args.run().await,
            Command::Controller(args) => args.run().await,
            Command::Crd(args) => args.run(),
            Command::Completions(args) => args.run(),
            Command::Man(args) => args.run(),
            Command::Reference(args) => args.run(),
        }
    }
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For a person.
    Text,
    /// For a program: one object a line.
    Json,
}

/// What a program reads, exactly: JSON, a path, a file of ours. A reader that is gone is no reason to fail.
fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line of the result for a person.
fn show(line: &str) {
    print(&text::line(line, text::LINE));
}

/// A line for whoever watches.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{}", text::line(line, text::LINE));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
