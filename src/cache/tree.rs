//! The listing of a commit in the format of `huggingface_hub`, which uses it to decide whether a snapshot is complete.

use std::{
    fmt,
    io::{self, BufReader},
    marker::PhantomData,
    path::Path,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::ser::PrettyFormatter;

use super::{
    disk,
    error::CacheError,
    layout::RepoDir,
    record::{DOCUMENT, FILES},
    resolve,
};
use crate::hub::{Commit, Digest, RepoFile};

/// The format of `huggingface_hub` 1.29 and later.
const FORMAT: u32 = 1;

/// Generic over `F` so that neither writing nor reading holds more than one entry in memory: there may be very many.
#[derive(Debug, Serialize, Deserialize)]
struct Tree<F> {
    format_version: u32,
    files: F,
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
    /// `None` if the Hub did not return every field of a listing.
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

/// The files of a listing, sorted by path.
struct Files<'a>(Vec<&'a RepoFile>);

impl<'a> Files<'a> {
    fn new(files: &'a [RepoFile]) -> Option<Self> {
        let mut sorted: Vec<_> = files.iter().collect();
        sorted.sort_unstable_by_key(|file| &file.path);
        files.iter().all(|file| Entry::new(file).is_some()).then_some(Self(sorted))
    }
}

impl Serialize for Files<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|file| (&file.path, Entry::new(file))))
    }
}

/// The part of each listing entry that a caller needs.
trait Part: Sized {
    fn of(path: String, entry: Entry) -> Option<Self>;
}

/// The path.
impl Part for String {
    fn of(path: String, _: Entry) -> Option<Self> {
        Some(path)
    }
}

/// The hash of the blob.
impl Part for Digest {
    fn of(_: String, entry: Entry) -> Option<Self> {
        entry.lfs_sha256.unwrap_or(entry.blob_id).parse().ok()
    }
}

struct Parts<P>(Vec<P>);

impl<'de, P: Part> Deserialize<'de> for Parts<P> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries<P>(PhantomData<P>);

        impl<'de, P: Part> Visitor<'de> for Entries<P> {
            type Value = Parts<P>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an entry for each of at most {FILES} paths")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Parts<P>, M::Error> {
                let mut parts = Vec::new();
                while let Some((path, entry)) = map.next_entry()? {
                    if parts.len() == FILES {
                        return Err(serde::de::Error::invalid_length(FILES + 1, &self));
                    }
                    parts.extend(P::of(path, entry));
                }
                Ok(Parts(parts))
            }
        }

        from.deserialize_map(Entries(PhantomData))
    }
}

/// Writes the listing of a commit. `files` must be all of its files: readers reject a snapshot that lacks a listed one.
pub(super) fn write(dir: &RepoDir, commit: &Commit, files: &[RepoFile]) -> Result<(), CacheError> {
    let Some(files) = Files::new(files) else { return remove_stale(dir, commit) };
    let path = dir.tree(commit);
    path.parent().map_or(Ok(()), |folder| disk::make_dirs(dir.root(), folder))?;
    disk::write_with(dir.root(), &path, &dir.private_dir(), |file| {
        let formatter = PrettyFormatter::with_indent(b" ");
        let mut to = serde_json::Serializer::with_formatter(file, formatter);
        Ok(Tree { format_version: FORMAT, files }.serialize(&mut to)?)
    })
}

/// Removes a listing that names missing files, with which readers would reject a partial snapshot. An unreadable one is
/// removed too.
pub(super) fn remove_stale(dir: &RepoDir, commit: &Commit) -> Result<(), CacheError> {
    match read(dir, &dir.tree(commit)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(tree) if tree.is_whole(dir, commit) => Ok(()),
        _ => disk::remove(dir.root(), &dir.tree(commit)),
    }
}

/// Whether there is a listing that names missing files. Readers ignore one that they cannot parse.
pub(super) fn lacks_files(dir: &RepoDir, commit: &Commit) -> bool {
    read(dir, &dir.tree(commit)).is_ok_and(|tree| !tree.is_whole(dir, commit))
}

/// The hashes in a listing of any client; empty if it cannot be parsed.
pub(super) fn digests(dir: &RepoDir, path: &Path) -> Vec<Digest> {
    read(dir, path).map_or_else(|_| Vec::new(), |tree| tree.files.0)
}

fn read<P: Part>(dir: &RepoDir, path: &Path) -> io::Result<Tree<Parts<P>>> {
    Ok(serde_json::from_reader(BufReader::new(dir.root().reader(path, DOCUMENT)?))?)
}

impl Tree<Parts<String>> {
    fn is_whole(&self, dir: &RepoDir, commit: &Commit) -> bool {
        let snapshot = dir.snapshot(commit);
        self.files.0.iter().all(|file| resolve::resolve(dir, &snapshot.join(file)).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pretty_assertions::assert_eq;

    use super::*;
    use crate::cache::testing::{COMMIT, file, lfs_file, repo_dir};

    #[test]
    fn a_listing_has_the_format_of_the_official_client() {
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
    fn a_listing_that_names_missing_files_is_removed() {
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
