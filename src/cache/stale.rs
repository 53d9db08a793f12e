//! Leftovers of writers: which client they belong to, whether their writer may be alive, and when they are removed.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{Metadata, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{disk, layout::RepoDir, lock::AdvisoryLock, parts::Parts, root::Foreign};
use crate::hub::Digest;

/// How long a resumable download is kept: the user may not notice a failure before the next day.
const RESUMABLE: Duration = Duration::from_secs(24 * 3600);

/// An incomplete blob, ours or another client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IncompleteBlob {
    pub(super) digest: Digest,
    pub(super) path: PathBuf,
    /// Distinguishes the writers of one blob. Older clients use one name for all, and resume an existing file.
    unique: Option<String>,
}

impl IncompleteBlob {
    fn parse(path: PathBuf) -> Option<Self> {
        let (digest, end) = path.file_name()?.to_str()?.split_once('.')?;
        let digest = digest.parse().ok()?;
        let unique = match end {
            // `huggingface_hub` before 2, and `hf-hub` before 1 in its two forms.
            "incomplete" | "part" | "sync.part" => None,
            // Ours, and `huggingface_hub` since.
            _ => {
                let unique = end.strip_suffix(".incomplete");
                Some(unique.filter(|unique| unique.len() == 8 && !unique.contains('.'))?.to_owned())
            }
        };
        Some(Self { digest, path, unique })
    }

    /// The path of its progress file, if it is ours.
    pub(super) fn sidecar(&self, dir: &RepoDir) -> Option<PathBuf> {
        Some(dir.private_dir().join(format!("{}.{}.parts", self.digest, self.unique.as_ref()?)))
    }

    /// The allocated bytes: sparse files are longer.
    fn space(&self, dir: &RepoDir) -> u64 {
        let stat = dir.root().stat(&self.path).ok().filter(Metadata::is_file);
        stat.map_or(0, |stat| stat.blocks().saturating_mul(512))
    }

    /// Whether a later run can resume it: its sidecar is valid.
    fn is_resumable(&self, dir: &RepoDir) -> bool {
        self.sidecar(dir).is_some_and(|sidecar| Parts::read_any(dir.root(), &sidecar).is_some())
    }
}

/// Whether it is an incomplete blob.
pub(super) fn is_incomplete(path: &Path) -> bool {
    IncompleteBlob::parse(path.to_owned()).is_some()
}

/// All incomplete blobs of a repo.
pub(super) fn incomplete_blobs(dir: &RepoDir) -> impl Iterator<Item = IncompleteBlob> + use<> {
    entries(dir, &dir.blobs()).filter_map(IncompleteBlob::parse)
}

/// The bytes that all writers of a blob have downloaded so far: while the sum grows, one of them is alive.
#[must_use]
pub fn bytes_in_flight(dir: &RepoDir, digest: &Digest) -> u64 {
    incomplete_blobs(dir)
        .filter(|left| left.digest == *digest)
        .fold(0, |sum, left| sum.saturating_add(left.space(dir)))
}

/// The bytes of each resumable blob: space that a download does not need again.
#[must_use]
pub fn resumable(dir: &RepoDir) -> HashMap<Digest, u64> {
    let mut found = HashMap::new();
    for left in incomplete_blobs(dir).filter(|left| left.is_resumable(dir)) {
        let most = found.entry(left.digest.clone()).or_default();
        *most = left.space(dir).max(*most);
    }
    found
}

/// The bytes of non-resumable blobs of dead writers, however recently they crashed.
#[must_use]
pub fn abandoned(dir: &RepoDir) -> u64 {
    incomplete_blobs(dir)
        .filter(|left| !left.is_resumable(dir) && !is_alive(dir, &left.path))
        .fold(0, |sum, left| sum.saturating_add(left.space(dir)))
}

/// Removes the leftovers of crashed writers: unlocked, and not modified for `age`. Resumable downloads are kept for a day,
/// or always if `wanted`. Those that only another client can resume are kept for a day, unless their space is needed.
///
/// Without locks, age alone decides, and a live writer that was idle for `age` can be hit: its run fails and has to be
/// retried, but nothing corrupt becomes visible.
pub fn sweep(dir: &RepoDir, age: Duration, wanted: Option<&dyn Fn(&Digest) -> bool>) {
    for left in incomplete_blobs(dir) {
        let age = match (left.is_resumable(dir), wanted) {
            (true, Some(wanted)) if wanted(&left.digest) => continue,
            (true, None) => RESUMABLE,
            (false, None) if left.unique.is_none() => RESUMABLE,
            _ => age,
        };
        if is_idle(dir, &left.path, age) && !is_alive(dir, &left.path) {
            report(&left.path, dir.root().unlink(&left.path));
        }
    }
    for path in entries(dir, &dir.blobs()).chain(entries(dir, &dir.private_dir())) {
        let leftover = match path.extension().and_then(OsStr::to_str) {
            Some("tmp" | "snapshot") => true,
            Some("parts") => !has_blob(dir, &path),
            _ => false,
        };
        if leftover && is_idle(dir, &path, age) && !is_alive(dir, &path) {
            report(&path, dir.root().remove_tree(&path));
        }
    }
}

