//! Which file a snapshot's entry or a blob stands for. Two links are known: of an entry to a blob of its repo, and of a blob to
//! the store that `huggingface_hub` has at the root of a cache. Any other leads nowhere.

use std::{
    fs::{File, Metadata},
    io,
    path::{Component, Path, PathBuf},
};

use super::{
    layout::RepoDir,
    root::{Foreign, Root},
};

/// A regular file of the cache.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) path: PathBuf,
    pub(super) stat: Metadata,
}

/// The regular file that an entry of a snapshot or a blob stands for.
pub(super) fn resolve(dir: &RepoDir, path: &Path) -> io::Result<Resolved> {
    let blobs = dir.blobs();
    let mut path = path.to_owned();
    loop {
        let stat = dir.root().stat(&path)?;
        if stat.is_file() {
            return Ok(Resolved { path, stat });
        }
        if !stat.is_symlink() {
            return Err(Foreign::of(&path, &stat).into());
        }
        let target = target(dir.root(), &path)?;
        let known = match target.as_deref() {
            Some(target) if path.parent() == Some(&blobs) => !target.starts_with(dir.path()),
            Some(target) => target.parent() == Some(&blobs),
            None => false,
        };
        match target.filter(|_| known) {
            Some(target) if !path.starts_with(dir.cache().root().join("blobs")) => path = target,
            _ => return Err(Foreign { path, found: "a link that leads to no blob of this cache" }.into()),
        }
    }
}

/// Where a link leads, by its words alone; none where that is out of the cache.
pub(super) fn target(root: &Root, path: &Path) -> io::Result<Option<PathBuf>> {
    let link = root.read_link(path)?;
    let mut at = path.parent().unwrap_or(root.path()).to_owned();
    for part in link.components() {
        match part {
            Component::Normal(name) => at.push(name),
            Component::CurDir => {}
            Component::ParentDir if at != root.path() => {
                at.pop();
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(at).filter(|at| at != root.path()))
}

/// Whether a file of this size is there.
pub(super) fn has_size(dir: &RepoDir, path: &Path, size: u64) -> bool {
    resolve(dir, path).is_ok_and(|found| found.stat.len() == size)
}

/// Opens the file for reading.
pub(super) fn open(dir: &RepoDir, path: &Path) -> io::Result<File> {
    dir.root().open_file(&resolve(dir, path)?.path)
}
