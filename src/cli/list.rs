//! `modelcache list`: lists what is in a cache.

use jiff::Timestamp;

use super::{
    cache_args::{CacheArgs, SelectedCache, failed},
    output::{Output, eprint_line, print, show},
    table,
};
use crate::{
    cache::{Amount, Listed, ListedRevision, Listing, Trust, list},
    reason::exit,
    text::json,
    units,
};

/// List what is in a cache and whether it was verified, without contacting the Hub or changing anything
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "ls",
    after_help = "VERIFIED is the time since every file of the snapshot was last verified by its\n\
    hash; `-`: never verified (fetch it once); `incomplete`: a link, a record or a\n\
    listing names a missing file. SIZE counts each blob once.\n\n\
    Examples:\n  \
    modelcache list\n  \
    modelcache list org/data --type dataset\n  \
    modelcache list --cache-dir /models -o json | jq .bytes"
)]
pub(super) struct Args {
    #[command(flatten)]
    cache: CacheArgs,
    /// Output format: a table, or a JSON object for each repo
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
        let listing = match list(&selected.cache, selected.repo.as_ref()) {
            Ok(listing) => listing,
            Err(error) => return failed(&error),
        };
        match self.output {
            Output::Json => listing.repos.iter().for_each(|repo| print(&json(repo))),
            Output::Text => text(&listing, Timestamp::now()),
        }
        if !listing.repos.is_empty() || listing.failed.is_empty() {
            eprint_line(&total(&selected, &listing));
        }
        listing.failed.iter().fold(exit::OK, |_, error| failed(error))
    }
}

fn text(listing: &Listing, now: Timestamp) {
    if listing.repos.is_empty() {
        return;
    }
    let rows: Vec<_> = listing.repos.iter().flat_map(|repo| rows(repo, now)).collect();
    let head = ["REPO", "TYPE", "COMMIT", "REFS", "FILES", "SIZE", "VERIFIED"];
    for line in table::lines(head, &rows) {
        show(&line);
    }
}

fn rows(repo: &Listed, now: Timestamp) -> Vec<[String; 7]> {
    let row = |cells: [String; 5]| {
        let [commit, refs, files, size, verified] = cells;
        [repo.repo.to_string(), repo.kind.to_string(), commit, refs, files, size, verified]
    };
    let mut rows: Vec<_> = repo.revisions.iter().map(|revision| row(cells(revision, now))).collect();
    for (what, Amount { files, bytes }) in [("unfinished", repo.unfinished), ("unneeded", repo.unneeded)] {
        if files > 0 {
            let none = "-".to_owned();
            rows.push(row([format!("({what})"), none.clone(), files.to_string(), units::size(bytes), none]));
        }
    }
    if rows.is_empty() {
        rows.push(row(["-", "-", "0", "0 B", "-"].map(str::to_owned)));
    }
    rows
}

fn cells(revision: &ListedRevision, now: Timestamp) -> [String; 5] {
    let refs = if revision.refs.is_empty() { "-".to_owned() } else { revision.refs.join(",") };
    let verified = match (revision.state, revision.verified_at) {
        (Trust::Incomplete, _) => "incomplete".to_owned(),
        (Trust::Verified, Some(at)) => format!("{} ago", units::age(now.duration_since(at))),
        _ => "-".to_owned(),
    };
    let (files, size) = (revision.files.to_string(), units::size(revision.bytes));
    [revision.commit.short().to_owned(), refs, files, size, verified]
}

/// `3 repos, 4 snapshots, 12.5 GiB in /models. 1 unfinished download, 2 GiB. See …`
fn total(selected: &SelectedCache, listing: &Listing) -> String {
    let snapshots = listing.repos.iter().map(|repo| repo.revisions.len()).sum();
    let mut sentences = vec![format!(
        "{}, {}, {} in {}.",
        units::count(listing.repos.len(), "repo", "repos"),
        units::count(snapshots, "snapshot", "snapshots"),
        units::size(listing.bytes),
        selected.root(),
    )];
    let sum = |part: fn(&Listed) -> Amount| {
        let parts = listing.repos.iter().map(part);
        parts.fold((0, 0), |(files, bytes), part| (files + part.files, bytes + part.bytes))
    };
    for ((files, bytes), one, many) in [
        (sum(|repo| repo.unfinished), "unfinished download", "unfinished downloads"),
        (sum(|repo| repo.unneeded), "blob that no snapshot needs", "blobs that no snapshot needs"),
    ] {
        if files > 0 {
            sentences.push(format!("{}, {}.", units::count(files, one, many), units::size(bytes)));
        }
    }
    if sentences.len() > 1 {
        // With the path, since this may not be the default cache.
        sentences.push(format!("See `modelcache prune --dry-run --cache-dir {}`.", selected.root()));
    }
    sentences.join(" ")
}
