//! The locks of `huggingface_hub`, so that its downloads and ours wait for each other. A courtesy, never relied on:
//! unique temporary names and renames keep writers right where locks do nothing.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    time::{Duration, Instant},
};

use super::{disk, layout::RepoDir};
use crate::hub::Digest;

/// How often the lock is tried while another holds it.
const PAUSE: Duration = Duration::from_millis(250);

/// A lock that is held, or that could not be had. Dropping releases it.
#[derive(Debug)]
#[must_use = "dropping it releases the lock"]
#[allow(dead_code, reason = "the file is held, not read")]
pub struct Courtesy {
    held: Option<File>,
    /// Whether another writer held it first, and so may have brought the content meanwhile.
    pub waited: bool,
}

impl Courtesy {
    /// Takes the lock of a content. Blocks for `patience` at most, and then goes on without.
    pub fn take(dir: &RepoDir, digest: &Digest, patience: Duration) -> Self {
        let file = match Self::open(dir, digest) {
            Ok(file) => file,
            Err(error) => {
                tracing::debug!(%error, "downloading without a lock");
                return Self { held: None, waited: false };
            }
        };
        let end = Instant::now() + patience;
        let mut waited = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Self { held: Some(file), waited },
                Err(TryLockError::WouldBlock) if Instant::now() < end => {
                    if !waited {
                        tracing::info!(%digest, "waiting for another download of the same content");
                    }
                    waited = true;
                    std::thread::sleep(PAUSE.min(end.saturating_duration_since(Instant::now())));
                }
                Err(error) => {
                    tracing::debug!(%error, "downloading without a lock");
                    return Self { held: None, waited };
                }
            }
        }
    }

    fn open(dir: &RepoDir, digest: &Digest) -> io::Result<File> {
        let path = dir.lock(digest);
        if let Some(folder) = path.parent() {
            disk::make_dirs(folder).map_err(io::Error::other)?;
        }
        // The mode is for writers of other users, who must open it for writing to lock it.
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => disk::open_to_all(&path).map(|()| file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                OpenOptions::new().write(true).open(&path)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::testing::{file, repo_dir};

    #[test]
    fn a_lock_is_waited_for_but_not_for_ever() {
        let (_root, dir) = repo_dir();
        let digest = file("a.txt", b"hello").digest;
        let first = Courtesy::take(&dir, &digest, Duration::ZERO);
        assert!(first.held.is_some());
        let second = Courtesy::take(&dir, &digest, Duration::from_millis(1));
        assert!(second.held.is_none() && second.waited);
        drop(first);
        assert!(Courtesy::take(&dir, &digest, Duration::ZERO).held.is_some());
    }

    #[test]
    fn a_lock_that_cannot_be_made_is_done_without() {
        let (root, dir) = repo_dir();
        std::fs::write(root.path().join(".locks"), "").unwrap();
        let lock = Courtesy::take(&dir, &file("a.txt", b"hello").digest, Duration::ZERO);
        assert!(lock.held.is_none() && !lock.waited);
    }
}
