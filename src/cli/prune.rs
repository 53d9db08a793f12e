//! `modelcache prune`: removes unneeded data from a cache.

use std::time::Duration;

use super::{
    cache_args::{CacheArgs, failed},
    output::{Output, eprint_line, print, show},
    values::duration,
};
use crate::{
    cache::{Kind, PruneRules, Pruned, Unnamed, prune},
    reason::exit,
    text::{json, of_path},
    units,
};

/// Remove unneeded data from a cache, non-interactively and without contacting the Hub
#[derive(Debug, clap::Args)]
#[command(after_help = "Removed:\n  \
    - unfinished downloads without a live writer\n  \
    - blobs that no snapshot links to\n  \
    - incomplete snapshots of `modelcache fetch` that no ref names\n  \
    - records and listings of missing snapshots\n\n\
    Always kept:\n  \
    - every snapshot that a ref (a branch or tag in `refs`) names; with a\n    \
      ref that is empty or unreadable, every snapshot of its repo\n  \
    - all of a repo that may be in use: a lock is held in it, or something\n    \
    in it changed less than --min-age ago\n  \
    - the `blobs` store of huggingface_hub at the root of a cache: use\n    \
    `hf cache prune` for that\n\n\
    Examples:\n  \
    modelcache prune --dry-run\n  \
    modelcache prune org/name --cache-dir /models\n  \
    modelcache prune --unreferenced    # also what was fetched by commit\n  \
    modelcache prune --all             # like `hf cache prune`")]
pub(super) struct Args {
    #[command(flatten)]
    cache: CacheArgs,
    /// Also remove verified snapshots that no ref names: those fetched by commit, or former commits of a branch
    #[arg(long)]
    unreferenced: bool,
    /// Also remove snapshots of other programs that no ref names, verified or not
    #[arg(long)]
    all: bool,
    /// Keep what changed within this time, such as `90s`, `10m` or `2h`
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    min_age: Duration,
    /// Only list what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Output format: a line for each removed item, or a JSON object for each repo
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Args {
    /// Runs the command and returns the exit code.
    pub(super) fn run(self) -> u8 {
        let selected = match self.cache.read() {
            Ok(selected) => selected,
            Err(code) => return code,
        };
        let Self { unreferenced, all, min_age, dry_run, output, .. } = self;
        let unnamed = match (all, unreferenced) {
            (true, _) => Unnamed::All,
            (false, true) => Unnamed::Ours,
            (false, false) => Unnamed::Broken,
        };
        let rules = PruneRules { min_age, unnamed, dry_run };
        let pruning = match prune(&selected.cache, selected.repo.as_ref(), &rules) {
            Ok(pruning) => pruning,
            Err(error) => return failed(&error),
        };
        match output {
            Output::Json => pruning.repos.iter().for_each(|repo| print(&json(repo))),
            Output::Text => pruning.repos.iter().for_each(text),
        }
        if !pruning.repos.is_empty() || pruning.failed.is_empty() {
            eprint_line(&total(&pruning.repos, dry_run));
        }
        pruning.failed.iter().fold(exit::OK, |_, error| failed(error))
    }
}

fn text(pruned: &Pruned) {
    for item in &pruned.items {
        let why = match item.kind {
            Kind::Snapshot => "no ref names it",
            Kind::Trace => "its snapshot is missing",
            Kind::Blob => "no snapshot needs it",
            Kind::Unfinished => "its writer is gone",
        };
        show(&format!("{}   {}   {why}", of_path(&item.path), units::size(item.bytes)));
    }
}

fn total(pruned: &[Pruned], dry_run: bool) -> String {
    let items = || pruned.iter().flat_map(|repo| &repo.items);
    let bytes = items().fold(0_u64, |sum, item| sum.saturating_add(item.bytes));
    let count = |kind| items().filter(|item| item.kind == kind).count();
    let parts = [
        (count(Kind::Snapshot), "snapshot", "snapshots"),
        (count(Kind::Blob), "blob", "blobs"),
        (count(Kind::Unfinished), "unfinished download", "unfinished downloads"),
        (count(Kind::Trace), "trace of a missing snapshot", "traces of missing snapshots"),
    ];
    let parts = parts.iter().filter(|(count, ..)| *count > 0);
    let parts: Vec<_> = parts.map(|(count, one, many)| units::count(*count, one, many)).collect();
    let line = match (parts.is_empty(), dry_run) {
        (true, _) => "Nothing to remove.".to_owned(),
        (false, true) => format!("Would remove {}: {}.", parts.join(", "), units::size(bytes)),
        (false, false) => format!("Removed {}: {}.", parts.join(", "), units::size(bytes)),
    };
    let in_use: Vec<_> = pruned.iter().filter(|repo| repo.in_use).map(|repo| repo.repo.to_string()).collect();
    if in_use.is_empty() {
        return line;
    }
    format!("{line} Skipped because of use or recent changes (see --min-age): {}.", in_use.join(", "))
}
