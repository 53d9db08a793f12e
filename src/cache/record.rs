//! Records of verified files: one small file per selection of a commit, so that later runs need neither contact the Hub nor
//! read every byte again, and concurrent writers never have to merge.

use std::{
    fmt,
    io::{self, BufReader, Read},
    marker::PhantomData,
    path::Path,
    str::FromStr,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};
use sha2::{Digest as _, Sha256};

use super::{
    disk,
    error::CacheError,
    hash::{hash_file, is_hollow},
    layout::RepoDir,
    names::merged,
    resolve,
    walk::distinct,
};
use crate::hub::{Commit, Digest, NameError, Patterns, Repo, RepoId, RepoPath, RepoType};

/// The only format so far.
const FORMAT: u32 = 1;
/// The longest record or listing that is read, in bytes. Enough for 200,000 files with paths of 400 bytes.
pub(super) const DOCUMENT: u64 = 128 << 20;
/// The most patterns in a selection.
const PATTERNS: usize = 10_000;
/// The most files in a selection or listing: the Hub's limit for a repo.
pub(super) const FILES: usize = 200_000;
/// The tolerated clock skew between nodes. A record dated further in the future is not believed.
const SKEW: Duration = Duration::from_secs(60);

/// Which files of a commit are wanted: the patterns, sorted so that equal sets compare equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Selection {
    /// The files that match any of `include` (all where it is empty) and none of `exclude`.
    pub fn new(include: impl IntoIterator<Item = String>, exclude: impl IntoIterator<Item = String>) -> Self {
        let canonical = |patterns: Vec<String>| {
            let mut patterns = patterns;
            patterns.sort_unstable();
            patterns.dedup();
            patterns
        };
        Self {
            include: canonical(include.into_iter().collect()),
            exclude: canonical(exclude.into_iter().collect()),
        }
    }

    /// The selection of a user's patterns.
    #[must_use]
    pub fn of(patterns: &Patterns) -> Self {
        Self::new(patterns.include().map(str::to_owned), patterns.exclude().map(str::to_owned))
    }

    /// Whether every file is wanted.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// A short ID: 16 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        for (kind, patterns) in [(b'+', &self.include), (b'-', &self.exclude)] {
            for pattern in patterns {
                hash.update([kind]);
                hash.update(pattern.len().to_be_bytes());
                hash.update(pattern);
            }
        }
        Digest::Sha256(hash.finalize().into()).to_string().split_off(48)
    }
}

/// One verified file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedFile {
    /// Its path in the repo.
    pub path: RepoPath,
    /// Its length in bytes.
    pub size: u64,
    /// Its hash.
    pub digest: Digest,
}

/// A selection of a commit that was complete and verified at `verified_at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "Stored")]
pub struct Record {
    format_version: u32,
    repo: RepoId,
    #[serde(rename = "type")]
    kind: RepoType,
    /// The commit.
    pub commit: Commit,
    #[serde(flatten)]
    selection: Selection,
    /// The files, sorted by path.
    pub files: Vec<RecordedFile>,
    /// The total size of the files.
    pub bytes: u64,
    /// When the last of the files was verified.
    pub verified_at: Timestamp,
}

impl Record {
    /// A record for the repo of `dir`.
    #[must_use]
    pub fn new(
        dir: &RepoDir,
        commit: &Commit,
        selection: Selection,
        mut files: Vec<RecordedFile>,
        verified_at: Timestamp,
    ) -> Self {
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Self {
            format_version: FORMAT,
            repo: dir.repo().id.clone(),
            kind: dir.repo().kind,
            commit: commit.clone(),
            selection,
            bytes: files.iter().fold(0, |sum, file| sum.saturating_add(file.size)),
            files,
            verified_at,
        }
    }

    /// The record of a selection, if there is a valid one.
    #[must_use]
    pub fn read(dir: &RepoDir, commit: &Commit, selection: &Selection) -> Option<Self> {
        let record = Self::open(dir, &dir.record(commit, &selection.id())).ok()??;
        (record.commit == *commit && record.selection == *selection).then_some(record)
    }

    /// All valid records of a repo, read one at a time since each may be large.
    pub fn all(dir: &RepoDir) -> impl Iterator<Item = Self> {
        let paths = disk::entries(dir.root(), &dir.private_dir()).map(|entry| entry.path);
        distinct(dir, paths).filter_map(|path| Self::open(dir, &path).ok().flatten())
    }

    /// Reads the record at `path`; `None` if the file is not a valid record of this repo.
    pub(super) fn open(dir: &RepoDir, path: &Path) -> io::Result<Option<Self>> {
        if path.extension().is_none_or(|end| end != "json") {
            return Ok(None);
        }
        Ok(Self::parse(dir, BufReader::new(dir.root().reader(path, DOCUMENT)?)))
    }

    fn parse(dir: &RepoDir, json: impl Read) -> Option<Self> {
        let record: Self = serde_json::from_reader(json).ok()?;
        let Repo { kind, id } = dir.repo();
        let ours = record.format_version == FORMAT && record.kind == *kind && record.repo == *id;
        ours.then_some(record)
    }

