//! Which commit a branch or tag stands for in a cache. Refs are files and folders, so not every two fit beside each other.

use std::{fs, path::Path};

use super::{disk, error::CacheError, layout::RepoDir};
use crate::{
    hub::{Commit, Revision},
    text::of_path,
};

/// Refuses refs that no file can be made for, since another ref is a folder above or a file below it.
pub fn check_refs(dir: &RepoDir, refs: &[Revision]) -> Result<(), CacheError> {
    let root = dir.refs();
    for revision in refs.iter().filter(|revision| revision.as_commit().is_none()) {
        let path = dir.reference(revision);
        let above = path.ancestors().skip(1).take_while(|above| *above != root).find(|above| above.is_file());
        let below = path.is_dir().then(|| first_file(&path).unwrap_or_else(|| path.clone()));
        let asked = refs
            .iter()
            .map(|other| dir.reference(other))
            .find(|other| *other != path && other.starts_with(&path));
        if let Some(other) = above.map(Path::to_owned).or(below).or(asked) {
            let other = of_path(other.strip_prefix(&root).unwrap_or(&other));
            return Err(CacheError::RefInTheWay { wanted: revision.to_string(), other, repo: dir.path() });
        }
    }
    Ok(())
}

fn first_file(folder: &Path) -> Option<std::path::PathBuf> {
    disk::entries(folder)
        .map(|entry| entry.path())
        .find_map(|path| if path.is_dir() { first_file(&path) } else { Some(path) })
}

/// Lets refs name a commit. They hold the hash and nothing else: readers take even a newline for a part of it.
pub fn write_refs(dir: &RepoDir, commit: &Commit, refs: &[Revision]) -> Result<(), CacheError> {
    for revision in refs {
        // A commit stands for itself, and no reader would look for it there.
        if revision.as_commit().is_some() || commit_of_ref(dir, revision).as_ref() == Some(commit) {
            continue;
        }
        let path = dir.reference(revision);
        path.parent().map_or(Ok(()), disk::make_dirs)?;
        disk::write_whole(&path, &dir.own(), commit.as_str().as_bytes())?;
    }
    Ok(())
}

/// The commit that a revision stands for in this cache.
#[must_use]
pub fn commit_of_ref(dir: &RepoDir, revision: &Revision) -> Option<Commit> {
    let read = || fs::read_to_string(dir.reference(revision)).ok()?.parse().ok();
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
    fn a_ref_that_is_in_the_way_is_named() {
        let (_root, dir) = repo_dir();
        let refs = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<Revision>>();
        write_refs(&dir, &COMMIT.parse().unwrap(), &refs(&["main", "pr/1/head"])).unwrap();
        check_refs(&dir, &refs(&["main", "pr/1/head", "pr/2", COMMIT])).unwrap();
        for (wanted, told) in [
            (&["main/x"][..], "main/x cannot be beside the ref main in"),
            (&["pr"], "pr cannot be beside the ref pr/1/head in"),
            (&["v1/a", "v1"], "v1 cannot be beside the ref v1/a in"),
        ] {
            let error = check_refs(&dir, &refs(wanted)).unwrap_err();
            assert_eq!(error.reason(), Reason::RefConflict);
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
