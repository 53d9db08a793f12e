//! The two hashes of the Hub, computed incrementally.

use std::{
    io::{self, Read},
    path::Path,
};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::{layout::RepoDir, resolve};
use crate::{activity, hub::Digest};

/// Read buffer size in bytes.
const BUFFER: usize = 1024 * 1024;

/// An incremental hash of the same kind as the expected one.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// For files in LFS or Xet.
    Sha256(Sha256),
    /// For all others; git prefixes the content with a header that includes its length.
    GitSha1(Sha1),
}

impl Hasher {
    /// Starts a hash comparable with `expected`, for a blob of `size` bytes.
    #[must_use]
    pub fn new(expected: &Digest, size: u64) -> Self {
        match expected {
            Digest::Sha256(_) => Self::Sha256(Sha256::new()),
            Digest::GitSha1(_) => Self::GitSha1(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }

    /// Hashes the next chunk of the content.
    pub fn update(&mut self, piece: &[u8]) {
        activity::mark();
        match self {
            Self::Sha256(state) => state.update(piece),
            Self::GitSha1(state) => state.update(piece),
        }
    }

    /// The hash of everything passed to `update`.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(state) => Digest::Sha256(state.finalize().into()),
            Self::GitSha1(state) => Digest::GitSha1(state.finalize().into()),
        }
    }
}

/// Whether the file behind a blob or a snapshot entry has this size and hash. False if it is missing; not read if its size
/// differs.
pub(super) fn hash_file(dir: &RepoDir, path: &Path, size: u64, expected: &Digest) -> io::Result<bool> {
    let file = match resolve::open(dir, path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() != size {
        return Ok(false);
    }
    // It may grow while being read.
    Ok(digest_of(&mut file.take(size.saturating_add(1)), size, expected)? == *expected)
}

/// Whether the file system reports holes of more than 1 GiB in total, or too many extents to check, in the file behind a
/// blob or a snapshot entry. No real model contains that many zeros.
pub(super) fn is_hollow(dir: &RepoDir, path: &Path) -> io::Result<bool> {
    const MOST: u64 = 1 << 30;
    const EXTENTS: u32 = 100_000;
    let file = resolve::open(dir, path)?;
    let end = file.metadata()?.len();
    let (mut at, mut holes) = (0, 0);
    for _ in 0..EXTENTS {
        if at >= end {
            return Ok(false);
        }
        let hole = seek(&file, SeekFrom::Hole(at))?;
        if hole >= end {
            return Ok(false);
        }
        at = match seek(&file, SeekFrom::Data(hole)) {
            Err(Errno::NXIO) => end,
            other => other?,
        };
        holes += at.saturating_sub(hole);
        if holes > MOST {
            return Ok(true);
        }
    }
    // The largest hole may come next.
    Ok(true)
}

/// The hash, of the same kind as `like`, of the rest of a reader.
pub(super) fn digest_of(from: &mut impl Read, size: u64, like: &Digest) -> io::Result<Digest> {
    let mut hasher = Hasher::new(like, size);
    let mut piece = vec![0; BUFFER.min(usize::try_from(size).unwrap_or(BUFFER)).max(1)];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.update(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::testing::repo_dir;

    /// From `git hash-object` and `sha256sum`.
    const GIT: &str = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
    const SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn both_hashes_agree_with_the_tools_that_defined_them() {
        for hex in [GIT, SHA256] {
            let expected: Digest = hex.parse().unwrap();
            let mut hasher = Hasher::new(&expected, 5);
            hasher.update(b"he");
            hasher.update(b"llo");
            assert_eq!(hasher.finish(), expected);
        }
    }

    #[test]
    fn a_sparse_file_is_detected_without_reading_it() {
        let (_root, dir) = repo_dir();
        let path = dir.blobs().join("x");
        let file = std::fs::File::create(&path).unwrap();
        for (length, hollow) in [(1 << 20, false), (64 << 30, true)] {
            file.set_len(length).unwrap();
            assert_eq!(is_hollow(&dir, &path).unwrap(), hollow, "{length}");
        }
    }

    #[test]
    fn a_file_matches_by_size_and_hash() {
        let (_root, dir) = repo_dir();
        let path = dir.blobs().join("x");
        let expected: Digest = SHA256.parse().unwrap();
        assert!(!hash_file(&dir, &path, 5, &expected).unwrap());
        std::fs::write(&path, "hello").unwrap();
        assert!(hash_file(&dir, &path, 5, &expected).unwrap());
        assert!(!hash_file(&dir, &path, 6, &expected).unwrap());
        std::fs::write(&path, "hellO").unwrap();
        assert!(!hash_file(&dir, &path, 5, &expected).unwrap());
    }
}
