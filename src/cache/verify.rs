//! Verifies a cache by rehashing every file. Does not contact the Hub.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fmt,
    fs::Metadata,
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    error::CacheError,
    hash::{hash_file, is_hollow},
    layout::{CacheDir, RepoDir},
    names::merged,
    record::Record,
    resolve,
    root::Foreign,
    scan, tree,
    walk::{Identity, distinct, identity},
};
use crate::{
    hub::{Digest, Repo},
    text::{of_path, serialize_path},
};

/// The result of verifying a repo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The repo.
    #[serde(flatten)]
    pub repo: Repo,
    /// The number of blobs read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Snapshot files with neither a record nor a blob, and blobs named by a mirror: their expected content is unknown.
    pub unchecked: u64,
    /// The problems found, sorted by path.
    pub problems: Vec<Problem>,
}

/// A file with a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, relative to the cache.
    #[serde(serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = of_path(&self.path);
        match &self.fault {
            Fault::Missing => write!(f, "{path} is missing"),
            Fault::Mismatch => write!(f, "{path} does not match its hash"),
            Fault::Unreadable(answer) => write!(f, "{path} cannot be read: {answer}"),
        }
    }
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// A record or a link names it, but it does not exist.
    Missing,
    /// Its size or hash differs.
    Mismatch,
    /// It cannot be read, for the reason given.
    Unreadable(String),
}

/// Verifies every repo of a cache. Fails if the repos cannot be listed.
pub fn verify_all(cache: &CacheDir) -> Result<Vec<Checked>, CacheError> {
    Ok(scan::repos(cache)?.iter().map(verify).collect())
}

/// Reads every file that a record of the repo names, and every other blob. A blob is named by its hash, unless a client got it
/// from a mirror with its own naming, so a mismatch is reported only if a record or a listing contains that hash.
#[must_use]
pub fn verify(dir: &RepoDir) -> Checked {
    let report = Checked { repo: dir.repo().clone(), files: 0, bytes: 0, unchecked: 0, problems: Vec::new() };
    let mut check = Check { dir, seen: HashMap::new(), hashes: HashSet::new(), report };
    let mut named = HashSet::new();
    for path in distinct(dir, check.list(&dir.private_dir())) {
        let record = match Record::open(dir, &path) {
            Ok(record) => record,
            Err(error) => {
                check.problem(&path, fault_of(&path, &error));
                continue;
            }
        };
        let Some(record) = record else { continue };
        let snapshot = dir.snapshot(&record.commit);
        if let Some((one, other)) = merged(dir.root(), &snapshot, record.files.iter().map(|file| &file.path))
        {
            let why = format!("the file system treats it as {one}");
            check.problem(&snapshot.join(other.as_str()), Fault::Unreadable(why));
        }
        for file in &record.files {
            let entry = dir.entry(&record.commit, &file.path);
            if named.insert(entry.clone()) {
                check.hashes.insert(file.digest.clone());
                check.file(&entry, Some(file.size), &file.digest);
            }
        }
    }
    for path in distinct(dir, check.list(&dir.trees())) {
        check.hashes.extend(tree::digests(dir, &path));
    }
    for blob in check.list(&dir.blobs()) {
        if let Some(Ok(digest)) = blob.file_name().and_then(OsStr::to_str).map(str::parse) {
            check.file(&blob, None, &digest);
        }
    }
    check.others(&named);
    check.report.problems.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    check.report
}

struct Check<'a> {
    dir: &'a RepoDir,
    /// The results of the blobs read so far, by file, so that each is read once.
    seen: HashMap<(Identity, Digest), Option<Fault>>,
    /// The hashes confirmed by a record or a listing.
    hashes: HashSet<Digest>,
    report: Checked,
}

