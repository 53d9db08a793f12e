//! Detects names that differ in a repo but collide on the file system, which may ignore case or normalize Unicode. Always
//! probed, never guessed: only the file system knows its rules.

use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    ffi::OsStr,
    hash::BuildHasher as _,
    path::{Path, PathBuf},
};

use super::{error::CacheError, root::Root, walk};
use crate::hub::RepoPath;

/// The file names of a snapshot as the file system lists them, updated while files are added.
#[derive(Debug)]
pub(super) struct Places<'a> {
    root: &'a Root,
    snapshot: PathBuf,
    /// Relative to the snapshot. Added files keep the name they were added under.
    names: HashSet<PathBuf>,
}

impl<'a> Places<'a> {
    /// Lists a snapshot before anything is added.
    pub(super) fn of(root: &'a Root, snapshot: &Path) -> Result<Self, CacheError> {
        let mut names = HashSet::new();
        walk::walk(root, snapshot, &mut |path, _| {
            names.extend(path.strip_prefix(snapshot).ok().map(Path::to_owned));
        })?;
        Ok(Self { root, snapshot: snapshot.to_owned(), names })
    }

    /// The listed name of the file at this path, if it was added under another name.
    pub(super) fn taken(&self, path: &RepoPath) -> Option<PathBuf> {
        let (path, at) = (Path::new(path.as_str()), self.snapshot.join(path.as_str()));
        let stat = self.root.stat(&at).ok().filter(|stat| !stat.is_dir())?;
        if self.names.contains(path) {
            return None;
        }
        // Reached only on a collision, so it may be slow.
        let lower = fold(path);
        let is_same = |name: &&PathBuf| {
            let found = self.root.stat(&self.snapshot.join(name));
            found.is_ok_and(|found| walk::identity(&found) == walk::identity(&stat))
        };
        let found = self.names.iter().find(|name| fold(name) == lower);
        Some(found.or_else(|| self.names.iter().find(is_same)).map_or_else(|| path.to_owned(), Clone::clone))
    }

    /// Records that a file was added under this name.
    pub(super) fn put(&mut self, path: &RepoPath) {
        self.names.insert(path.as_str().into());
    }
}

/// Two of these paths that differ only in case and that the file system treats as one.
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

/// Case-folded. By way of upper case, since some letters have several lower-case forms: `σ` and `ς`.
fn fold(text: impl AsRef<OsStr>) -> Option<String> {
    Some(text.as_ref().to_str()?.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect())
}

/// Whether two existing paths are the same. They are not if the folder where they diverge lists both names.
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

/// Whether a folder lists all these names exactly.
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

/// The listed path of what exists at `path` below the folder `top`, if its case differs.
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
    fn folding_unifies_letters_with_several_lower_case_forms() {
        for (one, other) in [("Readme", "README"), ("\u{3c3}i", "\u{3c2}I"), ("\u{17f}", "s"), ("É", "é")] {
            assert_eq!(fold(one), fold(other));
        }
        assert_ne!(fold("a"), fold("b"));
    }

    #[test]
    fn names_that_the_file_system_distinguishes_do_not_collide() {
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
        // Simulates a file system that treats them as one.
        places.names.remove(Path::new("a/X"));
        assert_eq!(places.taken(&paths[1]).unwrap(), Path::new("a/x"));
        places.put(&paths[1]);
        assert_eq!(places.taken(&paths[1]), None);
    }
}
