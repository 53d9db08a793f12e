//! Reads a cache again and compares every byte with what was recorded. Needs no Hub.

use std::{
    collections::{HashMap, HashSet},
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    disk,
    hash::hash_file,
    layout::{CacheDir, RepoDir},
    record::Record,
};
use crate::hub::{Digest, Repo};

/// What a look at every file of a repo has shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The repo.
    #[serde(flatten)]
    pub repo: Repo,
    /// How many contents were read.
    pub files: u64,
    /// How many bytes these have.
    pub bytes: u64,
    /// What is not as it should be.
    pub problems: Vec<Problem>,
}

/// A file that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, seen from the root of the cache.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.fault {
            Fault::Missing => write!(f, "{path} is missing"),
            Fault::Mismatch => write!(f, "{path} does not have the content that its hash says"),
            Fault::Unreadable(answer) => write!(f, "{path} cannot be read: {answer}"),
        }
    }
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// A record names it, and it is not there.
    Missing,
    /// Its size or its hash is another.
    Mismatch,
    /// It cannot be read, for the reason given.
    Unreadable(String),
}

/// Reads every repo of a cache.
#[must_use]
pub fn verify_all(cache: &CacheDir) -> Vec<Checked> {
    let mut repos: Vec<_> =
        disk::entries(cache.root()).filter_map(|entry| cache.parse(entry.file_name().to_str()?)).collect();
    repos.sort_unstable_by(|a, b| a.repo().cmp(b.repo()));
    repos.iter().map(verify).collect()
}

/// Reads every file that a record of the repo names, and every blob besides: its name is its hash, whoever wrote it.
#[must_use]
pub fn verify(dir: &RepoDir) -> Checked {
    let mut check = Check {
        seen: HashMap::new(),
        report: Checked { repo: dir.repo().clone(), files: 0, bytes: 0, problems: Vec::new() },
    };
    let mut named = HashSet::new();
    for record in Record::all(dir) {
        for file in record.files {
            let entry = dir.entry(&record.commit, &file.path);
            if named.insert(entry.clone()) {
                check.file(dir, &entry, Some(file.size), &file.digest);
            }
        }
    }
    for blob in disk::entries(&dir.blobs()) {
        if let Some(Ok(digest)) = blob.file_name().to_str().map(str::parse) {
            check.file(dir, &blob.path(), None, &digest);
        }
    }
    check.report.problems.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    check.report
}

struct Check {
    /// The contents that were read, links followed, so that each is read once.
    seen: HashMap<(PathBuf, Digest), Option<Fault>>,
    report: Checked,
}

impl Check {
    fn file(&mut self, dir: &RepoDir, path: &Path, size: Option<u64>, digest: &Digest) {
        let fault = match fs::canonicalize(path) {
            Ok(real) => self.content(real, size, digest),
            Err(error) => Some(fault_of(&error)),
        };
        if let Some(fault) = fault {
            let path = path.strip_prefix(dir.cache().root()).unwrap_or(path).to_owned();
            self.report.problems.push(Problem { path, fault });
        }
    }

    fn content(&mut self, real: PathBuf, size: Option<u64>, digest: &Digest) -> Option<Fault> {
        let key = (real, digest.clone());
        if let Some(fault) = self.seen.get(&key) {
            return fault.clone();
        }
        let judged = fs::metadata(&key.0).and_then(|stat| {
            self.report.files += 1;
            self.report.bytes += stat.len();
            hash_file(&key.0, size.unwrap_or(stat.len()), digest)
        });
        let fault = match judged {
            Ok(right) => (!right).then_some(Fault::Mismatch),
            Err(error) => Some(fault_of(&error)),
        };
        self.seen.insert(key, fault.clone());
        fault
    }
}

fn fault_of(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::NotFound => Fault::Missing,
        kind => Fault::Unreadable(kind.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::cache::{
        Links, Publication, Selection,
        testing::{COMMIT, file, put, repo_dir},
    };

    #[test]
    fn every_byte_is_read_once_and_every_fault_is_told() {
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

        let good = Checked { repo: dir.repo().clone(), files: 4, bytes: 16, problems: Vec::new() };
        assert_eq!(verify(&dir), good);
        assert_eq!(verify_all(dir.cache()), std::slice::from_ref(&good));

        fs::write(dir.blob(&files[0].digest), "oNe").unwrap();
        fs::remove_file(dir.blob(&files[2].digest)).unwrap();
        fs::write(dir.blob(&foreign.digest), "four?").unwrap();
        let problem =
            |path: String, fault| Problem { path: PathBuf::from("models--org--name").join(path), fault };
        let blob = |of: &crate::hub::RepoFile| format!("blobs/{}", of.digest);
        let mut expected = vec![
            problem(blob(&files[0]), Fault::Mismatch),
            problem(blob(&foreign), Fault::Mismatch),
            problem(format!("snapshots/{COMMIT}/a.txt"), Fault::Mismatch),
            problem(format!("snapshots/{COMMIT}/b/a.txt"), Fault::Mismatch),
            problem(format!("snapshots/{COMMIT}/c.txt"), Fault::Missing),
        ];
        expected.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(verify(&dir), Checked { files: 3, bytes: 13, problems: expected, ..good });
    }
}
