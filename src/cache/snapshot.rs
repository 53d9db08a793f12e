//! Builds the folder of a commit: staged, checked as a whole, and only then made visible.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    disk::{self, TemporaryFile},
    error::{CacheError, IoContext as _},
    layout::{RepoDir, link_target},
    lock,
    names::Places,
    record::Record,
    resolve,
    root::Root,
};
use crate::{
    hub::{Commit, Digest, RepoFile, RepoPath},
    text::of_path,
};

/// How a snapshot holds its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// As links to the blobs.
    Symlinks,
    /// As the files themselves, on file systems without links: blobs are moved into the snapshot, as `huggingface_hub` does.
    Files,
}

impl Links {
    /// What the volume supports, determined by creating a link.
    #[must_use]
    pub fn of(dir: &RepoDir) -> Self {
        let path = disk::unique(&dir.private_dir(), "tmp");
        let made = dir.root().link(Path::new("nowhere"), &path).and_then(|()| dir.root().unlink(&path));
        if made.is_ok() { Self::Symlinks } else { Self::Files }
    }
}

/// A blob to move, or already moved, into a snapshot.
#[derive(Debug)]
struct Move<'a> {
    blob: PathBuf,
    entry: PathBuf,
    file: &'a RepoFile,
}

/// The files of a commit to publish, all of which are on the volume.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot<'a> {
    pub(super) dir: &'a RepoDir,
    pub(super) commit: &'a Commit,
    pub(super) files: &'a [RepoFile],
    pub(super) links: Links,
}

impl<'a> Snapshot<'a> {
    /// Stages a new snapshot and renames it into place as a whole. An existing one, of another selection of the same commit, gets
    /// the missing files.
    pub(super) fn publish(&self) -> Result<(), CacheError> {
        // Two writers that move blobs would take them from each other.
        let _lock = (self.links == Links::Files).then(|| lock::lock_repo(self.dir));
        let snapshot = self.dir.snapshot(self.commit);
        if self.root().exists(&snapshot) {
            self.fill(&snapshot, &mut Vec::new())?;
            return self.check(&snapshot);
        }
        let mut aside = Staged::create(self.dir)?;
        self.fill(&aside.path, &mut aside.moved)?;
        self.check(&aside.path)?;
        match self.root().rename(&aside.path, &snapshot) {
            Ok(()) => disk::sync_dir(self.root(), &self.dir.snapshots()),
            Err(_) if self.root().is_folder(&snapshot) => self.join(&aside.path, &snapshot)?,
            Err(error) => return Err(error).context("create", &snapshot),
        }
        Ok(())
    }

