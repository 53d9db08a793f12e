//! Checks before a download that a volume is writable and has space, and diagnoses it after a failure.

use std::{
    fs, io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
};

use rustix::{
    fs::{StatVfsMountFlags, statvfs},
    process::{getegid, geteuid},
};

use super::{
    diagnosis::{Diagnosis, Finding, Place},
    disk::{self, TemporaryFile},
    error::{CacheError, IoContext as _},
    layout::RepoDir,
    names::other_case,
    root::Foreign,
};
use crate::text::of_path;

/// Creates the folders of a repo, and checks that the file system supports what a download needs.
pub fn prepare(dir: &RepoDir) -> Result<(), CacheError> {
    disk::make_root(dir.root())?;
    // `snapshots` exists from the beginning: without it, readers treat the repo as corrupt.
    for folder in [dir.snapshots(), dir.blobs(), dir.private_dir()] {
        disk::make_dirs(dir.root(), &folder)?;
    }
    if let Some(other) = other_case(dir.root(), dir.cache().root(), &dir.path()) {
        let name = |path: &Path| of_path(Path::new(path.file_name().unwrap_or_default()));
        let folder = dir.cache().root().to_owned();
        return Err(CacheError::OneName { one: name(&other), other: name(&dir.path()), folder });
    }
    probe(dir, &ABILITIES)?;
    // Readers treat every file in these as theirs, so only the permission is checked.
    for folder in [dir.snapshots(), dir.refs(), dir.trees()] {
        match dir.root().stat(&folder) {
            Ok(stat) if stat.is_dir() => dir.root().may_write(&folder),
            Ok(stat) => Err(Foreign::of(&folder, &stat).into()),
            Err(_) => Ok(()),
        }
        .context("write into", &folder)?;
    }
    Ok(())
}

/// What a file system must support, each phrased to follow `cannot`. Links, locks and modes are optional, and space is
/// checked later.
const ABILITIES: [(&str, Attempt); 3] = [
    ("write into the middle of a file and read it again", write_and_read),
    ("rename a file onto another", rename_file),
    ("rename a folder", rename_folder),
];

type Attempt = fn(&RepoDir) -> Result<(), CacheError>;

