//! Scans the folder of a repo, whichever client wrote it, for listing and pruning. Reads no blob.

use std::{
    collections::{BTreeMap, HashSet},
    fs::Metadata,
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use jiff::Timestamp;

use super::{
    error::CacheError,
    layout::{CacheDir, RepoDir},
    record::Record,
    redirect,
    refs::REF,
    resolve,
    root::Foreign,
    stale::is_incomplete,
    walk::{Identity, distinct, identity, list, name, own_bytes, unreadable, walk},
};
use crate::{
    hub::{Commit, Digest},
    text::of_path,
};

/// Files that desktop environments create in every folder. Readers ignore them.
const DESKTOP: [&str; 3] = [".DS_Store", "Thumbs.db", "desktop.ini"];

/// The blobs of a repo's folder.
#[derive(Debug)]
pub(super) struct RepoScan {
    /// The snapshots with their files.
    pub(super) snapshots: BTreeMap<Commit, Vec<Entry>>,
    /// The refs.
    pub(super) refs: Refs,
    /// The records of those commits, summarized.
    pub(super) records: BTreeMap<Commit, Recorded>,
    /// The listings, one hard link of each.
    pub(super) trees: HashSet<PathBuf>,
    /// The blobs that are complete according to their names.
    pub(super) blobs: Vec<BlobFile>,
    /// Incomplete blobs, in use or stale.
    pub(super) unfinished: Vec<BlobFile>,
    /// The latest modification time of all of it.
    pub(super) touched: SystemTime,
}

/// The refs of a repo.
#[derive(Debug, Default)]
pub(super) struct Refs {
    /// The commits that refs name, each with its refs, sorted.
    pub(super) named: BTreeMap<Commit, Vec<String>>,
    /// The errors of unreadable refs. Each may name any commit: it may be in the middle of being written.
    pub(super) unclear: Vec<CacheError>,
}

impl Refs {
    /// The most errors to collect.
    const REPORTED: usize = 100;

    fn report(&mut self, error: CacheError) {
        if self.unclear.len() < Self::REPORTED {
            self.unclear.push(error);
        }
    }

    /// Whether a ref may name the commit.
    pub(super) fn may_name(&self, commit: &Commit) -> bool {
        !self.unclear.is_empty() || self.named.contains_key(commit)
    }
}

/// A file of a snapshot.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its path in the snapshot.
    pub(super) path: PathBuf,
    /// The entry itself, or the target of its first link.
    pub(super) blob: Option<Identity>,
    /// The file behind it. `None` if it is missing.
    pub(super) file: Option<Stat>,
    /// The link's target, if it is a link.
    pub(super) link: Option<PathBuf>,
    /// The time of the newest record that covers it.
    pub(super) verified: Option<Timestamp>,
}

/// A summary of the records of a commit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recorded {
    /// Whether all files of any record are present.
    pub(super) complete: bool,
    /// Whether any record has a missing file.
    pub(super) incomplete: bool,
}

/// The part of a file's metadata that a scan needs, since there may be very many files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stat {
    /// Which file it is.
    pub(super) identity: Identity,
    /// Its length.
    pub(super) bytes: u64,
    /// When it was last modified, if the file system reports that.
    pub(super) modified: Option<SystemTime>,
}

impl From<&Metadata> for Stat {
    fn from(stat: &Metadata) -> Self {
        Self { identity: identity(stat), bytes: stat.len(), modified: stat.modified().ok() }
    }
}

/// A file in the folder of the blobs.
#[derive(Debug)]
pub(super) struct BlobFile {
    pub(super) path: PathBuf,
    /// The bytes freed by removing it: 0 for a link.
    pub(super) bytes: u64,
}

/// Whether a cache has the folder of a repo.
pub fn is_there(dir: &RepoDir) -> Result<bool, CacheError> {
    let path = dir.path();
    match dir.root().stat(&path) {
        Ok(stat) if stat.is_dir() => Ok(true),
        Ok(_) if redirect::is_dangling(dir) => Ok(false),
        Ok(stat) => Err(unreadable(&path, Foreign::of(&path, &stat).into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unreadable(&path, error)),
    }
}

/// The repos of a cache, sorted, without their further names.
pub(super) fn repos(cache: &CacheDir) -> Result<Vec<RepoDir>, CacheError> {
    let mut repos = places(cache)?;
    repos.retain(|repo| !redirect::is_further(repo));
    Ok(repos)
}

/// The links to repo folders that no longer exist, sorted.
pub(super) fn dangling(cache: &CacheDir) -> Result<Vec<RepoDir>, CacheError> {
    let mut links = places(cache)?;
    links.retain(redirect::is_dangling);
    Ok(links)
}

/// All folders and links with the name of a repo's folder, sorted.
fn places(cache: &CacheDir) -> Result<Vec<RepoDir>, CacheError> {
    let root = cache.root();
    let entries = cache.reach().entries(root).map_err(|error| unreadable(root, error))?;
    let mut repos = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(root, error))?;
        // A link may stand for a repo; if it does not, reading it reports the error.
        if entry.kind.is_dir() || entry.kind.is_symlink() {
            repos.extend(name(&entry.path).and_then(|name| cache.parse(name)));
        }
    }
    repos.sort_unstable_by(|a, b| a.repo().cmp(b.repo()));
    Ok(repos)
}

