//! Removes unneeded data. What a ref names is never touched, possible downloads in progress are left alone, and snapshots of
//! other clients are removed only on request.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::{
    disk,
    error::CacheError,
    layout::{CacheDir, RepoDir},
    removal::{BATCH, drop_blobs, drop_snapshots, linked, records, remove_metadata},
    scan::{self, RepoScan},
    stale::{is_alive, is_idle, is_incomplete, sweep},
    walk::{self, name, own_bytes},
};
use crate::{
    hub::{Commit, Repo, RepoId, RepoType},
    text::serialize_path,
};

/// Which snapshots without a ref may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// Those that are incomplete according to our records.
    Broken,
    /// Those with a record of ours.
    Ours,
    /// All, whichever client fetched them.
    All,
}

/// What may be removed.
#[derive(Clone, Copy, Debug)]
pub struct PruneRules {
    /// Anything modified more recently than this is kept.
    pub min_age: Duration,
    /// Which snapshots.
    pub unnamed: Unnamed,
    /// Report what would be removed without removing it.
    pub dry_run: bool,
}

/// The result of pruning a cache.
#[derive(Debug)]
pub struct Pruning {
    /// The repos, sorted.
    pub repos: Vec<Pruned>,
    /// The repos and refs that could not be read or changed.
    pub failed: Vec<CacheError>,
}

/// What was, or would be, removed from a repo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pruned {
    /// Its ID.
    pub repo: RepoId,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: RepoType,
    /// The removed items.
    pub items: Vec<Item>,
    /// Whether a writer may be active: then only the leftovers of crashed writers are removed, and a later run may remove more.
    pub in_use: bool,
}

/// One removed item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// The file or folder, relative to the cache.
    #[serde(serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// The bytes freed.
    pub bytes: u64,
}

/// Why an item is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A snapshot that no ref names.
    Snapshot,
    /// Metadata of a missing snapshot, or a further name of a missing repo.
    Trace,
    /// A blob that no snapshot links to.
    Blob,
    /// The leftover of a crashed writer.
    Unfinished,
}

/// Prunes one repo of a cache, or all. A repo that cannot be pruned does not prevent the others from being pruned.
pub fn prune(cache: &CacheDir, repo: Option<&RepoDir>, rules: &PruneRules) -> Result<Pruning, CacheError> {
    let dirs = repo.map_or_else(|| scan::repos(cache), |repo| Ok(vec![repo.clone()]))?;
    let (mut repos, mut failed) = (Vec::new(), Vec::new());
    for dir in &dirs {
        match one(dir, rules, &mut failed) {
            Ok(pruned) => repos.push(pruned),
            Err(error) => failed.push(error),
        }
    }
    if repo.is_none() {
        for named in scan::dangling(cache)? {
            match drop_link(&named, rules) {
                Ok(pruned) => repos.push(pruned),
                Err(error) => failed.push(error),
            }
        }
    }
    Ok(Pruning { repos, failed })
}

/// Removes a further name of a repo whose folder no longer exists: readers treat the link as corruption.
fn drop_link(named: &RepoDir, rules: &PruneRules) -> Result<Pruned, CacheError> {
    if !rules.dry_run {
        disk::remove(named.root(), &named.path())?;
    }
    let item = Item { kind: Kind::Trace, path: named.name().into(), bytes: 0 };
    let Repo { kind, id } = named.repo().clone();
    Ok(Pruned { repo: id, kind, items: vec![item], in_use: false })
}

fn one(dir: &RepoDir, rules: &PruneRules, failed: &mut Vec<CacheError>) -> Result<Pruned, CacheError> {
    let mut scan = RepoScan::of(dir)?;
    let plan = Plan::of(dir, &scan, rules)?;
    failed.append(&mut scan.refs.unclear);
    let gone = if rules.dry_run { plan } else { plan.apply(dir, rules)? };
    Ok(gone.into_pruned(dir))
}

/// What is to be removed.
#[derive(Debug, Default)]
struct Plan {
    in_use: bool,
    traces: Vec<Commit>,
    snapshots: Vec<(Commit, u64)>,
    blobs: Vec<(PathBuf, u64)>,
    unfinished: Vec<(PathBuf, u64)>,
}