/// Tries each ability.
fn probe(dir: &RepoDir, abilities: &[(&'static str, Attempt)]) -> Result<(), CacheError> {
    for &(ability, attempt) in abilities {
        match attempt(dir) {
            // Space is checked later, when the needed amount is known.
            Ok(()) | Err(CacheError::Full { .. }) => {}
            Err(CacheError::Io { error, .. }) => {
                let folder = dir.cache().root().to_owned();
                return Err(CacheError::Unable { ability, folder, error });
            }
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

/// The parts of a blob are written in any order.
fn write_and_read(dir: &RepoDir) -> Result<(), CacheError> {
    let file = TemporaryFile::create(dir.root(), &dir.blobs())?;
    let written = file.file.write_all_at(b"b", 1).and_then(|()| file.file.write_all_at(b"a", 0));
    written.and_then(|()| file.file.sync_all()).context("write", &file.path)?;
    let read = dir.root().read(&file.path, 2).and_then(|bytes| match bytes.as_slice() {
        b"ab" => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it returned other bytes than were written")),
    });
    read.context("read", &file.path)
}

/// Blobs are moved between the two folders.
fn rename_file(dir: &RepoDir) -> Result<(), CacheError> {
    let (one, other) = (
        TemporaryFile::create(dir.root(), &dir.private_dir())?,
        TemporaryFile::create(dir.root(), &dir.blobs())?,
    );
    one.rename(&other.path)
}

/// A snapshot appears as a whole or not at all.
fn rename_folder(dir: &RepoDir) -> Result<(), CacheError> {
    let [from, to] = [(); 2].map(|()| disk::unique(&dir.private_dir(), "snapshot"));
    disk::make_dirs(dir.root(), &from)?;
    let renamed = dir.root().rename(&from, &to).context("rename", &from);
    let left = if renamed.is_ok() { to } else { from };
    dir.root().remove_tree(&left).context("remove", &left)?;
    renamed
}

/// Fails if fewer than `needed` bytes are free.
pub fn require_space(dir: &RepoDir, needed: u64) -> Result<(), CacheError> {
    let path = dir.cache().root();
    match dir.root().free_space() {
        Some(free) if free < needed => Err(CacheError::TooSmall { path: path.to_owned(), needed, free }),
        _ => Ok(()),
    }
}

/// Diagnoses a failure by inspecting the volume. Does I/O: call it where a run ends.
#[must_use]
pub fn diagnose(error: &CacheError) -> Diagnosis<'_> {
    let finding = match error {
        CacheError::NotWritable { path, error, .. } => Some(Finding::Permissions {
            place: nearest(path).and_then(|near| place(near, error)),
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
        }),
        CacheError::Full { path, .. } => Some(Finding::Space { free: free_space(path).unwrap_or_default() }),
        _ => None,
    };
    Diagnosis { error, finding }
}

/// The bytes available to this process, if the file system reports them.
fn free_space(path: &Path) -> Option<u64> {
    let stat = statvfs(existing(path)?).ok()?;
    // Some network file systems report zeros.
    (stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The folder whose permissions decide whether a file can be created or replaced.
fn nearest(path: &Path) -> Option<&Path> {
    if path.is_dir() { Some(path) } else { path.parent().and_then(existing) }
}

/// The path itself, or the nearest folder above it that exists.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.exists())
}

fn place(near: &Path, error: &io::Error) -> Option<Place> {
    let stat = fs::metadata(near).ok()?;
    let flags = statvfs(near).map_or(StatVfsMountFlags::empty(), |stat| stat.f_flag);
    Some(Place {
        path: near.to_owned(),
        uid: stat.uid(),
        gid: stat.gid(),
        mode: stat.mode() & 0o7777,
        read_only: flags.contains(StatVfsMountFlags::RDONLY)
            || error.kind() == io::ErrorKind::ReadOnlyFilesystem,
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{
        cache::CacheDir,
        hub::{Repo, RepoType},
        reason::Reason,
    };

    fn refuse(dir: &RepoDir, number: i32) -> Result<(), CacheError> {
        Err(io::Error::from_raw_os_error(number)).context("rename", &dir.private_dir())
    }

    fn gpt2(root: &Path) -> RepoDir {
        CacheDir::new(root).repo(&Repo { kind: RepoType::Model, id: "gpt2".parse().unwrap() })
    }

    #[test]
    fn a_failure_is_diagnosed_where_the_run_ends() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("missing/blob");
        let diagnosed = |number| {
            let error = CacheError::new("create", &path, io::Error::from_raw_os_error(number));
            diagnose(&error).to_string()
        };
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        // EACCES, EDQUOT and EIO.
        let denied = format!("denied. {} is owned by {uid}:{gid} with mode ", root.path().display());
        assert!(diagnosed(13).contains(&denied), "{}", diagnosed(13));
        assert!(diagnosed(122).contains(" free). Enlarge the volume"), "{}", diagnosed(122));
        assert!(diagnosed(5).ends_with("(os error 5)"), "{}", diagnosed(5));
    }

    #[test]
    fn missing_space_is_reported_with_sizes() {
        let root = tempfile::tempdir().unwrap();
        let dir = gpt2(root.path());
        require_space(&dir, 1).unwrap();
        let error = require_space(&dir, 1 << 60).unwrap_err();
        assert_eq!(error.reason(), Reason::VolumeFull);
        assert!(error.to_string().starts_with("1 EiB more are needed in "), "{error}");
    }

    #[test]
    fn a_prepared_repo_is_empty_and_the_only_entry() {
        let root = tempfile::tempdir().unwrap();
        let dir = gpt2(&root.path().join("deep/er"));
        prepare(&dir).unwrap();
        for folder in [dir.snapshots(), dir.blobs(), dir.private_dir()] {
            assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
        }
        // Older readers warn about anything else.
        assert_eq!(fs::read_dir(dir.cache().root()).unwrap().count(), 1);
    }

    #[test]
    fn missing_abilities_are_reported_before_any_download() {
        let root = tempfile::tempdir().unwrap();
        let dir = gpt2(root.path());
        prepare(&dir).unwrap();
        // EOPNOTSUPP.
        let error = probe(&dir, &[("rename a folder", |dir| refuse(dir, 95))]).unwrap_err();
        assert_eq!(error.reason(), Reason::VolumeNotWritable);
        let expected = format!("the file system of {} cannot rename a folder: ", root.path().display());
        assert!(error.to_string().starts_with(&expected), "{error}");
        // ENOSPC: space is checked separately.
        probe(&dir, &[("rename a folder", |dir| refuse(dir, 28))]).unwrap();
    }

    #[test]
    fn nothing_temporary_is_created_where_readers_look() {
        let root = tempfile::tempdir().unwrap();
        let dir = gpt2(root.path());
        prepare(&dir).unwrap();
        let long_ago = SystemTime::UNIX_EPOCH;
        let folder = fs::File::open(dir.snapshots()).unwrap();
        folder.set_modified(long_ago).unwrap();
        prepare(&dir).unwrap();
        assert_eq!(folder.metadata().unwrap().modified().unwrap(), long_ago);
    }
}