    fn root(&self) -> &'a Root {
        self.dir.root()
    }

    /// Merges the staged snapshot, file by file, into the one that another writer created meanwhile.
    fn join(&self, aside: &Path, snapshot: &Path) -> Result<(), CacheError> {
        let mut places = Places::of(self.root(), snapshot)?;
        for file in self.files {
            self.refuse_taken(&places, &file.path)?;
            let entry = snapshot.join(file.path.as_str());
            entry.parent().map_or(Ok(()), |folder| disk::make_dirs(self.root(), folder))?;
            disk::rename(self.root(), &aside.join(file.path.as_str()), &entry)?;
            places.put(&file.path);
        }
        self.check(snapshot)
    }

    /// Fails if the file system treats `path` as the name of another file of the commit.
    fn refuse_taken(&self, places: &Places<'_>, path: &RepoPath) -> Result<(), CacheError> {
        let Some(other) = places.taken(path) else { return Ok(()) };
        let is_other = |path: &RepoPath| Path::new(path.as_str()) == other;
        // An unknown file may be replaced, such as one whose name the file system normalized.
        let known = self.files.iter().any(|file| is_other(&file.path))
            || Record::all(self.dir)
                .filter(|record| record.commit == *self.commit)
                .any(|record| record.files.iter().any(|file| is_other(&file.path)));
        if !known {
            return Ok(());
        }
        let (one, other) = (of_path(&other), path.to_string());
        Err(CacheError::OneName { one, other, folder: self.dir.cache().root().to_owned() })
    }

    /// Checks that all files are complete, since others may have removed some meanwhile.
    fn check(&self, root: &Path) -> Result<(), CacheError> {
        for file in self.files {
            let path = root.join(file.path.as_str());
            if !resolve::has_size(self.dir, &path, file.size) {
                return Err(CacheError::Vanished { path });
            }
        }
        Ok(())
    }

    /// Links, copies or moves each file that has a blob into `root`. Blobs are moved last, when nothing else can run out of
    /// space, and collected in `moved`.
    fn fill(&self, root: &Path, moved: &mut Vec<Move<'a>>) -> Result<(), CacheError> {
        let linked = if self.links == Links::Files { self.linked() } else { HashSet::new() };
        let mut left: HashMap<&Digest, usize> = HashMap::new();
        for file in self.files {
            *left.entry(&file.digest).or_default() += 1;
        }
        let mut folders = HashSet::from([root.to_owned()]);
        let mut places = Places::of(self.root(), root)?;
        let mut last_steps = Vec::new();
        disk::make_dirs(self.root(), root)?;
        for file in self.files {
            self.refuse_taken(&places, &file.path)?;
            let (blob, entry) = (self.dir.blob(&file.digest), root.join(file.path.as_str()));
            // Only the last file that needs a blob may move it; the others must copy it.
            let last = left.get_mut(&file.digest).is_some_and(|left| {
                *left -= 1;
                *left == 0
            });
            if !resolve::has_size(self.dir, &blob, file.size) {
                // Without a blob, the snapshot's own file was verified.
                if resolve::has_size(self.dir, &entry, file.size) {
                    continue;
                }
                return Err(CacheError::Vanished { path: blob });
            }
            if let Some(folder) = entry.parent() {
                disk::make_dirs(self.root(), folder).map_err(|error| self.blamed(file, error))?;
                let inside = folder.ancestors().take_while(|folder| folder.starts_with(root));
                folders.extend(inside.map(Path::to_owned));
            }
            match self.links {
                Links::Symlinks => self.link(&link_target(&file.path, &file.digest), &entry),
                Links::Files if last && self.is_own(&blob) && !linked.contains(file_name(&blob)) => {
                    last_steps.push(Move { blob, entry, file });
                    continue;
                }
                Links::Files => self.copy(&blob, &entry, file.size),
            }
            .map_err(|error| self.blamed(file, error))?;
            places.put(&file.path);
        }
        for step in last_steps {
            self.refuse_taken(&places, &step.file.path)?;
            let renamed = self.root().rename(&step.blob, &step.entry);
            renamed.map_err(|error| {
                self.blamed(step.file, self.gone("create", &step.blob, &step.entry, error))
            })?;
            places.put(&step.file.path);
            moved.push(step);
        }
        for folder in &folders {
            disk::sync_dir(self.root(), folder);
        }
        Ok(())
    }

    /// Attributes an error to the file's name if nothing else can have caused it.
    fn blamed(&self, file: &RepoFile, error: CacheError) -> CacheError {
        // Some file systems answer "not found" for a name that they cannot store, although all parent folders exist.
        let gone = |folder: &Path| !self.root().is_folder(folder);
        match &error {
            CacheError::Io { path, error: cause, .. }
                if cause.kind() == io::ErrorKind::NotFound
                    && (path.parent().is_none_or(gone) || gone(&self.dir.private_dir())) =>
            {
                error
            }
            _ => error.for_name(self.dir.cache().root(), &file.path),
        }
    }

    /// The blobs to which other entries link: moving these would leave the links dangling.
    fn linked(&self) -> HashSet<OsString> {
        let ours: HashSet<_> =
            self.files.iter().map(|file| self.dir.entry(self.commit, &file.path)).collect();
        let mut folders = vec![self.dir.snapshots()];
        let mut linked = HashSet::new();
        while let Some(folder) = folders.pop() {
            for entry in disk::entries(self.root(), &folder) {
                if entry.kind.is_dir() {
                    folders.push(entry.path);
                } else if entry.kind.is_symlink() && !ours.contains(&entry.path) {
                    let target = self.root().read_link(&entry.path).ok();
                    linked.extend(target.map(|target| file_name(&target).to_owned()));
                }
            }
        }
        linked
    }

    /// Creates a link and renames it into place, so that a snapshot in use never lacks a file.
    fn link(&self, target: &Path, entry: &Path) -> Result<(), CacheError> {
        if self.root().read_link(entry).is_ok_and(|found| found == target) {
            return Ok(());
        }
        let aside = disk::unique(&self.dir.private_dir(), "tmp");
        self.root().link(target, &aside).context("create the link", entry)?;
        let renamed = self.root().rename(&aside, entry).context("create the link", entry);
        if renamed.is_err() {
            disk::remove(self.root(), &aside)?;
        }
        renamed
    }

    fn copy(&self, blob: &Path, entry: &Path, size: u64) -> Result<(), CacheError> {
        let mut aside = TemporaryFile::create(self.root(), &self.dir.private_dir())?;
        let from = resolve::open(self.dir, blob).map_err(|error| self.gone("read", blob, blob, error))?;
        io::copy(&mut from.take(size), &mut aside.file).context("write", entry)?;
        aside.put(entry)
    }

    /// `Vanished` if the blob no longer exists; otherwise the error itself, for `place`.
    fn gone(&self, action: &'static str, blob: &Path, place: &Path, error: io::Error) -> CacheError {
        match self.root().stat(blob) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                CacheError::Vanished { path: blob.to_owned() }
            }
            _ => CacheError::new(action, place, error),
        }
    }

    /// Whether the blob is a file. A relative link to a shared store would dangle after a move.
    fn is_own(&self, blob: &Path) -> bool {
        self.root().stat(blob).is_ok_and(|stat| stat.is_file())
    }
}

