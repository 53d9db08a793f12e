//! `modelcache verify`: reads a cache again, without the Hub.

use std::{io, path::PathBuf};

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
            dir.map_or_else(|| verify_all(&cache), |dir| Ok(vec![verify(&dir)]))
        });
        let checked = match read.await {
            Ok(Ok(checked)) => checked,
            Ok(Err(error)) => {
                let missing = error.kind() == io::ErrorKind::NotFound;
                let reason = if missing { Reason::NoMatchingFiles } else { Reason::NotChecked };
                tell(&format!("{reason}: cannot read {root}: {error}."));
                return reason.exit_code();
            }
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
    let mark = match checked {
        Checked { problems, .. } if !problems.is_empty() => '✗',
        Checked { files: 0, .. } | Checked { unchecked: 1.., .. } => '?',
        _ => '✓',
    };
    print(&format!("{mark} {}: {}, {}", checked.repo, files(checked.files), units::size(checked.bytes)));
}

fn conclusion(root: &str, checked: &[Checked]) -> (Reason, String) {
    let sum = |count: fn(&Checked) -> u64| checked.iter().map(count).sum::<u64>();
    let problems: usize = checked.iter().map(|repo| repo.problems.len()).sum();
    if problems > 0 {
        let remedy = "Remove what is wrong, and fetch it again";
        return (
            Reason::HashMismatch,
            format!("{root} has {} that are missing, wrong or unreadable. {remedy}.", units::files(problems)),
        );
    }
    match (sum(|repo| repo.unchecked), sum(|repo| repo.files)) {
        (0, 0) => (Reason::NoMatchingFiles, format!("{root} has nothing that could be read.")),
        (0, _) => (Reason::Verified, format!("{root} is as its hashes say.")),
        (unchecked, _) => (
            Reason::NotChecked,
            format!("{root} has {} without a hash to compare with. Fetch them once.", files(unchecked)),
        ),
    }
}

fn files(count: u64) -> String {
    units::files(usize::try_from(count).unwrap_or(usize::MAX))
}
