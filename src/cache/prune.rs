//! Drops what nothing needs. What a ref names is never touched, what may be on its way is left alone, and what others have
//! fetched goes only where that is asked for.
//!
//! Nobody waits for a lock here. A thing is taken aside first, then refs and links are read again, and only then it is
//! removed, or put back: a fetch that comes between makes its links before it looks whether all contents are there,
//! and its refs before it looks for the snapshot, so one of the two sees the other.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ffi::OsString,
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::{
    disk,
    error::{CacheError, While as _},
    layout::{CacheDir, RepoDir},
    leftovers::{is_alive, is_incomplete, is_quiet, sweep},
    lock::Courtesy,
    survey::{self, Survey, linked_below, name, own_bytes},
};
use crate::{
    hub::{Commit, RepoId, RepoType},
    text::serialize_path,
};

/// How many snapshots or contents are aside at the same time, each with up to two open files.
const AT_ONCE: usize = 128;

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
    /// Whether somebody may be writing: then only what the dead have left behind goes, and more would go later.
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
    /// What is known about a snapshot that is not there.
    Trace,
    /// A content that no snapshot links to.
    Content,
    /// What a writer left behind that is dead.
    Unfinished,
}

/// Prunes one repo of a cache, or all. One that cannot be pruned keeps none of the others from it.
pub fn prune(cache: &CacheDir, repo: Option<&RepoDir>, rules: &PruneRules) -> Result<Pruning, CacheError> {
    let dirs = repo.map_or_else(|| survey::repos(cache), |repo| Ok(vec![repo.clone()]))?;
    let (mut repos, mut failed) = (Vec::new(), Vec::new());
    for dir in &dirs {
        match one(dir, rules, &mut failed) {
            Ok(pruned) => repos.push(pruned),
            Err(error) => failed.push(error),
        }
    }
    Ok(Pruning { repos, failed })
}

fn one(dir: &RepoDir, rules: &PruneRules, failed: &mut Vec<CacheError>) -> Result<Pruned, CacheError> {
    let mut survey = Survey::of(dir)?;
    let plan = Plan::of(dir, &survey, rules)?;
    failed.append(&mut survey.refs.unclear);
    let gone = if rules.dry_run { plan } else { plan.carry_out(dir, rules)? };
    Ok(gone.told(dir))
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
    fn of(dir: &RepoDir, survey: &Survey, rules: &PruneRules) -> Result<Self, CacheError> {
        let left = leftovers(dir)?;
        let alive: Vec<_> = left.iter().map(|path| is_alive(dir, path)).collect();
        let young = SystemTime::now().duration_since(survey.touched).is_ok_and(|since| since < rules.min_age)
            || survey.touched > SystemTime::now();
        let in_use = young || alive.contains(&true);
        let mut plan = Self::default();
        let dead =
            left.into_iter().zip(alive).filter(|(path, alive)| !alive && is_quiet(dir, path, rules.min_age));
        for (path, _) in dead {
            let bytes = bytes_below(dir, &path)?;
            plan.unfinished.push((path, bytes));
        }
        let may_go = |commit: &Commit| match (rules.unnamed, survey.records.get(commit)) {
            (Unnamed::All, _) | (Unnamed::Ours, Some(_)) => true,
            (Unnamed::Broken, Some(recorded)) => !recorded.complete,
            (Unnamed::Ours | Unnamed::Broken, None) => false,
        };
        for commit in survey.snapshots.keys() {
            if may_go(commit) && !survey.refs.may_name(commit) {
                plan.snapshots.push((commit.clone(), bytes_below(dir, &dir.snapshot(commit))?));
            }
        }
        let going: HashSet<_> = plan.snapshots.iter().map(|(commit, _)| commit.as_str()).collect();
        let linked = linked(dir, &going)?;
        plan.traces = traces(dir, survey, rules.unnamed)?;
        // Who made one folder of the contents of several repos knows alone what they need.
        if dir.root().is_folder(&dir.blobs()) {
            let unlinked = survey
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

    fn told(self, dir: &RepoDir) -> Pruned {
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
        items.extend(contents.iter().map(|(path, bytes)| item(Kind::Content, path, *bytes)));
        Pruned { repo: dir.repo().id.clone(), kind: dir.repo().kind, items, in_use }
    }
}

/// What writers have left behind, or still write.
fn leftovers(dir: &RepoDir) -> Result<Vec<PathBuf>, CacheError> {
    let mut left = Vec::new();
    for place in
        survey::list(dir.root(), &dir.blobs())?.into_iter().chain(survey::list(dir.root(), &dir.own())?)
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
        survey::walk(dir.root(), path, &mut |file, _| bytes = own_bytes(dir, file).saturating_add(bytes))?;
    }
    Ok(bytes)
}

/// The commits of which there is no snapshot and no ref, but a record. Where all may go, also a listing or the like.
fn traces(dir: &RepoDir, survey: &Survey, unnamed: Unnamed) -> Result<Vec<Commit>, CacheError> {
    let mut commits = BTreeSet::new();
    let folders = [dir.own(), dir.trees(), dir.absences()];
    for folder in if unnamed == Unnamed::All { &folders } else { &folders[..1] } {
        for place in survey::list(dir.root(), folder)? {
            let name = name(&place.path).unwrap_or_default();
            commits.extend(name.get(..40).and_then(|start| start.parse::<Commit>().ok()));
        }
    }
    commits.retain(|commit| !survey.snapshots.contains_key(commit) && !survey.refs.may_name(commit));
    Ok(commits.into_iter().collect())
}

/// Removes all that is known about a commit, so that nothing names what is to go.
fn forget(dir: &RepoDir, commit: &Commit, records: Vec<PathBuf>) -> Result<(), CacheError> {
    for path in records {
        disk::remove(dir.root(), &path)?;
    }
    disk::remove(dir.root(), &dir.tree(commit))?;
    let absent = dir.absences().join(commit.as_str());
    match dir.root().remove_tree(&absent) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).during("remove", &absent),
        _ => Ok(()),
    }
}