impl Check<'_> {
    /// The paths in a folder, which may be missing. Any other error is a problem, since it may hide anything.
    fn list(&mut self, folder: &Path) -> Vec<PathBuf> {
        let listed = self.dir.root().entries(folder);
        match listed.and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path)).collect()) {
            Ok(paths) => paths,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    self.problem(folder, fault_of(folder, &error));
                }
                Vec::new()
            }
        }
    }

    /// Checks the snapshot entries that no record names. Those that link to a blob were read with it.
    fn others(&mut self, named: &HashSet<PathBuf>) {
        let known: HashSet<_> = self.seen.keys().map(|(identity, _)| *identity).collect();
        let mut folders = vec![self.dir.snapshots()];
        while let Some(folder) = folders.pop() {
            for path in self.list(&folder).into_iter().filter(|path| !named.contains(path)) {
                if self.dir.root().is_folder(&path) {
                    folders.push(path);
                    continue;
                }
                match resolve::resolve(self.dir, &path) {
                    Ok(found) => self.report.unchecked += u64::from(!known.contains(&identity(&found.stat))),
                    Err(error) => self.problem(&path, fault_of(&path, &error)),
                }
            }
        }
    }

    fn file(&mut self, path: &Path, size: Option<u64>, digest: &Digest) {
        let fault = match resolve::resolve(self.dir, path) {
            Ok(found) => self.blob(path, &found.stat, size, digest),
            Err(error) => Some(fault_of(path, &error)),
        };
        if let Some(fault) = fault {
            self.problem(path, fault);
        }
    }

    fn problem(&mut self, path: &Path, fault: Fault) {
        let path = path.strip_prefix(self.dir.cache().root()).unwrap_or(path).to_owned();
        self.report.problems.push(Problem { path, fault });
    }

    fn blob(&mut self, path: &Path, stat: &Metadata, size: Option<u64>, digest: &Digest) -> Option<Fault> {
        let key = (identity(stat), digest.clone());
        if let Some(fault) = self.seen.get(&key) {
            return fault.clone();
        }
        // A sparse file of any length, and a record of that length, are cheap to create and slow to read. If the record has
        // another length, nothing is read.
        if size.is_none_or(|size| size == stat.len()) && is_hollow(self.dir, path).unwrap_or(false) {
            let fault =
                Some(Fault::Unreadable("most of it was never written (it is a sparse file)".to_owned()));
            self.seen.insert(key, fault.clone());
            return fault;
        }
        let fault = match hash_file(self.dir, path, size.unwrap_or(stat.len()), digest) {
            Ok(false) if !self.hashes.contains(digest) => {
                self.report.unchecked += 1;
                self.seen.insert(key, None);
                return None;
            }
            Ok(right) => (!right).then_some(Fault::Mismatch),
            Err(error) => Some(fault_of(path, &error)),
        };
        self.report.files += 1;
        self.report.bytes += stat.len();
        self.seen.insert(key, fault.clone());
        fault
    }
}

