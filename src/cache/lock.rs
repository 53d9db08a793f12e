//! The locks of `huggingface_hub`, so that its downloads and ours wait for each other. Advisory only: unique temporary
//! names and renames keep writers correct where locks have no effect.

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

/// How long to wait for a writer that moves blobs. Usually ample, unless many must be copied.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The pause between two attempts to take the lock.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The outcome of taking the lock of a blob or of a selection of a commit. Dropping an acquired one releases it.
#[derive(Debug)]
#[must_use = "dropping it releases the lock"]
pub enum AdvisoryLock {
    /// This process holds it.
    Acquired(File),
    /// Another writer holds it.
    Contended,
    /// The file system has no locks, or the lock file belongs to another user.
    Unsupported,
}

impl AdvisoryLock {
    /// Tries to take the lock of a blob.
    pub fn try_blob(dir: &RepoDir, digest: &Digest) -> Self {
        Self::at(dir, &dir.lock(digest))
    }

    /// Tries to take the lock of one selection of a commit.
    pub fn try_selection(dir: &RepoDir, commit: &Commit, selection: &Selection) -> Self {
        Self::at(dir, &dir.selection_lock(commit, &selection.id()))
    }

    /// The last heartbeat of the writer that holds the lock of this selection.
    #[must_use]
    pub fn last_heartbeat(dir: &RepoDir, commit: &Commit, selection: &Selection) -> Option<SystemTime> {
        dir.root().stat(&dir.selection_lock(commit, &selection.id())).and_then(|stat| stat.modified()).ok()
    }

    /// Sets the modification time of the lock file to now.
    pub fn heartbeat(lock: &File) -> io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        Ok(futimens(lock, &Timestamps { last_access: now, last_modification: now })?)
    }

    fn at(dir: &RepoDir, path: &Path) -> Self {
        match open(dir, path).map(|file| (file.try_lock(), file)) {
            Ok((Ok(()), file)) => Self::Acquired(file),
            Ok((Err(TryLockError::WouldBlock), _)) => Self::Contended,
            Ok((Err(TryLockError::Error(error)), _)) | Err(error) => {
                log_unlocked(&error);
                Self::Unsupported
            }
        }
    }
}

/// Waits until no other modelcache process moves blobs of the repo. `None` if the file system has no locks, or if another
/// writer holds this one for longer than [`TIMEOUT`].
#[must_use = "dropping it releases the lock"]
pub(super) fn lock_repo(dir: &RepoDir) -> Option<File> {
    lock_repo_within(dir, TIMEOUT)
}

fn lock_repo_within(dir: &RepoDir, timeout: Duration) -> Option<File> {
    let file = open(dir, &dir.repo_lock()).inspect_err(log_unlocked).ok()?;
    let deadline = Instant::now() + timeout;
    loop {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                activity::mark();
                thread::sleep(RETRY_INTERVAL.min(timeout));
            }
            Err(TryLockError::WouldBlock) => {
                tracing::warn!("another writer has held the repo lock for too long: continuing without it");
                return None;
            }
            Err(TryLockError::Error(error)) => {
                log_unlocked(&error);
                return None;
            }
        }
    }
}

fn log_unlocked(error: &io::Error) {
    if let Some(foreign) = Foreign::in_answer(error) {
        tracing::warn!(%foreign, "cannot use the lock file: continuing without a lock");
    } else {
        tracing::debug!(%error, "continuing without a lock");
    }
}

fn open(dir: &RepoDir, path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        disk::make_dirs(dir.root(), folder).map_err(|error| match error {
            CacheError::Foreign { foreign, .. } => foreign.into(),
            other => io::Error::other(other),
        })?;
    }
    // Writers of other users must be able to open it for writing to lock it.
    match dir.root().create_file(path) {
        Ok(file) => disk::open_to_all(&file).map(|()| file),
        // Without other hard links only: heartbeats change its modification time.
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
        let first = AdvisoryLock::try_blob(&dir, &digest);
        assert!(matches!(first, AdvisoryLock::Acquired(_)));
        assert!(matches!(AdvisoryLock::try_blob(&dir, &digest), AdvisoryLock::Contended));
        drop(first);
        assert!(matches!(AdvisoryLock::try_blob(&dir, &digest), AdvisoryLock::Acquired(_)));
    }

    #[test]
    fn waiting_for_a_lock_that_is_never_released_times_out() {
        let (_root, dir) = repo_dir();
        let first = lock_repo(&dir);
        assert!(first.is_some());
        assert!(lock_repo_within(&dir, Duration::from_millis(300)).is_none());
        drop(first);
        assert!(lock_repo_within(&dir, Duration::ZERO).is_some());
    }

    #[test]
    fn a_lock_that_is_a_symlink_is_not_used() {
        let (root, dir) = repo_dir();
        let digest = file("a.txt", b"hello").digest;
        drop(AdvisoryLock::try_blob(&dir, &digest));
        let (lock, aside) = (dir.lock(&digest), root.path().join("aside"));
        std::fs::rename(&lock, &aside).unwrap();
        std::os::unix::fs::symlink(&aside, &lock).unwrap();
        assert!(matches!(AdvisoryLock::try_blob(&dir, &digest), AdvisoryLock::Unsupported));
    }

    #[test]
    fn a_lock_that_cannot_be_created_is_unsupported() {
        let (root, dir) = repo_dir();
        std::fs::write(root.path().join(".locks"), "").unwrap();
        let digest = file("a.txt", b"hello").digest;
        assert!(matches!(AdvisoryLock::try_blob(&dir, &digest), AdvisoryLock::Unsupported));
    }
}
