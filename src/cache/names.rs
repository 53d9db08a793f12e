//! Names that are two in a repo and one on the medium: without letter case, or with a Unicode form of its own. Asked of the
//! medium and never guessed, for nothing else knows its rules.

use std::{
    collections::HashMap,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::{
    root::Root,
    survey::{Identity, identity},
};
use crate::hub::RepoPath;

/// Files of one snapshot by what lies at their paths, to find two that are one.
#[derive(Debug)]
pub(super) struct Places<'a> {
    root: &'a Root,
    snapshot: PathBuf,
    seen: HashMap<Identity, &'a RepoPath>,
}

impl<'a> Places<'a> {
    pub(super) fn new(root: &'a Root, snapshot: &Path) -> Self {
        Self { root, snapshot: snapshot.to_owned(), seen: HashMap::new() }
    }

    /// An earlier path that is this one on the medium.
    pub(super) fn twin(&self, path: &RepoPath) -> Option<&'a RepoPath> {
        let earlier = *self.seen.get(&self.identity(path)?)?;
        is_one(self.root, &self.at(earlier), &self.at(path)).then_some(earlier)
    }

    /// Keeps a path for later ones, unless an earlier one is this one on the medium: that is given then.
    pub(super) fn add(&mut self, path: &'a RepoPath) -> Option<&'a RepoPath> {
        let twin = self.twin(path);
        if twin.is_none() {
            self.identity(path).map(|identity| self.seen.insert(identity, path));
        }
        twin
    }

    fn at(&self, path: &RepoPath) -> PathBuf {
        self.snapshot.join(path.as_str())
    }

    fn identity(&self, path: &RepoPath) -> Option<Identity> {
        self.root.stat(&self.at(path)).ok().map(|stat| identity(&stat))
    }
}

/// Whether two paths with one file are one name. They are not where the folder in which they part has both: then the file
/// has several names, as programs make it that spare space.
fn is_one(root: &Root, one: &Path, other: &Path) -> bool {
    let mut folder = PathBuf::new();
    for (left, right) in one.iter().zip(other.iter()) {
        if left != right {
            return !has(root, &folder, &[left, right]);
        }
        folder.push(left);
    }
    false
}

/// Whether a folder lists all these names as they are written.
fn has(root: &Root, folder: &Path, names: &[&OsStr]) -> bool {
    let Ok(entries) = root.entries(folder) else { return false };
    let mut missing = names.to_vec();
    for entry in entries.flatten() {
        missing.retain(|name| entry.path.file_name() != Some(name));
        if missing.is_empty() {
            return true;
        }
    }
    false
}

/// What lies at a path, below the folder `top`, if the medium has it by another letter case.
pub(super) fn other_case(root: &Root, top: &Path, path: &Path) -> Option<PathBuf> {
    let below = path.ancestors().take_while(|above| *above != top && above.starts_with(top));
    below.filter(|part| root.exists(part)).find_map(|part| listed_otherwise(root, part))
}

fn listed_otherwise(root: &Root, path: &Path) -> Option<PathBuf> {
    let (folder, name) = (path.parent()?, path.file_name()?);
    let lower = |name: &OsStr| name.to_str().map(str::to_lowercase);
    let wanted = lower(name)?;
    let mut found = None;
    for entry in root.entries(folder).ok()?.flatten() {
        let listed = entry.path.file_name()?;
        if listed == name {
            return None;
        }
        if lower(listed).as_ref() == Some(&wanted) {
            found = Some(entry.path);
        }
    }
    found
}
