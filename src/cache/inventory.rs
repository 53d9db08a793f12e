//! What of a commit is on the volume already, and how far it can be trusted.

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

/// How a file stands on the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// A record vouches for what lies there.
    Trusted(PathBuf),
    /// Something of the right name and size lies there; only its hash can tell.
    Unproven(PathBuf),
    /// Nothing that could be it.
    Absent,
}

/// The records of a repo, by content.
#[derive(Debug, Default)]
pub struct Inventory {
    verified: HashMap<Digest, SystemTime>,
}

impl Inventory {
    /// Reads what the records of a repo say of these files.
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

    /// How `file` of `commit` stands: as a blob or, where links are not possible, as an entry of the snapshot.
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

    /// A record counts for what was there when it was made: another program may have written since.
    fn vouches(&self, dir: &RepoDir, digest: &Digest, place: &Path) -> bool {
        let modified = resolve::resolve(dir, place).and_then(|found| found.stat.modified());
        match (self.verified.get(digest), modified) {
            (Some(verified), Ok(modified)) => modified <= *verified,
            _ => false,
        }
    }
}

/// Whether an unproven file is what its name says. Reads all of it; what we may not read counts as wrong, since it can
/// be replaced.
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
    fn only_what_was_verified_and_not_touched_since_is_trusted() {
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
    fn where_links_are_not_possible_the_snapshot_has_it() {
        let (_root, dir) = repo_dir();
        let commit = COMMIT.parse().unwrap();
        let hello = file("a.txt", b"hello");
        let entry = dir.entry(&commit, &hello.path);
        fs::create_dir(dir.snapshot(&commit)).unwrap();
        fs::write(&entry, "hello").unwrap();
        assert_eq!(state(&dir, &commit, &hello), State::Unproven(entry));
    }
}
