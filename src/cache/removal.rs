//! How what nothing needs goes. Nobody waits for a lock here. A thing is taken aside first, then refs and links are read again, and
//! only then it is removed, or put back: a fetch that comes between makes its links before it looks whether all blobs are there,
//! and its refs before it looks for the snapshot, so one of the two sees the other.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    fs::File,
    io,
    path::PathBuf,
};

use super::{
    disk,
    error::{CacheError, IoContext as _},
    layout::RepoDir,
    lock::AdvisoryLock,
    scan,
    walk::{self, linked_below, name},
};
use crate::hub::Commit;

/// How many snapshots or blobs may be given at once, each with up to two open files.
pub(super) const AT_ONCE: usize = 128;

/// Removes all that is known about a commit, so that nothing names what is to go.
pub(super) fn forget(dir: &RepoDir, commit: &Commit, records: Vec<PathBuf>) -> Result<(), CacheError> {
    for path in records {
        disk::remove(dir.root(), &path)?;
    }
    disk::remove(dir.root(), &dir.tree(commit))?;
    let absent = dir.absences().join(commit.as_str());
    match dir.root().remove_tree(&absent) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("remove", &absent),
        _ => Ok(()),
    }
}

/// The records, by commit: one listing for all, since there may be very many of both.
pub(super) fn records(dir: &RepoDir) -> Result<HashMap<String, Vec<PathBuf>>, CacheError> {
    let mut records: HashMap<_, Vec<_>> = HashMap::new();
    for place in walk::list(dir.root(), &dir.private_dir())? {
        let named = name(&place.path).and_then(|name| name.strip_suffix(".json")?.split_once('-'));
        if let Some(commit) = named.map(|(commit, _)| commit.to_owned()) {
            records.entry(commit).or_default().push(place.path);
        }
    }
    Ok(records)
}

/// Removes snapshots, unless somebody wants one after all.
pub(super) fn drop_snapshots(
    dir: &RepoDir,
    snapshots: &[(Commit, u64)],
) -> Result<Vec<(Commit, u64)>, CacheError> {
    disk::make_dirs(dir.root(), &dir.private_dir())?;
    let mut records = records(dir)?;
    let mut asides = Vec::new();
    let taken = snapshots.iter().try_for_each(|(commit, bytes)| {
        forget(dir, commit, records.remove(commit.as_str()).unwrap_or_default())?;
        let (snapshot, aside) = (dir.snapshot(commit), disk::unique(&dir.private_dir(), "snapshot"));
        // Held while it is aside: nobody may take it for a leftover.
        let lock = dir.root().open_folder(&snapshot).ok().filter(|folder| folder.try_lock().is_ok());
        match dir.root().rename(&snapshot, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => {
                other.context("remove", &snapshot)?;
                asides.push((commit, *bytes, aside, lock));
            }
        }
        Ok(())
    });
    disk::sync_dir(dir.root(), &dir.snapshots());
    // With what could not be read, every one counts as wanted.
    let seen = taken.and_then(|()| Ok((scan::refs(dir)?, self::records(dir)?)));
    let wanted = |commit: &Commit| {
        let seen = seen.as_ref();
        seen.map_or(true, |(refs, records)| refs.may_name(commit) || records.contains_key(commit.as_str()))
    };
    // All that is wanted goes back before anything can fail. Where a writer has made a new one meanwhile, that one stays.
    asides.retain(|(commit, _, aside, _)| {
        !(wanted(commit) && dir.root().rename(aside, &dir.snapshot(commit)).is_ok())
    });
    let mut gone = Vec::new();
    for (commit, bytes, aside, _lock) in &asides {
        dir.root().remove_tree(aside).context("remove", aside)?;
        gone.push(((*commit).clone(), *bytes));
    }
    seen.map(|_| gone)
}

/// A blob that is out of its place.
struct Quarantined<'a> {
    content: &'a (PathBuf, u64),
    path: PathBuf,
    /// Tells others who might download it, and `sweep`, that it is in use.
    _locks: (AdvisoryLock, Option<File>),
}

/// Removes blobs, unless a link to them has come meanwhile.
pub(super) fn drop_contents(
    dir: &RepoDir,
    contents: &[(PathBuf, u64)],
) -> Result<Vec<(PathBuf, u64)>, CacheError> {
    disk::make_dirs(dir.root(), &dir.private_dir())?;
    let mut asides = Vec::new();
    let taken = contents.iter().try_for_each(|content| {
        asides.extend(take(dir, content)?);
        Ok(())
    });
    // With what could not be read, everything counts as linked.
    let linked = taken.and_then(|()| linked(dir, &HashSet::new()));
    let (wanted, unwanted): (Vec<_>, Vec<_>) = asides.iter().partition(|aside| {
        let name = aside.content.0.file_name();
        linked.as_ref().map_or(true, |linked| name.is_none_or(|name| linked.contains(name)))
    });
    // All that is wanted goes back, whatever fails with one of them.
    let back = wanted.iter().map(|aside| disk::rename(dir.root(), &aside.path, &aside.content.0));
    back.fold(Ok(()), Result::and)?;
    let mut gone = Vec::new();
    for aside in unwanted {
        disk::remove(dir.root(), &aside.path)?;
        gone.push(aside.content.clone());
    }
    linked.map(|_| gone)
}

