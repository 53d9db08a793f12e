//! The arguments that name a cache, or one repo of it.

use std::{io, path::PathBuf};

use super::{env::Env, output::eprint_line, source::KindArg};
use crate::{
    cache::{CacheDir, CacheError, RepoDir, diagnose, is_there, locate},
    hub::Repo,
    reason::{Reason, exit},
    text::of_path,
};

/// Arguments that name a cache, or one repo of it.
#[derive(Debug, clap::Args)]
pub(super) struct CacheArgs {
    /// The repo; all of the cache by default
    repo: Option<String>,
    #[command(flatten)]
    kind: KindArg,
    /// Cache directory [default: `HF_HUB_CACHE`, or `hub` below `HF_HOME`]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
}

/// A cache, and the repo of it that was asked for.
pub(super) struct SelectedCache {
    pub(super) cache: CacheDir,
    pub(super) repo: Option<RepoDir>,
}

impl SelectedCache {
    /// Where the cache is, for a sentence.
    pub(super) fn root(&self) -> String {
        of_path(self.cache.root())
    }
}

/// Prints why a cache could not be read or changed, and returns the exit code.
pub(super) fn failed(error: &CacheError) -> u8 {
    let (reason, remedy) = match error {
        CacheError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => (
            Reason::NoMatchingFiles,
            " Fill it with `modelcache fetch`, or name another cache with --cache-dir.",
        ),
        CacheError::Io { .. } => (Reason::NotChecked, ""),
        other => (other.reason(), ""),
    };
    eprint_line(&format!("{reason}: {}.{remedy}", diagnose(error)));
    reason.exit_code()
}

impl CacheArgs {
    /// Reads them. An error is printed, and its exit code returned.
    pub(super) fn read(self) -> Result<SelectedCache, u8> {
        let cache = CacheDir::new(self.cache_dir.unwrap_or_else(|| Env::of_process().cache()));
        let repo = match self.repo.map(|id| id.parse()).transpose() {
            Ok(id) => id.map(|id| locate(&cache, &Repo { kind: self.kind.kind, id })),
            Err(error) => {
                eprint_line(&format!("{}: {error}.", Reason::InvalidRepo));
                return Err(exit::USAGE);
            }
        };
        let place = SelectedCache { cache, repo };
        match place.repo.as_ref().map(|dir| (dir, is_there(dir))) {
            Some((_, Err(error))) => Err(failed(&error)),
            Some((missing, Ok(false))) => {
                let Repo { kind, id } = missing.repo();
                eprint_line(&format!(
                    "{}: {} has no {kind} {id}. Check the name and --type against `modelcache list`.",
                    Reason::NoMatchingFiles,
                    place.root(),
                ));
                Err(Reason::NoMatchingFiles.exit_code())
            }
            _ => Ok(place),
        }
    }
}
