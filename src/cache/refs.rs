//! The refs of a cache: which commit a branch or tag points to. Refs are files in folders, so some names exclude each other.

use std::path::{Path, PathBuf};

use super::{disk, error::CacheError, layout::RepoDir, names::other_case, walk};
use crate::{
    hub::{Commit, Revision},
    text::of_path,
};

/// The longest ref file that is read, in bytes: a commit, and possible whitespace of other writers.
pub(super) const REF: u64 = 256;

/// Fails if a ref cannot be created because another ref would have to be a parent folder or a child of it.
pub fn check_refs(dir: &RepoDir, refs: &[Revision]) -> Result<(), CacheError> {
    let root = dir.refs();
    for revision in refs.iter().filter(|revision| revision.as_commit().is_none()) {
        let path = dir.reference(revision);
        let above = path
            .ancestors()
            .skip(1)
            .take_while(|above| *above != root)
            .find(|above| !dir.root().is_folder(above) && dir.root().exists(above));
        let below =
            dir.root().is_folder(&path).then(|| first_file(dir, &path).unwrap_or_else(|| path.clone()));
        let asked = refs
            .iter()
            .map(|other| dir.reference(other))
            .find(|other| *other != path && other.starts_with(&path));
        if let Some(other) = above.map(Path::to_owned).or(below).or(asked) {
            let other = of_path(other.strip_prefix(&root).unwrap_or(&other));
            return Err(CacheError::RefInTheWay { wanted: revision.to_string(), other, repo: dir.path() });
        }
        is_itself(dir, &path)?;
    }
    Ok(())
}

/// Fails if the file system treats the ref as another existing one, which would be overwritten.
fn is_itself(dir: &RepoDir, path: &Path) -> Result<(), CacheError> {
    let name = |path: &Path| of_path(path.strip_prefix(dir.refs()).unwrap_or(path));
    other_case(dir.root(), &dir.refs(), path).map_or(Ok(()), |other| {
        Err(CacheError::OneName { one: name(&other), other: name(path), folder: dir.path() })
    })
}

fn first_file(dir: &RepoDir, folder: &Path) -> Option<PathBuf> {
    let mut first = None;
    walk::walk(dir.root(), folder, &mut |path, _| {
        first.get_or_insert_with(|| path.to_owned());
    })
    .ok()?;
    first
}

/// Points refs to a commit. They contain only the hash: readers take even a newline for a part of it.
pub fn write_refs(dir: &RepoDir, commit: &Commit, refs: &[Revision]) -> Result<(), CacheError> {
    for revision in refs {
        // A commit needs no ref.
        if revision.as_commit().is_some() || commit_of_ref(dir, revision).as_ref() == Some(commit) {
            continue;
        }
        let path = dir.reference(revision);
        is_itself(dir, &path)?;
        path.parent().map_or(Ok(()), |folder| disk::make_dirs(dir.root(), folder))?;
        disk::write_whole(dir.root(), &path, &dir.private_dir(), commit.as_str().as_bytes())?;
    }
    Ok(())
}

/// The commit that a revision points to in this cache.
#[must_use]
pub fn commit_of_ref(dir: &RepoDir, revision: &Revision) -> Option<Commit> {
    let read = || {
        let path = dir.reference(revision);
        let text = dir.root().read(&path, REF).ok()?;
        is_itself(dir, &path).ok()?;
        String::from_utf8(text).ok()?.parse().ok()
    };
    revision.as_commit().or_else(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::testing::{COMMIT, repo_dir},
        reason::Reason,
    };

    #[test]
    fn a_conflicting_ref_is_named() {
        let (_root, dir) = repo_dir();
        let refs = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<Revision>>();
        write_refs(&dir, &COMMIT.parse().unwrap(), &refs(&["main", "pr/1/head"])).unwrap();
        check_refs(&dir, &refs(&["main", "pr/1/head", "pr/2", COMMIT])).unwrap();
        for (wanted, expected) in [
            (&["main/x"][..], "the refs main/x and main cannot both exist in"),
            (&["pr"], "the refs pr and pr/1/head cannot both exist in"),
            (&["v1/a", "v1"], "the refs v1 and v1/a cannot both exist in"),
        ] {
            let error = check_refs(&dir, &refs(wanted)).unwrap_err();
            assert_eq!(error.reason(), Reason::RefConflict);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
