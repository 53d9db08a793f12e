//! Further names of a repo, as on the Hub, where a former name or one in another case redirects to the repo. Here each is a
//! symlink beside the folder, which readers follow transparently.
//!
//! A link is followed only if a marker inside the folder confirms it: a user who can write beside a folder but not into it
//! must not be able to redirect our writes to another repo.

use std::{ffi::OsStr, io, path::Path};

use super::{
    disk,
    error::CacheError,
    layout::{CacheDir, FURTHER_NAME, RepoDir},
    names::other_case,
    walk,
};
use crate::hub::{Repo, RepoId};

/// The most further names of a repo: all of them have to fit into a report and a status.
pub const FURTHER_NAMES: usize = 8;

/// The folder of a repo in a cache, under whichever of its names.
#[must_use]
pub fn locate(cache: &CacheDir, repo: &Repo) -> RepoDir {
    let named = cache.repo(repo);
    redirect_of(&named).filter(|dir| confirms(dir, &named)).unwrap_or(named)
}

/// The folder for a repo that is requested as `asked` and named `own` on the Hub. If only the Hub's name has a folder, that
/// one is used, and `asked` redirects to it from now on.
pub fn settle_folder(asked: &Repo, own: &Repo, cache: &CacheDir) -> Result<RepoDir, CacheError> {
    remove_dangling(&cache.repo(asked))?;
    let there = locate(cache, own);
    // If its folder is not writable for us, it must not prevent the download.
    let shared = there.root().is_folder(&there.path()) && add_name(&there, asked).unwrap_or(false);
    Ok(if shared { there } else { locate(cache, asked) })
}

