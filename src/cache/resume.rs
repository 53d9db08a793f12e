//! Takes over the incomplete download of an earlier run, unless its writer may still be alive. Knows no network.

use std::{
    fs::{File, TryLockError},
    path::Path,
    time::{Duration, SystemTime},
};

use super::{
    disk::TemporaryFile,
    error::CacheError,
    layout::RepoDir,
    partial::Partial,
    parts::{Parts, ResumeState},
    stale::incomplete_blobs,
};
use crate::hub::RepoFile;

/// How long a file must be unmodified before its writer counts as dead.
#[derive(Clone, Copy, Debug)]
pub struct IdleThresholds {
    /// If locks work, but the writer may run on another machine whose locks may not be visible here.
    pub elsewhere: Duration,
    /// If locks do not work.
    pub without_locks: Duration,
}

/// What there is to resume.
#[derive(Debug)]
pub enum Resume {
    /// The largest download left by a dead run.
    Partial(Box<Partial>),
    /// Only downloads whose writers may still be alive: the bytes of the largest.
    Unknown(u64),
    /// Nothing.
    Nothing,
}

/// Takes over what an earlier run has downloaded of a blob.
pub fn resume(dir: &RepoDir, file: &RepoFile, idle: IdleThresholds) -> Result<Resume, CacheError> {
    let mut found: Vec<_> = incomplete_blobs(dir)
        .filter(|left| left.digest == file.digest)
        .filter_map(|left| {
            let sidecar = left.sidecar(dir)?;
            let kept = Parts::read(dir.root(), &sidecar, file.size)?;
            (kept.present() > 0).then_some((left.path, sidecar, kept))
        })
        .collect();
    found.sort_unstable_by_key(|(.., kept)| std::cmp::Reverse(kept.present()));
    let mut unknown = 0;
    for (path, sidecar, kept) in found {
        let Some(locked) = Locked::take(dir, &path) else { continue };
        if !locked.is_dead(dir, &kept, &sidecar, idle) {
            unknown = unknown.max(kept.present());
            continue;
        }
        if let Some(partial) = claim(dir, file, [&path, &sidecar], kept, locked) {
            tracing::info!(path = %file.path, bytes = partial.resumed(), "resuming an earlier download");
            return Ok(Resume::Partial(Box::new(partial)));
        }
    }
    Ok(if unknown > 0 { Resume::Unknown(unknown) } else { Resume::Nothing })
}

/// An incomplete blob that no other process visibly has locked.
struct Locked {
    file: File,
    /// Whether locks have an effect here.
    locks_work: bool,
}

impl Locked {
    /// `None` if its writer is alive, or if it is not writable for us.
    fn take(dir: &RepoDir, path: &Path) -> Option<Self> {
        let open = || dir.root().open_own(path);
        let file = open().ok()?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => None,
            // Some file systems grant every lock, so a second one must be refused before the first is believed.
            Ok(()) => {
                let locks_work = matches!(open().ok()?.try_lock(), Err(TryLockError::WouldBlock));
                Some(Self { file, locks_work })
            }
            Err(TryLockError::Error(_)) => Some(Self { file, locks_work: false }),
        }
    }

    fn is_dead(&self, dir: &RepoDir, kept: &ResumeState, sidecar: &Path, idle: IdleThresholds) -> bool {
        let written = [self.file.metadata(), dir.root().stat(sidecar)];
        let written = written.into_iter().flatten().filter_map(|stat| stat.modified().ok()).max();
        let idle_for = written.and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default();
        match (self.locks_work, kept.same_boot) {
            (true, true) => true,
            (true, false) => idle_for >= idle.elsewhere,
            (false, _) => idle_for >= idle.without_locks,
        }
    }
}