/// The records, by commit: one look for all, since there may be very many of both.
fn records(dir: &RepoDir) -> Result<HashMap<String, Vec<PathBuf>>, CacheError> {
    let mut records: HashMap<_, Vec<_>> = HashMap::new();
    for place in survey::list(dir.root(), &dir.own())? {
        let named = name(&place.path).and_then(|name| name.strip_suffix(".json")?.split_once('-'));
        if let Some(commit) = named.map(|(commit, _)| commit.to_owned()) {
            records.entry(commit).or_default().push(place.path);
        }
    }
    Ok(records)
}

/// Removes snapshots, unless somebody wants one after all.
fn drop_snapshots(dir: &RepoDir, snapshots: &[(Commit, u64)]) -> Result<Vec<(Commit, u64)>, CacheError> {
    disk::make_dirs(dir.root(), &dir.own())?;
    let mut records = records(dir)?;
    let mut asides = Vec::new();
    let taken = snapshots.iter().try_for_each(|(commit, bytes)| {
        forget(dir, commit, records.remove(commit.as_str()).unwrap_or_default())?;
        let (snapshot, aside) = (dir.snapshot(commit), disk::unique(&dir.own(), "snapshot"));
        // Held while it is aside: nobody may take it for a leftover.
        let lock = dir.root().open_folder(&snapshot).ok().filter(|folder| folder.try_lock().is_ok());
        match dir.root().rename(&snapshot, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => {
                other.during("remove", &snapshot)?;
                asides.push((commit, *bytes, aside, lock));
            }
        }
        Ok(())
    });
    disk::sync_dir(dir.root(), &dir.snapshots());
    // With what could not be read, every one counts as wanted.
    let seen = taken.and_then(|()| Ok((survey::refs(dir)?, self::records(dir)?)));
    let mut gone = Vec::new();
    for (commit, bytes, aside, _lock) in &asides {
        let wanted = seen
            .as_ref()
            .map_or(true, |(refs, records)| refs.may_name(commit) || records.contains_key(commit.as_str()));
        // Where a writer has made a new one meanwhile, that one stays.
        if wanted && dir.root().rename(aside, &dir.snapshot(commit)).is_ok() {
            continue;
        }
        dir.root().remove_tree(aside).during("remove", aside)?;
        gone.push(((*commit).clone(), *bytes));
    }
    seen.map(|_| gone)
}

/// A content that is out of its place.
struct Aside<'a> {
    content: &'a (PathBuf, u64),
    path: PathBuf,
    /// Tells others who might download it, and `sweep`, that it is in use.
    _locks: (Courtesy, Option<File>),
}

/// Removes contents, unless a link to them has come meanwhile.
fn drop_contents(dir: &RepoDir, contents: &[(PathBuf, u64)]) -> Result<Vec<(PathBuf, u64)>, CacheError> {
    disk::make_dirs(dir.root(), &dir.own())?;
    let mut asides = Vec::new();
    let taken = contents.iter().try_for_each(|content| {
        asides.extend(take(dir, content)?);
        Ok(())
    });
    // With what could not be read, everything counts as linked.
    let linked = taken.and_then(|()| linked(dir, &HashSet::new()));
    let mut gone = Vec::new();
    for Aside { content: (place, bytes), path, .. } in &asides {
        let wanted =
            linked.as_ref().map_or(true, |linked| place.file_name().is_none_or(|name| linked.contains(name)));
        if wanted {
            disk::rename(dir.root(), path, place)?;
        } else {
            disk::remove(dir.root(), path)?;
            gone.push((place.clone(), *bytes));
        }
    }
    linked.map(|_| gone)
}

