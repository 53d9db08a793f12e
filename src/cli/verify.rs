//! `modelcache verify`: reads a cache again, without the Hub.

use std::path::PathBuf;

use super::{Output, env::Env, json, print, source::KindArg, tell};
use crate::{
    cache::{CacheDir, Checked, verify, verify_all},
    hub::Repo,
    reason::{Reason, exit},
    units,
};

/// Read every file of a cache again and compare it with its hash. Asks no Hub
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    modelcache verify --cache-dir /models\n  \
    modelcache verify org/name -o json")]
pub(super) struct Args {
    /// The repo; all of the cache by default
    repo: Option<String>,
    #[command(flatten)]
    kind: KindArg,
    /// The cache. Else `HF_HUB_CACHE`, or `hub` below `HF_HOME`
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// What is printed: a line for each repo and problem, or a JSON object for each repo
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Args {
    /// Does it, and gives the exit code.
    pub(super) async fn run(self) -> u8 {
        let cache = CacheDir::new(self.cache_dir.unwrap_or_else(|| Env::of_process().cache()));
        let repo = match self.repo.map(|id| id.parse()).transpose() {
            Ok(id) => id.map(|id| Repo { kind: self.kind.kind, id }),
            Err(error) => {
                tell(&format!("{}: {error}.", Reason::InvalidRepo));
                return exit::USAGE;
            }
        };
        let (dir, root) = (repo.as_ref().map(|repo| cache.repo(repo)), cache.root().display().to_string());
        if let Some(missing) = dir.as_ref().filter(|dir| !dir.path().is_dir()) {
            tell(&format!("{}: {root} has nothing of {}.", Reason::NoMatchingFiles, missing.repo()));
            return Reason::NoMatchingFiles.exit_code();
        }
        let read = tokio::task::spawn_blocking(move || {
            dir.map_or_else(|| verify_all(&cache), |dir| vec![verify(&dir)])
        });
        let checked = match read.await {
            Ok(checked) => checked,
            Err(error) => {
                tell(&format!("{}: {error}.", Reason::DownloadFailed));
                return exit::FAILURE;
            }
        };
        for repo in &checked {
            match self.output {
                Output::Json => print(&json(repo)),
                Output::Text => text(repo),
            }
        }
        let (reason, message) = conclusion(&root, &checked);
        tell(&format!("{reason}: {message}"));
        reason.exit_code()
    }
}

fn text(checked: &Checked) {
    for problem in &checked.problems {
        print(&format!("✗ {problem}"));
    }
    let mark = if checked.problems.is_empty() { '✓' } else { '✗' };
    let files = units::files(usize::try_from(checked.files).unwrap_or(usize::MAX));
    print(&format!("{mark} {}: {files}, {}", checked.repo, units::size(checked.bytes)));
}

fn conclusion(root: &str, checked: &[Checked]) -> (Reason, String) {
    let problems: usize = checked.iter().map(|repo| repo.problems.len()).sum();
    if problems == 0 {
        return (Reason::Verified, format!("{root} is as its hashes say."));
    }
    let remedy = "Remove what is wrong, and fetch it again";
    (
        Reason::HashMismatch,
        format!("{root} has {} that are missing or wrong. {remedy}.", units::files(problems)),
    )
}
