//! `modelcache prune`: drops what nothing needs.

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

/// Remove from a cache what nothing needs, non-interactively and without contacting the Hub
#[derive(Debug, clap::Args)]
#[command(after_help = "What goes:\n  \
    - unfinished downloads without a live writer\n  \
    - blobs that no snapshot links to\n  \
    - snapshots that `modelcache fetch` made, that no ref names and that\n    \
      are not whole any more\n  \
    - records and listings of such snapshots that are not there\n\n\
    What stays, whatever is asked for:\n  \
    - every snapshot that a ref (a branch or tag in `refs`) names; with a\n    \
      ref that is empty or unreadable, every snapshot of its repo\n  \
    - all of a repo that is possibly in use: a lock is held in it, or\n    \
      something in it changed less than --min-age ago\n  \
    - the store `blobs` of huggingface_hub at the root of a cache:\n    \
      `hf cache prune` knows what is needed of it\n\n\
    Examples:\n  \
    modelcache prune --dry-run\n  \
    modelcache prune org/name --cache-dir /models\n  \
    modelcache prune --unreferenced    # also what was fetched by commit alone\n  \
    modelcache prune --all             # as `hf cache prune` does")]
pub(super) struct Args {
    #[command(flatten)]
    place: CacheArgs,
    /// Also drop verified snapshots that no ref names: those fetched by commit, or left by a branch that moved on
    #[arg(long)]
    unreferenced: bool,
    /// Also drop the snapshots of other programs that no ref names, verified or not
    #[arg(long)]
    all: bool,
    /// Leave alone what changed in this time, such as `90s`, `10m` or `2h`
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    min_age: Duration,
    /// Only list what would go
    #[arg(long)]
    dry_run: bool,
    /// Output format: a line for each thing that goes, or a JSON object for each repo
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Args {
    /// Runs the command and returns the exit code.
    pub(super) fn run(self) -> u8 {
        let place = match self.place.read() {
            Ok(place) => place,
            Err(code) => return code,
        };
        let Self { unreferenced, all, min_age, dry_run, output, .. } = self;
        let unnamed = match (all, unreferenced) {
            (true, _) => Unnamed::All,
            (false, true) => Unnamed::Ours,
            (false, false) => Unnamed::Broken,
        };
        let rules = PruneRules { min_age, unnamed, dry_run };
        let pruning = match prune(&place.cache, place.repo.as_ref(), &rules) {
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
            Kind::Trace => "known, and not there",
            Kind::Blob => "no snapshot needs it",
            Kind::Unfinished => "nobody writes it any more",
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
        (count(Kind::Trace), "trace of a snapshot that is gone", "traces of snapshots that are gone"),
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
    format!("{line} Left alone, as it is in use or has just changed (see --min-age): {}.", in_use.join(", "))
}
