//! What lies in the folder of a repo, whoever put it there: the one look that listing and pruning share. Reads no content.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ffi::{OsStr, OsString},
    fs::{self, FileType, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    error::CacheError,
    layout::{CacheDir, RepoDir},
    leftovers::is_incomplete,
    record::Record,
};
use crate::{
    hub::{Commit, Digest},
    text::of_path,
};

/// One file on the volume, whatever its names.
pub(super) type Identity = (u64, u64);

/// What lies in the folder of a repo.
#[derive(Debug)]
pub(super) struct Survey {
    /// The folders of commits.
    pub(super) snapshots: BTreeMap<Commit, Vec<Entry>>,
    /// The refs, with what each says.
    pub(super) refs: BTreeMap<String, String>,
    /// What was once verified.
    pub(super) records: Vec<Record>,
    /// The contents that are whole by their names.
    pub(super) contents: Vec<Piece>,
    /// The contents on their way, or left behind.
    pub(super) unfinished: Vec<Piece>,
    /// When the last of all this was written.
    pub(super) touched: SystemTime,
}

/// A file of a snapshot.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its place in the snapshot.
    pub(super) path: PathBuf,
    /// What the entry is, or the first link of it leads to.
    pub(super) content: Option<Identity>,
    /// The file in the end, links followed. None where they lead to nothing.
    pub(super) file: Option<Stat>,
    /// What the link says, where it is one.
    pub(super) link: Option<PathBuf>,
}

/// What of a file's metadata is of use here: there may be very many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stat {
    /// Which file it is.
    pub(super) identity: Identity,
    /// Its length.
    pub(super) bytes: u64,
    /// When it was last written to; none where the file system does not say.
    pub(super) modified: Option<SystemTime>,
}

impl From<&Metadata> for Stat {
    fn from(stat: &Metadata) -> Self {
        Self { identity: identity(stat), bytes: stat.len(), modified: stat.modified().ok() }
    }
}

/// A file beside others that belong to no snapshot by their place.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) path: PathBuf,
    /// The bytes that go with it: none for a link.
    pub(super) bytes: u64,
}

/// The repos of a cache, sorted.
pub(super) fn repos(cache: &CacheDir) -> Result<Vec<RepoDir>, CacheError> {
    let root = cache.root();
    let entries = fs::read_dir(root).map_err(|error| unreadable(root, error))?;
    let mut repos = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(root, error))?;
        let dir = entry.file_name().to_str().and_then(|name| cache.parse(name));
        repos.extend(dir.filter(|dir| dir.path().is_dir()));
    }
    repos.sort_unstable_by(|a, b| a.repo().cmp(b.repo()));
    Ok(repos)
}

impl Survey {
    /// Looks at everything. Fails where something cannot be read, since that could hide anything.
    pub(super) fn of(dir: &RepoDir) -> Result<Self, CacheError> {
        let mut survey = Self {
            snapshots: BTreeMap::new(),
            refs: BTreeMap::new(),
            records: Vec::new(),
            contents: Vec::new(),
            unfinished: Vec::new(),
            touched: SystemTime::UNIX_EPOCH,
        };
        survey.see_snapshots(dir)?;
        survey.refs = refs(dir)?;
        survey.see_blobs(dir)?;
        for place in list(&dir.own())? {
            survey.records.extend(Record::open(dir, &place.path).unwrap_or_default());
            survey.touch(&place.path);
        }
        for place in list(&dir.trees())? {
            survey.touch(&place.path);
        }
        for name in survey.refs.keys().cloned().collect::<Vec<_>>() {
            survey.touch(&dir.refs().join(name));
        }
        Ok(survey)
    }

    /// The commits that refs name.
    pub(super) fn named(&self) -> BTreeSet<&str> {
        self.refs.values().map(String::as_str).collect()
    }

    fn see_snapshots(&mut self, dir: &RepoDir) -> Result<(), CacheError> {
        for place in list(&dir.snapshots())? {
            let commit = name(&place.path).and_then(|name| name.parse::<Commit>().ok());
            let Some(commit) = commit.filter(|_| place.kind.is_dir()) else { continue };
            self.touch(&place.path);
            let mut entries = Vec::new();
            walk(&place.path, &mut |path, _| {
                self.touch(path);
                // A link to a folder holds files of its own, and readers pass it by.
                let stat = fs::metadata(path).ok();
                if stat.as_ref().is_none_or(|stat| !stat.is_dir()) {
                    entries.push(Entry::new(&place.path, path, stat.as_ref()));
                }
            })?;
            entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
            self.snapshots.insert(commit, entries);
        }
        Ok(())
    }

