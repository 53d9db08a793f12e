//! Makes verified blobs visible in an order that never exposes a partial state: snapshot, listing, record, refs.

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

/// A selection of a commit whose blobs are all present and verified.
#[derive(Debug)]
pub struct Publication<'a> {
    /// The folder of the repo.
    pub dir: &'a RepoDir,
    /// The commit.
    pub commit: &'a Commit,
    /// The selection.
    pub selection: Selection,
    /// The files of the selection.
    pub files: &'a [RepoFile],
    /// The refs that will name the commit.
    pub refs: &'a [Revision],
    /// How the snapshot holds the files.
    pub links: Links,
}

impl Publication<'_> {
    /// Publishes it. Each step is atomic and happens only after those before it.
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
        clear_absences(dir, commit, self.files)?;
        record.write(dir)?;
        write_refs(dir, commit, refs)?;
        // `prune` rereads the refs after it has set a snapshot aside, and we check for the snapshot after writing the refs:
        // one of the two notices the other.
        let path = dir.snapshot(commit);
        if dir.root().is_folder(&path) { Ok(record) } else { Err(CacheError::Vanished { path }) }
    }
}

/// Removes stale absence markers: `huggingface_hub` checks them first and then does not look for the file.
fn clear_absences(dir: &RepoDir, commit: &Commit, files: &[RepoFile]) -> Result<(), CacheError> {
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
    fn a_snapshot_has_the_layout_that_readers_expect() {
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
    fn absence_markers_of_present_files_are_removed() {
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
    fn a_failure_leaves_no_partial_snapshot() {
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
    fn a_blob_removed_concurrently_is_reported_and_nothing_is_published() {
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
