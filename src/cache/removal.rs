//! Removes snapshots and blobs without waiting for locks. Each is first set aside; then refs and links are reread, and it is
//! removed or put back. A concurrent fetch creates its links before it checks for the blobs, and its refs before it checks for
//! the snapshot, so one of the two notices the other.

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

/// The most snapshots or blobs to remove in one call: each takes up to two open files.
pub(super) const BATCH: usize = 128;

/// Removes the metadata of a commit, so that nothing refers to the snapshot any more.
pub(super) fn remove_metadata(
    dir: &RepoDir,
    commit: &Commit,
    records: Vec<PathBuf>,
) -> Result<(), CacheError> {
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

/// The record files by commit, from one listing: there may be very many of both.
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

/// Removes snapshots, except those for which a ref or a record has appeared meanwhile. Returns the removed ones.
pub(super) fn drop_snapshots(
    dir: &RepoDir,
    snapshots: &[(Commit, u64)],
) -> Result<Vec<(Commit, u64)>, CacheError> {
    disk::make_dirs(dir.root(), &dir.private_dir())?;
    let mut records = records(dir)?;
    let mut asides = Vec::new();
    let taken = snapshots.iter().try_for_each(|(commit, bytes)| {
        remove_metadata(dir, commit, records.remove(commit.as_str()).unwrap_or_default())?;
        let (snapshot, aside) = (dir.snapshot(commit), disk::unique(&dir.private_dir(), "snapshot"));
        // Held while it is set aside, so that nobody treats it as stale.
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
    // If this fails, every snapshot counts as wanted.
    let seen = taken.and_then(|()| Ok((scan::refs(dir)?, self::records(dir)?)));
    let wanted = |commit: &Commit| {
        let seen = seen.as_ref();
        seen.map_or(true, |(refs, records)| refs.may_name(commit) || records.contains_key(commit.as_str()))
    };
    // Put back everything that is wanted before anything can fail. A snapshot created meanwhile by another writer stays.
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

/// A blob that is set aside.
struct Quarantined<'a> {
    blob: &'a (PathBuf, u64),
    path: PathBuf,
    /// Shows other writers, and `sweep`, that it is in use.
    _locks: (AdvisoryLock, Option<File>),
}

/// Removes blobs, except those to which a link has appeared meanwhile. Returns the removed ones.
pub(super) fn drop_blobs(dir: &RepoDir, blobs: &[(PathBuf, u64)]) -> Result<Vec<(PathBuf, u64)>, CacheError> {
    disk::make_dirs(dir.root(), &dir.private_dir())?;
    let mut asides = Vec::new();
    let taken = blobs.iter().try_for_each(|blob| {
        asides.extend(quarantine(dir, blob)?);
        Ok(())
    });
    // If this fails, every blob counts as linked.
    let linked = taken.and_then(|()| linked(dir, &HashSet::new()));
    let (wanted, unwanted): (Vec<_>, Vec<_>) = asides.iter().partition(|aside| {
        let name = aside.blob.0.file_name();
        linked.as_ref().map_or(true, |linked| name.is_none_or(|name| linked.contains(name)))
    });
    // Put back everything that is wanted, even if one of them fails.
    let back = wanted.iter().map(|aside| disk::rename(dir.root(), &aside.path, &aside.blob.0));
    back.fold(Ok(()), Result::and)?;
    let mut gone = Vec::new();
    for aside in unwanted {
        disk::remove(dir.root(), &aside.path)?;
        gone.push(aside.blob.clone());
    }
    linked.map(|_| gone)
}

/// The names of all linked blobs, ignoring the snapshots that are being removed.
pub(super) fn linked(dir: &RepoDir, going: &HashSet<&str>) -> Result<HashSet<OsString>, CacheError> {
    let mut linked = linked_below(dir.root(), &dir.private_dir())?;
    for place in walk::list(dir.root(), &dir.snapshots())? {
        // A symlink is refused below: it could hide further links.
        let folder = place.kind.is_dir() || place.kind.is_symlink();
        if folder && !name(&place.path).is_some_and(|name| going.contains(name)) {
            linked.extend(linked_below(dir.root(), &place.path)?);
        }
    }
    Ok(linked)
}

/// Sets a blob aside, unless it is locked or missing.
fn quarantine<'a>(dir: &RepoDir, blob: &'a (PathBuf, u64)) -> Result<Option<Quarantined<'a>>, CacheError> {
    let place = &blob.0;
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
            Ok(Some(Quarantined { blob, path, _locks: (lock, file) }))
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

    fn publish(dir: &RepoDir, commit: &Commit, file: &RepoFile) {
        put(dir, file, b"hello");
        fs::create_dir_all(dir.snapshot(commit)).unwrap();
        symlink(Path::new("../../blobs").join(file.digest.to_string()), dir.entry(commit, &file.path))
            .unwrap();
    }

    #[test]
    fn a_snapshot_that_is_named_meanwhile_is_put_back() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        publish(&dir, &commit, &file("a.txt", b"hello"));
        let (before, snapshots) = (listing(&dir.snapshots()), [(commit.clone(), 0)]);
        write_refs(&dir, &commit, &["main".parse().unwrap()]).unwrap();
        // A ref that is being written may turn out to name it.
        for ref_says in [COMMIT, ""] {
            fs::write(dir.refs().join("main"), ref_says).unwrap();
            assert_eq!(drop_snapshots(&dir, &snapshots).unwrap(), []);
            assert_eq!(listing(&dir.snapshots()), before);
        }
        fs::remove_file(dir.refs().join("main")).unwrap();
        assert_eq!(drop_snapshots(&dir, &snapshots).unwrap(), snapshots);
        assert!(listing(&dir.snapshots()).is_empty() && listing(&dir.private_dir()).is_empty());
        assert_eq!(drop_snapshots(&dir, &snapshots).unwrap(), [], "it is already removed");
    }

    #[test]
    fn a_blob_that_is_linked_meanwhile_is_put_back() {
        let (_root, dir) = repo_dir();
        let (commit, hello): (Commit, _) = (COMMIT.parse().unwrap(), file("a.txt", b"hello"));
        let blobs = [(dir.blob(&hello.digest), 5)];
        // In a snapshot, or in one that is being built.
        for snapshot in [dir.snapshot(&commit), dir.private_dir().join("0.snapshot")] {
            put(&dir, &hello, b"hello");
            fs::create_dir_all(&snapshot).unwrap();
            symlink(Path::new("../../blobs").join(hello.digest.to_string()), snapshot.join("a.txt")).unwrap();
            assert_eq!(drop_blobs(&dir, &blobs).unwrap(), []);
            assert_eq!(fs::read_to_string(snapshot.join("a.txt")).unwrap(), "hello");
            fs::remove_dir_all(&snapshot).unwrap();
        }
        let busy = AdvisoryLock::try_blob(&dir, &hello.digest);
        assert_eq!(drop_blobs(&dir, &blobs).unwrap(), []);
        drop(busy);
        assert_eq!(drop_blobs(&dir, &blobs).unwrap(), blobs);
        assert_eq!(listing(&dir.path()), Vec::<String>::new());
    }
}