/// The names of the contents that something leads to, other than the snapshots that are going.
fn linked(dir: &RepoDir, going: &HashSet<&str>) -> Result<HashSet<OsString>, CacheError> {
    let mut linked = linked_below(dir.root(), &dir.own())?;
    for place in survey::list(dir.root(), &dir.snapshots())? {
        // A link could lead to links: that is refused.
        let folder = place.kind.is_dir() || place.kind.is_symlink();
        if folder && !name(&place.path).is_some_and(|name| going.contains(name)) {
            linked.extend(linked_below(dir.root(), &place.path)?);
        }
    }
    Ok(linked)
}

/// Takes a content aside, unless it is locked or gone.
fn take<'a>(dir: &RepoDir, content: &'a (PathBuf, u64)) -> Result<Option<Aside<'a>>, CacheError> {
    let place = &content.0;
    let Some(digest) = name(place).and_then(|name| name.parse().ok()) else { return Ok(None) };
    let courtesy = Courtesy::try_take(dir, &digest);
    if matches!(courtesy, Courtesy::Busy) {
        return Ok(None);
    }
    let file = dir.root().open_file(place).ok().filter(|file| file.try_lock().is_ok());
    let path = disk::unique(&dir.own(), "tmp");
    match dir.root().rename(place, &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => {
            other.during("remove", place)?;
            Ok(Some(Aside { content, path, _locks: (courtesy, file) }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{
        cache::{
            testing::{COMMIT, file, listing, put, repo_dir},
            write_refs,
        },
        hub::RepoFile,
    };

    fn shown(dir: &RepoDir, commit: &Commit, file: &RepoFile) {
        put(dir, file, b"hello");
        fs::create_dir_all(dir.snapshot(commit)).unwrap();
        symlink(Path::new("../../blobs").join(file.digest.to_string()), dir.entry(commit, &file.path))
            .unwrap();
    }

    #[test]
    fn a_snapshot_that_is_named_meanwhile_is_put_back() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        shown(&dir, &commit, &file("a.txt", b"hello"));
        let (before, snapshots) = (listing(&dir.snapshots()), [(commit.clone(), 0)]);
        write_refs(&dir, &commit, &["main".parse().unwrap()]).unwrap();
        // One that is being written may come to name it.
        for ref_says in [COMMIT, ""] {
            fs::write(dir.refs().join("main"), ref_says).unwrap();
            assert_eq!(drop_snapshots(&dir, &snapshots).unwrap(), []);
            assert_eq!(listing(&dir.snapshots()), before);
        }
        fs::remove_file(dir.refs().join("main")).unwrap();
        assert_eq!(drop_snapshots(&dir, &snapshots).unwrap(), snapshots);
        assert!(listing(&dir.snapshots()).is_empty() && listing(&dir.own()).is_empty());
        assert_eq!(drop_snapshots(&dir, &snapshots).unwrap(), [], "it is gone");
    }

    #[test]
    fn a_content_that_is_linked_to_meanwhile_is_put_back() {
        let (_root, dir) = repo_dir();
        let (commit, hello): (Commit, _) = (COMMIT.parse().unwrap(), file("a.txt", b"hello"));
        let contents = [(dir.blob(&hello.digest), 5)];
        // In a snapshot, or in one that is being built.
        for snapshot in [dir.snapshot(&commit), dir.own().join("0.snapshot")] {
            put(&dir, &hello, b"hello");
            fs::create_dir_all(&snapshot).unwrap();
            symlink(Path::new("../../blobs").join(hello.digest.to_string()), snapshot.join("a.txt")).unwrap();
            assert_eq!(drop_contents(&dir, &contents).unwrap(), []);
            assert_eq!(fs::read_to_string(snapshot.join("a.txt")).unwrap(), "hello");
            fs::remove_dir_all(&snapshot).unwrap();
        }
        let busy = Courtesy::try_take(&dir, &hello.digest);
        assert_eq!(drop_contents(&dir, &contents).unwrap(), []);
        drop(busy);
        assert_eq!(drop_contents(&dir, &contents).unwrap(), contents);
        assert_eq!(listing(&dir.path()), Vec::<String>::new());
    }
}
