//! Atomic file operations inside a cache, with modes that let any user read.

use std::{
    fs::{File, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{
    error::{CacheError, IoContext as _},
    root::{Entry, Foreign, Root},
};

/// Readable by all and writable by the group regardless of the umask: pods of other users read the volume.
const FILE_MODE: u32 = 0o664;
/// The same for directories.
const FOLDER_MODE: u32 = 0o775;
/// New files inherit the group of a folder with this bit; volumes with an `fsGroup` rely on it.
const SETGID: u32 = 0o2000;

/// Creates the folder of a cache if it does not exist.
pub(super) fn make_root(root: &Root) -> Result<(), CacheError> {
    if root.create().map_err(|source| CacheError::no_folder(root.path(), source))? {
        open_folder_to_all(root, root.path()).context("set the mode of", root.path())?;
    }
    Ok(())
}

/// Creates a folder of a cache and its missing parents.
pub(super) fn make_dirs(root: &Root, path: &Path) -> Result<(), CacheError> {
    match root.stat(path) {
        Ok(stat) if stat.is_dir() => return Ok(()),
        Ok(stat) => return Err(Foreign::of(path, &stat).into()).context("create the folder", path),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path != root.path() => {}
        Err(error) => return Err(error).context("create the folder", path),
    }
    path.parent().map_or(Ok(()), |parent| make_dirs(root, parent))?;
    match root.create_folder(path) {
        Ok(()) => open_folder_to_all(root, path).context("set the mode of", path),
        // Another writer created it first.
        Err(_) if root.is_folder(path) => Ok(()),
        Err(error) => Err(error).context("create the folder", path),
    }
}

/// Makes a folder that we created readable by all.
fn open_folder_to_all(root: &Root, path: &Path) -> io::Result<()> {
    let folder = root.open_folder(path)?;
    let inherited = folder.metadata()?.mode() & SETGID;
    chmod(&folder, FOLDER_MODE | inherited)
}

/// Makes a file readable by all.
pub(super) fn open_to_all(file: &File) -> io::Result<()> {
    chmod(file, FILE_MODE)
}

/// Sets a mode, ignoring file systems without modes.
fn chmod(file: &File, mode: u32) -> io::Result<()> {
    match file.set_permissions(Permissions::from_mode(mode)) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) =>
        {
            tracing::debug!(%error, "the file system does not support setting modes");
            Ok(())
        }
        other => other,
    }
}

/// Makes the entries of a folder durable, where the file system supports it.
pub(super) fn sync_dir(root: &Root, path: &Path) {
    if let Err(error) = root.open_folder(path).and_then(|folder| folder.sync_all()) {
        tracing::debug!(path = %path.display(), %error, "cannot sync the folder");
    }
}

/// Renames, replacing an existing file, and makes the new name durable.
pub(super) fn rename(root: &Root, from: &Path, to: &Path) -> Result<(), CacheError> {
    root.rename(from, to).context("create", to)?;
    to.parent().into_iter().for_each(|folder| sync_dir(root, folder));
    Ok(())
}

/// Removes a file; a missing one is not an error.
pub(super) fn remove(root: &Root, path: &Path) -> Result<(), CacheError> {
    match root.unlink(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.context("remove", path),
    }
}

/// Atomically writes a file, by way of a temporary one in the folder `aside`.
pub(super) fn write_whole(root: &Root, path: &Path, aside: &Path, content: &[u8]) -> Result<(), CacheError> {
    write_with(root, path, aside, |file| file.write_all(content))
}

/// Atomically writes a file whose content `written` streams, so that it is never in memory as a whole.
pub(super) fn write_with(
    root: &Root,
    path: &Path,
    aside: &Path,
    written: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CacheError> {
    let file = TemporaryFile::create(root, aside)?;
    let mut buffer = BufWriter::new(&file.file);
    written(&mut buffer).and_then(|()| buffer.flush()).context("write", path)?;
    drop(buffer);
    file.put(path)
}

/// The entries of a folder; empty when it cannot be read.
pub(super) fn entries(root: &Root, folder: &Path) -> impl Iterator<Item = Entry> + use<> {
    root.entries(folder).into_iter().flatten().flatten()
}

/// A random name in `folder` with this extension.
pub(super) fn unique(folder: &Path, end: &str) -> PathBuf {
    folder.join(format!("{:08x}.{end}", fastrand::u32(..)))
}

/// A file that is removed on drop unless it was put in place.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    /// Open for writing.
    pub(super) file: File,
    /// Its temporary path.
    pub(super) path: PathBuf,
    root: Root,
    kept: AtomicBool,
}

