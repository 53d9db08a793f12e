//! What writers left behind: whose it is, whether its writer may live, and when it goes.

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

/// How long a resumable download is kept: a person may need a night to see why it ended.
const RESUMABLE: Duration = Duration::from_secs(24 * 3600);

/// A blob whose download did not end, ours or another client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IncompleteBlob {
    pub(super) digest: Digest,
    pub(super) path: PathBuf,
    /// What distinguishes the writers of one blob. Older clients have one name for all, and resume what lies there.
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

    /// Where it is kept how much of it is there, if it is ours.
    pub(super) fn sidecar(&self, dir: &RepoDir) -> Option<PathBuf> {
        Some(dir.private_dir().join(format!("{}.{}.parts", self.digest, self.unique.as_ref()?)))
    }

    /// The space that it takes: files with gaps are longer than that.
    fn space(&self, dir: &RepoDir) -> u64 {
        let stat = dir.root().stat(&self.path).ok().filter(Metadata::is_file);
        stat.map_or(0, |stat| stat.blocks().saturating_mul(512))
    }

    /// Whether a later run of ours can resume it: its sidecar can be read.
    fn is_resumable(&self, dir: &RepoDir) -> bool {
        self.sidecar(dir).is_some_and(|sidecar| Parts::read_any(dir.root(), &sidecar).is_some())
    }
}

/// Whether it is a blob whose download did not end.
pub(super) fn is_incomplete(path: &Path) -> bool {
    IncompleteBlob::parse(path.to_owned()).is_some()
}

/// All incomplete blobs of a repo.
pub(super) fn incomplete_blobs(dir: &RepoDir) -> impl Iterator<Item = IncompleteBlob> + use<> {
    entries(dir, &dir.blobs()).filter_map(IncompleteBlob::parse)
}

/// The bytes of a blob that all its writers have downloaded so far: while they grow, one of them is alive.
#[must_use]
pub fn bytes_in_flight(dir: &RepoDir, digest: &Digest) -> u64 {
    incomplete_blobs(dir)
        .filter(|left| left.digest == *digest)
        .fold(0, |sum, left| sum.saturating_add(left.space(dir)))
}

/// The bytes of each blob that can be resumed: space that a download need not find again.
#[must_use]
pub fn resumable(dir: &RepoDir) -> HashMap<Digest, u64> {
    let mut found = HashMap::new();
    for left in incomplete_blobs(dir).filter(|left| left.is_resumable(dir)) {
        let most = found.entry(left.digest.clone()).or_default();
        *most = left.space(dir).max(*most);
    }
    found
}

/// The bytes that incomplete blobs of dead writers take, however recently they crashed.
#[must_use]
pub fn abandoned(dir: &RepoDir) -> u64 {
    incomplete_blobs(dir)
        .filter(|left| !left.is_resumable(dir) && !is_alive(dir, &left.path))
        .fold(0, |sum, left| sum.saturating_add(left.space(dir)))
}

/// Removes what crashed writers left behind: unlocked, and not written to for `age`. What can be resumed stays for a day,
/// or forever if it is `wanted` now. What only another client can resume stays for a day, unless its space is needed.
///
/// Where there are no locks, age alone decides, and a living writer can be hit after a silence of `age`: its run ends
/// with an error and has to be tried again. Nothing wrong becomes visible by it.
pub fn sweep(dir: &RepoDir, age: Duration, wanted: Option<&dyn Fn(&Digest) -> bool>) {
    for left in incomplete_blobs(dir) {
        let age = match (left.is_resumable(dir), wanted) {
            (true, Some(wanted)) if wanted(&left.digest) => continue,
            (true, None) => RESUMABLE,
            (false, None) if left.unique.is_none() => RESUMABLE,
            _ => age,
        };
        if is_quiet(dir, &left.path, age) && !is_alive(dir, &left.path) {
            report(&left.path, dir.root().unlink(&left.path));
        }
    }
    for path in entries(dir, &dir.blobs()).chain(entries(dir, &dir.private_dir())) {
        let leftover = match path.extension().and_then(OsStr::to_str) {
            Some("tmp" | "snapshot") => true,
            Some("parts") => !has_content(dir, &path),
            _ => false,
        };
        if leftover && is_quiet(dir, &path, age) && !is_alive(dir, &path) {
            report(&path, dir.root().remove_tree(&path));
        }
    }
}

fn has_content(dir: &RepoDir, parts: &Path) -> bool {
    let name = parts.file_stem().unwrap_or_default().to_string_lossy();
    dir.root().exists(&dir.blobs().join(format!("{name}.incomplete")))
}

pub(super) fn is_quiet(dir: &RepoDir, path: &Path, age: Duration) -> bool {
    let modified = dir.root().stat(path).and_then(|stat| stat.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|since| since >= age))
}

/// Whether its writer may be alive. That is unknown for the file of another user that we may not open.
pub(super) fn is_alive(dir: &RepoDir, path: &Path) -> bool {
    // Other clients lock the content and not the file.
    let digest =
        path.file_name().and_then(OsStr::to_str).and_then(|name| name.split('.').next()?.parse().ok());
    if digest.is_some_and(|digest| {
        matches!(AdvisoryLock::try_blob(dir, &digest), AdvisoryLock::Contended)
            || is_locked(dir, &dir.old_lock(&digest))
    }) {
        return true;
    }
    // Some network file systems lock only what is open for writing, and folders can only be read.
    let opened = match dir.root().stat(path) {
        Ok(stat) if stat.is_dir() => dir.root().open_folder(path),
        Ok(_) => dir.root().open_own(path),
        Err(error) => Err(error),
    };
    match opened {
        // No writer has a link, a device or the like, nor a file with other names.
        Err(error) if Foreign::in_answer(&error).is_some() => false,
        Ok(file) => matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Whether somebody holds a lock that may be another user's, who lets us read it at most.
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
        Ok(()) => tracing::info!(path = %path.display(), "removed a leftover of an earlier writer"),
        Err(error) => tracing::debug!(path = %path.display(), %error, "a leftover stays"),
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
    fn a_content_on_its_way_can_be_watched() {
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
    fn leftovers_are_swept_and_living_writers_are_not() {
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
    fn what_can_be_gone_on_with_goes_only_for_want_of_room() {
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
    fn what_may_be_alive_is_left_alone() {
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
    fn only_incomplete_contents_look_like_leftovers() {
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
    fn what_older_clients_left_is_known_and_their_locks_are() {
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
            assert!(left.iter().all(|path| path.exists()), "their writer lives");
            assert_eq!(abandoned(&dir), 0);
        }
        sweep(&dir, Duration::from_secs(600), Some(&|_| false));
        assert!(left.iter().all(|path| path.exists()), "they may grow still");
        sweep(&dir, Duration::ZERO, Some(&|_| true));
        assert!(!left.iter().any(|path| path.exists()), "their room is needed");
    }

    #[test]
    fn a_run_that_was_killed_as_it_began_leaves_nothing_to_go_on_with() {
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
    fn what_no_writer_leaves_is_removed_by_its_own_name() {
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
