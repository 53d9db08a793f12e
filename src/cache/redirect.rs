//! Further names of a repo: as on the Hub, where one that is written in another case, or was given up, leads to the repo. Here
//! each is a link beside the folder, which readers follow without knowing of it.
//!
//! We follow one only where the folder says so, too: a user who may write beside a folder, but not into it, cannot have us
//! write to that of another repo.

use std::{ffi::OsStr, io, path::Path};

use super::{
    disk,
    error::CacheError,
    layout::{CacheDir, FURTHER_NAME, RepoDir},
    names::other_case,
    walk,
};
use crate::hub::{Repo, RepoId};

/// More names than this are no names of one repo. All of them have to fit into a report and into a status.
pub const FURTHER_NAMES: usize = 8;

/// The folder that a repo has in a cache, whatever name it got it by.
#[must_use]
pub fn locate(cache: &CacheDir, repo: &Repo) -> RepoDir {
    let named = cache.repo(repo);
    led_to(&named).filter(|dir| says(dir, &named)).unwrap_or(named)
}

/// The folder for a repo that is requested by one name and has another one on the Hub. Where only the Hub's
/// name has a folder already, that one: the name that is asked for leads there from now on.
pub fn settle_folder(asked: &Repo, own: &Repo, cache: &CacheDir) -> Result<RepoDir, CacheError> {
    remove_dangling(&cache.repo(asked))?;
    let there = locate(cache, own);
    // A folder that is not for us to write to has no say in what is asked for.
    let shared = there.root().is_folder(&there.path()) && add_name(&there, asked).unwrap_or(false);
    Ok(if shared { there } else { locate(cache, asked) })
}

