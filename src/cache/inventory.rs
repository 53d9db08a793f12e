//! Which files of a commit are already on the volume, and whether they are known to be verified.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    error::{CacheError, IoContext as _},
    hash::hash_file,
    layout::RepoDir,
    record::Record,
    resolve,
    root::Foreign,
};
use crate::hub::{Commit, Digest, RepoFile};

/// The state of a file on the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Present, and a record confirms that it was verified.
    Trusted(PathBuf),
    /// Present with the right name and size; its hash has not been verified.
    Unproven(PathBuf),
    /// Missing, or of another size.
    Absent,
}

/// When each blob of a repo was last verified, according to its records.
#[derive(Debug, Default)]
pub struct Inventory {
    verified: HashMap<Digest, SystemTime>,
}

impl Inventory {
    /// Reads the records of a repo for these files.
    #[must_use]
    pub fn of(dir: &RepoDir, files: &[RepoFile]) -> Self {
        let wanted: HashSet<_> = files.iter().map(|file| &file.digest).collect();
        let mut verified = HashMap::new();
        for record in Record::all(dir) {
            let Some(at) = record.vouches_until() else { continue };
            for file in record.files.into_iter().filter(|file| wanted.contains(&file.digest)) {
                let latest = verified.entry(file.digest).or_insert(at);
                *latest = at.max(*latest);
            }
        }
        Self { verified }
    }

    /// The state of `file` of `commit`: as a blob or, on file systems without links, as an entry of the snapshot.
    #[must_use]
    pub fn state(&self, dir: &RepoDir, commit: &Commit, file: &RepoFile) -> State {
        let places = [dir.blob(&file.digest), dir.entry(commit, &file.path)];
        let place = places.into_iter().find(|place| resolve::has_size(dir, place, file.size));
        match place {
            Some(place) if self.vouches(dir, &file.digest, &place) => State::Trusted(place),
            Some(place) => State::Unproven(place),
            None => State::Absent,
        }
    }

    /// A record covers only what was written before it: another program may have modified the file since.
    fn vouches(&self, dir: &RepoDir, digest: &Digest, place: &Path) -> bool {
        let modified = resolve::resolve(dir, place).and_then(|found| found.stat.modified());
        match (self.verified.get(digest), modified) {
            (Some(verified), Ok(modified)) => modified <= *verified,
            _ => false,
        }
    }
}

/// Whether an unverified file matches its hash. Reads all of it; an unreadable file counts as a mismatch, since it can be
/// replaced.
pub fn verify_blob(dir: &RepoDir, place: &Path, file: &RepoFile) -> Result<bool, CacheError> {
    match hash_file(dir, place, file.size, &file.digest) {
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied || Foreign::in_answer(&error).is_some() =>
        {
            Ok(false)
        }
        other => other.context("read", place),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use pretty_assertions::assert_eq;

    use super::*;
    use crate::cache::{
        RecordedFile, Selection,
        testing::{COMMIT, file, put, repo_dir},
    };

    fn state(dir: &RepoDir, commit: &Commit, file: &RepoFile) -> State {
        Inventory::of(dir, std::slice::from_ref(file)).state(dir, commit, file)
    }

    #[test]
    fn only_files_verified_and_unmodified_since_are_trusted() {
        let (_root, dir) = repo_dir();
        let commit = COMMIT.parse().unwrap();
        let hello = file("a.txt", b"hello");
        let blob = dir.blob(&hello.digest);
        assert_eq!(state(&dir, &commit, &hello), State::Absent);
        put(&dir, &hello, b"hello");
        assert_eq!(state(&dir, &commit, &hello), State::Unproven(blob.clone()));
        assert!(verify_blob(&dir, &blob, &hello).unwrap());

        let recorded =
            RecordedFile { path: hello.path.clone(), size: hello.size, digest: hello.digest.clone() };
        let record = Record::new(&dir, &commit, Selection::default(), vec![recorded], jiff::Timestamp::now());
        record.write(&dir).unwrap();
        assert_eq!(state(&dir, &commit, &hello), State::Trusted(blob.clone()));

        fs::write(&blob, "jello").unwrap();
        let later = SystemTime::now() + Duration::from_secs(60);
        fs::File::options().write(true).open(&blob).unwrap().set_modified(later).unwrap();
        assert_eq!(state(&dir, &commit, &hello), State::Unproven(blob.clone()));
        assert!(!verify_blob(&dir, &blob, &hello).unwrap());
        fs::write(&blob, "hell").unwrap();
        assert_eq!(state(&dir, &commit, &hello), State::Absent);
    }

    #[test]
    fn without_links_the_snapshot_entry_is_found() {
        let (_root, dir) = repo_dir();
        let commit = COMMIT.parse().unwrap();
        let hello = file("a.txt", b"hello");
        let entry = dir.entry(&commit, &hello.path);
        fs::create_dir(dir.snapshot(&commit)).unwrap();
        fs::write(&entry, "hello").unwrap();
        assert_eq!(state(&dir, &commit, &hello), State::Unproven(entry));
    }
}