impl Plan {
    fn of(dir: &RepoDir, scan: &RepoScan, rules: &PruneRules) -> Result<Self, CacheError> {
        let left = incomplete_blobs(dir)?;
        let alive: Vec<_> = left.iter().map(|path| is_alive(dir, path)).collect();
        let young = SystemTime::now().duration_since(scan.touched).is_ok_and(|since| since < rules.min_age)
            || scan.touched > SystemTime::now();
        let in_use = young || alive.contains(&true);
        let mut plan = Self::default();
        let dead =
            left.into_iter().zip(alive).filter(|(path, alive)| !alive && is_idle(dir, path, rules.min_age));
        for (path, _) in dead {
            let bytes = bytes_below(dir, &path)?;
            plan.unfinished.push((path, bytes));
        }
        let may_go = |commit: &Commit| match (rules.unnamed, scan.records.get(commit)) {
            (Unnamed::All, _) | (Unnamed::Ours, Some(_)) => true,
            (Unnamed::Broken, Some(recorded)) => !recorded.complete,
            (Unnamed::Ours | Unnamed::Broken, None) => false,
        };
        for commit in scan.snapshots.keys() {
            if may_go(commit) && !scan.refs.may_name(commit) {
                plan.snapshots.push((commit.clone(), bytes_below(dir, &dir.snapshot(commit))?));
            }
        }
        let going: HashSet<_> = plan.snapshots.iter().map(|(commit, _)| commit.as_str()).collect();
        let linked = linked(dir, &going)?;
        plan.traces = traces(dir, scan, rules.unnamed)?;
        // A blob folder shared between repos is managed by the program that created it.
        if dir.root().is_folder(&dir.blobs()) {
            let unlinked = scan
                .blobs
                .iter()
                .filter(|content| content.path.file_name().is_some_and(|name| !linked.contains(name)));
            plan.blobs = unlinked.map(|content| (content.path.clone(), content.bytes)).collect();
        }
        let nothing = plan.traces.is_empty() && plan.snapshots.is_empty() && plan.blobs.is_empty();
        if in_use && !nothing {
            return Ok(Self { in_use, unfinished: plan.unfinished, ..Self::default() });
        }
        Ok(plan)
    }

    /// Removes the planned items and returns what was actually removed.
    fn apply(self, dir: &RepoDir, rules: &PruneRules) -> Result<Self, CacheError> {
        let mut gone = Self { in_use: self.in_use, ..Self::default() };
        if !self.unfinished.is_empty() {
            sweep(dir, rules.min_age, Some(&|_| false));
            gone.unfinished = self.unfinished;
            gone.unfinished.retain(|(path, _)| !dir.root().exists(path));
        }
        let mut records = records(dir)?;
        for commit in self.traces {
            remove_metadata(dir, &commit, records.remove(commit.as_str()).unwrap_or_default())?;
            gone.traces.push(commit);
        }
        for snapshots in self.snapshots.chunks(BATCH) {
            gone.snapshots.extend(drop_snapshots(dir, snapshots)?);
        }
        for blobs in self.blobs.chunks(BATCH) {
            gone.blobs.extend(drop_blobs(dir, blobs)?);
        }
        Ok(gone)
    }

    fn into_pruned(self, dir: &RepoDir) -> Pruned {
        let root = dir.cache().root();
        let item = |kind, path: &Path, bytes| Item {
            kind,
            path: path.strip_prefix(root).unwrap_or(path).to_owned(),
            bytes,
        };
        let Self { in_use, traces, snapshots, blobs, unfinished } = self;
        let mut items = Vec::new();
        items.extend(unfinished.iter().map(|(path, bytes)| item(Kind::Unfinished, path, *bytes)));
        items.extend(traces.iter().map(|commit| item(Kind::Trace, &dir.snapshot(commit), 0)));
        items.extend(
            snapshots.iter().map(|(commit, bytes)| item(Kind::Snapshot, &dir.snapshot(commit), *bytes)),
        );
        items.extend(blobs.iter().map(|(path, bytes)| item(Kind::Blob, path, *bytes)));
        Pruned { repo: dir.repo().id.clone(), kind: dir.repo().kind, items, in_use }
    }
}

/// Incomplete downloads and temporary files, stale or in use.
fn incomplete_blobs(dir: &RepoDir) -> Result<Vec<PathBuf>, CacheError> {
    let mut left = Vec::new();
    for place in
        walk::list(dir.root(), &dir.blobs())?.into_iter().chain(walk::list(dir.root(), &dir.private_dir())?)
    {
        let end = place.path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        if end == "tmp" || end == "snapshot" || is_incomplete(&place.path) {
            left.push(place.path);
        }
    }
    Ok(left)
}

/// The bytes freed by removing a file or a folder: links free none.
fn bytes_below(dir: &RepoDir, path: &Path) -> Result<u64, CacheError> {
    let mut bytes = own_bytes(dir, path);
    if dir.root().is_folder(path) {
        walk::walk(dir.root(), path, &mut |file, _| bytes = own_bytes(dir, file).saturating_add(bytes))?;
    }
    Ok(bytes)
}

/// The commits with a record but without snapshot and ref. With [`Unnamed::All`], listings and absence markers count too.
fn traces(dir: &RepoDir, scan: &RepoScan, unnamed: Unnamed) -> Result<Vec<Commit>, CacheError> {
    let mut commits = BTreeSet::new();
    let folders = [dir.private_dir(), dir.trees(), dir.absences()];
    for folder in if unnamed == Unnamed::All { &folders } else { &folders[..1] } {
        for place in walk::list(dir.root(), folder)? {
            let name = name(&place.path).unwrap_or_default();
            commits.extend(name.get(..40).and_then(|start| start.parse::<Commit>().ok()));
        }
    }
    commits.retain(|commit| !scan.snapshots.contains_key(commit) && !scan.refs.may_name(commit));
    Ok(commits.into_iter().collect())
}