/// The names of the blobs that something leads to, other than the snapshots that are going.
pub(super) fn linked(dir: &RepoDir, going: &HashSet<&str>) -> Result<HashSet<OsString>, CacheError> {
    let mut linked = linked_below(dir.root(), &dir.private_dir())?;
    for place in walk::list(dir.root(), &dir.snapshots())? {
        // A link could lead to links: that is refused.
        let folder = place.kind.is_dir() || place.kind.is_symlink();
        if folder && !name(&place.path).is_some_and(|name| going.contains(name)) {
            linked.extend(linked_below(dir.root(), &place.path)?);
        }
    }
    Ok(linked)
}

/// Takes a blob aside, unless it is locked or gone.
fn take<'a>(dir: &RepoDir, content: &'a (PathBuf, u64)) -> Result<Option<Quarantined<'a>>, CacheError> {
    let place = &content.0;
    let Some(digest) = name(place).and_then(|name| name.parse().ok()) else { return Ok(None) };
    let lock = AdvisoryLock::try_blob(dir, &digest);
    if matches!(lock, AdvisoryLock::Contended) {
        return Ok(None);
    }
    let file = dir.root().open_file(place).ok().filter(|file| file.try_lock().is_ok());
    let path = disk::unique(&dir.private_dir(), "tmp");
    match dir.root().rename(place, &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => {
            other.context("remove", place)?;
            Ok(Some(Quarantined { content, path, _locks: (lock, file) }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{
        cache::{
            testing::{COMMIT, file, listing, put, repo_dir},
            write_refs,
        },
        hub::RepoFile,
    };

    fn shown(dir: &RepoDir, commit: &Commit, file: &RepoFile) {
        put(dir, file, b"hello");
        fs::create_dir_all(dir.snapshot(commit)).unwrap();
        symlink(Path::new("../../blobs").join(file.digest.to_string()), dir.entry(commit, &file.path))
            .unwrap();
    }

    #[test]
    fn a_snapshot_that_is_named_meanwhile_is_put_back() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        shown(&dir, &commit, &file("a.txt", b"hello"));
        let (before, snapshots) = (listing(&dir.snapshots()), [(commit.clone(), 0)]);
        write_refs(&dir, &commit, &["main".parse().unwrap()]).unwrap();
        // One that is being written may come to name it.
        for ref_says in [COMMIT, ""] {
            fs::write(dir.refs().join("main"), ref_says).unwrap();
            assert_eq!(drop_snapshots(&dir, &snapshots).unwrap(), []);
            assert_eq!(listing(&dir.snapshots()), before);
        }
        fs::remove_file(dir.refs().join("main")).unwrap();
        assert_eq!(drop_snapshots(&dir, &snapshots).unwrap(), snapshots);
        assert!(listing(&dir.snapshots()).is_empty() && listing(&dir.private_dir()).is_empty());
        assert_eq!(drop_snapshots(&dir, &snapshots).unwrap(), [], "it is gone");
    }

    #[test]
    fn a_content_that_is_linked_to_meanwhile_is_put_back() {
        let (_root, dir) = repo_dir();
        let (commit, hello): (Commit, _) = (COMMIT.parse().unwrap(), file("a.txt", b"hello"));
        let contents = [(dir.blob(&hello.digest), 5)];
        // In a snapshot, or in one that is being built.
        for snapshot in [dir.snapshot(&commit), dir.private_dir().join("0.snapshot")] {
            put(&dir, &hello, b"hello");
            fs::create_dir_all(&snapshot).unwrap();
            symlink(Path::new("../../blobs").join(hello.digest.to_string()), snapshot.join("a.txt")).unwrap();
            assert_eq!(drop_contents(&dir, &contents).unwrap(), []);
            assert_eq!(fs::read_to_string(snapshot.join("a.txt")).unwrap(), "hello");
            fs::remove_dir_all(&snapshot).unwrap();
        }
        let busy = AdvisoryLock::try_blob(&dir, &hello.digest);
        assert_eq!(drop_contents(&dir, &contents).unwrap(), []);
        drop(busy);
        assert_eq!(drop_contents(&dir, &contents).unwrap(), contents);
        assert_eq!(listing(&dir.path()), Vec::<String>::new());
    }
}
