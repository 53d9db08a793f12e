//! `modelcache verify`: reads a cache again, without the Hub.

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

/// Read every file of a cache again and compare it with its hash, without contacting the Hub
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    modelcache verify --cache-dir /models\n  \
    modelcache verify org/name -o json")]
pub(super) struct Args {
    #[command(flatten)]
    place: CacheArgs,
    /// Output format: a line for each repo and problem, or a JSON object for each repo
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Args {
    /// Runs the command and returns the exit code.
    pub(super) async fn run(self) -> u8 {
        let place = match self.place.read() {
            Ok(place) => place,
            Err(code) => return code,
        };
        let root = place.root();
        let read = tokio::task::spawn_blocking(move || {
            place.repo.map_or_else(|| verify_all(&place.cache), |dir| Ok(vec![verify(&dir)]))
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
