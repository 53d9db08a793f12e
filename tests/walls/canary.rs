//! Detects any change outside of a cache.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

/// The state of each file, folder and link below a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture(BTreeMap<PathBuf, Seen>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    links: u64,
    size: u64,
    modified: (i64, i64),
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Link(PathBuf),
    Hash([u8; 32]),
    Unread,
}

/// Larger files are compared only by their times.
const READ: u64 = 1 << 20;
/// Deeper folders belong to an attack and are skipped.
const DEEPEST: usize = 40;

impl Picture {
    /// Takes a picture, skipping `passed_by`.
    pub fn of(root: &Path, passed_by: &dyn Fn(&Path) -> bool) -> Self {
        let mut seen = BTreeMap::new();
        let mut left = vec![root.to_owned()];
        while let Some(path) = left.pop().filter(|_| seen.len() < 100_000) {
            if passed_by(&path) {
                continue;
            }
            let Ok(stat) = fs::symlink_metadata(&path) else { continue };
            let kind = stat.file_type();
            let content = if kind.is_symlink() {
                Content::Link(fs::read_link(&path).unwrap_or_default())
            } else if kind.is_file() && stat.len() <= READ {
                fs::read(&path).map_or(Content::Unread, |bytes| Content::Hash(Sha256::digest(bytes).into()))
            } else {
                Content::Unread
            };
            // A folder's link count follows from its entries, and its size depends on the file system.
            let folder = kind.is_dir();
            if folder && path.components().count() < DEEPEST {
                left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            }
            let special = kind.is_fifo() || kind.is_socket() || kind.is_char_device();
            let modified = if special { (0, 0) } else { (stat.mtime(), stat.mtime_nsec()) };
            seen.insert(
                path,
                Seen {
                    mode: stat.mode(),
                    owner: (stat.uid(), stat.gid()),
                    links: if folder { 0 } else { stat.nlink() },
                    size: if folder { 0 } else { stat.len() },
                    modified,
                    content,
                },
            );
        }
        Self(seen)
    }

    /// The same, but for this folder itself.
    pub fn without(mut self, folder: &Path) -> Self {
        self.0.remove(folder);
        self
    }

    /// Whether this path is in it.
    pub fn has(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// The differences, one line each. Losing other hard links is not a change.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (path, seen) in &self.0 {
            match now.0.get(path) {
                None => found.push(format!("{} is gone", path.display())),
                Some(other) => {
                    let links = other.links.min(seen.links);
                    if (Seen { links, ..other.clone() }) != (Seen { links, ..seen.clone() })
                        || other.links > seen.links
                    {
                        found.push(format!("{} has changed: {seen:?} -> {other:?}", path.display()));
                    }
                }
            }
        }
        let new = now.0.keys().filter(|path| !self.0.contains_key(*path));
        found.extend(new.map(|path| format!("{} is new", path.display())));
        found
    }
}