fn fault_of(path: &Path, error: &io::Error) -> Fault {
    match (Foreign::in_answer(error), error.kind()) {
        (Some(foreign), _) if foreign.path == path => Fault::Unreadable(format!("it is {}", foreign.found)),
        (Some(foreign), _) => Fault::Unreadable(foreign.to_string()),
        (None, io::ErrorKind::NotFound) => Fault::Missing,
        // Our own errors have a message.
        (None, _) if error.get_ref().is_some() => Fault::Unreadable(error.to_string()),
        (None, kind) => Fault::Unreadable(kind.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pretty_assertions::assert_eq;

    use super::*;
    use crate::cache::{
        Links, Publication, Selection,
        testing::{COMMIT, file, put, repo_dir},
    };

    #[test]
    fn every_byte_is_read_once_and_every_fault_is_reported() {
        let (_root, dir) = repo_dir();
        let commit = COMMIT.parse().unwrap();
        let contents: [&[u8]; 4] = [b"one", b"one", b"two", b"three"];
        let files = ["a.txt", "b/a.txt", "c.txt", "d.txt"];
        let files: Vec<_> = files.iter().zip(contents).map(|(path, bytes)| file(path, bytes)).collect();
        files.iter().zip(contents).for_each(|(file, bytes)| put(&dir, file, bytes));
        let selection = Selection::default();
        let publication = Publication {
            dir: &dir,
            commit: &commit,
            selection,
            files: &files,
            refs: &[],
            links: Links::Symlinks,
        };
        publication.publish().unwrap();
        let foreign = file("foreign", b"four!");
        put(&dir, &foreign, b"four!");

        let good =
            Checked { repo: dir.repo().clone(), files: 4, bytes: 16, unchecked: 0, problems: Vec::new() };
        assert_eq!(verify(&dir), good);
        assert_eq!(verify_all(dir.cache()).unwrap(), std::slice::from_ref(&good));

        fs::write(dir.blob(&files[0].digest), "oNe").unwrap();
        fs::remove_file(dir.blob(&files[2].digest)).unwrap();
        fs::write(dir.blob(&foreign.digest), "four?").unwrap();
        let problem =
            |path: String, fault| Problem { path: PathBuf::from("models--org--name").join(path), fault };
        let blob = |of: &crate::hub::RepoFile| format!("blobs/{}", of.digest);
        let mut expected = vec![
            problem(blob(&files[0]), Fault::Mismatch),
            problem(format!("snapshots/{COMMIT}/a.txt"), Fault::Mismatch),
            problem(format!("snapshots/{COMMIT}/b/a.txt"), Fault::Mismatch),
            problem(format!("snapshots/{COMMIT}/c.txt"), Fault::Missing),
        ];
        expected.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(verify(&dir), Checked { files: 2, bytes: 8, unchecked: 1, problems: expected, ..good });
    }

    #[test]
    fn a_blob_named_by_a_mirror_is_not_a_mismatch() {
        let (_root, dir) = repo_dir();
        let (commit, hello) = (COMMIT.parse().unwrap(), file("a.txt", b"hello"));
        // As left by a client that names the blob by the SHA-1, or by the Xet hash.
        for name in ["ab".repeat(20), "cd".repeat(32), "\"5d41402abc4b2a76-1".to_owned()] {
            fs::create_dir_all(dir.snapshot(&commit)).unwrap();
            fs::write(dir.blobs().join(&name), "hello").unwrap();
            let entry = dir.entry(&commit, &hello.path);
            std::os::unix::fs::symlink(Path::new("../../blobs").join(&name), &entry).unwrap();
            let checked = verify(&dir);
            assert_eq!((checked.files, checked.unchecked, checked.problems), (0, 1, Vec::new()), "{name}");
            fs::remove_file(entry).unwrap();
            fs::remove_file(dir.blobs().join(name)).unwrap();
        }
        // If the Hub's listing contains the hash, the blob is corrupt.
        put(&dir, &hello, b"hello");
        fs::write(dir.blob(&hello.digest), "jello").unwrap();
        assert_eq!(verify(&dir).unchecked, 1);
        tree::write(&dir, &commit, std::slice::from_ref(&hello)).unwrap();
        let faults: Vec<_> = verify(&dir).problems.into_iter().map(|problem| problem.fault).collect();
        assert_eq!(faults, [Fault::Mismatch]);
    }

    #[test]
    fn files_that_were_not_read_are_not_reported_as_verified() {
        let (_root, dir) = repo_dir();
        let commit = COMMIT.parse().unwrap();
        let at = |path: &str| PathBuf::from("models--org--name").join(path);
        // As left by the official client on file systems without links.
        let hello = dir.entry(&commit, &"a/b.txt".parse().unwrap());
        fs::create_dir_all(hello.parent().unwrap()).unwrap();
        fs::write(&hello, "hello").unwrap();
        let checked = verify(&dir);
        assert_eq!((checked.files, checked.unchecked, checked.problems), (0, 1, Vec::new()));

        let link = |to: &str| std::os::unix::fs::symlink(to, hello.with_extension("link")).unwrap();
        let entry = at(&format!("snapshots/{COMMIT}/a/b.link"));
        link("../../../blobs/nothing");
        assert_eq!(verify(&dir).problems, [Problem { path: entry.clone(), fault: Fault::Missing }]);
        fs::remove_file(hello.with_extension("link")).unwrap();
        link("b.txt");
        // Cannot be listed, not even by root.
        fs::remove_dir(dir.blobs()).unwrap();
        fs::write(dir.blobs(), "").unwrap();
        let fault = Fault::Unreadable("it is a file".to_owned());
        let elsewhere =
            Fault::Unreadable("it is a link that does not lead to a blob of this cache".to_owned());
        let problems = vec![Problem { path: at("blobs"), fault }, Problem { path: entry, fault: elsewhere }];
        assert_eq!(verify(&dir).problems, problems);
        let nowhere = CacheDir::new(dir.path().join("nowhere"));
        let error = verify_all(&nowhere).unwrap_err();
        let CacheError::Io { error, .. } = error else { panic!("{error}") };
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