fn file_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

/// A staging folder that is removed on drop unless it was renamed. Moved blobs are put back, since they are verified.
struct Staged<'a> {
    root: &'a Root,
    path: PathBuf,
    moved: Vec<Move<'a>>,
    /// Shows `sweep` that we are alive.
    _lock: Option<File>,
}

impl<'a> Staged<'a> {
    fn create(dir: &'a RepoDir) -> Result<Self, CacheError> {
        let (root, path) = (dir.root(), disk::unique(&dir.private_dir(), "snapshot"));
        disk::make_dirs(root, &path)?;
        let lock = root.open_folder(&path).ok().filter(|folder| folder.try_lock().is_ok());
        Ok(Self { root, path, moved: Vec::new(), _lock: lock })
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        for Move { blob, entry, .. } in self.moved.iter().filter(|step| self.root.exists(&step.entry)) {
            if let Err(error) = self.root.rename(entry, blob) {
                tracing::warn!(path = %entry.display(), %error, "cannot put back a blob");
            }
        }
        if self.root.exists(&self.path)
            && let Err(error) = self.root.remove_tree(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a temporary folder");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use pretty_assertions::assert_eq;

    use super::*;
    use crate::cache::testing::{COMMIT, file, listing, put, repo_dir};

    /// All files but the lock.
    fn files_of(dir: &RepoDir) -> Vec<String> {
        let mut found = listing(&dir.path());
        found.retain(|path| !path.ends_with(".lock"));
        found
    }

    #[test]
    fn without_links_the_snapshot_holds_the_files() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let files = [file("a/x.txt", b"one"), file("b.txt", b"one"), file("c.txt", b"old")];
        let others = [file("o.txt", b"old")];
        put(&dir, &files[0], b"one");
        put(&dir, &files[2], b"old");
        let other: Commit = "ff".repeat(20).parse().unwrap();
        Snapshot { dir: &dir, commit: &other, files: &others, links: Links::Symlinks }.publish().unwrap();
        let ours = Snapshot { dir: &dir, commit: &commit, files: &files, links: Links::Files };
        for _ in 0..2 {
            ours.publish().unwrap();
        }
        let old = &files[2].digest;
        let expected = [
            format!("blobs/{old}"),
            format!("snapshots/{COMMIT}/a/x.txt"),
            format!("snapshots/{COMMIT}/b.txt"),
            format!("snapshots/{COMMIT}/c.txt"),
            format!("snapshots/{other}/o.txt -> ../../blobs/{old}"),
        ];
        assert_eq!(files_of(&dir), expected);
    }

    #[test]
    fn a_blob_that_no_other_snapshot_needs_is_moved() {
        let (root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let files = [file("a.txt", b"one"), file("b.txt", b"two")];
        put(&dir, &files[0], b"one");
        let stored = root.path().join("stored");
        fs::write(&stored, "two").unwrap();
        symlink("../../stored", dir.blob(&files[1].digest)).unwrap();
        Snapshot { dir: &dir, commit: &commit, files: &files, links: Links::Files }.publish().unwrap();
        let expected = [
            format!("blobs/{} -> ../../stored", files[1].digest),
            format!("snapshots/{COMMIT}/a.txt"),
            format!("snapshots/{COMMIT}/b.txt"),
        ];
        assert_eq!(files_of(&dir), expected);
        assert_eq!(fs::read_to_string(dir.entry(&commit, &files[1].path)).unwrap(), "two");
    }

    #[test]
    fn a_failure_puts_moved_blobs_back() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let files = [file("a.txt", b"one"), file("b.txt", b"two")];
        files.iter().zip([b"one", b"two"]).for_each(|(file, bytes)| put(&dir, file, bytes));
        let before = files_of(&dir);
        let ours = Snapshot { dir: &dir, commit: &commit, files: &files, links: Links::Files };
        let mut aside = Staged::create(&dir).unwrap();
        ours.fill(&aside.path, &mut aside.moved).unwrap();
        assert!(!dir.blob(&files[0].digest).exists());
        drop(aside);
        assert_eq!(files_of(&dir), before);
    }

    #[test]
    fn a_snapshot_created_concurrently_is_merged() {
        for links in [Links::Symlinks, Links::Files] {
            let (_root, dir) = repo_dir();
            let commit: Commit = COMMIT.parse().unwrap();
            let files = [file("a/x.txt", b"one"), file("b.txt", b"two")];
            files.iter().zip([b"one", b"two"]).for_each(|(file, bytes)| put(&dir, file, bytes));
            let ours = Snapshot { dir: &dir, commit: &commit, files: &files, links };
            let theirs = Snapshot { files: &files[..1], ..ours };
            let mut aside = Staged::create(&dir).unwrap();
            ours.fill(&aside.path, &mut aside.moved).unwrap();
            put(&dir, &files[0], b"one");
            theirs.publish().unwrap();
            ours.join(&aside.path, &dir.snapshot(&commit)).unwrap();
            drop(aside);
            ours.check(&dir.snapshot(&commit)).unwrap();
            assert!(!files_of(&dir).iter().any(|path| path.starts_with(".modelcache")));
        }
    }

    #[test]
    fn a_writer_whose_blobs_were_moved_by_another_publishes_nothing() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let files = [file("a.txt", b"one"), file("b.txt", b"two")];
        files.iter().zip([b"one", b"two"]).for_each(|(file, bytes)| put(&dir, file, bytes));
        let first = Snapshot { dir: &dir, commit: &commit, files: &files, links: Links::Files };
        let mut aside = Staged::create(&dir).unwrap();
        first.fill(&aside.path, &mut aside.moved).unwrap();
        // As on file systems without locks.
        assert!(matches!(first.publish(), Err(CacheError::Vanished { .. })));
        assert!(!dir.snapshot(&commit).exists());
        fs::rename(&aside.path, dir.snapshot(&commit)).unwrap();
        drop(aside);
        first.publish().unwrap();
    }

    #[test]
    fn link_support_is_probed() {
        let (_root, dir) = repo_dir();
        assert_eq!(Links::of(&dir), Links::Symlinks);
        assert_eq!(disk::entries(dir.root(), &dir.private_dir()).count(), 0);
    }
}
