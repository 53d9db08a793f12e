//! The command line: what is given becomes a request to the other rooms, and their answers become text and exit codes.

mod check;
mod controller;
mod crd;
mod env;
mod fetch;
mod source;
mod verify;

use std::io::{self, Write as _};

use clap::{Parser, Subcommand, ValueEnum};

/// Fills volumes with models from the Hugging Face Hub, and says what is wrong when it cannot.
#[derive(Debug, Parser)]
#[command(
    name = "modelcache",
    version,
    after_help = "Exit codes:\n  0 done · 2 wrong usage · 65 wrong bytes · 66 not found · 69 hub unreachable\n  73 volume full or not \
                  writable · 75 rate limited, try later · 77 a person must act\n  143 stopped"
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
    Controller(controller::Args),
    Crd(crd::Args),
}

impl Cli {
    /// Does what was asked, and gives the exit code.
    pub async fn run(self) -> u8 {
        match self.command {
            Command::Fetch(args) => args.run().await,
            Command::Check(args) => args.run().await,
            Command::Verify(args) => args.run().await,
            Command::Controller(args) => args.run().await,
            Command::Crd(args) => args.run(),
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

/// A line for whoever uses the result. A reader that is gone is no reason to fail.
fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line for whoever watches.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A value as one line of JSON.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
