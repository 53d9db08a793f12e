//! What was once verified: one small file for each selection of a commit, so that later runs need neither the Hub nor
//! another look at every byte, and two writers never merge.

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
/// Longer records and listings are not read. Enough for 200,000 files with paths of 400 bytes.
pub(super) const DOCUMENT: u64 = 128 << 20;
/// More patterns than this are no selection of ours.
const PATTERNS: usize = 10_000;
/// More files than this are no selection or listing of ours: a repo has at most so many.
pub(super) const FILES: usize = 200_000;
/// The clocks of two nodes may be this far apart. What a record says of a later time than that was not seen by anybody.
const SKEW: Duration = Duration::from_secs(60);

/// Which files of a commit are wanted: its patterns, in an order of their own so that the same ones compare equal.
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

    /// Those that a user's patterns select.
    #[must_use]
    pub fn of(patterns: &Patterns) -> Self {
        Self::new(patterns.include().map(str::to_owned), patterns.exclude().map(str::to_owned))
    }

    /// Whether every file is wanted.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// A short name for it: 16 hexadecimal digits.
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

/// One file that was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedFile {
    /// Where it lies in the repo.
    pub path: RepoPath,
    /// Its length in bytes.
    pub size: u64,
    /// Its hash.
    pub digest: Digest,
}

/// A selection of a commit that was once complete, with every hash right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "Stored")]
pub struct Record {
    format_version: u32,
    repo: RepoId,
    #[serde(rename = "type")]
    kind: RepoType,
    /// The commit of which it is a selection.
    pub commit: Commit,
    #[serde(flatten)]
    selection: Selection,
    /// The files, sorted by path.
    pub files: Vec<RecordedFile>,
    /// The length of all files together.
    pub bytes: u64,
    /// When the last of it was verified.
    pub verified_at: Timestamp,
}

impl Record {
    /// A record of what lies in `dir` now.
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

    /// The record of a selection, if there is one that can be used.
    #[must_use]
    pub fn read(dir: &RepoDir, commit: &Commit, selection: &Selection) -> Option<Self> {
        let record = Self::open(dir, &dir.record(commit, &selection.id())).ok()??;
        (record.commit == *commit && record.selection == *selection).then_some(record)
    }

    /// All records of a repo that can be used, one after the other: each may be long.
    pub fn all(dir: &RepoDir) -> impl Iterator<Item = Self> {
        let paths = disk::entries(dir.root(), &dir.private_dir()).map(|entry| entry.path);
        distinct(dir, paths).filter_map(|path| Self::open(dir, &path).ok().flatten())
    }

    /// The record in a file of our folder; `None` where it holds something else.
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

    /// Until when it vouches for what lies there. Not at all where its time has not come: nobody can have seen that.
    #[must_use]
    pub(super) fn vouches_until(&self) -> Option<SystemTime> {
        let at = SystemTime::from(self.verified_at);
        (at <= SystemTime::now() + SKEW).then_some(at)
    }

    /// Puts the record in place of an earlier one.
    pub fn write(&self, dir: &RepoDir) -> Result<(), CacheError> {
        let path = dir.record(&self.commit, &self.selection.id());
        disk::write_with(dir.root(), &path, &dir.private_dir(), |file| Ok(serde_json::to_writer(file, self)?))
    }

    /// The same record when what was written to since it was made still has the right hash. It is renewed then, so that
    /// this is read once.
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
        // Its size may be known from the record alone: see `verify`.
        let right = |file: &RecordedFile, entry: &Path| {
            !is_hollow(dir, entry).unwrap_or(false)
                && hash_file(dir, entry, file.size, &file.digest).unwrap_or(false)
        };
        if !changed.iter().all(|(file, entry)| right(file, entry)) {
            return None;
        }
        self.verified_at = Timestamp::now();
        if let Err(error) = self.write(dir) {
            tracing::debug!(%error, "the record stays as old as it is");
        }
        Some(self)
    }

    /// Whether every file is still there with its size, and no two are one on the medium. Content is not read: that is what
    /// `verify` is for.
    #[must_use]
    pub fn is_complete(&self, dir: &RepoDir) -> bool {
        self.files.iter().all(|file| resolve::has_size(dir, &dir.entry(&self.commit, &file.path), file.size))
            && merged(dir.root(), &dir.snapshot(&self.commit), self.files.iter().map(|file| &file.path))
                .is_none()
    }
}

/// A record as it is read. Unlike the record itself, it keeps nothing of unknown fields, however long these are.
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

/// Elements up to a number: a short one takes more memory than room in the file, and each file is looked at.
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

/// A name that is checked as it is read.
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
    fn a_record_of_many_names_is_read_once() {
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
    fn a_record_survives_the_disk_and_knows_what_is_missing() {
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

        // It was written to after the time of the record.
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
    fn a_damaged_or_foreign_record_counts_as_none() {
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
    fn a_record_from_the_future_vouches_for_nothing() {
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
        assert!(renewed.verified_at < later, "it was read, and has a time of its own");
    }

    #[test]
    fn what_is_no_record_is_not_read_for_long() {
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
