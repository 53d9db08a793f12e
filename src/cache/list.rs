//! Lists what is in a cache and whether it was verified. Reads only names and sizes, and changes nothing.

use std::{
    collections::{HashMap, HashSet},
    time::SystemTime,
};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    error::CacheError,
    layout::{CacheDir, RepoDir},
    redirect::further_names,
    scan::{self, Entry, RepoScan},
    tree,
    walk::Identity,
};
use crate::hub::{Commit, RepoId, RepoType};

/// A whole cache.
#[derive(Debug)]
pub struct Listing {
    /// Its repos, sorted.
    pub repos: Vec<Listed>,
    /// The bytes of all snapshots; files shared between repos count once.
    pub bytes: u64,
    /// The repos and refs that could not be read.
    pub failed: Vec<CacheError>,
}

/// One repo of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its ID.
    pub repo: RepoId,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: RepoType,
    /// Further names under which readers find it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<RepoId>,
    /// The bytes of its snapshots; each blob counts once.
    pub bytes: u64,
    /// Its snapshots, and the commits that a ref names but that have no snapshot.
    pub revisions: Vec<ListedRevision>,
    /// Blobs that no snapshot links to.
    pub unneeded: Amount,
    /// Running and abandoned downloads.
    pub unfinished: Amount,
}

/// One commit of a repo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedRevision {
    /// The commit.
    pub commit: Commit,
    /// The refs that name it, sorted.
    pub refs: Vec<String>,
    /// How many files its snapshot has.
    pub files: usize,
    /// Their bytes; each blob counts once.
    pub bytes: u64,
    /// Whether it is verified.
    pub state: Trust,
    /// When its least recently verified file was verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
}

/// Whether a snapshot is complete and verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Trust {
    /// Records confirm every file, and none was modified since.
    Verified,
    /// No problem is known, but not every file was verified.
    Unverified,
    /// A link, a record or a listing names a missing file.
    Incomplete,
}

/// A number of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// The number of files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Amount {
    /// Adds one file.
    pub(super) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Lists one repo of a cache, or all. A repo that cannot be read does not prevent the others from being listed.
pub fn list(cache: &CacheDir, repo: Option<&RepoDir>) -> Result<Listing, CacheError> {
    let dirs = repo.map_or_else(|| scan::repos(cache), |repo| Ok(vec![repo.clone()]))?;
    let mut files = HashMap::new();
    let (mut repos, mut failed) = (Vec::new(), Vec::new());
    for dir in &dirs {
        match one(dir, &mut files, &mut failed) {
            Ok(listed) => repos.push(listed),
            Err(error) => failed.push(error),
        }
    }
    Ok(Listing { repos, bytes: sum(&files), failed })
}

fn one(
    dir: &RepoDir,
    all_files: &mut HashMap<Identity, u64>,
    failed: &mut Vec<CacheError>,
) -> Result<Listed, CacheError> {
    let mut scan = RepoScan::of(dir)?;
    failed.append(&mut scan.refs.unclear);
    let files = scan.snapshots.values().flatten().filter_map(|entry| entry.file);
    all_files.extend(files.map(|file| (file.identity, file.bytes)));
    let mut refs = scan.refs.named.clone();
    let snapshots = scan.snapshots.iter();
    let mut revisions: Vec<_> = snapshots
        .map(|(commit, entries)| {
            revision(dir, &scan, commit, refs.remove(commit).unwrap_or_default(), entries)
        })
        .collect();
    // The remaining commits have no snapshot.
    revisions.extend(refs.into_iter().map(|(commit, refs)| revision(dir, &scan, &commit, refs, &[])));
    // Commits with refs first.
    revisions.sort_by(|a, b| b.refs.len().min(1).cmp(&a.refs.len().min(1)).then(a.commit.cmp(&b.commit)));

    let entries = scan.snapshots.values().flatten();
    let linked: HashSet<_> = entries.filter_map(|entry| entry.link.as_deref()?.file_name()).collect();
    let mut unneeded = Amount::default();
    for blob in
        scan.blobs.iter().filter(|blob| !blob.path.file_name().is_some_and(|name| linked.contains(name)))
    {
        unneeded.add(blob.bytes);
    }
    let mut unfinished = Amount::default();
    scan.unfinished.iter().for_each(|blob| unfinished.add(blob.bytes));
    Ok(Listed {
        repo: dir.repo().id.clone(),
        kind: dir.repo().kind,
        names: further_names(dir.cache(), dir.repo()),
        bytes: blob_bytes(scan.snapshots.values().flatten()),
        revisions,
        unneeded,
        unfinished,
    })
}

fn revision(
    dir: &RepoDir,
    scan: &RepoScan,
    commit: &Commit,
    refs: Vec<String>,
    entries: &[Entry],
) -> ListedRevision {
    let verified_at = verified_at(entries);
    let state = if !scan.snapshots.contains_key(commit)
        || entries.iter().any(|entry| entry.file.is_none())
        || scan.records.get(commit).is_some_and(|recorded| recorded.incomplete)
        || scan.trees.contains(&dir.tree(commit)) && tree::lacks_files(dir, commit)
    {
        Trust::Incomplete
    } else if verified_at.is_some() {
        Trust::Verified
    } else {
        Trust::Unverified
    };
    ListedRevision {
        commit: commit.clone(),
        refs,
        files: entries.len(),
        bytes: blob_bytes(entries.iter()),
        state,
        verified_at: verified_at.filter(|_| state == Trust::Verified),
    }
}

/// When the least recently verified file was verified. `None` if a file has no record or was modified after it.
fn verified_at(entries: &[Entry]) -> Option<Timestamp> {
    let vouched = entries.iter().map(|entry| {
        let at = entry.verified?;
        let modified = entry.file?.modified?;
        (modified <= SystemTime::from(at)).then_some(at)
    });
    vouched.collect::<Option<Vec<_>>>()?.into_iter().min()
}

fn blob_bytes<'a>(entries: impl Iterator<Item = &'a Entry>) -> u64 {
    sum(&entries.filter_map(|entry| Some((entry.blob?, entry.file?.bytes))).collect())
}

fn sum(files: &HashMap<Identity, u64>) -> u64 {
    files.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
}
