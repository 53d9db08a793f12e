//! The locks of `huggingface_hub`, so that its downloads and ours wait for each other. A courtesy, never relied on:
//! unique temporary names and renames keep writers right where locks do nothing.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};

use super::{disk, error::CacheError, layout::RepoDir, record::Selection, root::Foreign};
use crate::{
    activity,
    hub::{Commit, Digest},
};

/// So long who moves blobs is waited for: longer than that takes, unless many must be copied.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether he has ended.
const PAUSE: Duration = Duration::from_millis(100);

/// The lock of one content, or of one selection of a commit, or why there is none. Dropping a held one releases it.
#[derive(Debug)]
#[must_use = "dropping it releases the lock"]
pub enum Courtesy {
    /// It is ours.
    Held(File),
    /// Another writer holds it.
    Busy,
    /// The file system has no locks, or they are another user's.
    Impossible,
}

impl Courtesy {
    /// Takes the lock of a content if it is free.
    pub fn try_take(dir: &RepoDir, digest: &Digest) -> Self {
        Self::at(dir, &dir.lock(digest))
    }

    /// Takes the lock of those who fill the same selection of a commit if it is free.
    pub fn try_turn(dir: &RepoDir, commit: &Commit, selection: &Selection) -> Self {
        Self::at(dir, &dir.turn(commit, &selection.id()))
    }

    /// The last sign of life of who holds that lock.
    #[must_use]
    pub fn sign(dir: &RepoDir, commit: &Commit, selection: &Selection) -> Option<SystemTime> {
        dir.root().stat(&dir.turn(commit, &selection.id())).and_then(|stat| stat.modified()).ok()
    }

    /// Gives a sign of life: the time of a lock changes, and nothing is written into it.
    pub fn beat(lock: &File) -> io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        Ok(futimens(lock, &Timestamps { last_access: now, last_modification: now })?)
    }

    fn at(dir: &RepoDir, path: &Path) -> Self {
        match open(dir, path).map(|file| (file.try_lock(), file)) {
            Ok((Ok(()), file)) => Self::Held(file),
            Ok((Err(TryLockError::WouldBlock), _)) => Self::Busy,
            Ok((Err(TryLockError::Error(error)), _)) | Err(error) => {
                without(&error);
                Self::Impossible
            }
        }
    }
}

/// Waits until no other writer of ours moves blobs of the repo. `None` where the file system has no locks, or somebody holds
/// this one for so long that he may never let go of it.
#[must_use = "dropping it releases the lock"]
pub(super) fn alone(dir: &RepoDir) -> Option<File> {
    alone_within(dir, PATIENCE)
}

fn alone_within(dir: &RepoDir, patience: Duration) -> Option<File> {
    let file = open(dir, &dir.moving()).inspect_err(without).ok()?;
    let latest = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(TryLockError::WouldBlock) if Instant::now() < latest => {
                activity::mark();
                thread::sleep(PAUSE.min(patience));
            }
            Err(TryLockError::WouldBlock) => {
                tracing::warn!("somebody keeps the lock of those who move contents: going on without it");
                return None;
            }
            Err(TryLockError::Error(error)) => {
                without(&error);
                return None;
            }
        }
    }
}

fn without(error: &io::Error) {
    if let Some(foreign) = Foreign::in_answer(error) {
        tracing::warn!(%foreign, "going on without a lock: remove what lies in its place");
    } else {
        tracing::debug!(%error, "going on without a lock");
    }
}

fn open(dir: &RepoDir, path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        disk::make_dirs(dir.root(), folder).map_err(|error| match error {
            CacheError::Foreign { foreign, .. } => foreign.into(),
            other => io::Error::other(other),
        })?;
    }
    // The mode is for writers of other users, who must open it for writing to lock it.
    match dir.root().create_file(path) {
        Ok(file) => disk::open_to_all(&file).map(|()| file),
        // Only one of our own: signs of life change its time.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => dir.root().open_own(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::testing::{file, repo_dir};

    #[test]
    fn a_lock_is_for_one_writer_at_a_time() {
        let (_root, dir) = repo_dir();
        let digest = file("a.txt", b"hello").digest;
        let first = Courtesy::try_take(&dir, &digest);
        assert!(matches!(first, Courtesy::Held(_)));
        assert!(matches!(Courtesy::try_take(&dir, &digest), Courtesy::Busy));
        drop(first);
        assert!(matches!(Courtesy::try_take(&dir, &digest), Courtesy::Held(_)));
    }

    #[test]
    fn who_never_lets_go_is_done_without() {
        let (_root, dir) = repo_dir();
        let first = alone(&dir);
        assert!(first.is_some());
        assert!(alone_within(&dir, Duration::from_millis(300)).is_none());
        drop(first);
        assert!(alone_within(&dir, Duration::ZERO).is_some());
    }

    #[test]
    fn a_lock_that_is_a_link_is_done_without() {
        let (root, dir) = repo_dir();
        let digest = file("a.txt", b"hello").digest;
        drop(Courtesy::try_take(&dir, &digest));
        let (lock, aside) = (dir.lock(&digest), root.path().join("aside"));
        std::fs::rename(&lock, &aside).unwrap();
        std::os::unix::fs::symlink(&aside, &lock).unwrap();
        assert!(matches!(Courtesy::try_take(&dir, &digest), Courtesy::Impossible));
    }

    #[test]
    fn a_lock_that_cannot_be_made_is_done_without() {
        let (root, dir) = repo_dir();
        std::fs::write(root.path().join(".locks"), "").unwrap();
        let digest = file("a.txt", b"hello").digest;
        assert!(matches!(Courtesy::try_take(&dir, &digest), Courtesy::Impossible));
    }
}