fn has_blob(dir: &RepoDir, parts: &Path) -> bool {
    let name = parts.file_stem().unwrap_or_default().to_string_lossy();
    dir.root().exists(&dir.blobs().join(format!("{name}.incomplete")))
}

pub(super) fn is_idle(dir: &RepoDir, path: &Path, age: Duration) -> bool {
    let modified = dir.root().stat(path).and_then(|stat| stat.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|since| since >= age))
}

/// Whether its writer may be alive. True for a file of another user that we cannot open.
pub(super) fn is_alive(dir: &RepoDir, path: &Path) -> bool {
    // Other clients lock the blob, not the file.
    let digest =
        path.file_name().and_then(OsStr::to_str).and_then(|name| name.split('.').next()?.parse().ok());
    if digest.is_some_and(|digest| {
        matches!(AdvisoryLock::try_blob(dir, &digest), AdvisoryLock::Contended)
            || is_locked(dir, &dir.old_lock(&digest))
    }) {
        return true;
    }
    // Some network file systems lock only files opened for writing; folders can only be opened for reading.
    let opened = match dir.root().stat(path) {
        Ok(stat) if stat.is_dir() => dir.root().open_folder(path),
        Ok(_) => dir.root().open_own(path),
        Err(error) => Err(error),
    };
    match opened {
        // No writer creates links, devices or the like, or files with other hard links.
        Err(error) if Foreign::in_answer(&error).is_some() => false,
        Ok(file) => matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Whether a lock is held, even if its file is only readable for us.
fn is_locked(dir: &RepoDir, path: &Path) -> bool {
    let is_one = dir.root().stat(path).is_ok_and(|stat| stat.nlink() == 1);
    is_one
        && dir
            .root()
            .open_file(path)
            .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn report(path: &Path, removed: io::Result<()>) {
    match removed {
        Ok(()) => tracing::info!(path = %path.display(), "removed a stale file of a crashed writer"),
        Err(error) => tracing::debug!(path = %path.display(), %error, "cannot remove a stale file"),
    }
}

fn entries(dir: &RepoDir, folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    disk::entries(dir.root(), folder).map(|entry| entry.path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cache::{
        Partial,
        testing::{file, repo_dir},
    };

    #[test]
    fn the_bytes_in_flight_grow_with_every_writer() {
        let (_root, dir) = repo_dir();
        let (hello, other) = (file("a.txt", &[1; 5000]), file("b.txt", &[2; 5000]));
        let writers = [&hello, &hello, &other].map(|file| Partial::create(&dir, file, false).unwrap());
        assert_eq!(bytes_in_flight(&dir, &hello.digest), 0);
        for writer in &writers {
            writer.write(&mut writer.claim().unwrap(), &[1; 4096]).unwrap();
        }
        assert_eq!(bytes_in_flight(&dir, &hello.digest), 8192);
        assert_eq!(resumable(&dir)[&hello.digest], 4096);
    }

    #[test]
    fn stale_files_are_swept_and_live_writers_are_not() {
        let (_root, dir) = repo_dir();
        let hello = file("a.txt", b"hello");
        let living = Partial::create(&dir, &hello, false).unwrap();
        let dead = dir.incomplete(&hello.digest, 1);
        let folder = disk::unique(&dir.private_dir(), "snapshot");
        let (kept, orphan) = (dir.private_dir().join("0-0.json"), dir.parts(&hello.digest, 2));
        fs::create_dir(&folder).unwrap();
        fs::write(&kept, "{}").unwrap();
        fs::write(&orphan, "").unwrap();
        fs::write(&dead, [1; 4096]).unwrap();
        assert_eq!(abandoned(&dir), 4096);
        sweep(&dir, Duration::from_secs(600), None);
        assert!(dead.exists() && folder.exists() && orphan.exists(), "they are too young");
        sweep(&dir, Duration::ZERO, None);
        assert!(!dead.exists() && !folder.exists() && !orphan.exists() && kept.exists());
        assert_eq!(disk::entries(dir.root(), &dir.blobs()).count(), 1);
        drop(living);
    }

    #[test]
    fn resumable_downloads_are_removed_only_when_space_is_needed() {
        let (_root, dir) = repo_dir();
        let hello = file("a.txt", b"hello");
        let writer = Partial::create(&dir, &hello, false).unwrap();
        writer.write(&mut writer.claim().unwrap(), b"he").unwrap();
        drop(writer);
        sweep(&dir, Duration::ZERO, None);
        sweep(&dir, Duration::ZERO, Some(&|digest| *digest == hello.digest));
        assert_eq!((incomplete_blobs(&dir).count(), abandoned(&dir)), (1, 0));
        sweep(&dir, Duration::ZERO, Some(&|_| false));
        assert_eq!(
            (incomplete_blobs(&dir).count(), disk::entries(dir.root(), &dir.private_dir()).count()),
            (0, 0)
        );
    }

    #[test]
    fn possibly_live_writers_are_left_alone() {
        let (_root, dir) = repo_dir();
        let hello = file("a.txt", b"hello");
        let theirs = dir.incomplete(&hello.digest, 1);
        let probe = disk::unique(&dir.blobs(), "tmp");
        let folder = disk::unique(&dir.private_dir(), "snapshot");
        fs::create_dir(&folder).unwrap();
        for path in [&theirs, &probe] {
            fs::write(path, "he").unwrap();
        }
        let running = fs::File::open(&folder).unwrap();
        running.lock().unwrap();
        let lock = AdvisoryLock::try_blob(&dir, &hello.digest);
        sweep(&dir, Duration::ZERO, None);
        assert!(theirs.exists() && folder.exists() && !probe.exists());
        drop((running, lock));
        sweep(&dir, Duration::ZERO, None);
        assert!(!theirs.exists() && !folder.exists());
    }

    #[test]
    fn only_names_of_incomplete_blobs_are_recognized() {
        let hash = "ab".repeat(32);
        let is_incomplete = |path: &str| super::is_incomplete(Path::new(path));
        for end in ["0123abcd.incomplete", "incomplete", "part", "sync.part"] {
            assert!(is_incomplete(&format!("/x/{hash}.{end}")), "{end}");
            assert!(!is_incomplete(&format!("/x/notes.{end}")), "{end}");
        }
        for end in ["", ".", ".lock", ".part.x", ".0123.incomplete", ".a.b.c.d..incomplete"] {
            assert!(!is_incomplete(&format!("/x/{hash}{end}")), "{end}");
        }
    }

    #[test]
    fn leftovers_and_locks_of_older_clients_are_recognized() {
        let (_root, dir) = repo_dir();
        let hello = file("a.txt", b"hello");
        let left = ["incomplete", "part", "sync.part"].map(|end| dir.blob(&hello.digest).with_extension(end));
        for path in &left {
            fs::write(path, [1; 4096]).unwrap();
        }
        assert_eq!((bytes_in_flight(&dir, &hello.digest), abandoned(&dir)), (3 * 4096, 3 * 4096));
        assert!(resumable(&dir).is_empty());
        sweep(&dir, Duration::ZERO, None);
        assert!(left.iter().all(|path| path.exists()), "their writers may resume them");
        for lock in [dir.lock(&hello.digest), dir.old_lock(&hello.digest)] {
            fs::create_dir_all(lock.parent().unwrap()).unwrap();
            let lock = fs::File::create(lock).unwrap();
            lock.lock().unwrap();
            sweep(&dir, Duration::ZERO, Some(&|_| false));
            assert!(left.iter().all(|path| path.exists()), "their writer is alive");
            assert_eq!(abandoned(&dir), 0);
        }
        sweep(&dir, Duration::from_secs(600), Some(&|_| false));
        assert!(left.iter().all(|path| path.exists()), "they may still grow");
        sweep(&dir, Duration::ZERO, Some(&|_| true));
        assert!(!left.iter().any(|path| path.exists()), "their space is needed");
    }

    #[test]
    fn a_run_killed_at_its_start_leaves_nothing_to_resume() {
        let (_root, dir) = repo_dir();
        let hello = file("a.txt", b"hello");
        for sidecar in [&b""[..], b"mcparts1", b"mcparts1 and then nonsense of some length, but no numbers"] {
            let writer = Partial::create(&dir, &hello, false).unwrap();
            writer.write(&mut writer.claim().unwrap(), b"he").unwrap();
            drop(writer);
            let left = incomplete_blobs(&dir).next().unwrap();
            fs::write(left.sidecar(&dir).unwrap(), sidecar).unwrap();
            assert!(resumable(&dir).is_empty());
            assert!(abandoned(&dir) > 0);
            sweep(&dir, Duration::ZERO, Some(&|_| true));
            assert_eq!(
                (incomplete_blobs(&dir).count(), disk::entries(dir.root(), &dir.private_dir()).count()),
                (0, 0)
            );
        }
    }

    #[test]
    fn foreign_leftovers_are_removed_without_following_links() {
        let (root, dir) = repo_dir();
        let hello = file("a.txt", b"hello");
        let theirs = root.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        fs::write(theirs.join("file"), "theirs").unwrap();
        std::os::unix::fs::symlink(&theirs, dir.private_dir().join("1.snapshot")).unwrap();
        std::os::unix::fs::symlink(theirs.join("file"), dir.incomplete(&hello.digest, 1)).unwrap();
        fs::hard_link(theirs.join("file"), dir.blobs().join("2.tmp")).unwrap();
        fs::create_dir(dir.private_dir().join("3.tmp")).unwrap();
        std::os::unix::fs::symlink(&theirs, dir.private_dir().join("3.tmp/link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.private_dir().join("4.tmp")).unwrap();
        sweep(&dir, Duration::ZERO, None);
        let left = [dir.blobs(), dir.private_dir()].map(|folder| disk::entries(dir.root(), &folder).count());
        assert_eq!((left, fs::read(theirs.join("file")).unwrap()), ([0, 0], b"theirs".to_vec()));
    }
}
