//! `modelcache verify`: rehashes the files of a cache without contacting the Hub.

use super::{
    cache_args::{CacheArgs, failed},
    output::{Output, eprint_line, print, show},
};
use crate::{
    cache::{Checked, verify, verify_all},
    reason::{Reason, exit},
    text::json,
    units,
};

/// Read every file of a cache and verify its hash, without contacting the Hub
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    modelcache verify --cache-dir /models\n  \
    modelcache verify org/name -o json")]
pub(super) struct Args {
    #[command(flatten)]
    cache: CacheArgs,
    /// Output format: a line for each repo and problem, or a JSON object for each repo
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Args {
    /// Runs the command and returns the exit code.
    pub(super) async fn run(self) -> u8 {
        let selected = match self.cache.read() {
            Ok(selected) => selected,
            Err(code) => return code,
        };
        let root = selected.root();
        let read = tokio::task::spawn_blocking(move || {
            selected.repo.map_or_else(|| verify_all(&selected.cache), |dir| Ok(vec![verify(&dir)]))
        });
        let checked = match read.await {
            Ok(Ok(checked)) => checked,
            Ok(Err(error)) => return failed(&error),
            Err(error) => {
                eprint_line(&format!("{}: {error}.", Reason::DownloadFailed));
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
        eprint_line(&format!("{reason}: {message}"));
        reason.exit_code()
    }
}

fn text(checked: &Checked) {
    for problem in &checked.problems {
        show(&format!("✗ {problem}"));
    }
    let mark = match checked {
        Checked { problems, .. } if !problems.is_empty() => '✗',
        Checked { files: 0, .. } | Checked { unchecked: 1.., .. } => '?',
        _ => '✓',
    };
    show(&format!("{mark} {}: {}, {}", checked.repo, files(checked.files), units::size(checked.bytes)));
}

fn conclusion(root: &str, checked: &[Checked]) -> (Reason, String) {
    let sum = |count: fn(&Checked) -> u64| checked.iter().map(count).sum::<u64>();
    let problems: usize = checked.iter().map(|repo| repo.problems.len()).sum();
    if problems > 0 {
        let remedy = "Remove these files and fetch again";
        return (
            Reason::HashMismatch,
            format!("{root} has {} missing, corrupt or unreadable. {remedy}.", units::files(problems)),
        );
    }
    match (sum(|repo| repo.unchecked), sum(|repo| repo.files)) {
        (0, 0) => (Reason::NoMatchingFiles, format!("{root} has no files to verify.")),
        (0, _) => (Reason::Verified, format!("All files in {root} match their hashes.")),
        (unchecked, _) => (
            Reason::NotChecked,
            format!("{root} has {} without a known hash. Fetch them once.", files(unchecked)),
        ),
    }
}

fn files(count: u64) -> String {
    units::files(usize::try_from(count).unwrap_or(usize::MAX))
}
