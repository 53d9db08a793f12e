//! Makes verified contents visible, in the order that never shows a part: snapshot, listing, record, refs.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    disk::{self, TemporaryFile},
    error::{CacheError, While as _},
    layout::{RepoDir, link_target},
    record::{Record, RecordedFile, Selection},
    tree,
};
use crate::hub::{Commit, Digest, RepoFile, Revision};

/// How a snapshot holds its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// As links to the blobs.
    Symlinks,
    /// As the files themselves, where a file system has no links: blobs move to their place, as with `huggingface_hub`.
    Files,
}

impl Links {
    /// What the volume can do, found by trying.
    #[must_use]
    pub fn of(dir: &RepoDir) -> Self {
        let path = disk::unique(&dir.own(), "tmp");
        let made = symlink("nowhere", &path).and_then(|()| fs::remove_file(&path));
        if made.is_ok() { Self::Symlinks } else { Self::Files }
    }
}

/// A selection of a commit whose contents are all on the volume and verified.
#[derive(Debug)]
pub struct Publication<'a> {
    /// Where.
    pub dir: &'a RepoDir,
    /// Of which commit.
    pub commit: &'a Commit,
    /// What was selected.
    pub selection: Selection,
    /// The files of the selection.
    pub files: &'a [RepoFile],
    /// The contents that this run brought, which no other snapshot can need.
    pub fresh: &'a HashSet<Digest>,
    /// The refs that shall name the commit.
    pub refs: &'a [Revision],
    /// How the files are to lie in the snapshot.
    pub links: Links,
}

impl Publication<'_> {
    /// Makes it visible. Each step is whole or not at all, and a later one never without those before it.
    pub fn publish(&self) -> Result<Record, CacheError> {
        let Self { dir, commit, selection, files, refs, .. } = self;
        self.snapshot()?;
        if selection.is_all() {
            tree::write(dir, commit, files)?;
        } else {
            tree::remove_stale(dir, commit)?;
        }
        let recorded = |file: &RepoFile| RecordedFile {
            path: file.path.clone(),
            size: file.size,
            digest: file.digest.clone(),
        };
        let files = files.iter().map(recorded).collect();
        let record = Record::new(dir, commit, selection.clone(), files, Timestamp::now());
        record.write(dir)?;
        write_refs(dir, commit, refs)?;
        Ok(record)
    }

    /// A new snapshot is built aside and appears as a whole. One that is there, of another selection of the same
    /// commit, gets what it lacks.
    fn snapshot(&self) -> Result<(), CacheError> {
        let snapshot = self.dir.snapshot(self.commit);
        if snapshot.exists() {
            return self.fill(&snapshot);
        }
        let aside = Aside(disk::unique(&self.dir.own(), "snapshot"));
        self.fill(&aside.0)?;
        match fs::rename(&aside.0, &snapshot) {
            Ok(()) => disk::sync_dir(&self.dir.snapshots()),
            Err(_) if snapshot.is_dir() => self.join(&aside.0, &snapshot)?,
            Err(error) => return Err(error).during("create", &snapshot),
        }
        Ok(())
    }

    /// Another writer has made the snapshot meanwhile: ours joins it, file by file.
    fn join(&self, aside: &Path, snapshot: &Path) -> Result<(), CacheError> {
        for file in self.files {
            let entry = snapshot.join(file.path.as_str());
            entry.parent().map_or(Ok(()), disk::make_dirs)?;
            disk::rename(&aside.join(file.path.as_str()), &entry)?;
        }
        Ok(())
    }

    /// Puts each file that has a blob in its place below `root`.
    fn fill(&self, root: &Path) -> Result<(), CacheError> {
        let mut left: Vec<&Digest> = self.files.iter().map(|file| &file.digest).collect();
        let mut folders = HashSet::from([root.to_owned()]);
        disk::make_dirs(root)?;
        for file in self.files {
            // The last user of a blob may move it away, the others must copy it.
            left.swap_remove(left.iter().position(|digest| **digest == file.digest).unwrap_or_default());
            let blob = self.dir.blob(&file.digest);
            // Without a blob, it is the snapshot's own file that was verified.
            if !blob.exists() {
                continue;
            }
            let entry = root.join(file.path.as_str());
            if let Some(folder) = entry.parent() {
                disk::make_dirs(folder)?;
                folders.insert(folder.to_owned());
            }
            match self.links {
                Links::Symlinks => self.link(&link_target(&file.path, &file.digest), &entry)?,
                Links::Files if self.fresh.contains(&file.digest) && !left.contains(&&file.digest) => {
                    fs::rename(&blob, &entry).during("create", &entry)?;
                }
                Links::Files => self.copy(&blob, &entry)?,
            }
        }
        for folder in &folders {
            disk::sync_dir(folder);
        }
        Ok(())
    }

    /// A link is made aside too, and renamed: a snapshot that is in use never lacks a file for a moment.
    fn link(&self, target: &Path, entry: &Path) -> Result<(), CacheError> {
        if fs::read_link(entry).is_ok_and(|found| found == target) {
            return Ok(());
        }
        let aside = disk::unique(&self.dir.own(), "tmp");
        symlink(target, &aside).during("create the link", entry)?;
        let renamed = fs::rename(&aside, entry).during("create the link", entry);
        if renamed.is_err() {
            disk::remove(&aside)?;
        }
        renamed
    }

    fn copy(&self, blob: &Path, entry: &Path) -> Result<(), CacheError> {
        let mut aside = TemporaryFile::create(&self.dir.own())?;
        let mut from = fs::File::open(blob).during("read", blob)?;
        io::copy(&mut from, &mut aside.file).during("write", entry)?;
        aside.put(entry)
    }
}

