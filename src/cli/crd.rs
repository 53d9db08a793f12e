//! `modelcache crd`: prints the CRD.

use super::output::{eprint_line, print};
use crate::{api, reason::exit};

/// Print the CRD, for `kubectl apply --server-side -f -`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  modelcache crd | kubectl apply --server-side -f -")]
pub(super) struct Args {}

impl Args {
    /// Prints it and returns the exit code.
    pub(super) fn run(self) -> u8 {
        let Self {} = self;
        match api::crd_yaml() {
            Ok(text) => {
                print(text.trim_end());
                exit::OK
            }
            Err(error) => {
                eprint_line(&format!("cannot serialize the CRD: {error}"));
                exit::FAILURE
            }
        }
    }
}