impl TemporaryFile {
    /// Creates a file with a random name in `folder`.
    pub(super) fn create(root: &Root, folder: &Path) -> Result<Self, CacheError> {
        Self::create_at(root, unique(folder, "tmp"))
    }

    /// Creates a file at `path`, which must not exist.
    pub(super) fn create_at(root: &Root, path: PathBuf) -> Result<Self, CacheError> {
        let file = root.create_file(&path).context("create", &path)?;
        let file = Self::of(root, file, path);
        // Immediately: other users must be able to open it to check whether its writer is alive.
        open_to_all(&file.file).context("set the mode of", &file.path)?;
        Ok(file)
    }

    /// Wraps a file that is already open.
    pub(super) fn of(root: &Root, file: File, path: PathBuf) -> Self {
        Self { file, path, root: root.clone(), kept: AtomicBool::new(false) }
    }

    /// Renames the file to `path` and makes it durable.
    pub(super) fn put(&self, path: &Path) -> Result<(), CacheError> {
        self.file.sync_all().context("write", path)?;
        self.rename(path)?;
        path.parent().into_iter().for_each(|folder| sync_dir(&self.root, folder));
        Ok(())
    }

    /// Renames the file to `path`. Durable only after the file system is synced.
    pub(super) fn rename(&self, path: &Path) -> Result<(), CacheError> {
        self.root.rename(&self.path, path).context("create", path)?;
        self.keep();
        Ok(())
    }

    /// Keeps the file on drop.
    pub(super) fn keep(&self) {
        self.kept.store(true, Relaxed);
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.kept.load(Relaxed)
            && let Err(error) = remove(&self.root, &self.path)
        {
            tracing::warn!(%error, "cannot remove a temporary file");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::reason::Reason;

    #[test]
    fn folders_keep_the_group_of_their_parent() {
        let root = tempfile::tempdir().unwrap();
        let top = root.path().join("top");
        fs::create_dir(&top).unwrap();
        fs::set_permissions(&top, Permissions::from_mode(0o2700)).unwrap();
        make_dirs(&Root::new(root.path()), &top.join("a/b")).unwrap();
        for (path, mode) in [("", 0o2700), ("a", 0o2775), ("a/b", 0o2775)] {
            assert_eq!(fs::metadata(top.join(path)).unwrap().mode() & 0o7777, mode, "{path}");
        }
    }

    #[test]
    fn a_file_in_place_of_the_cache_is_reported_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "mine").unwrap();
        for path in [file.clone(), file.join("hub/cache")] {
            let error = make_root(&Root::new(&path)).unwrap_err();
            assert_eq!(error.reason(), Reason::VolumeUnsafe, "{error}");
            let expected = format!(
                "cannot use {} as a cache: {} is a file. Use a folder",
                path.display(),
                file.display()
            );
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }

    #[test]
    fn a_mode_is_never_set_through_a_link() {
        let root = tempfile::tempdir().unwrap();
        let (elsewhere, link) = (root.path().join("elsewhere"), root.path().join("link"));
        fs::create_dir(&elsewhere).unwrap();
        fs::set_permissions(&elsewhere, Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        open_folder_to_all(&Root::new(root.path()), &link).unwrap_err();
        assert_eq!(fs::metadata(&elsewhere).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_is_written_completely_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        let path = folder.path().join("x");
        write_whole(&root, &path, root.path(), b"one").unwrap();
        write_whole(&root, &path, root.path(), b"two").unwrap();
        drop(TemporaryFile::create(&root, root.path()).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, FILE_MODE);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