    /// The modification time up to which it covers its files. `None` if the record is dated in the future.
    #[must_use]
    pub(super) fn vouches_until(&self) -> Option<SystemTime> {
        let at = SystemTime::from(self.verified_at);
        (at <= SystemTime::now() + SKEW).then_some(at)
    }

    /// Writes the record, replacing an earlier one.
    pub fn write(&self, dir: &RepoDir) -> Result<(), CacheError> {
        let path = dir.record(&self.commit, &self.selection.id());
        disk::write_with(dir.root(), &path, &dir.private_dir(), |file| Ok(serde_json::to_writer(file, self)?))
    }

    /// Verifies the files modified since the record was written, and renews the record so that they are read only once. `None`
    /// if a hash does not match.
    #[must_use]
    pub fn confirmed(mut self, dir: &RepoDir) -> Option<Self> {
        let verified = self.vouches_until();
        let places = self.files.iter().map(|file| (file, dir.entry(&self.commit, &file.path)));
        let changed: Vec<_> = places
            .filter(|(_, entry)| {
                let modified = resolve::resolve(dir, entry).and_then(|found| found.stat.modified());
                !modified.is_ok_and(|at| verified.is_some_and(|verified| at <= verified))
            })
            .collect();
        if changed.is_empty() {
            return Some(self);
        }
        // A sparse file as long as the record says is cheap to create and slow to read.
        let right = |file: &RecordedFile, entry: &Path| {
            !is_hollow(dir, entry).unwrap_or(false)
                && hash_file(dir, entry, file.size, &file.digest).unwrap_or(false)
        };
        if !changed.iter().all(|(file, entry)| right(file, entry)) {
            return None;
        }
        self.verified_at = Timestamp::now();
        if let Err(error) = self.write(dir) {
            tracing::debug!(%error, "cannot renew the record");
        }
        Some(self)
    }

    /// Whether every file is present with its size, and no two collide on the file system. Content is not read: `verify` does
    /// that.
    #[must_use]
    pub fn is_complete(&self, dir: &RepoDir) -> bool {
        self.files.iter().all(|file| resolve::has_size(dir, &dir.entry(&self.commit, &file.path), file.size))
            && merged(dir.root(), &dir.snapshot(&self.commit), self.files.iter().map(|file| &file.path))
                .is_none()
    }
}

/// A record as it is parsed. Drops unknown fields, however long.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    format_version: u32,
    #[serde(deserialize_with = "parsed")]
    repo: RepoId,
    #[serde(rename = "type")]
    kind: RepoType,
    #[serde(deserialize_with = "parsed")]
    commit: Commit,
    #[serde(deserialize_with = "at_most::<PATTERNS, _, _>")]
    include: Vec<String>,
    #[serde(deserialize_with = "at_most::<PATTERNS, _, _>")]
    exclude: Vec<String>,
    #[serde(deserialize_with = "at_most::<FILES, _, _>")]
    files: Vec<RecordedFile>,
    bytes: u64,
    verified_at: Timestamp,
}

impl From<Stored> for Record {
    fn from(stored: Stored) -> Self {
        let Stored { format_version, repo, kind, commit, include, exclude, files, bytes, verified_at } =
            stored;
        let selection = Selection { include, exclude };
        Self { format_version, repo, kind, commit, selection, files, bytes, verified_at }
    }
}

/// A list of bounded length: a short element takes more memory than space in the file, and each one costs work.
fn at_most<'de, const MOST: usize, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    struct Elements<const MOST: usize, T>(PhantomData<T>);

    impl<'de, const MOST: usize, T: Deserialize<'de>> Visitor<'de> for Elements<MOST, T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MOST} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<T>, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = from.next_element()? {
                if elements.len() == MOST {
                    return Err(serde::de::Error::invalid_length(MOST + 1, &self));
                }
                elements.push(element);
            }
            Ok(elements)
        }
    }

    from.deserialize_seq(Elements::<MOST, T>(PhantomData))
}

