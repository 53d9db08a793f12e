//! The definition of the command line.

use clap::{CommandFactory, Parser, Subcommand};

use super::{check, controller, crd, fetch, list, mount, prune, reference, verify};

/// Fills volumes with models from the Hugging Face Hub, and explains what is wrong if it cannot.
#[derive(Debug, Parser)]
#[command(
    name = "modelcache",
    version,
    after_help = "Examples:\n  \
        modelcache check meta-llama/Llama-3.1-8B    # check token and access\n  \
        modelcache fetch meta-llama/Llama-3.1-8B    # fill the cache of this machine\n  \
        modelcache list                             # list what is cached\n\n\
        Exit codes:\n  \
        0 success · 1 failure · 2 usage error · 65 corrupt data\n  \
        66 revision or files not found · 69 Hub unreachable\n  \
        73 volume full or not writable · 75 rate limited, retry later\n  \
        77 token or access (or repo not found) · 143 terminated\n\n\
        fetch, check and verify print a reason code on the last line of stderr."
)]
pub struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// A command, with its arguments.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Fetch(fetch::Args),
    Check(check::Args),
    Verify(verify::Args),
    List(list::Args),
    Prune(prune::Args),
    Mount(mount::Args),
    Controller(controller::Args),
    Crd(crd::Args),
    Completions(reference::Completions),
    Man(reference::Man),
    #[command(hide = true)]
    Reference(reference::Reference),
}

impl Cli {
    /// The definition of the command line. Help shows the names of environment variables, but not their values.
    pub(super) fn definition() -> clap::Command {
        let plain = |command: clap::Command| command.mut_args(|arg| arg.hide_env_values(true));
        plain(<Self as CommandFactory>::command()).mut_subcommands(plain)
    }

    /// Runs the command and returns the exit code.
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
            Command::Completions(args) => args.run(Self::definition()),
            Command::Man(args) => args.run(Self::definition()),
            Command::Reference(args) => args.run(Self::definition()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