/// A folder that is removed again unless it was renamed.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        if self.0.exists()
            && let Err(error) = fs::remove_dir_all(&self.0)
        {
            tracing::warn!(path = %self.0.display(), %error, "a temporary folder stays behind");
        }
    }
}

/// Lets refs name a commit. They hold the hash and nothing else: readers take even a newline for a part of it.
pub fn write_refs(dir: &RepoDir, commit: &Commit, refs: &[Revision]) -> Result<(), CacheError> {
    for revision in refs {
        // A commit stands for itself, and no reader would look for it there.
        if revision.as_commit().is_some() || commit_of_ref(dir, revision).as_ref() == Some(commit) {
            continue;
        }
        let path = dir.reference(revision);
        path.parent().map_or(Ok(()), disk::make_dirs)?;
        disk::write_whole(&path, &dir.own(), commit.as_str().as_bytes())?;
    }
    Ok(())
}

/// The commit that a revision stands for in this cache.
#[must_use]
pub fn commit_of_ref(dir: &RepoDir, revision: &Revision) -> Option<Commit> {
    let read = || fs::read_to_string(dir.reference(revision)).ok()?.parse().ok();
    revision.as_commit().or_else(read)
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::cache::testing::{COMMIT, file, listing, put, repo_dir};

    fn publication<'a>(
        dir: &'a RepoDir,
        commit: &'a Commit,
        files: &'a [RepoFile],
        fresh: &'a HashSet<Digest>,
    ) -> Publication<'a> {
        let selection = Selection::default();
        Publication { dir, commit, selection, files, fresh, refs: &[], links: Links::Symlinks }
    }

    #[test]
    fn a_snapshot_is_what_readers_expect() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let files = [file("a/b.txt", b"hello"), file("c.txt", b"hello"), file("d.txt", b"")];
        files.iter().zip([b"hello" as &[u8], b"hello", b""]).for_each(|(file, bytes)| put(&dir, file, bytes));
        let refs = ["main".parse().unwrap(), "refs/pr/1".parse().unwrap(), COMMIT.parse().unwrap()];
        let fresh = HashSet::new();
        let record =
            Publication { refs: &refs, ..publication(&dir, &commit, &files, &fresh) }.publish().unwrap();
        assert!(record.is_complete(&dir));
        let (hello, empty) = (&files[0].digest, &files[2].digest);
        assert_eq!(
            listing(&dir.path()),
            [
                format!(".modelcache/{COMMIT}-{}.json", Selection::default().id()),
                format!("blobs/{hello}"),
                format!("blobs/{empty}"),
                "refs/main".to_owned(),
                "refs/refs/pr/1".to_owned(),
                format!("snapshots/{COMMIT}/a/b.txt -> ../../../blobs/{hello}"),
                format!("snapshots/{COMMIT}/c.txt -> ../../blobs/{hello}"),
                format!("snapshots/{COMMIT}/d.txt -> ../../blobs/{empty}"),
                format!("trees/{COMMIT}.json"),
            ]
        );
        assert_eq!(fs::read(dir.reference(&refs[0])).unwrap(), COMMIT.as_bytes());
        assert_eq!(commit_of_ref(&dir, &refs[1]), Some(commit));
    }

    #[test]
    fn a_second_selection_joins_the_first_and_repairs_its_links() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let files = [file("a.txt", b"one"), file("b.txt", b"two")];
        let fresh = HashSet::new();
        put(&dir, &files[0], b"one");
        let selection = Selection::new(["a.*".to_owned()], []);
        Publication { selection, ..publication(&dir, &commit, &files[..1], &fresh) }.publish().unwrap();
        assert!(!dir.tree(&commit).exists(), "a part has no listing");

        let entry = dir.entry(&commit, &files[0].path);
        fs::remove_file(&entry).unwrap();
        fs::write(&entry, "bad").unwrap();
        put(&dir, &files[1], b"two");
        publication(&dir, &commit, &files, &fresh).publish().unwrap();
        assert!(dir.tree(&commit).exists());
        assert_eq!(fs::read_to_string(&entry).unwrap(), "one");
        assert_eq!(Record::all(&dir).len(), 2);
        assert!(Record::all(&dir).iter().all(|record| record.is_complete(&dir)));
    }

    #[test]
    fn without_links_the_files_themselves_are_there() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let files = [file("a/x.txt", b"one"), file("b.txt", b"one"), file("c.txt", b"old")];
        put(&dir, &files[0], b"one");
        put(&dir, &files[2], b"old");
        let fresh = HashSet::from([files[0].digest.clone()]);
        let published = Publication { links: Links::Files, ..publication(&dir, &commit, &files, &fresh) };
        for _ in 0..2 {
            assert!(published.publish().unwrap().is_complete(&dir));
        }
        let expected = [
            format!(".modelcache/{COMMIT}-{}.json", Selection::default().id()),
            format!("blobs/{}", files[2].digest),
            format!("snapshots/{COMMIT}/a/x.txt"),
            format!("snapshots/{COMMIT}/b.txt"),
            format!("snapshots/{COMMIT}/c.txt"),
            format!("trees/{COMMIT}.json"),
        ];
        assert_eq!(listing(&dir.path()), expected);
    }

    #[test]
    fn a_failure_leaves_no_part_of_a_snapshot() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        // The second needs a folder where the first is a file.
        let files = [file("a", b"one"), file("a/b", b"one")];
        put(&dir, &files[0], b"one");
        let fresh = HashSet::new();
        let refs = ["main".parse().unwrap()];
        Publication { refs: &refs, ..publication(&dir, &commit, &files, &fresh) }.publish().unwrap_err();
        assert_eq!(listing(&dir.path()), [format!("blobs/{}", files[0].digest)]);
    }

    #[test]
    fn a_snapshot_that_another_writer_made_meanwhile_is_joined() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let files = [file("a/x.txt", b"one")];
        put(&dir, &files[0], b"one");
        let fresh = HashSet::new();
        let ours = publication(&dir, &commit, &files, &fresh);
        let aside = Aside(dir.own().join("0.snapshot"));
        ours.fill(&aside.0).unwrap();
        ours.snapshot().unwrap();
        ours.join(&aside.0, &dir.snapshot(&commit)).unwrap();
        drop(aside);
        let blob = &files[0].digest;
        assert_eq!(
            listing(&dir.path()),
            [format!("blobs/{blob}"), format!("snapshots/{COMMIT}/a/x.txt -> ../../../blobs/{blob}")]
        );
    }

    #[test]
    fn links_are_found_by_trying() {
        let (_root, dir) = repo_dir();
        assert_eq!(Links::of(&dir), Links::Symlinks);
        assert_eq!(disk::entries(&dir.own()).count(), 0);
    }
}