    fn see_blobs(&mut self, dir: &RepoDir) -> Result<(), CacheError> {
        for place in list(&dir.blobs())? {
            self.touch(&place.path);
            let piece = Piece { bytes: own_bytes(&place.path), path: place.path };
            if is_incomplete(&piece.path) {
                self.unfinished.push(piece);
            } else if name(&piece.path).is_some_and(|name| name.parse::<Digest>().is_ok()) {
                self.contents.push(piece);
            }
        }
        self.contents.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        self.unfinished.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    fn touch(&mut self, path: &Path) {
        if let Ok(at) = fs::symlink_metadata(path).and_then(|stat| stat.modified()) {
            self.touched = self.touched.max(at);
        }
    }
}

impl Entry {
    fn new(root: &Path, path: &Path, stat: Option<&Metadata>) -> Self {
        let link = fs::read_link(path).ok();
        let first = match (&link, path.parent()) {
            (Some(link), Some(folder)) => folder.join(link),
            _ => path.to_owned(),
        };
        Self {
            path: path.strip_prefix(root).unwrap_or(path).to_owned(),
            content: fs::symlink_metadata(first).ok().map(|stat| identity(&stat)),
            file: stat.map(Stat::from),
            link,
        }
    }
}

/// Which file it is.
pub(super) fn identity(stat: &Metadata) -> Identity {
    (stat.dev(), stat.ino())
}

/// The commits that refs name now, each with its refs.
pub(super) fn refs(dir: &RepoDir) -> Result<BTreeMap<String, String>, CacheError> {
    let root = dir.refs();
    let mut found = Vec::new();
    if root.is_dir() {
        walk(&root, &mut |path, _| found.push(path.to_owned()))?;
    }
    let mut refs = BTreeMap::new();
    for path in found {
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
        let name = of_path(path.strip_prefix(&root).unwrap_or(&path));
        refs.insert(name, text.trim().to_owned());
    }
    Ok(refs)
}

/// The names of the contents that links below a folder lead to.
pub(super) fn linked_below(folder: &Path) -> Result<HashSet<OsString>, CacheError> {
    let mut linked = HashSet::new();
    if folder.is_dir() {
        walk(folder, &mut |path, kind| {
            if kind.is_symlink() {
                let target = fs::read_link(path).ok();
                linked.extend(target.as_deref().and_then(Path::file_name).map(OsStr::to_owned));
            }
        })?;
    }
    Ok(linked)
}

/// Shows every file and link below a folder to `see`. No link is followed.
pub(super) fn walk(folder: &Path, see: &mut impl FnMut(&Path, FileType)) -> Result<(), CacheError> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for place in list(&folder)? {
            if place.kind.is_dir() {
                folders.push(place.path);
            } else {
                see(&place.path, place.kind);
            }
        }
    }
    Ok(())
}

/// What lies in a folder.
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Of a link, not of what it leads to.
    pub(super) kind: FileType,
}

/// What lies in a folder that need not be there.
pub(super) fn list(folder: &Path) -> Result<Vec<Place>, CacheError> {
    let place = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok(Place { path: entry.path(), kind: entry.file_type()? })
    };
    match fs::read_dir(folder).and_then(|entries| entries.map(place).collect()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| unreadable(folder, error)),
    }
}

/// The bytes that are freed when it goes: none for a link.
pub(super) fn own_bytes(path: &Path) -> u64 {
    fs::symlink_metadata(path).ok().filter(Metadata::is_file).map_or(0, |stat| stat.len())
}

/// The last part of a path, if it is text.
pub(super) fn name(path: &Path) -> Option<&str> {
    path.file_name().and_then(OsStr::to_str)
}

fn unreadable(path: &Path, source: io::Error) -> CacheError {
    CacheError::Io { action: "read", path: path.to_owned(), source }
}
