//! The arguments that select a cache, or one repo in it.

use std::{io, path::PathBuf};

use super::{env::Env, output::eprint_line, source::KindArg};
use crate::{
    cache::{CacheDir, CacheError, RepoDir, diagnose, is_there, locate},
    hub::Repo,
    reason::{Reason, exit},
    text::of_path,
};

/// Arguments that select a cache, or one repo in it.
#[derive(Debug, clap::Args)]
pub(super) struct CacheArgs {
    /// The repo [default: all repos in the cache]
    repo: Option<String>,
    #[command(flatten)]
    kind: KindArg,
    /// Cache directory [default: `HF_HUB_CACHE`, or `hub` below `HF_HOME`]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
}

/// A cache, and the selected repo in it.
pub(super) struct SelectedCache {
    pub(super) cache: CacheDir,
    pub(super) repo: Option<RepoDir>,
}

impl SelectedCache {
    /// The path of the cache, for messages.
    pub(super) fn root(&self) -> String {
        of_path(self.cache.root())
    }
}

/// Prints the error of a cache and returns its exit code.
pub(super) fn failed(error: &CacheError) -> u8 {
    let (reason, remedy) = match error {
        CacheError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => (
            Reason::NoMatchingFiles,
            " Fill it with `modelcache fetch`, or select another cache with --cache-dir.",
        ),
        CacheError::Io { .. } => (Reason::NotChecked, ""),
        other => (other.reason(), ""),
    };
    eprint_line(&format!("{reason}: {}.{remedy}", diagnose(error)));
    reason.exit_code()
}

impl CacheArgs {
    /// Resolves them. Prints an error and returns its exit code.
    pub(super) fn read(self) -> Result<SelectedCache, u8> {
        let cache = CacheDir::new(self.cache_dir.unwrap_or_else(|| Env::of_process().cache()));
        let repo = match self.repo.map(|id| id.parse()).transpose() {
            Ok(id) => id.map(|id| locate(&cache, &Repo { kind: self.kind.kind, id })),
            Err(error) => {
                eprint_line(&format!("{}: {error}.", Reason::InvalidRepo));
                return Err(exit::USAGE);
            }
        };
        let selected = SelectedCache { cache, repo };
        match selected.repo.as_ref().map(|dir| (dir, is_there(dir))) {
            Some((_, Err(error))) => Err(failed(&error)),
            Some((missing, Ok(false))) => {
                let Repo { kind, id } = missing.repo();
                eprint_line(&format!(
                    "{}: {} has no {kind} {id}. Check the name and --type against `modelcache list`.",
                    Reason::NoMatchingFiles,
                    selected.root(),
                ));
                Err(Reason::NoMatchingFiles.exit_code())
            }
            _ => Ok(selected),
        }
    }
}
