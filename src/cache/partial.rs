//! A blob on its way to the volume: written in parts by several connections, hashed in passing where that is
//! possible, in place only when it is right, and kept for the next run when it is not whole.

use std::{
    collections::BTreeSet,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::{
    disk::{self, TemporaryFile},
    error::{CacheError, IoContext as _},
    hash::Hasher,
    layout::RepoDir,
    parts::Parts,
    root::Root,
};
use crate::hub::{Digest, RepoFile};

use crate::sync::locked;

/// Bytes to read back at once.
const PIECE: usize = 256 * 1024;
/// A writer that is only so far behind the hash catches up at once.
const NEAR: u64 = 4 << 20;

/// One blob under a name of its own, so that two runs never write the same file. Dropped before it is whole, it stays
/// for the next run if that can resume it, and is removed otherwise.
#[derive(Debug)]
pub struct Partial {
    temporary: TemporaryFile,
    root: Root,
    sidecar: PathBuf,
    parts: Parts,
    /// Parts that nobody writes and that are not whole.
    free: Mutex<BTreeSet<usize>>,
    /// One at a time: the kernel lets no two write to one file, and burns a core while it makes the second one wait.
    writing: Mutex<()>,
    hashing: Mutex<Hashing>,
    /// How much was there when it was opened.
    resumed: u64,
    useless: AtomicBool,
    blob: PathBuf,
    expected: Digest,
    size: u64,
}

#[derive(Debug)]
struct Hashing {
    at: u64,
    hasher: Hasher,
}

/// A part that is to be written by one writer, from `at` to `end`.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    number: usize,
    /// The next byte that is missing.
    pub at: u64,
    /// The first byte that belongs to the next part.
    pub end: u64,
}

impl Partial {
    /// Begins the content of `file`. `whole`: it will come in one part, and cannot be resumed.
    pub fn create(dir: &RepoDir, file: &RepoFile, whole: bool) -> Result<Self, CacheError> {
        let unique = fastrand::u32(..);
        let temporary = TemporaryFile::create_at(dir.root(), dir.incomplete(&file.digest, unique))?;
        // Held until the file is closed, even by a crash: it shows others that this writer is alive.
        if let Err(error) = temporary.file.try_lock() {
            tracing::debug!(%error, "the file system has no locks");
        }
        let sidecar = dir.parts(&file.digest, unique);
        let parts =
            if whole { Parts::one(file.size) } else { Parts::create(dir.root(), &sidecar, file.size) };
        Ok(Self::new(dir, file, temporary, sidecar, parts))
    }

    /// A blob of which some parts are there.
    pub(super) fn new(
        dir: &RepoDir,
        file: &RepoFile,
        temporary: TemporaryFile,
        sidecar: PathBuf,
        parts: Parts,
    ) -> Self {
        let free = (0..parts.count()).filter(|part| parts.at(*part) < parts.range(*part).end).collect();
        Self {
            temporary,
            root: dir.root().clone(),
            sidecar,
            free: Mutex::new(free),
            writing: Mutex::new(()),
            hashing: Mutex::new(Hashing { at: 0, hasher: Hasher::new(&file.digest, file.size) }),
            resumed: parts.present(),
            parts,
            useless: AtomicBool::new(false),
            blob: dir.blob(&file.digest),
            expected: file.digest.clone(),
            size: file.size,
        }
    }

    /// How many bytes an earlier run had downloaded.
    #[must_use]
    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Whether there is a part left to claim.
    #[must_use]
    pub fn has_free(&self) -> bool {
        !self.free().is_empty()
    }

    /// Gives the first part that nobody has, to be written.
    #[must_use]
    pub fn claim(&self) -> Option<Part> {
        let number = self.free().pop_first()?;
        Some(self.part(number))
    }

    /// Gives the part that begins at this byte, if no connection has claimed it and it is empty: a stream can continue into it.
    #[must_use]
    pub fn claim_at(&self, at: u64) -> Option<Part> {
        let mut free = self.free();
        let number = *free.iter().find(|number| self.parts.at(**number) == at)?;
        free.remove(&number).then(|| self.part(number))
    }

    /// How far a stream that has come to this byte could go on into parts that nobody has: to ask for more would bring
    /// bytes that another one brings too.
    #[must_use]
    pub fn free_until(&self, at: u64) -> u64 {
        let free = self.free();
        let untouched =
            free.iter().filter(|number| self.parts.at(**number) == self.parts.range(**number).start);
        untouched
            .map(|number| self.parts.range(*number))
            .fold(at, |end, part| if part.start == end { part.end } else { end })
    }

    fn part(&self, number: usize) -> Part {
        Part { number, at: self.parts.at(number), end: self.parts.range(number).end }
    }