/// Adds a further name for a folder. Returns whether readers find the folder under it: they do not if the name is taken, or
/// if the file system has no links.
pub fn add_name(dir: &RepoDir, repo: &Repo) -> Result<bool, CacheError> {
    let (root, named) = (dir.root(), dir.cache().repo(repo));
    if named == *dir || redirects_to(&named, dir) && confirms(dir, &named) {
        return Ok(true);
    }
    remove_dangling(&named)?;
    let path = named.path();
    if root.exists(&path) && !redirects_to(&named, dir) {
        return Ok(false);
    }
    // Before the link, which takes effect as soon as it exists.
    let marker = dir.name_of(&named);
    disk::make_dirs(root, &dir.private_dir())?;
    disk::write_whole(root, &marker, &dir.private_dir(), b"")?;
    match root.link(Path::new(dir.name()), &path) {
        Ok(()) => disk::sync_dir(root, root.path()),
        // The file system treats both names as one: no link is needed.
        Err(_) if redirects_to(&named, dir) => {}
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "cannot create a link for a further name");
            disk::remove(root, &marker)?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// The other names under which readers find the folder of `repo`, sorted.
#[must_use]
pub fn further_names(cache: &CacheDir, repo: &Repo) -> Vec<RepoId> {
    let dir = locate(cache, repo);
    let marked = disk::entries(dir.root(), &dir.private_dir()).filter_map(|entry| {
        let folder = walk::name(&entry.path)?.strip_suffix(FURTHER_NAME)?.strip_suffix('.')?;
        cache.parse(folder).filter(|named| named.repo().kind == repo.kind)
    });
    let linked = marked
        .filter(|named| redirects_to(named, &dir))
        .take(FURTHER_NAMES)
        .map(|named| named.repo().id.clone());
    let mut names: Vec<_> = linked.chain([dir.repo().id.clone()]).collect();
    names.retain(|name| *name != repo.id);
    names.sort_unstable();
    names.dedup();
    names.truncate(FURTHER_NAMES);
    names
}

/// Whether a folder's path is a redirect rather than a folder: confirmed by its target, or dangling.
pub(super) fn is_further(named: &RepoDir) -> bool {
    target(named).is_some_and(|dir| confirms(&dir, named)) || is_dangling(named)
}

/// Whether a folder's path is a link to a folder that no longer exists.
pub(super) fn is_dangling(named: &RepoDir) -> bool {
    let missing = |dir: RepoDir| dir.root().stat(&dir.path()).is_err_and(|error| is_missing(&error));
    target(named).is_some_and(missing)
}

fn remove_dangling(named: &RepoDir) -> Result<(), CacheError> {
    if is_dangling(named) { disk::remove(named.root(), &named.path()) } else { Ok(()) }
}

/// The folder of the same repo type that the link at a folder's path names, without any path components.
fn target(named: &RepoDir) -> Option<RepoDir> {
    let link = named.root().read_link(&named.path()).ok()?;
    let dir = named.cache().parse(link.to_str()?)?;
    let bare = link.as_os_str() == OsStr::new(dir.name());
    (bare && dir.repo().kind == named.repo().kind && dir != *named).then_some(dir)
}

/// The existing folder that the file system treats as this one, because it ignores case.
fn listed(named: &RepoDir) -> Option<RepoDir> {
    let root = named.root();
    let found = other_case(root, root.path(), &named.path())?;
    named.cache().parse(walk::name(&found)?)
}

/// Whether a folder contains the marker for another name. Fails for a link: none is followed.
fn confirms(dir: &RepoDir, named: &RepoDir) -> bool {
    dir.root().stat(&dir.name_of(named)).is_ok_and(|stat| stat.is_file())
}

/// The folder that readers reach under another name: by a link, or because the file system ignores case.
fn redirect_of(named: &RepoDir) -> Option<RepoDir> {
    target(named).or_else(|| listed(named))
}

fn redirects_to(named: &RepoDir, dir: &RepoDir) -> bool {
    redirect_of(named).as_ref() == Some(dir)
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{cache::testing::repo_dir, hub::RepoType};

    fn model(id: &str) -> Repo {
        Repo { kind: RepoType::Model, id: id.parse().unwrap() }
    }

    fn links(dir: &RepoDir) -> Vec<String> {
        let mut found: Vec<_> = fs::read_dir(dir.cache().root())
            .unwrap()
            .filter_map(|entry| {
                let path = entry.unwrap().path();
                let link = fs::read_link(&path).ok()?;
                Some(format!("{} -> {}", path.file_name()?.display(), link.display()))
            })
            .collect();
        found.sort();
        found
    }

    #[test]
    fn a_further_name_redirects_to_the_folder() {
        let (_root, dir) = repo_dir();
        let cache = dir.cache();
        for _ in 0..2 {
            assert!(add_name(&dir, &model("Org/Name")).unwrap());
        }
        assert!(add_name(&dir, &model("org/name")).unwrap(), "its own");
        assert_eq!(links(&dir), ["models--Org--Name -> models--org--name"]);
        assert_eq!(locate(cache, &model("Org/Name")), dir);
        assert_eq!(further_names(cache, dir.repo()), ["Org/Name".parse().unwrap()]);
        assert_eq!(further_names(cache, &model("Org/Name")), [dir.repo().id.clone()]);
        assert!(is_further(&cache.repo(&model("Org/Name"))) && !is_further(&dir));
        // The type is a part of the name.
        let dataset = Repo { kind: RepoType::Dataset, ..model("Org/Name") };
        assert_eq!(locate(cache, &dataset), cache.repo(&dataset));
    }

    /// The markers of deleted links remain.
    #[test]
    fn markers_of_deleted_links_do_not_count_toward_the_limit() {
        let (_root, dir) = repo_dir();
        let give_up = |owner: &str| {
            for number in 0..3 * FURTHER_NAMES {
                let former = model(&format!("{owner}/name-{number}"));
                assert!(add_name(&dir, &former).unwrap());
                fs::remove_file(dir.cache().repo(&former).path()).unwrap();
            }
        };
        // In the middle, in whatever order the folder is listed.
        give_up("former");
        assert!(add_name(&dir, &model("middle/name")).unwrap());
        give_up("other");
        assert_eq!(further_names(dir.cache(), dir.repo()), ["middle/name".parse().unwrap()]);
    }

    #[test]
    fn no_more_names_are_returned_than_fit_into_a_status() {
        let (_root, dir) = repo_dir();
        for number in 0..3 * FURTHER_NAMES {
            assert!(add_name(&dir, &model(&format!("former/name-{number}"))).unwrap());
        }
        for asked in [dir.repo().clone(), model("former/name-0"), model("former/name-20")] {
            assert_eq!(further_names(dir.cache(), &asked).len(), FURTHER_NAMES, "{asked}");
        }
    }

    #[test]
    fn a_link_without_a_marker_is_not_followed() {
        let (root, dir) = repo_dir();
        let other = dir.cache().repo(&model("a/b"));
        for link in
            ["models--org--name", "./models--org--name", "models--org/name", "../models--org--name", "."]
        {
            symlink(link, other.path()).unwrap();
            assert_eq!(locate(dir.cache(), other.repo()), other, "{link}");
            fs::remove_file(other.path()).unwrap();
        }
        symlink(root.path().join("models--org--name"), other.path()).unwrap();
        assert!(!add_name(&dir, other.repo()).unwrap(), "the name is taken");
        assert_eq!(further_names(dir.cache(), dir.repo()), []);
        assert_eq!(locate(dir.cache(), other.repo()), other);
    }

    #[test]
    fn an_existing_folder_is_not_replaced_by_a_link() {
        let (_root, dir) = repo_dir();
        let other = dir.cache().repo(&model("Org/Name"));
        fs::create_dir(other.path()).unwrap();
        assert!(!add_name(&dir, other.repo()).unwrap());
        assert_eq!((locate(dir.cache(), other.repo()), links(&dir)), (other, Vec::new()));
    }

    #[test]
    fn a_dangling_link_is_replaced() {
        let (_root, dir) = repo_dir();
        let old = dir.cache().repo(&model("old/name"));
        symlink("models--gone--name", old.path()).unwrap();
        assert!(is_dangling(&old) && is_further(&old));
        assert!(add_name(&dir, old.repo()).unwrap());
        assert_eq!(links(&dir), ["models--old--name -> models--org--name"]);
    }

    #[test]
    fn an_existing_folder_is_reused() {
        let (_root, dir) = repo_dir();
        let (cache, own) = (dir.cache(), dir.repo());
        // The folder has the Hub's name: the other name redirects to it.
        assert_eq!(settle_folder(&model("ORG/NAME"), own, cache).unwrap(), dir);
        assert_eq!(links(&dir), ["models--ORG--NAME -> models--org--name"]);
        // A folder under the requested name is used, whatever the Hub calls the repo.
        assert_eq!(settle_folder(own, &model("new/name"), cache).unwrap(), dir);
        // Neither has a folder; a dangling link is removed.
        let asked = model("a/b");
        symlink("models--gone--name", cache.repo(&asked).path()).unwrap();
        assert_eq!(settle_folder(&asked, &model("A/B"), cache).unwrap(), cache.repo(&asked));
        assert_eq!(links(&dir).len(), 1);
    }
}
