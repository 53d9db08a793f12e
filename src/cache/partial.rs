//! A blob being downloaded: written in parts by several connections, hashed while it is written where possible, put in
//! place only after its hash matches, and kept for the next run if incomplete.

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

/// Buffer size in bytes for hashing what was written out of order.
const BUFFER: usize = 256 * 1024;
/// If the hash is at most this many bytes behind a writer, the writer catches it up itself.
const MAX_CATCH_UP: u64 = 4 << 20;

/// One incomplete blob under a unique name, so that two runs never write the same file. If it is dropped incomplete, it is
/// kept when a later run can resume it, and removed otherwise.
#[derive(Debug)]
pub struct Partial {
    temporary: TemporaryFile,
    root: Root,
    sidecar: PathBuf,
    parts: Parts,
    /// Incomplete parts without a writer.
    free: Mutex<BTreeSet<usize>>,
    /// Serializes writes: the kernel does so anyway, with a spinning second writer that burns a core.
    writing: Mutex<()>,
    hashing: Mutex<Hashing>,
    /// Bytes present when it was opened.
    resumed: u64,
    corrupt: AtomicBool,
    blob: PathBuf,
    expected: Digest,
    size: u64,
}

#[derive(Debug)]
struct Hashing {
    at: u64,
    hasher: Hasher,
}

/// A claimed part, to be written from `at` to `end` by one writer.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    number: usize,
    /// The offset of the next missing byte.
    pub at: u64,
    /// The offset at which the part ends, exclusive.
    pub end: u64,
}

impl Partial {
    /// Starts a download of `file`. With `whole`, it consists of one part and cannot be resumed.
    pub fn create(dir: &RepoDir, file: &RepoFile, whole: bool) -> Result<Self, CacheError> {
        let unique = fastrand::u32(..);
        let temporary = TemporaryFile::create_at(dir.root(), dir.incomplete(&file.digest, unique))?;
        // Held until the file is closed, even by a crash: shows other processes that this writer is alive.
        if let Err(error) = temporary.file.try_lock() {
            tracing::debug!(%error, "the file system has no locks");
        }
        let sidecar = dir.parts(&file.digest, unique);
        let parts =
            if whole { Parts::one(file.size) } else { Parts::create(dir.root(), &sidecar, file.size) };
        Ok(Self::new(dir, file, temporary, sidecar, parts))
    }

    /// A blob some parts of which may be present.
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
            corrupt: AtomicBool::new(false),
            blob: dir.blob(&file.digest),
            expected: file.digest.clone(),
            size: file.size,
        }
    }

    /// The bytes that an earlier run had downloaded.
    #[must_use]
    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Whether any part is left to claim.
    #[must_use]
    pub fn has_free(&self) -> bool {
        !self.free().is_empty()
    }

    /// Claims the first free part.
    #[must_use]
    pub fn claim(&self) -> Option<Part> {
        let number = self.free().pop_first()?;
        Some(self.part(number))
    }

    /// Claims the free part whose next missing byte is `at`, so that a stream can continue into it.
    #[must_use]
    pub fn claim_at(&self, at: u64) -> Option<Part> {
        let mut free = self.free();
        let number = *free.iter().find(|number| self.parts.at(**number) == at)?;
        free.remove(&number).then(|| self.part(number))
    }

    /// How far a stream that has reached `at` can continue into free, empty parts. Beyond that, another connection already
    /// downloads the bytes.
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

    /// Writes the next chunk of a claimed part. It must not extend beyond the part's end.
    pub fn write(&self, part: &mut Part, piece: &[u8]) -> Result<(), CacheError> {
        let length = piece.len() as u64;
        if part.at + length > part.end {
            return Err(CacheError::WrongSize { expected: self.size, found: part.at + length });
        }
        {
            let _writing = locked(&self.writing);
            self.temporary.file.write_all_at(piece, part.at).context("write", &self.blob)?;
        }
        // If another thread is hashing, it or `check` will read this chunk back.
        if let Ok(mut hashing) = self.hashing.try_lock() {
            let near = hashing.at < part.at && part.at - hashing.at <= MAX_CATCH_UP;
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

    /// Hashes what was written out of order, up to the first gap. Does nothing while another thread is hashing.
    pub fn catch_up(&self) -> Result<(), CacheError> {
        self.hashing.try_lock().map_or(Ok(()), |mut hashing| self.follow(&mut hashing))
    }

    fn follow(&self, hashing: &mut Hashing) -> Result<(), CacheError> {
        loop {
            let end = self.parts.contiguous(hashing.at);
            if end == hashing.at || self.corrupt.load(Relaxed) {
                return Ok(());
            }
            self.read_back(hashing, end)?;
        }
    }

    /// Usually served from the page cache, since it was just written.
    fn read_back(&self, hashing: &mut Hashing, end: u64) -> Result<(), CacheError> {
        let mut buffer = vec![0; BUFFER];
        while hashing.at < end && !self.corrupt.load(Relaxed) {
            let length = (end - hashing.at).min(BUFFER as u64);
            let piece = &mut buffer[..usize::try_from(length).unwrap_or(BUFFER)];
            self.temporary.file.read_exact_at(piece, hashing.at).context("read", &self.blob)?;
            hashing.hasher.update(piece);
            hashing.at += length;
        }
        Ok(())
    }

    /// Starts over. For downloads in one part.
    pub fn restart(&self, part: &mut Part) -> Result<(), CacheError> {
        self.temporary.file.set_len(0).context("truncate", &self.blob)?;
        self.parts.clear();
        *self.hashing() = Hashing { at: 0, hasher: Hasher::new(&self.expected, self.size) };
        part.at = 0;
        Ok(())
    }

    /// Marks the data as corrupt: it is removed on drop instead of being kept.
    pub fn discard(&self) {
        self.corrupt.store(true, Relaxed);
    }

    /// Verifies size and hash.
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

    /// Verifies the blob and puts it in place, replacing an existing one even if that is a link to a shared store.
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
        if !self.corrupt.load(Relaxed) && self.parts.is_kept() && self.parts.present() > 0 {
            self.temporary.keep();
        } else if let Err(error) = disk::remove(&self.root, &self.sidecar) {
            tracing::debug!(%error, "cannot remove a temporary file");
        }
    }
}

/// Verifies a small blob and puts it in place. Durable only after [`sync_volume`].
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

/// Makes everything written to the volume durable, including the blobs of [`store`].
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
    fn a_verified_blob_is_put_in_place() {
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
    fn parts_written_in_any_order_are_hashed_in_sequence() {
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
    fn a_stream_continues_into_a_free_part() {
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
    fn what_cannot_be_resumed_is_removed_on_drop() {
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
    fn a_small_blob_is_stored_only_if_its_hash_matches() {
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