/// A name that is validated while parsing.
fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err = NameError>>(from: D) -> Result<T, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;
    use crate::cache::testing::{COMMIT, file, repo_dir};

    fn strings(of: &[&str]) -> Vec<String> {
        of.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn selections_are_named_by_what_they_select() {
        let id = |include: &[&str], exclude: &[&str]| Selection::new(strings(include), strings(exclude)).id();
        assert_eq!(id(&["a", "b"], &[]), id(&["b", "a", "b"], &[]));
        assert_ne!(id(&["a"], &[]), id(&[], &["a"]));
        assert_ne!(id(&["a", "b"], &[]), id(&["ab"], &[]));
        assert_eq!(id(&[], &[]).len(), 16);
    }

    #[test]
    fn a_record_with_hard_links_is_read_once() {
        let (_root, dir) = repo_dir();
        let record =
            Record::new(&dir, &COMMIT.parse().unwrap(), Selection::default(), vec![], Timestamp::now());
        record.write(&dir).unwrap();
        let path = dir.record(&record.commit, &record.selection.id());
        for other in ["a.json", "b.json"] {
            fs::hard_link(&path, path.with_file_name(other)).unwrap();
        }
        assert_eq!(Record::all(&dir).collect::<Vec<_>>(), [record]);
    }

    #[test]
    fn a_record_round_trips_and_detects_missing_files() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let selection = Selection::new(strings(&["*.txt"]), []);
        let hello = file("a/b.txt", b"hello");
        let recorded =
            RecordedFile { path: hello.path.clone(), size: hello.size, digest: hello.digest.clone() };
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let record = Record::new(&dir, &commit, selection.clone(), vec![recorded], at);
        record.write(&dir).unwrap();
        let read = Record::read(&dir, &commit, &selection).unwrap();
        assert_eq!(read, record);
        assert_eq!(Record::all(&dir).collect::<Vec<_>>(), [record]);
        assert_eq!(Record::read(&dir, &commit, &Selection::default()), None);
        assert_eq!(
            serde_json::to_value(&read).unwrap(),
            json!({
                "formatVersion": 1, "repo": "org/name", "type": "model", "commit": COMMIT,
                "include": ["*.txt"], "exclude": [], "bytes": 5, "verifiedAt": "2026-01-02T03:04:05Z",
                "files": [{"path": "a/b.txt", "size": 5, "digest": hello.digest.to_string()}],
            })
        );

        assert!(!read.is_complete(&dir));
        let entry = dir.entry(&commit, &hello.path);
        fs::create_dir_all(entry.parent().unwrap()).unwrap();
        fs::write(&entry, "hello").unwrap();
        assert!(read.is_complete(&dir));

        // It was modified after the record was written.
        let renewed = read.clone().confirmed(&dir).unwrap();
        assert!(renewed.verified_at > at);
        assert_eq!(Record::read(&dir, &commit, &selection).unwrap(), renewed);
        fs::write(&entry, "jello").unwrap();
        assert!(read.is_complete(&dir));
        assert_eq!(read.clone().confirmed(&dir), None);

        fs::write(&entry, "hell").unwrap();
        assert!(!read.is_complete(&dir));
    }

    #[test]
    fn a_corrupt_or_foreign_record_is_ignored() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let path = dir.record(&commit, &Selection::default().id());
        let good = json!({
            "formatVersion": 1, "repo": "org/name", "type": "model", "commit": COMMIT, "include": [], "exclude": [],
            "bytes": 0, "verifiedAt": "2026-01-02T03:04:05Z", "files": [], "later": "unknown fields are fine",
        });
        fs::write(&path, good.to_string()).unwrap();
        assert!(Record::read(&dir, &commit, &Selection::default()).is_some());
        for (key, value) in
            [("formatVersion", json!(2)), ("repo", json!("org/other")), ("commit", json!("../x"))]
        {
            let mut bad = good.clone();
            bad[key] = value;
            fs::write(&path, bad.to_string()).unwrap();
            assert_eq!(Record::read(&dir, &commit, &Selection::default()), None, "{key}");
        }
        fs::write(&path, "{").unwrap();
        assert_eq!(Record::all(&dir).count(), 0);
    }

    #[test]
    fn a_record_from_the_future_covers_nothing() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let hello = file("b.txt", b"hello");
        let entry = dir.entry(&commit, &hello.path);
        fs::create_dir(dir.snapshot(&commit)).unwrap();
        let recorded = RecordedFile { path: hello.path, size: hello.size, digest: hello.digest };
        let at = |at: Timestamp| Record::new(&dir, &commit, Selection::default(), vec![recorded.clone()], at);
        let soon = Timestamp::now() + jiff::SignedDuration::from_secs(30);
        let later = Timestamp::now() + jiff::SignedDuration::from_hours(1);
        fs::write(&entry, "jello").unwrap();
        for (time, vouches) in [(soon, true), (later, false), (Timestamp::MAX, false)] {
            assert_eq!(at(time).vouches_until().is_some(), vouches, "{time}");
            assert_eq!(at(time).confirmed(&dir).is_some(), vouches, "{time}");
        }
        fs::write(&entry, "hello").unwrap();
        let renewed = at(later).confirmed(&dir).unwrap();
        assert!(renewed.verified_at < later, "it was verified now");
    }

    #[test]
    fn oversized_and_malformed_records_are_rejected_early() {
        let (_root, dir) = repo_dir();
        let path = dir.private_dir().join("0-0.json");
        fs::File::create(&path).unwrap().set_len(64 << 30).unwrap();
        assert_eq!(Record::open(&dir, &path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        fs::write(&path, format!("{}1{}", "[".repeat(1 << 20), "]".repeat(1 << 20))).unwrap();
        assert_eq!(Record::open(&dir, &path).unwrap(), None);
        let many = vec![""; PATTERNS + 1];
        let json = json!({
            "formatVersion": 1, "repo": "org/name", "type": "model", "commit": COMMIT, "include": many, "exclude": [],
            "bytes": 0, "verifiedAt": "2026-01-02T03:04:05Z", "files": [],
        });
        fs::write(&path, json.to_string()).unwrap();
        assert_eq!(Record::open(&dir, &path).unwrap(), None);
    }
}