/// Claims it by renaming. If two processes try, one of them finds the old name gone.
fn claim(
    dir: &RepoDir,
    file: &RepoFile,
    left: [&Path; 2],
    kept: ResumeState,
    locked: Locked,
) -> Option<Partial> {
    // A longer file cannot be a part of this blob.
    if !(kept.extent()..=file.size).contains(&locked.file.metadata().ok()?.len()) {
        return None;
    }
    let unique = fastrand::u32(..);
    let (path, sidecar) = (dir.incomplete(&file.digest, unique), dir.parts(&file.digest, unique));
    let [old_path, old_sidecar] = left;
    dir.root().rename(old_sidecar, &sidecar).ok()?;
    dir.root().rename(old_path, &path).ok()?;
    let parts = kept.resume(dir.root(), &sidecar).ok()?;
    Some(Partial::new(dir, file, TemporaryFile::of(dir.root(), locked.file, path), sidecar, parts))
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use std::fs;

    use super::*;
    use crate::cache::testing::{lfs_file, listing, repo_dir};

    const PATIENT: IdleThresholds =
        IdleThresholds { elsewhere: Duration::from_secs(60), without_locks: Duration::from_secs(600) };

    fn large() -> (RepoFile, Vec<u8>) {
        let content = vec![7; 10 << 20];
        (lfs_file("model.bin", &content), content)
    }

    fn write(partial: &Partial, content: &[u8], bytes: usize) {
        let mut part = partial.claim().unwrap();
        let at = usize::try_from(part.at).unwrap();
        partial.write(&mut part, &content[at..at + bytes]).unwrap();
    }

    #[test]
    fn the_largest_download_of_a_dead_run_is_resumed() {
        let (_root, dir) = repo_dir();
        let (file, content) = large();
        for bytes in [10, 5000, 300] {
            let partial = Partial::create(&dir, &file, false).unwrap();
            write(&partial, &content, bytes);
        }
        let Resume::Partial(partial) = resume(&dir, &file, PATIENT).unwrap() else { panic!() };
        assert_eq!(partial.resumed(), 5000);
        let mut part = partial.claim().unwrap();
        assert_eq!(part.at, 5000);
        partial.write(&mut part, &content[5000..8 << 20]).unwrap();
        write(&partial, &content, 2 << 20);
        partial.put().unwrap();
        drop(partial);
        assert!(fs::read(dir.blob(&file.digest)).unwrap() == content);
        assert_eq!(listing(&dir.path()).len(), 1 + 2 * 2, "the others are kept for now");
    }

    #[test]
    fn a_live_run_is_not_taken_over() {
        let (_root, dir) = repo_dir();
        let (file, content) = large();
        let living = Partial::create(&dir, &file, false).unwrap();
        write(&living, &content, 10);
        assert!(matches!(resume(&dir, &file, PATIENT).unwrap(), Resume::Nothing));
    }

    #[test]
    fn a_run_on_another_machine_must_be_idle_first() {
        let (_root, dir) = repo_dir();
        let (file, content) = large();
        write(&Partial::create(&dir, &file, false).unwrap(), &content, 10);
        let left = incomplete_blobs(&dir).next().unwrap();
        let sidecar = left.sidecar(&dir).unwrap();
        let mut bytes = fs::read(&sidecar).unwrap();
        bytes[24..40].fill(1);
        fs::write(&sidecar, bytes).unwrap();
        assert!(matches!(resume(&dir, &file, PATIENT).unwrap(), Resume::Unknown(10)));
        let long_ago = SystemTime::now() - Duration::from_secs(61);
        for path in [&sidecar, &left.path] {
            File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        }
        assert!(matches!(resume(&dir, &file, PATIENT).unwrap(), Resume::Partial(_)));
    }

    #[test]
    fn foreign_files_are_never_resumed() {
        let (root, dir) = repo_dir();
        let (file, _) = large();
        let theirs = root.path().join("theirs");
        fs::write(&theirs, [7; 100]).unwrap();
        let too_long = |at: &Path| File::create(at).unwrap().set_len(file.size + 1).unwrap();
        let fifo = |at: &Path| {
            rustix::fs::mkfifoat(rustix::fs::CWD, at, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
                .unwrap();
        };
        let leads: [&dyn Fn(&Path); 5] = [
            &|at| std::os::unix::fs::symlink(&theirs, at).unwrap(),
            &|at| fs::hard_link(&theirs, at).unwrap(),
            &|at| fs::create_dir(at).unwrap(),
            &fifo,
            &too_long,
        ];
        for (number, lead) in leads.iter().enumerate() {
            let unique = u32::try_from(number).unwrap();
            let (path, sidecar) = (dir.incomplete(&file.digest, unique), dir.parts(&file.digest, unique));
            Parts::create(dir.root(), &sidecar, file.size).add(0, 1);
            lead(&path);
            assert!(matches!(resume(&dir, &file, PATIENT).unwrap(), Resume::Nothing), "{number}");
            // The same for the sidecar.
            if number < 4 {
                let _ = (fs::remove_file(&path), fs::remove_dir(&path));
                fs::rename(&sidecar, root.path().join("aside")).unwrap();
                fs::write(&path, [7; 100]).unwrap();
                lead(&sidecar);
                assert!(matches!(resume(&dir, &file, PATIENT).unwrap(), Resume::Nothing), "{number}");
            }
            crate::cache::sweep(&dir, Duration::ZERO, Some(&|_| false));
            assert!(!dir.root().exists(&path), "{number}");
        }
        assert_eq!(fs::read(&theirs).unwrap(), [7; 100]);
    }
}