    /// Takes the next piece of a part, which the caller has claimed. It must not reach beyond the part's end.
    pub fn write(&self, part: &mut Part, piece: &[u8]) -> Result<(), CacheError> {
        let length = piece.len() as u64;
        if part.at + length > part.end {
            return Err(CacheError::WrongSize { expected: self.size, found: part.at + length });
        }
        {
            let _writing = locked(&self.writing);
            self.temporary.file.write_all_at(piece, part.at).context("write", &self.blob)?;
        }
        // Another one hashes at this moment: it, or the end, will read this piece back.
        if let Ok(mut hashing) = self.hashing.try_lock() {
            let near = hashing.at < part.at && part.at - hashing.at <= NEAR;
            if near && self.parts.contiguous(hashing.at) == part.at {
                self.read_back(&mut hashing, part.at)?;
            }
            if hashing.at == part.at {
                hashing.hasher.update(piece);
                hashing.at += length;
            }
        }
        part.at += length;
        self.parts.add(part.number, length);
        Ok(())
    }

    /// Hashes what was written out of order, as far as there is no gap. Does nothing while another one does it.
    pub fn catch_up(&self) -> Result<(), CacheError> {
        self.hashing.try_lock().map_or(Ok(()), |mut hashing| self.follow(&mut hashing))
    }

    fn follow(&self, hashing: &mut Hashing) -> Result<(), CacheError> {
        loop {
            let end = self.parts.contiguous(hashing.at);
            if end == hashing.at || self.useless.load(Relaxed) {
                return Ok(());
            }
            self.read_back(hashing, end)?;
        }
    }

    /// From the page cache as a rule: it was written a moment ago.
    fn read_back(&self, hashing: &mut Hashing, end: u64) -> Result<(), CacheError> {
        let mut piece = vec![0; PIECE];
        while hashing.at < end && !self.useless.load(Relaxed) {
            let length = (end - hashing.at).min(PIECE as u64);
            let piece = &mut piece[..usize::try_from(length).unwrap_or(PIECE)];
            self.temporary.file.read_exact_at(piece, hashing.at).context("read", &self.blob)?;
            hashing.hasher.update(piece);
            hashing.at += length;
        }
        Ok(())
    }

    /// Forgets all, where it comes in one part.
    pub fn restart(&self, part: &mut Part) -> Result<(), CacheError> {
        self.temporary.file.set_len(0).context("truncate", &self.blob)?;
        self.parts.clear();
        *self.hashing() = Hashing { at: 0, hasher: Hasher::new(&self.expected, self.size) };
        part.at = 0;
        Ok(())
    }

    /// What is there is wrong: it is removed in the end instead of being kept.
    pub fn discard(&self) {
        self.useless.store(true, Relaxed);
    }

    /// Whether all is there and right.
    pub fn check(&self) -> Result<(), CacheError> {
        let mut hashing = self.hashing();
        self.follow(&mut hashing)?;
        if hashing.at != self.size {
            return Err(CacheError::WrongSize { expected: self.size, found: hashing.at });
        }
        let found = hashing.hasher.clone().finish();
        if found != self.expected {
            return Err(CacheError::Mismatch { expected: self.expected.clone(), found });
        }
        Ok(())
    }

    /// Puts the content in place if it is right. What was there is replaced, even a link to a store of others.
    pub fn put(&self) -> Result<(), CacheError> {
        self.check()?;
        self.temporary.put(&self.blob)?;
        self.discard();
        Ok(())
    }

    fn free(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        locked(&self.free)
    }

    fn hashing(&self) -> MutexGuard<'_, Hashing> {
        locked(&self.hashing)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.useless.load(Relaxed) && self.parts.is_kept() && self.parts.present() > 0 {
            self.temporary.keep();
        } else if let Err(error) = disk::remove(&self.root, &self.sidecar) {
            tracing::debug!(%error, "a temporary file stays behind");
        }
    }
}

/// Puts a small content in place, if it is right. It lasts when the file system has been synced.
pub fn store(dir: &RepoDir, file: &RepoFile, content: &[u8]) -> Result<(), CacheError> {
    let blob = dir.blob(&file.digest);
    let found = content.len() as u64;
    if found != file.size {
        return Err(CacheError::WrongSize { expected: file.size, found });
    }
    let mut hasher = Hasher::new(&file.digest, file.size);
    hasher.update(content);
    let found = hasher.finish();
    if found != file.digest {
        return Err(CacheError::Mismatch { expected: file.digest.clone(), found });
    }
    let temporary = TemporaryFile::create_at(dir.root(), dir.incomplete(&file.digest, fastrand::u32(..)))?;
    temporary.file.write_all_at(content, 0).context("write", &blob)?;
    temporary.rename(&blob)
}

