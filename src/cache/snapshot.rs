//! The folder of a commit: built aside, looked at as a whole, and only then visible.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{
    disk::{self, TemporaryFile},
    error::{CacheError, While as _},
    layout::{RepoDir, link_target},
    lock,
};
use crate::hub::{Commit, Digest, RepoFile};

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

/// A blob that is, or was, moved into a snapshot.
#[derive(Debug)]
struct Move {
    blob: PathBuf,
    entry: PathBuf,
}

/// The files of a commit, all of them on the volume, that are to be seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot<'a> {
    pub(super) dir: &'a RepoDir,
    pub(super) commit: &'a Commit,
    pub(super) files: &'a [RepoFile],
    pub(super) links: Links,
}

impl Snapshot<'_> {
    /// A new snapshot is built aside and appears as a whole. One that is there, of another selection of the same
    /// commit, gets what it lacks.
    pub(super) fn publish(&self) -> Result<(), CacheError> {
        // Moving blobs, two writers would take them from each other.
        let _alone = (self.links == Links::Files).then(|| lock::alone(self.dir));
        let snapshot = self.dir.snapshot(self.commit);
        if snapshot.exists() {
            self.fill(&snapshot, &mut Vec::new())?;
            return self.check(&snapshot);
        }
        let mut aside = Aside::create(self.dir)?;
        self.fill(&aside.path, &mut aside.moved)?;
        self.check(&aside.path)?;
        match fs::rename(&aside.path, &snapshot) {
            Ok(()) => disk::sync_dir(&self.dir.snapshots()),
            Err(_) if snapshot.is_dir() => self.join(&aside.path, &snapshot)?,
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
        self.check(snapshot)
    }

    /// Nothing is shown that is not whole, whatever others have removed since it was seen.
    fn check(&self, root: &Path) -> Result<(), CacheError> {
        let entries = self.files.iter().map(|file| (root.join(file.path.as_str()), file.size));
        for (path, size) in entries {
            if !disk::has_size(&path, size) {
                return Err(CacheError::Vanished { path });
            }
        }
        Ok(())
    }

    /// Puts each file that has a blob in its place below `root`. Blobs are moved last, when nothing else can fail for
    /// want of space, and each into `moved`.
    fn fill(&self, root: &Path, moved: &mut Vec<Move>) -> Result<(), CacheError> {
        let linked = if self.links == Links::Files { self.linked() } else { HashSet::new() };
        let mut left: HashMap<&Digest, usize> = HashMap::new();
        for file in self.files {
            *left.entry(&file.digest).or_default() += 1;
        }
        let mut folders = HashSet::from([root.to_owned()]);
        let mut last_steps = Vec::new();
        disk::make_dirs(root)?;
        for file in self.files {
            let (blob, entry) = (self.dir.blob(&file.digest), root.join(file.path.as_str()));
            // The last user of a blob may move it away, the others must copy it.
            let last = left.get_mut(&file.digest).is_some_and(|left| {
                *left -= 1;
                *left == 0
            });
            if !disk::has_size(&blob, file.size) {
                // Without a blob, it is the snapshot's own file that was verified.
                if disk::has_size(&entry, file.size) {
                    continue;
                }
                return Err(CacheError::Vanished { path: blob });
            }
            if let Some(folder) = entry.parent() {
                disk::make_dirs(folder)?;
                let inside = folder.ancestors().take_while(|folder| folder.starts_with(root));
                folders.extend(inside.map(Path::to_owned));
            }
            match self.links {
                Links::Symlinks => self.link(&link_target(&file.path, &file.digest), &entry)?,
                Links::Files if last && is_own(&blob) && !linked.contains(file_name(&blob)) => {
                    last_steps.push(Move { blob, entry });
                }
                Links::Files => self.copy(&blob, &entry)?,
            }
        }
        for step in last_steps {
            fs::rename(&step.blob, &step.entry).map_err(|error| gone("create", &step.blob, error))?;
            moved.push(step);
        }
        for folder in &folders {
            disk::sync_dir(folder);
        }
        Ok(())
    }

    /// The blobs that entries besides ours are links to: these would dangle.
    fn linked(&self) -> HashSet<OsString> {
        let ours: HashSet<_> =
            self.files.iter().map(|file| self.dir.entry(self.commit, &file.path)).collect();
        let mut folders = vec![self.dir.snapshots()];
        let mut linked = HashSet::new();
        while let Some(folder) = folders.pop() {
            for entry in disk::entries(&folder) {
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(path),
                    Ok(kind) if kind.is_symlink() && !ours.contains(&path) => {
                        linked.extend(fs::read_link(&path).ok().map(|target| file_name(&target).to_owned()));
                    }
                    _ => {}
                }
            }
        }
        linked
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
        let mut from = File::open(blob).map_err(|error| gone("read", blob, error))?;
        io::copy(&mut from, &mut aside.file).during("write", entry)?;
        aside.put(entry)
    }
}

