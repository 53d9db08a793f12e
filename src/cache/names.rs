//! Names that are two in a repo and one on the medium: without letter case, or with a Unicode form of its own. Asked of the
//! medium and never guessed, for nothing else knows its rules.

use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    ffi::OsStr,
    hash::BuildHasher as _,
    path::{Path, PathBuf},
};

use super::{error::CacheError, root::Root, walk};
use crate::hub::RepoPath;

/// The files of a snapshot by the names that the medium lists, while others are put beside them.
#[derive(Debug)]
pub(super) struct Places<'a> {
    root: &'a Root,
    snapshot: PathBuf,
    /// As seen from the snapshot. What was put there has the name by which it was put.
    names: HashSet<PathBuf>,
}

impl<'a> Places<'a> {
    /// What is in a snapshot before anything is put there.
    pub(super) fn of(root: &'a Root, snapshot: &Path) -> Result<Self, CacheError> {
        let mut names = HashSet::new();
        walk::walk(root, snapshot, &mut |path, _| {
            names.extend(path.strip_prefix(snapshot).ok().map(Path::to_owned));
        })?;
        Ok(Self { root, snapshot: snapshot.to_owned(), names })
    }

    /// The name of what lies at this path, if it came there by another name.
    pub(super) fn taken(&self, path: &RepoPath) -> Option<PathBuf> {
        let (path, at) = (Path::new(path.as_str()), self.snapshot.join(path.as_str()));
        let stat = self.root.stat(&at).ok().filter(|stat| !stat.is_dir())?;
        if self.names.contains(path) {
            return None;
        }
        // Only where something is wrong, so that it may take a while.
        let lower = fold(path);
        let is_same = |name: &&PathBuf| {
            let found = self.root.stat(&self.snapshot.join(name));
            found.is_ok_and(|found| walk::identity(&found) == walk::identity(&stat))
        };
        let found = self.names.iter().find(|name| fold(name) == lower);
        Some(found.or_else(|| self.names.iter().find(is_same)).map_or_else(|| path.to_owned(), Clone::clone))
    }

    /// Something was put there by this name.
    pub(super) fn put(&mut self, path: &RepoPath) {
        self.names.insert(path.as_str().into());
    }
}

/// Two of these paths that differ in letter case alone and are one on the medium.
pub(super) fn merged<'p>(
    root: &Root,
    snapshot: &Path,
    paths: impl Iterator<Item = &'p RepoPath>,
) -> Option<(&'p RepoPath, &'p RepoPath)> {
    let (state, mut seen) = (RandomState::new(), HashMap::new());
    for path in paths {
        let earlier = seen.insert(state.hash_one(fold(Path::new(path.as_str()))), path);
        let at = |path: &RepoPath| snapshot.join(path.as_str());
        if let Some(earlier) = earlier.filter(|earlier| is_one(root, &at(earlier), &at(path))) {
            return Some((earlier, path));
        }
    }
    None
}

/// What has no letter case. By way of capitals, of which letters have one where they have two small forms: `σ` and `ς`.
fn fold(text: impl AsRef<OsStr>) -> Option<String> {
    Some(text.as_ref().to_str()?.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect())
}

/// Whether two paths at which something lies are one. They are not where the folder in which they part has both names.
fn is_one(root: &Root, one: &Path, other: &Path) -> bool {
    let mut folder = PathBuf::new();
    for (left, right) in one.iter().zip(other.iter()) {
        if left != right {
            return root.exists(one) && root.exists(other) && !has(root, &folder, &[left, right]);
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
    let wanted = fold(name)?;
    let mut found = None;
    for entry in root.entries(folder).ok()?.flatten() {
        let listed = entry.path.file_name()?;
        if listed == name {
            return None;
        }
        if fold(listed).as_ref() == Some(&wanted) {
            found = Some(entry.path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn letters_with_several_small_forms_are_alike() {
        for (one, other) in [("Readme", "README"), ("\u{3c3}i", "\u{3c2}I"), ("\u{17f}", "s"), ("É", "é")] {
            assert_eq!(fold(one), fold(other));
        }
        assert_ne!(fold("a"), fold("b"));
    }

    #[test]
    fn names_that_the_medium_tells_apart_are_two() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/x"), "").unwrap();
        fs::hard_link(folder.path().join("a/x"), folder.path().join("a/X")).unwrap();
        let paths: Vec<RepoPath> = ["a/x", "a/X", "A/x", "a/x"].map(|path| path.parse().unwrap()).into();
        let mut places = Places::of(&root, folder.path()).unwrap();
        assert!(paths.iter().all(|path| places.taken(path).is_none()));
        assert_eq!(merged(&root, folder.path(), paths.iter()), None);
        assert_eq!(other_case(&root, folder.path(), &folder.path().join("a/X")), None);
        // As a medium would do it that takes them for one.
        places.names.remove(Path::new("a/X"));
        assert_eq!(places.taken(&paths[1]).unwrap(), Path::new("a/x"));
        places.put(&paths[1]);
        assert_eq!(places.taken(&paths[1]), None);
    }
}