/// Lets a further name lead to a folder. Says whether readers find the folder by it now: they do not where something else
/// has the name, or where the file system has no links.
pub fn add_name(dir: &RepoDir, repo: &Repo) -> Result<bool, CacheError> {
    let (root, named) = (dir.root(), dir.cache().repo(repo));
    if named == *dir || is_led(&named, dir) && says(dir, &named) {
        return Ok(true);
    }
    remove_dangling(&named)?;
    let path = named.path();
    if root.exists(&path) && !is_led(&named, dir) {
        return Ok(false);
    }
    // Before the link: it counts from the moment that it is there.
    let says = dir.name_of(&named);
    disk::make_dirs(root, &dir.private_dir())?;
    disk::write_whole(root, &says, &dir.private_dir(), b"")?;
    match root.link(Path::new(dir.name()), &path) {
        Ok(()) => disk::sync_dir(root, root.path()),
        // Where the medium takes both names for one, there is nothing to link.
        Err(_) if is_led(&named, dir) => {}
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "no link for a further name");
            disk::remove(root, &says)?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// The names besides one of them by which readers find the folder of a repo, sorted.
#[must_use]
pub fn further_names(cache: &CacheDir, repo: &Repo) -> Vec<RepoId> {
    let dir = locate(cache, repo);
    let said = disk::entries(dir.root(), &dir.private_dir()).filter_map(|entry| {
        let folder = walk::name(&entry.path)?.strip_suffix(FURTHER_NAME)?.strip_suffix('.')?;
        cache.parse(folder).filter(|named| named.repo().kind == repo.kind)
    });
    let led =
        said.filter(|named| is_led(named, &dir)).take(FURTHER_NAMES).map(|named| named.repo().id.clone());
    let mut names: Vec<_> = led.chain([dir.repo().id.clone()]).collect();
    names.retain(|name| *name != repo.id);
    names.sort_unstable();
    names.dedup();
    names.truncate(FURTHER_NAMES);
    names
}

/// Whether a folder's place holds a link that is no folder of its own: to one that says so, or to none that is there.
pub(super) fn is_further(named: &RepoDir) -> bool {
    target(named).is_some_and(|dir| says(&dir, named)) || is_dangling(named)
}

/// Whether a link in a folder's place leads to a folder that is not there any more.
pub(super) fn is_dangling(named: &RepoDir) -> bool {
    let missing = |dir: RepoDir| dir.root().stat(&dir.path()).is_err_and(|error| is_missing(&error));
    target(named).is_some_and(missing)
}

fn remove_dangling(named: &RepoDir) -> Result<(), CacheError> {
    if is_dangling(named) { disk::remove(named.root(), &named.path()) } else { Ok(()) }
}

/// The folder of a repo of the same type that a link in another's place names, by its name alone.
fn target(named: &RepoDir) -> Option<RepoDir> {
    let link = named.root().read_link(&named.path()).ok()?;
    let dir = named.cache().parse(link.to_str()?)?;
    let bare = link.as_os_str() == OsStr::new(dir.name());
    (bare && dir.repo().kind == named.repo().kind && dir != *named).then_some(dir)
}

/// The folder that the medium takes for another's place, where it has no letter case.
fn listed(named: &RepoDir) -> Option<RepoDir> {
    let root = named.root();
    let found = other_case(root, root.path(), &named.path())?;
    named.cache().parse(walk::name(&found)?)
}

/// Whether a folder says that another name leads to it. It is no link itself: none is followed on the way.
fn says(dir: &RepoDir, named: &RepoDir) -> bool {
    dir.root().stat(&dir.name_of(named)).is_ok_and(|stat| stat.is_file())
}

/// The folder that readers find by another name: by a link, or because the medium takes both for one.
fn led_to(named: &RepoDir) -> Option<RepoDir> {
    target(named).or_else(|| listed(named))
}

fn is_led(named: &RepoDir, dir: &RepoDir) -> bool {
    led_to(named).as_ref() == Some(dir)
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
    fn a_further_name_leads_to_the_folder() {
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

    /// Links that were deleted stay in what the folder says.
    #[test]
    fn names_that_lead_nowhere_any_more_take_no_place() {
        let (_root, dir) = repo_dir();
        let give_up = |owner: &str| {
            for number in 0..3 * FURTHER_NAMES {
                let former = model(&format!("{owner}/name-{number}"));
                assert!(add_name(&dir, &former).unwrap());
                fs::remove_file(dir.cache().repo(&former).path()).unwrap();
            }
        };
        // In the middle, in whatever order a folder lists them.
        give_up("former");
        assert!(add_name(&dir, &model("middle/name")).unwrap());
        give_up("other");
        assert_eq!(further_names(dir.cache(), dir.repo()), ["middle/name".parse().unwrap()]);
    }

    #[test]
    fn no_more_names_are_told_than_a_status_has_room_for() {
        let (_root, dir) = repo_dir();
        for number in 0..3 * FURTHER_NAMES {
            assert!(add_name(&dir, &model(&format!("former/name-{number}"))).unwrap());
        }
        for asked in [dir.repo().clone(), model("former/name-0"), model("former/name-20")] {
            assert_eq!(further_names(dir.cache(), &asked).len(), FURTHER_NAMES, "{asked}");
        }
    }

    #[test]
    fn a_link_that_its_folder_does_not_know_is_not_followed() {
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
        assert!(!add_name(&dir, other.repo()).unwrap(), "it is somebody's, whatever it leads to");
        assert_eq!(further_names(dir.cache(), dir.repo()), []);
        assert_eq!(locate(dir.cache(), other.repo()), other);
    }

    #[test]
    fn what_has_the_name_already_stays() {
        let (_root, dir) = repo_dir();
        let other = dir.cache().repo(&model("Org/Name"));
        fs::create_dir(other.path()).unwrap();
        assert!(!add_name(&dir, other.repo()).unwrap());
        assert_eq!((locate(dir.cache(), other.repo()), links(&dir)), (other, Vec::new()));
    }

    #[test]
    fn a_link_whose_folder_was_deleted_leads_to_the_next_one() {
        let (_root, dir) = repo_dir();
        let old = dir.cache().repo(&model("old/name"));
        symlink("models--gone--name", old.path()).unwrap();
        assert!(is_dangling(&old) && is_further(&old));
        assert!(add_name(&dir, old.repo()).unwrap());
        assert_eq!(links(&dir), ["models--old--name -> models--org--name"]);
    }

    #[test]
    fn a_repo_lies_where_it_lies_already() {
        let (_root, dir) = repo_dir();
        let (cache, own) = (dir.cache(), dir.repo());
        // The Hub's name has the folder: the other one leads there.
        assert_eq!(settle_folder(&model("ORG/NAME"), own, cache).unwrap(), dir);
        assert_eq!(links(&dir), ["models--ORG--NAME -> models--org--name"]);
        // A folder of its own is used, whatever the Hub calls it.
        assert_eq!(settle_folder(own, &model("new/name"), cache).unwrap(), dir);
        // Neither has one, or a link that leads to none.
        let asked = model("a/b");
        symlink("models--gone--name", cache.repo(&asked).path()).unwrap();
        assert_eq!(settle_folder(&asked, &model("A/B"), cache).unwrap(), cache.repo(&asked));
        assert_eq!(links(&dir).len(), 1);
    }
}
