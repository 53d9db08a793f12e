//! Contents on their way to the volume: hashed as they are written, and in place only when they are right.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions, TryLockError},
    io::{self, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    disk::{self, TemporaryFile},
    error::{CacheError, While as _},
    hash::Hasher,
    layout::RepoDir,
    lock::Courtesy,
};
use crate::hub::{Digest, RepoFile};

/// Writes one content under a name of its own, so that two writers of it never meet. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    temporary: TemporaryFile,
    blob: PathBuf,
    expected: Digest,
    size: u64,
    written: u64,
    hasher: Hasher,
}

impl BlobWriter {
    /// Begins the content of `file`.
    pub fn create(dir: &RepoDir, file: &RepoFile) -> Result<Self, CacheError> {
        let temporary = TemporaryFile::create_at(dir.incomplete(&file.digest, fastrand::u32(..)))?;
        // Held until the file is closed, and so released by any death of ours: it tells `sweep` that we live.
        if let Err(error) = temporary.file.try_lock() {
            tracing::debug!(%error, "the file system has no locks");
        }
        Ok(Self {
            temporary,
            blob: dir.blob(&file.digest),
            expected: file.digest.clone(),
            size: file.size,
            written: 0,
            hasher: Hasher::new(&file.digest, file.size),
        })
    }

    /// Takes the next piece.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), CacheError> {
        let after = self.written + piece.len() as u64;
        if after > self.size {
            return Err(CacheError::WrongSize { expected: self.size, found: after });
        }
        self.temporary.file.write_all(piece).during("write", &self.blob)?;
        self.hasher.update(piece);
        self.written = after;
        Ok(())
    }

    /// Forgets all pieces.
    pub fn restart(&mut self) -> Result<(), CacheError> {
        let mut file = &self.temporary.file;
        file.set_len(0).and_then(|()| file.rewind()).during("truncate", &self.blob)?;
        self.written = 0;
        self.hasher = Hasher::new(&self.expected, self.size);
        Ok(())
    }

    /// Whether the pieces are the content.
    pub fn check(&self) -> Result<(), CacheError> {
        if self.written != self.size {
            return Err(CacheError::WrongSize { expected: self.size, found: self.written });
        }
        let found = self.hasher.clone().finish();
        if found != self.expected {
            return Err(CacheError::Mismatch { expected: self.expected.clone(), found });
        }
        Ok(())
    }

    /// Puts the content in place if it is right. What was there, also a link to a store of others, is replaced.
    pub fn put(self) -> Result<(), CacheError> {
        self.check()?;
        self.temporary.put(&self.blob)
    }
}

/// How much of a content writers have on its way, all together: while it grows, one of them is alive.
#[must_use]
pub fn on_its_way(dir: &RepoDir, digest: &Digest) -> u64 {
    let name = digest.to_string();
    disk::entries(&dir.blobs())
        .filter(|entry| {
            is_incomplete(&entry.path())
                && entry.file_name().to_str().is_some_and(|entry| entry.starts_with(&name))
        })
        .filter_map(|entry| entry.metadata().ok())
        .map(|stat| stat.len())
        .sum()
}

/// How much of the volume is taken by contents whose writers are dead, however short their death is ago.
#[must_use]
pub fn abandoned(dir: &RepoDir) -> u64 {
    entries(&dir.blobs())
        .filter(|path| is_incomplete(path) && !is_alive(dir, path))
        .filter_map(|path| fs::symlink_metadata(path).ok())
        .fold(0, |sum, stat| sum.saturating_add(stat.len()))
}

/// Removes what writers left behind that were killed: unlocked, and not written to for `age`.
///
/// Where there are no locks, age alone decides, and a living writer can be hit after a silence of `age`: its run ends
/// with an error and has to be tried again. Nothing wrong becomes visible by it.
pub fn sweep(dir: &RepoDir, age: Duration) {
    for path in entries(&dir.blobs()).chain(entries(&dir.own())) {
        let kind = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        let leftover = kind == "tmp" || kind == "snapshot" || is_incomplete(&path);
        if leftover && is_quiet(&path, age) && !is_alive(dir, &path) {
            let folder = fs::symlink_metadata(&path).is_ok_and(|stat| stat.is_dir());
            report(&path, if folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) });
        }
    }
}

fn is_quiet(path: &Path, age: Duration) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|stat| stat.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|since| since >= age))
}

