//! The listing of a commit in the form of `huggingface_hub`, which judges by it whether a snapshot is complete.

use std::{collections::BTreeMap, fs, io};

use serde::{Deserialize, Serialize};
use serde_json::ser::{PrettyFormatter, Serializer};

use super::{
    disk,
    error::{CacheError, While as _},
    layout::RepoDir,
};
use crate::hub::{Commit, Digest, RepoFile};

/// The format of `huggingface_hub` 1.29 and later.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Tree {
    format_version: u32,
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    size: u64,
    blob_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lfs_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lfs_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xet_hash: Option<String>,
}

impl Entry {
    /// `None` where the Hub has not told all that belongs into a listing.
    fn new(file: &RepoFile) -> Option<Self> {
        let xet_hash = file.xet_hash.clone();
        Some(match &file.digest {
            Digest::GitSha1(_) => Self {
                size: file.size,
                blob_id: file.digest.to_string(),
                lfs_sha256: None,
                lfs_size: None,
                xet_hash,
            },
            Digest::Sha256(_) => Self {
                size: file.size,
                blob_id: file.pointer.clone()?,
                lfs_sha256: Some(file.digest.to_string()),
                lfs_size: Some(file.size),
                xet_hash,
            },
        })
    }
}

/// Writes the listing of a commit. Only for all files of it: readers refuse a snapshot that lacks a listed file.
pub(super) fn write(dir: &RepoDir, commit: &Commit, files: &[RepoFile]) -> Result<(), CacheError> {
    let entries: Option<_> =
        files.iter().map(|file| Some((file.path.to_string(), Entry::new(file)?))).collect();
    let Some(files) = entries else { return remove_stale(dir, commit) };
    let path = dir.tree(commit);
    let mut json = Vec::new();
    let mut writer = Serializer::with_formatter(&mut json, PrettyFormatter::with_indent(b" "));
    let tree = Tree { format_version: FORMAT, files };
    tree.serialize(&mut writer).map_err(io::Error::other).during("write", &path)?;
    path.parent().map_or(Ok(()), disk::make_dirs)?;
    disk::write_whole(&path, &dir.own(), &json)
}

/// Removes a listing that names files which are not there: with it, readers would refuse a part that is wanted. One that
/// cannot be understood may name them too.
pub(super) fn remove_stale(dir: &RepoDir, commit: &Commit) -> Result<(), CacheError> {
    match read(dir, commit) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(tree) if tree.is_whole(dir, commit) => Ok(()),
        _ => disk::remove(&dir.tree(commit)),
    }
}

/// Whether there is a listing that names files which are not there. Readers take one that they do not understand for none.
pub(super) fn lacks_files(dir: &RepoDir, commit: &Commit) -> bool {
    read(dir, commit).is_ok_and(|tree| !tree.is_whole(dir, commit))
}

fn read(dir: &RepoDir, commit: &Commit) -> io::Result<Tree> {
    Ok(serde_json::from_slice(&fs::read(dir.tree(commit))?)?)
}

impl Tree {
    fn is_whole(&self, dir: &RepoDir, commit: &Commit) -> bool {
        let snapshot = dir.snapshot(commit);
        self.files.keys().all(|file| snapshot.join(file).exists())
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::cache::testing::{COMMIT, file, lfs_file, repo_dir};

    #[test]
    fn the_listing_is_the_one_of_the_official_client() {
        let (_root, dir) = repo_dir();
        let commit = COMMIT.parse().unwrap();
        let big = RepoFile { xet_hash: Some("cd".repeat(32)), ..lfs_file("model.bin", b"hello") };
        let small = file("a b.json", b"{}");
        write(&dir, &commit, &[big.clone(), small.clone()]).unwrap();
        let expected = format!(
            "{{\n \"format_version\": 1,\n \"files\": {{\n  \"a b.json\": {{\n   \"size\": 2,\n   \"blob_id\": \"{}\"\n  }},\
             \n  \"model.bin\": {{\n   \"size\": 5,\n   \"blob_id\": \"{}\",\n   \"lfs_sha256\": \"{}\",\n   \
             \"lfs_size\": 5,\n   \"xet_hash\": \"{}\"\n  }}\n }}\n}}",
            small.digest,
            big.pointer.as_deref().unwrap(),
            big.digest,
            "cd".repeat(32),
        );
        assert_eq!(fs::read_to_string(dir.tree(&commit)).unwrap(), expected);
    }

    #[test]
    fn a_listing_goes_when_it_names_what_is_missing() {
        let (_root, dir) = repo_dir();
        let commit = COMMIT.parse().unwrap();
        let small = file("a.json", b"{}");
        write(&dir, &commit, std::slice::from_ref(&small)).unwrap();
        fs::create_dir_all(dir.snapshot(&commit)).unwrap();
        fs::write(dir.entry(&commit, &small.path), "{}").unwrap();
        remove_stale(&dir, &commit).unwrap();
        assert!(dir.tree(&commit).exists());
        fs::remove_file(dir.entry(&commit, &small.path)).unwrap();
        remove_stale(&dir, &commit).unwrap();
        assert!(!dir.tree(&commit).exists());
        fs::write(dir.tree(&commit), "{").unwrap();
        remove_stale(&dir, &commit).unwrap();
        assert!(!dir.tree(&commit).exists());
    }
}
