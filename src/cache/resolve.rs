//! Resolves snapshot entries and blobs to files. Only two kinds of links are followed: from an entry to a blob of its repo, and
//! from a blob to the store that `huggingface_hub` has at the root of a cache.

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

/// The regular file behind a snapshot entry or a blob.
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
            _ => {
                return Err(
                    Foreign { path, found: "a link that does not lead to a blob of this cache" }.into()
                );
            }
        }
    }
}

/// The target of a link, resolved lexically; `None` outside the cache.
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

/// Whether the file exists and has this size.
pub(super) fn has_size(dir: &RepoDir, path: &Path, size: u64) -> bool {
    resolve(dir, path).is_ok_and(|found| found.stat.len() == size)
}

/// Opens the file for reading.
pub(super) fn open(dir: &RepoDir, path: &Path) -> io::Result<File> {
    dir.root().open_file(&resolve(dir, path)?.path)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::{
        cache::testing::{COMMIT, file, put, repo_dir},
        hub::Commit,
    };

    #[test]
    fn only_the_two_known_links_are_followed() {
        let (root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let hello = file("a/x.txt", b"hello");
        put(&dir, &hello, b"hello");
        let entry = dir.entry(&commit, &hello.path);
        fs::create_dir_all(entry.parent().unwrap()).unwrap();
        fs::create_dir_all(root.path().join("blobs/ab")).unwrap();
        fs::write(root.path().join("blobs/ab/stored"), "hello").unwrap();
        let stored = dir.blobs().join("stored");
        symlink("../../blobs/ab/stored", &stored).unwrap();
        // Links that a hostile writer would make.
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("file"), "hello").unwrap();
        symlink(outside.path().join("file"), dir.blobs().join("out")).unwrap();
        symlink(outside.path(), dir.path().join("away")).unwrap();
        symlink("../away/file", dir.blobs().join("away")).unwrap();
        symlink("loop", dir.blobs().join("loop")).unwrap();
        symlink("stored", dir.blobs().join("twice")).unwrap();
        symlink("stored2", root.path().join("blobs/ab/again")).unwrap();
        symlink("../../blobs/ab/again", dir.blobs().join("store-link")).unwrap();
        let digest = hello.digest.to_string();
        for (target, found) in [
            (format!("../../../blobs/{digest}"), Some(dir.blob(&hello.digest))),
            (format!("../../.././blobs/{digest}"), Some(dir.blob(&hello.digest))),
            ("../../../blobs/stored".to_owned(), Some(root.path().join("blobs/ab/stored"))),
            (dir.blob(&hello.digest).display().to_string(), None),
            ("../../../blobs/out".to_owned(), None),
            ("../../../blobs/away".to_owned(), None),
            ("../../../blobs/loop".to_owned(), None),
            ("../../../blobs/twice".to_owned(), None),
            ("../../../blobs/store-link".to_owned(), None),
            ("../../../blobs".to_owned(), None),
            ("../../../../blobs/ab/stored".to_owned(), None),
            (format!("../../../../../../{}", outside.path().join("file").display()), None),
            ("../../../away/file".to_owned(), None),
            ("x.txt".to_owned(), None),
            ("..".to_owned(), None),
        ] {
            symlink(&target, &entry).unwrap();
            let resolved = resolve(&dir, &entry).ok().map(|found| found.path);
            assert_eq!(resolved, found, "{target}");
            assert_eq!(has_size(&dir, &entry, 5), found.is_some());
            fs::remove_file(&entry).unwrap();
        }
    }
}
