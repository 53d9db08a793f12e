//! Makes verified blobs visible, in the order that never shows a part: snapshot, listing, record, refs.

use jiff::Timestamp;

use super::{
    disk,
    error::CacheError,
    layout::RepoDir,
    record::{Record, RecordedFile, Selection},
    refs::write_refs,
    snapshot::{Links, Snapshot},
    tree,
};
use crate::hub::{Commit, RepoFile, Revision};

/// A selection of a commit whose blobs are all on the volume and verified.
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
    /// The refs that will name the commit.
    pub refs: &'a [Revision],
    /// How the files are to lie in the snapshot.
    pub links: Links,
}

impl Publication<'_> {
    /// Makes it visible. Each step is whole or not at all, and a later one never without those before it.
    pub fn publish(&self) -> Result<Record, CacheError> {
        let &Self { dir, commit, ref selection, files, refs, links } = self;
        Snapshot { dir, commit, files, links }.publish()?;
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
        present(dir, commit, self.files)?;
        record.write(dir)?;
        write_refs(dir, commit, refs)?;
        // A `prune` looks for refs again after it has taken a snapshot away, and we for the snapshot after the refs: of
        // the two, one sees the other.
        let path = dir.snapshot(commit);
        if dir.root().is_folder(&path) { Ok(record) } else { Err(CacheError::Vanished { path }) }
    }
}

/// Files that are there now are not to be remembered as absent: `huggingface_hub` asks that first, and looks no further.
fn present(dir: &RepoDir, commit: &Commit, files: &[RepoFile]) -> Result<(), CacheError> {
    let absences = dir.absences().join(commit.as_str());
    if !dir.root().is_folder(&absences) {
        return Ok(());
    }
    let markers = files.iter().map(|file| absences.join(file.path.as_str()));
    markers
        .filter(|marker| dir.root().stat(marker).is_ok_and(|stat| !stat.is_dir()))
        .try_for_each(|marker| disk::remove(dir.root(), &marker))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pretty_assertions::assert_eq;

    use super::*;
    use crate::cache::{
        commit_of_ref,
        testing::{COMMIT, file, listing, put, repo_dir},
    };

    fn publication<'a>(dir: &'a RepoDir, commit: &'a Commit, files: &'a [RepoFile]) -> Publication<'a> {
        let selection = Selection::default();
        Publication { dir, commit, selection, files, refs: &[], links: Links::Symlinks }
    }

    #[test]
    fn a_snapshot_is_what_readers_expect() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let files = [file("a/b.txt", b"hello"), file("c.txt", b"hello"), file("d.txt", b"")];
        files.iter().zip([b"hello" as &[u8], b"hello", b""]).for_each(|(file, bytes)| put(&dir, file, bytes));
        let refs = ["main".parse().unwrap(), "refs/pr/1".parse().unwrap(), COMMIT.parse().unwrap()];
        let record = Publication { refs: &refs, ..publication(&dir, &commit, &files) }.publish().unwrap();
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
        put(&dir, &files[0], b"one");
        let selection = Selection::new(["a.*".to_owned()], []);
        Publication { selection, ..publication(&dir, &commit, &files[..1]) }.publish().unwrap();
        assert!(!dir.tree(&commit).exists(), "a part has no listing");

        let entry = dir.entry(&commit, &files[0].path);
        fs::remove_file(&entry).unwrap();
        fs::write(&entry, "bad").unwrap();
        put(&dir, &files[1], b"two");
        publication(&dir, &commit, &files).publish().unwrap();
        assert!(dir.tree(&commit).exists());
        assert_eq!(fs::read_to_string(&entry).unwrap(), "one");
        assert_eq!(Record::all(&dir).count(), 2);
        assert!(Record::all(&dir).all(|record| record.is_complete(&dir)));
    }

    #[test]
    fn what_is_there_is_not_remembered_as_absent() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let files = [file("a/b.txt", b"one"), file("c.txt", b"one")];
        put(&dir, &files[0], b"one");
        let absences = dir.absences().join(COMMIT);
        fs::create_dir_all(absences.join("a")).unwrap();
        for marker in ["a/b.txt", "c.txt", "other.txt"] {
            fs::write(absences.join(marker), "").unwrap();
        }
        publication(&dir, &commit, &files).publish().unwrap();
        assert_eq!(listing(&dir.absences()), [format!("{COMMIT}/other.txt")]);
    }

    #[test]
    fn a_failure_leaves_no_part_of_a_snapshot() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        // The second needs a folder where the first is a file.
        let files = [file("a", b"one"), file("a/b", b"one")];
        put(&dir, &files[0], b"one");
        let refs = ["main".parse().unwrap()];
        Publication { refs: &refs, ..publication(&dir, &commit, &files) }.publish().unwrap_err();
        assert_eq!(listing(&dir.path()), [format!("blobs/{}", files[0].digest)]);
    }

    #[test]
    fn what_has_vanished_since_it_was_seen_is_told_and_nothing_is_shown() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let files = [file("a", b"one"), file("b", b"two")];
        put(&dir, &files[0], b"one");
        let refs = ["main".parse().unwrap()];
        for links in [Links::Symlinks, Links::Files] {
            let ours = Publication { refs: &refs, links, ..publication(&dir, &commit, &files) };
            assert!(matches!(ours.publish(), Err(CacheError::Vanished { .. })));
            let mut left = listing(&dir.path());
            left.retain(|path| !path.ends_with(".lock"));
            assert_eq!(left, [format!("blobs/{}", files[0].digest)]);
        }
    }
}
