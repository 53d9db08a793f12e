//! The content of a file, readable at any offset: in memory, generated from a seed, or on disk.

use std::{
    fmt::Write as _,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Arc, OnceLock},
};

use axum::body::Bytes;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The number of bytes to read, hash or send at a time.
const CHUNK: u64 = 64 * 1024;
/// The same for content in memory, where larger chunks cost nothing and reduce overhead.
const HELD_CHUNK: u64 = 1024 * 1024;

/// The bytes of a file. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Content(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    size: u64,
    sha256: OnceLock<String>,
    git_sha1: OnceLock<String>,
}

#[derive(Debug)]
enum Source {
    Held(Bytes),
    Random { seed: u64 },
    Disk(File),
}

impl Content {
    fn new(source: Source, size: u64) -> Self {
        Self(Arc::new(Inner { source, size, sha256: OnceLock::new(), git_sha1: OnceLock::new() }))
    }

    /// Pseudorandom bytes from a seed, generated while they are sent.
    #[must_use]
    pub fn random(seed: u64, size: u64) -> Self {
        Self::new(Source::Random { seed }, size)
    }

    /// The same bytes, generated up front and kept in memory, so that sending is limited only by the network.
    #[must_use]
    pub fn random_held(seed: u64, size: u64) -> Self {
        Self::new(Source::Held(random_bytes(seed, 0, as_index(size))), size)
    }

    /// A file on disk, read while it is sent.
    pub fn disk(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self::new(Source::Disk(file), size))
    }

    /// How many bytes there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// SHA-256 in hexadecimal: the name of an LFS object.
    pub fn sha256(&self) -> io::Result<&str> {
        lazily(&self.0.sha256, || self.digest(Sha256::new()))
    }

    /// SHA-1 of the git blob in hexadecimal: the name of a file outside LFS.
    pub fn git_sha1(&self) -> io::Result<&str> {
        lazily(&self.0.git_sha1, || {
            self.digest(Sha1::new_with_prefix(format!("blob {}\0", self.size()).as_bytes()))
        })
    }

    /// All bytes, to compare in tests. Not for large content.
    pub fn to_vec(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut offset = 0;
        while offset < self.size() {
            let chunk = self.chunk(offset, self.size())?;
            offset += chunk.len() as u64;
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// The next chunk from `offset`, not beyond `end`.
    pub(crate) fn chunk(&self, offset: u64, end: u64) -> io::Result<Bytes> {
        let most = if let Source::Held(_) = self.0.source { HELD_CHUNK } else { CHUNK };
        let end = end.min(self.size()).min(offset + most);
        let length = as_index(end.saturating_sub(offset));
        match &self.0.source {
            Source::Held(bytes) => Ok(bytes.slice(as_index(offset)..as_index(offset) + length)),
            Source::Random { seed } => Ok(random_bytes(*seed, offset, length)),
            Source::Disk(file) => {
                let mut buffer = vec![0; length];
                file.read_exact_at(&mut buffer, offset)?;
                Ok(buffer.into())
            }
        }
    }

    fn digest(&self, mut hasher: impl Digest) -> io::Result<String> {
        let mut offset = 0;
        while offset < self.size() {
            let chunk = self.chunk(offset, self.size())?;
            offset += chunk.len() as u64;
            hasher.update(&chunk);
        }
        Ok(hex(&hasher.finalize()))
    }
}

fn lazily(cell: &OnceLock<String>, make: impl FnOnce() -> io::Result<String>) -> io::Result<&str> {
    if let Some(known) = cell.get() {
        return Ok(known);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}

/// Each word depends only on the seed and its index, so that ranges can be generated independently.
fn random_bytes(seed: u64, offset: u64, length: usize) -> Bytes {
    let first = offset / 8;
    let skipped = as_index(offset % 8);
    let words = (skipped + length).div_ceil(8);
    let mut buffer = Vec::with_capacity(words * 8);
    for index in first..first + words as u64 {
        buffer.extend_from_slice(&splitmix(seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes());
    }
    Bytes::from(buffer).slice(skipped..skipped + length)
}

fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn as_index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        let size = bytes.len() as u64;
        Self::new(Source::Held(bytes.into()), size)
    }
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl<const N: usize> From<&[u8; N]> for Content {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_generated_bytes_equals_that_part_of_the_whole() {
        let whole = Content::random(7, 1000).to_vec().unwrap();
        assert_eq!(random_bytes(7, 13, 500), whole[13..513]);
        assert_eq!(Content::random_held(7, 1000).to_vec().unwrap(), whole);
        assert_ne!(Content::random(8, 1000).to_vec().unwrap(), whole);
    }

    #[test]
    fn hashes_match_git_and_lfs() {
        let content = Content::from("hello\n");
        assert_eq!(content.git_sha1().unwrap(), "ce013625030ba8dba906f756967f9e9ca394464a");
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(content.sha256().unwrap(), sha256);
    }
}
