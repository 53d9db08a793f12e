//! Drops what nothing needs. What a ref names is never touched, what may be on its way is left alone, and what others have
//! fetched goes only where that is asked for.

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
    removal::{AT_ONCE, drop_contents, drop_snapshots, forget, linked, records},
    scan::{self, RepoScan},
    stale::{is_alive, is_incomplete, is_quiet, sweep},
    walk::{self, name, own_bytes},
};
use crate::{
    hub::{Commit, Repo, RepoId, RepoType},
    text::serialize_path,
};

/// Which snapshots may go that no ref names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// Those of which our records say that they are not whole.
    Broken,
    /// Those of which we have a record.
    Ours,
    /// All, whoever has fetched them.
    All,
}

/// What may go.
#[derive(Clone, Copy, Debug)]
pub struct PruneRules {
    /// What was written to in this time is left alone.
    pub min_age: Duration,
    /// Which snapshots.
    pub unnamed: Unnamed,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Pruning {
    /// The repos, sorted.
    pub repos: Vec<Pruned>,
    /// Why others, or some of their refs, could not be read or changed.
    pub failed: Vec<CacheError>,
}

/// What was, or would be, removed of a repo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pruned {
    /// Its ID.
    pub repo: RepoId,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: RepoType,
    /// What goes.
    pub items: Vec<Item>,
    /// Whether a writer may be active: then only the leftovers of crashed writers go, and a later run may remove more.
    pub in_use: bool,
}

/// One thing that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// The file or folder, seen from the root of the cache.
    #[serde(serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// The bytes that this frees.
    pub bytes: u64,
}

/// Why something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A snapshot that nothing asks for.
    Snapshot,
    /// What is known about a snapshot that is not there, or a further name of a repo that is not.
    Trace,
    /// A blob that no snapshot links to.
    Blob,
    /// What a writer left behind that is dead.
    Unfinished,
}

/// Prunes one repo of a cache, or all. One that cannot be pruned keeps none of the others from it.
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

/// Drops a further name of a repo whose folder is not there any more: readers take the link for damage.
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
    let gone = if rules.dry_run { plan } else { plan.carry_out(dir, rules)? };
    Ok(gone.into_pruned(dir))
}

/// What goes, in the order in which it goes.
#[derive(Debug, Default)]
struct Plan {
    in_use: bool,
    traces: Vec<Commit>,
    snapshots: Vec<(Commit, u64)>,
    contents: Vec<(PathBuf, u64)>,
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
            left.into_iter().zip(alive).filter(|(path, alive)| !alive && is_quiet(dir, path, rules.min_age));
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
        // Only the program that made one folder for the blobs of several repos knows what they need.
        if dir.root().is_folder(&dir.blobs()) {
            let unlinked = scan
                .contents
                .iter()
                .filter(|content| content.path.file_name().is_some_and(|name| !linked.contains(name)));
            plan.contents = unlinked.map(|content| (content.path.clone(), content.bytes)).collect();
        }
        let nothing = plan.traces.is_empty() && plan.snapshots.is_empty() && plan.contents.is_empty();
        if in_use && !nothing {
            return Ok(Self { in_use, unfinished: plan.unfinished, ..Self::default() });
        }
        Ok(plan)
    }

    /// Does it, and gives what really went.
    fn carry_out(self, dir: &RepoDir, rules: &PruneRules) -> Result<Self, CacheError> {
        let mut gone = Self { in_use: self.in_use, ..Self::default() };
        if !self.unfinished.is_empty() {
            sweep(dir, rules.min_age, Some(&|_| false));
            gone.unfinished = self.unfinished;
            gone.unfinished.retain(|(path, _)| !dir.root().exists(path));
        }
        let mut records = records(dir)?;
        for commit in self.traces {
            forget(dir, &commit, records.remove(commit.as_str()).unwrap_or_default())?;
            gone.traces.push(commit);
        }
        for snapshots in self.snapshots.chunks(AT_ONCE) {
            gone.snapshots.extend(drop_snapshots(dir, snapshots)?);
        }
        for contents in self.contents.chunks(AT_ONCE) {
            gone.contents.extend(drop_contents(dir, contents)?);
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
        let Self { in_use, traces, snapshots, contents, unfinished } = self;
        let mut items = Vec::new();
        items.extend(unfinished.iter().map(|(path, bytes)| item(Kind::Unfinished, path, *bytes)));
        items.extend(traces.iter().map(|commit| item(Kind::Trace, &dir.snapshot(commit), 0)));
        items.extend(
            snapshots.iter().map(|(commit, bytes)| item(Kind::Snapshot, &dir.snapshot(commit), *bytes)),
        );
        items.extend(contents.iter().map(|(path, bytes)| item(Kind::Blob, path, *bytes)));
        Pruned { repo: dir.repo().id.clone(), kind: dir.repo().kind, items, in_use }
    }
}

/// What writers have left behind, or still write.
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

/// The bytes that go with a file or a folder: links free nothing.
fn bytes_below(dir: &RepoDir, path: &Path) -> Result<u64, CacheError> {
    let mut bytes = own_bytes(dir, path);
    if dir.root().is_folder(path) {
        walk::walk(dir.root(), path, &mut |file, _| bytes = own_bytes(dir, file).saturating_add(bytes))?;
    }
    Ok(bytes)
}

/// The commits of which there is no snapshot and no ref, but a record. Where all may go, a listing or the like counts, too.
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