/// Whether its writer may live. What we may not even open is another user's, and nobody can tell.
fn is_alive(dir: &RepoDir, path: &Path) -> bool {
    // `huggingface_hub` locks the content and not the file.
    let digest =
        path.file_name().and_then(OsStr::to_str).and_then(|name| name.split('.').next()?.parse().ok());
    if digest.is_some_and(|digest| matches!(Courtesy::try_take(dir, &digest), Courtesy::Busy)) {
        return true;
    }
    // Some network file systems lock only what is open for writing, and folders can only be read.
    let folder = fs::symlink_metadata(path).is_ok_and(|stat| !stat.is_file());
    match OpenOptions::new().read(folder).write(!folder).open(path) {
        Ok(file) => matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

fn report(path: &Path, removed: io::Result<()>) {
    match removed {
        Ok(()) => tracing::info!(path = %path.display(), "removed a leftover of an earlier writer"),
        Err(error) => tracing::debug!(path = %path.display(), %error, "a leftover stays"),
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    disk::entries(folder).map(|entry| entry.path())
}

/// `<hash>.<8 digits>.incomplete`, ours or that of `huggingface_hub`.
fn is_incomplete(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let mut parts = name.split('.');
    parts.next().is_some_and(|hash| hash.parse::<Digest>().is_ok())
        && parts.next().is_some_and(|unique| unique.len() == 8)
        && parts.next() == Some("incomplete")
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::testing::{file, repo_dir},
        reason::Reason,
    };

    #[test]
    fn a_right_content_is_put_in_place() {
        let (_root, dir) = repo_dir();
        let hello = file("a.txt", b"hello");
        let mut writer = BlobWriter::create(&dir, &hello).unwrap();
        writer.write(b"wrong").unwrap();
        assert_eq!(writer.check().unwrap_err().reason(), Reason::HashMismatch);
        writer.restart().unwrap();
        writer.write(b"hel").unwrap();
        writer.write(b"lo").unwrap();
        writer.put().unwrap();
        assert_eq!(fs::read(dir.blob(&hello.digest)).unwrap(), b"hello");
        assert_eq!(disk::entries(&dir.blobs()).count(), 1);
    }

    #[test]
    fn a_wrong_content_leaves_nothing() {
        let (_root, dir) = repo_dir();
        let hello = file("a.txt", b"hello");
        let mut wrong = BlobWriter::create(&dir, &hello).unwrap();
        wrong.write(b"jello").unwrap();
        assert!(matches!(wrong.put(), Err(CacheError::Mismatch { .. })));
        let mut long = BlobWriter::create(&dir, &hello).unwrap();
        assert!(matches!(long.write(b"hello!"), Err(CacheError::WrongSize { .. })));
        let short = BlobWriter::create(&dir, &hello).unwrap();
        assert!(matches!(short.put(), Err(CacheError::WrongSize { .. })));
        drop(long);
        assert_eq!(disk::entries(&dir.blobs()).count(), 0);
    }

    #[test]
    fn a_link_to_a_shared_store_is_replaced_and_never_written_through() {
        let (root, dir) = repo_dir();
        let hello = file("a.txt", b"hello");
        let stored = root.path().join("stored");
        fs::write(&stored, "other").unwrap();
        std::os::unix::fs::symlink(&stored, dir.blob(&hello.digest)).unwrap();
        let mut writer = BlobWriter::create(&dir, &hello).unwrap();
        writer.write(b"hello").unwrap();
        writer.put().unwrap();
        assert!(fs::symlink_metadata(dir.blob(&hello.digest)).unwrap().is_file());
        assert_eq!(fs::read(stored).unwrap(), b"other");
    }

    #[test]
    fn a_content_on_its_way_can_be_watched() {
        let (_root, dir) = repo_dir();
        let (hello, other) = (file("a.txt", b"hello"), file("b.txt", b"other"));
        let mut writers = [&hello, &hello, &other].map(|file| BlobWriter::create(&dir, file).unwrap());
        for writer in &mut writers {
            writer.write(b"he").unwrap();
        }
        assert_eq!(on_its_way(&dir, &hello.digest), 4);
        drop(writers);
        assert_eq!(on_its_way(&dir, &hello.digest), 0);
    }

    #[test]
    fn leftovers_are_swept_and_living_writers_are_not() {
        let (_root, dir) = repo_dir();
        let hello = file("a.txt", b"hello");
        let living = BlobWriter::create(&dir, &hello).unwrap();
        let dead = dir.incomplete(&hello.digest, 1);
        let folder = disk::unique(&dir.own(), "snapshot");
        let kept = dir.own().join("0-0.json");
        fs::create_dir(&folder).unwrap();
        fs::write(&kept, "{}").unwrap();
        fs::write(&dead, "he").unwrap();
        assert_eq!(abandoned(&dir), 2);
        sweep(&dir, Duration::from_secs(600));
        assert!(dead.exists() && folder.exists(), "they are too young");
        sweep(&dir, Duration::ZERO);
        assert!(!dead.exists() && !folder.exists());
        assert!(living.temporary.file.metadata().is_ok() && kept.exists());
        assert_eq!(disk::entries(&dir.blobs()).count(), 1);
    }

    #[test]
    fn what_may_be_alive_is_left_alone() {
        let (_root, dir) = repo_dir();
        let (hello, other) = (file("a.txt", b"hello"), file("b.txt", b"other"));
        let theirs = dir.incomplete(&hello.digest, 1);
        let probe = disk::unique(&dir.blobs(), "tmp");
        let folder = disk::unique(&dir.own(), "snapshot");
        let closed = dir.incomplete(&other.digest, 1);
        fs::create_dir(&folder).unwrap();
        // What nobody can open, not even root.
        std::os::unix::net::UnixListener::bind(&closed).unwrap();
        for path in [&theirs, &probe] {
            fs::write(path, "he").unwrap();
        }
        let lock = fs::File::open(&folder).unwrap();
        lock.lock().unwrap();
        let courtesy = Courtesy::try_take(&dir, &hello.digest);
        sweep(&dir, Duration::ZERO);
        assert!(theirs.exists() && folder.exists() && closed.exists() && !probe.exists());
        drop((courtesy, lock));
        sweep(&dir, Duration::ZERO);
        assert!(!theirs.exists() && !folder.exists());
    }

    #[test]
    fn only_incomplete_contents_look_like_leftovers() {
        let hash = "ab".repeat(32);
        assert!(is_incomplete(Path::new(&format!("/x/{hash}.0123abcd.incomplete"))));
        for other in [hash.clone(), format!("{hash}.incomplete"), "x.0123abcd.incomplete".to_owned()] {
            assert!(!is_incomplete(Path::new(&other)), "{other}");
        }
    }
}