impl RepoScan {
    /// Scans everything. Fails if something cannot be read, since that could hide anything.
    pub(super) fn of(dir: &RepoDir) -> Result<Self, CacheError> {
        let mut scan = Self {
            snapshots: BTreeMap::new(),
            refs: Refs::default(),
            records: BTreeMap::new(),
            trees: HashSet::new(),
            blobs: Vec::new(),
            unfinished: Vec::new(),
            touched: SystemTime::UNIX_EPOCH,
        };
        scan.add_snapshots(dir)?;
        scan.refs = refs(dir)?;
        scan.add_blobs(dir)?;
        let own = list(dir.root(), &dir.private_dir())?;
        for place in &own {
            scan.touch(dir, &place.path);
        }
        for path in distinct(dir, own.into_iter().map(|place| place.path)) {
            if let Ok(Some(record)) = Record::open(dir, &path) {
                scan.add_record(dir, &record);
            }
        }
        let trees = list(dir.root(), &dir.trees())?;
        for place in &trees {
            scan.touch(dir, &place.path);
        }
        scan.trees = distinct(dir, trees.into_iter().map(|place| place.path)).collect();
        walk(dir.root(), &dir.refs(), &mut |path, _| scan.touch(dir, path))?;
        Ok(scan)
    }

    fn add_snapshots(&mut self, dir: &RepoDir) -> Result<(), CacheError> {
        for place in list(dir.root(), &dir.snapshots())? {
            let commit = name(&place.path).and_then(|name| name.parse::<Commit>().ok());
            let Some(commit) = commit.filter(|_| place.kind.is_dir() || place.kind.is_symlink()) else {
                continue;
            };
            self.touch(dir, &place.path);
            let mut entries = Vec::new();
            walk(dir.root(), &place.path, &mut |path, _| {
                self.touch(dir, path);
                entries.extend(Entry::new(dir, &place.path, path));
            })?;
            entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
            self.snapshots.insert(commit, entries);
        }
        Ok(())
    }

    fn add_record(&mut self, dir: &RepoDir, record: &Record) {
        let Some(entries) = self.snapshots.get_mut(&record.commit) else { return };
        let recorded = self.records.entry(record.commit.clone()).or_default();
        let complete = record.is_complete(dir);
        recorded.complete |= complete;
        recorded.incomplete |= !complete;
        if record.vouches_until().is_none() {
            return;
        }
        for file in &record.files {
            let found =
                entries.binary_search_by(|entry| entry.path.as_path().cmp(file.path.as_str().as_ref()));
            if let Ok(at) = found {
                entries[at].verified = entries[at].verified.max(Some(record.verified_at));
            }
        }
    }

    fn add_blobs(&mut self, dir: &RepoDir) -> Result<(), CacheError> {
        for place in list(dir.root(), &dir.blobs())? {
            self.touch(dir, &place.path);
            let blob = BlobFile { bytes: own_bytes(dir, &place.path), path: place.path };
            if is_incomplete(&blob.path) {
                self.unfinished.push(blob);
            } else if name(&blob.path).is_some_and(|name| name.parse::<Digest>().is_ok()) {
                self.blobs.push(blob);
            }
        }
        self.blobs.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        self.unfinished.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    fn touch(&mut self, dir: &RepoDir, path: &Path) {
        if let Ok(at) = dir.root().stat(path).and_then(|stat| stat.modified()) {
            self.touched = self.touched.max(at);
        }
    }
}

impl Entry {
    /// `None` for a link to a folder of the cache, which readers ignore.
    fn new(dir: &RepoDir, snapshot: &Path, path: &Path) -> Option<Self> {
        let link = dir.root().read_link(path).ok();
        let target = link.as_ref().and_then(|_| resolve::target(dir.root(), path).ok()?);
        let first = dir.root().stat(target.as_deref().unwrap_or(path)).ok();
        if link.is_some() && first.as_ref().is_some_and(Metadata::is_dir) {
            return None;
        }
        let file = resolve::resolve(dir, path).ok();
        Some(Self {
            path: path.strip_prefix(snapshot).unwrap_or(path).to_owned(),
            blob: first.filter(|_| file.is_some()).map(|stat| identity(&stat)),
            file: file.map(|file| Stat::from(&file.stat)),
            link,
            verified: None,
        })
    }
}

/// Reads the refs. One that is unreadable or names no commit does not prevent the others from being read.
pub(super) fn refs(dir: &RepoDir) -> Result<Refs, CacheError> {
    let root = dir.refs();
    let mut found = Vec::new();
    walk(dir.root(), &root, &mut |path, _| found.push(path.to_owned()))?;
    found.sort_unstable();
    let mut refs = Refs::default();
    for path in found.into_iter().filter(|path| !name(path).is_some_and(|name| DESKTOP.contains(&name))) {
        let text = match dir.root().read(&path, REF) {
            Ok(text) => text,
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            // Longer than any ref.
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Vec::new(),
            Err(error) => {
                refs.report(unreadable(&path, error));
                continue;
            }
        };
        match String::from_utf8_lossy(&text).trim().parse() {
            Ok(commit) => {
                let names: &mut Vec<_> = refs.named.entry(commit).or_default();
                names.push(of_path(path.strip_prefix(&root).unwrap_or(&path)));
            }
            Err(_) => refs.report(CacheError::UnclearRef { path }),
        }
    }
    Ok(refs)
}
