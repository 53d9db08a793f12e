//! Walks the files below a folder of a cache without following links.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::FileType;

use super::{
    error::CacheError,
    layout::RepoDir,
    root::{Entry, Root},
};

/// Identifies a file regardless of its name: device and inode.
pub(super) type Identity = (u64, u64);

/// The identity of a file.
pub(super) fn identity(stat: &Metadata) -> Identity {
    (stat.dev(), stat.ino())
}

/// The names of the blobs to which links below a folder point.
pub(super) fn linked_below(root: &Root, folder: &Path) -> Result<HashSet<OsString>, CacheError> {
    let mut linked = HashSet::new();
    walk(root, folder, &mut |path, kind| {
        if kind.is_symlink() {
            let target = root.read_link(path).ok();
            linked.extend(target.as_deref().and_then(Path::file_name).map(OsStr::to_owned));
        }
    })?;
    Ok(linked)
}

/// Skips other hard links of the same file: one large document under many names would cost time for each.
pub(super) fn distinct(
    dir: &RepoDir,
    paths: impl IntoIterator<Item = PathBuf>,
) -> impl Iterator<Item = PathBuf> {
    let mut seen = HashSet::new();
    let is_new = move |path: &PathBuf| {
        dir.root().stat(path).map_or(true, |stat| stat.nlink() == 1 || seen.insert(identity(&stat)))
    };
    paths.into_iter().filter(is_new)
}

/// Calls `see` with every file and link below a folder, which may be missing.
pub(super) fn walk(
    root: &Root,
    folder: &Path,
    see: &mut impl FnMut(&Path, FileType),
) -> Result<(), CacheError> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for place in list(root, &folder)? {
            if place.kind.is_dir() {
                folders.push(place.path);
            } else {
                see(&place.path, place.kind);
            }
        }
    }
    Ok(())
}

/// The entries of a folder, which may be missing.
pub(super) fn list(root: &Root, folder: &Path) -> Result<Vec<Entry>, CacheError> {
    match root.entries(folder).and_then(Iterator::collect) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| unreadable(folder, error)),
    }
}

/// The bytes freed by removing it: 0 for a link.
pub(super) fn own_bytes(dir: &RepoDir, path: &Path) -> u64 {
    dir.root().stat(path).ok().filter(Metadata::is_file).map_or(0, |stat| stat.len())
}

/// The last component of a path, if it is UTF-8.
pub(super) fn name(path: &Path) -> Option<&str> {
    path.file_name().and_then(OsStr::to_str)
}

/// The error for a failed read.
pub(super) fn unreadable(path: &Path, error: io::Error) -> CacheError {
    match error.downcast() {
        Ok(foreign) => CacheError::Foreign { action: "read", path: path.to_owned(), foreign },
        Err(error) => CacheError::Io { action: "read", path: path.to_owned(), error },
    }
}