/// A blob that is not there any more has been removed by another; any other answer is told as it is.
fn gone(action: &'static str, blob: &Path, error: io::Error) -> CacheError {
    match fs::symlink_metadata(blob) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            CacheError::Vanished { path: blob.to_owned() }
        }
        _ => CacheError::new(action, blob, error),
    }
}

/// A link to a store of others points to nowhere from another place.
fn is_own(blob: &Path) -> bool {
    fs::symlink_metadata(blob).is_ok_and(|stat| stat.is_file())
}

fn file_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

/// A folder that is removed again unless it was renamed. The blobs in it go back, since they are verified.
struct Aside {
    path: PathBuf,
    moved: Vec<Move>,
    /// Tells `sweep` that we live.
    _lock: Option<File>,
}

impl Aside {
    fn create(dir: &RepoDir) -> Result<Self, CacheError> {
        let path = disk::unique(&dir.own(), "snapshot");
        disk::make_dirs(&path)?;
        let lock = File::open(&path).ok().filter(|folder| folder.try_lock().is_ok());
        Ok(Self { path, moved: Vec::new(), _lock: lock })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        for Move { blob, entry } in self.moved.iter().filter(|step| step.entry.exists()) {
            if let Err(error) = fs::rename(entry, blob) {
                tracing::warn!(path = %entry.display(), %error, "a content cannot be kept");
            }
        }
        if self.path.exists()
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a temporary folder stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::cache::testing::{COMMIT, file, listing, put, repo_dir};

    /// All but the lock, which stays.
    fn content(dir: &RepoDir) -> Vec<String> {
        let mut found = listing(&dir.path());
        found.retain(|path| !path.ends_with(".lock"));
        found
    }

    #[test]
    fn without_links_the_files_themselves_are_there() {
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
        assert_eq!(content(&dir), expected);
    }

    #[test]
    fn what_no_other_snapshot_needs_moves_whoever_brought_it() {
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
        assert_eq!(content(&dir), expected);
        assert_eq!(fs::read_to_string(dir.entry(&commit, &files[1].path)).unwrap(), "two");
    }

    #[test]
    fn a_failure_gives_back_what_was_moved() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let files = [file("a.txt", b"one"), file("b.txt", b"two")];
        files.iter().zip([b"one", b"two"]).for_each(|(file, bytes)| put(&dir, file, bytes));
        let before = content(&dir);
        let ours = Snapshot { dir: &dir, commit: &commit, files: &files, links: Links::Files };
        let mut aside = Aside::create(&dir).unwrap();
        ours.fill(&aside.path, &mut aside.moved).unwrap();
        assert!(!dir.blob(&files[0].digest).exists());
        drop(aside);
        assert_eq!(content(&dir), before);
    }

    #[test]
    fn a_snapshot_that_another_writer_made_meanwhile_is_joined() {
        for links in [Links::Symlinks, Links::Files] {
            let (_root, dir) = repo_dir();
            let commit: Commit = COMMIT.parse().unwrap();
            let files = [file("a/x.txt", b"one"), file("b.txt", b"two")];
            files.iter().zip([b"one", b"two"]).for_each(|(file, bytes)| put(&dir, file, bytes));
            let ours = Snapshot { dir: &dir, commit: &commit, files: &files, links };
            let theirs = Snapshot { files: &files[..1], ..ours };
            let mut aside = Aside::create(&dir).unwrap();
            ours.fill(&aside.path, &mut aside.moved).unwrap();
            put(&dir, &files[0], b"one");
            theirs.publish().unwrap();
            ours.join(&aside.path, &dir.snapshot(&commit)).unwrap();
            drop(aside);
            ours.check(&dir.snapshot(&commit)).unwrap();
            assert!(!content(&dir).iter().any(|path| path.starts_with(".modelcache")));
        }
    }

    #[test]
    fn a_writer_whose_blobs_another_has_taken_shows_no_part() {
        let (_root, dir) = repo_dir();
        let commit: Commit = COMMIT.parse().unwrap();
        let files = [file("a.txt", b"one"), file("b.txt", b"two")];
        files.iter().zip([b"one", b"two"]).for_each(|(file, bytes)| put(&dir, file, bytes));
        let first = Snapshot { dir: &dir, commit: &commit, files: &files, links: Links::Files };
        let mut aside = Aside::create(&dir).unwrap();
        first.fill(&aside.path, &mut aside.moved).unwrap();
        // As where locks do nothing.
        assert!(matches!(first.publish(), Err(CacheError::Vanished { .. })));
        assert!(!dir.snapshot(&commit).exists());
        fs::rename(&aside.path, dir.snapshot(&commit)).unwrap();
        drop(aside);
        first.publish().unwrap();
    }

    #[test]
    fn links_are_found_by_trying() {
        let (_root, dir) = repo_dir();
        assert_eq!(Links::of(&dir), Links::Symlinks);
        assert_eq!(disk::entries(&dir.own()).count(), 0);
    }
}