/// Makes everything that was stored durable, including what `store` put.
pub fn sync_volume(dir: &RepoDir) -> Result<(), CacheError> {
    let blobs = dir.blobs();
    dir.root().sync_volume(&blobs).context("sync the volume of", &blobs)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{
        cache::testing::{file, lfs_file, listing, repo_dir},
        reason::Reason,
    };

    /// Of three parts.
    fn large() -> (RepoFile, Vec<u8>) {
        let content: Vec<u8> = (0..(20u32 << 20)).map(|at| (at / 1000 % 251) as u8).collect();
        (lfs_file("model.bin", &content), content)
    }

    #[test]
    fn a_right_content_is_put_in_place() {
        let (_root, dir) = repo_dir();
        let hello = file("a.txt", b"hello");
        let writer = Partial::create(&dir, &hello, true).unwrap();
        let mut part = writer.claim().unwrap();
        writer.write(&mut part, b"jello").unwrap();
        assert_eq!(writer.check().unwrap_err().reason(), Reason::HashMismatch);
        writer.restart(&mut part).unwrap();
        writer.write(&mut part, b"hel").unwrap();
        assert!(matches!(writer.put(), Err(CacheError::WrongSize { .. })));
        writer.write(&mut part, b"lo").unwrap();
        assert!(matches!(writer.write(&mut part, b"!"), Err(CacheError::WrongSize { .. })));
        writer.put().unwrap();
        drop(writer);
        assert_eq!(listing(&dir.path()), [format!("blobs/{}", hello.digest)]);
        assert_eq!(fs::read(dir.blob(&hello.digest)).unwrap(), b"hello");
    }

    #[test]
    fn parts_come_in_any_order_and_are_hashed_in_theirs() {
        let (_root, dir) = repo_dir();
        let (file, content) = large();
        let writer = Partial::create(&dir, &file, false).unwrap();
        let mut parts: Vec<_> = std::iter::from_fn(|| writer.claim()).collect();
        assert_eq!(parts.len(), 3);
        for (part, step) in [(2, 1 << 20), (0, 3 << 20), (1, 100_000)] {
            let part = &mut parts[part];
            while part.at < part.end {
                let at = |at| usize::try_from(at).unwrap();
                let (from, to) = (at(part.at), at((part.at + step).min(part.end)));
                writer.write(part, &content[from..to]).unwrap();
            }
        }
        writer.put().unwrap();
        assert!(fs::read(dir.blob(&file.digest)).unwrap() == content);
    }

    #[test]
    fn a_stream_goes_on_into_a_part_that_nobody_has() {
        let (_root, dir) = repo_dir();
        let (file, _) = large();
        let writer = Partial::create(&dir, &file, false).unwrap();
        let first = writer.claim().unwrap();
        let second = writer.claim_at(first.end).unwrap();
        assert_eq!((second.at, writer.claim_at(first.end)), (first.end, None));
        assert!(writer.has_free());
        assert_eq!(
            [first.end, second.end, file.size].map(|at| writer.free_until(at)),
            [first.end, file.size, file.size]
        );
        let third = writer.claim().unwrap();
        assert_eq!(
            (third.at, writer.claim_at(second.end), writer.claim_at(third.end)),
            (second.end, None, None)
        );
        assert!(!writer.has_free());
    }

    #[test]
    fn what_is_of_no_use_is_removed() {
        let (_root, dir) = repo_dir();
        let (file, content) = large();
        let written = Partial::create(&dir, &file, false).unwrap();
        written.write(&mut written.claim().unwrap(), &content[..10]).unwrap();
        written.discard();
        let whole = Partial::create(&dir, &file, true).unwrap();
        whole.write(&mut whole.claim().unwrap(), &content[..10]).unwrap();
        let empty = Partial::create(&dir, &file, false).unwrap();
        drop((written, whole, empty));
        assert!(listing(&dir.path()).is_empty());
        let kept = Partial::create(&dir, &file, false).unwrap();
        kept.write(&mut kept.claim().unwrap(), &content[..10]).unwrap();
        drop(kept);
        assert_eq!(listing(&dir.path()).len(), 2);
    }

    #[test]
    fn a_link_to_a_shared_store_is_replaced_and_never_written_through() {
        let (root, dir) = repo_dir();
        let hello = file("a.txt", b"hello");
        let stored = root.path().join("stored");
        for put in [true, false] {
            let _ = fs::remove_file(dir.blob(&hello.digest));
            fs::write(&stored, "other").unwrap();
            std::os::unix::fs::symlink(&stored, dir.blob(&hello.digest)).unwrap();
            if put {
                let writer = Partial::create(&dir, &hello, true).unwrap();
                writer.write(&mut writer.claim().unwrap(), b"hello").unwrap();
                writer.put().unwrap();
            } else {
                store(&dir, &hello, b"hello").unwrap();
            }
            assert!(fs::symlink_metadata(dir.blob(&hello.digest)).unwrap().is_file());
            assert_eq!(fs::read(&stored).unwrap(), b"other");
        }
    }

    #[test]
    fn a_small_content_is_stored_only_when_it_is_right() {
        let (_root, dir) = repo_dir();
        let hello = file("a.txt", b"hello");
        assert!(matches!(store(&dir, &hello, b"hell"), Err(CacheError::WrongSize { .. })));
        assert!(matches!(store(&dir, &hello, b"jello"), Err(CacheError::Mismatch { .. })));
        assert!(listing(&dir.path()).is_empty());
        store(&dir, &hello, b"hello").unwrap();
        sync_volume(&dir).unwrap();
        assert_eq!(fs::read(dir.blob(&hello.digest)).unwrap(), b"hello");
    }
}
