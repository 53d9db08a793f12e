//! Shared helpers of the cache tests.

use tempfile::TempDir;
pub use test_support::listing::listing;

use super::{CacheDir, RepoDir, hash::digest_of, prepare, store};
use crate::hub::{Digest, Repo, RepoFile, RepoType};

/// A commit.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A prepared repo folder in a temporary cache.
pub fn repo_dir() -> (TempDir, RepoDir) {
    let root = tempfile::tempdir().unwrap();
    let repo = Repo { kind: RepoType::Model, id: "org/name".parse().unwrap() };
    let dir = CacheDir::new(root.path()).repo(&repo);
    prepare(&dir).unwrap();
    (root, dir)
}

/// A small file stored in git.
pub fn file(path: &str, content: &[u8]) -> RepoFile {
    of_kind(path, content, &Digest::GitSha1([0; 20]))
}

/// A file stored in LFS.
pub fn lfs_file(path: &str, content: &[u8]) -> RepoFile {
    RepoFile { pointer: Some("0f".repeat(20)), ..of_kind(path, content, &Digest::Sha256([0; 32])) }
}

fn of_kind(path: &str, content: &[u8], kind: &Digest) -> RepoFile {
    let size = content.len() as u64;
    let digest = digest_of(&mut &*content, size, kind).unwrap();
    RepoFile { path: path.parse().unwrap(), size, digest, pointer: None, xet_hash: None }
}

/// Stores the blob of a file.
pub fn put(dir: &RepoDir, file: &RepoFile, content: &[u8]) {
    store(dir, file, content).unwrap();
}
