//! Small steps on the file system of a cache, each whole or not at all, with modes that let any user read.

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

/// Files are readable by all and writable by the group, whatever the umask: volumes are read by other users' pods.
const FILE: u32 = 0o664;
/// The same for folders.
const FOLDER: u32 = 0o775;
/// Files of a folder with this bit get its group; volumes made for a pod's group rely on it.
const SETGID: u32 = 0o2000;

/// Makes the folder of a cache, if it is missing.
pub(super) fn make_root(root: &Root) -> Result<(), CacheError> {
    if root.create().map_err(|source| CacheError::no_folder(root.path(), source))? {
        open_folder_to_all(root, root.path()).context("set the mode of", root.path())?;
    }
    Ok(())
}

/// Makes a folder of a cache and those above it that are missing.
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
        // Another writer was faster.
        Err(_) if root.is_folder(path) => Ok(()),
        Err(error) => Err(error).context("create the folder", path),
    }
}

/// Gives a folder that we made the mode for all readers.
fn open_folder_to_all(root: &Root, path: &Path) -> io::Result<()> {
    let folder = root.open_folder(path)?;
    let inherited = folder.metadata()?.mode() & SETGID;
    chmod(&folder, FOLDER | inherited)
}

/// Gives a file the mode for all readers.
pub(super) fn open_to_all(file: &File) -> io::Result<()> {
    chmod(file, FILE)
}

/// Sets a mode, where the file system has modes at all.
fn chmod(file: &File, mode: u32) -> io::Result<()> {
    match file.set_permissions(Permissions::from_mode(mode)) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) =>
        {
            tracing::debug!(%error, "the file system keeps its own modes");
            Ok(())
        }
        other => other,
    }
}

/// Makes the names in a folder survive a crash of the node. Not every file system can, and then none of this kind is lost.
pub(super) fn sync_dir(root: &Root, path: &Path) {
    if let Err(error) = root.open_folder(path).and_then(|folder| folder.sync_all()) {
        tracing::debug!(path = %path.display(), %error, "the folder cannot be synced");
    }
}

/// Renames onto a name that may exist, and makes it last.
pub(super) fn rename(root: &Root, from: &Path, to: &Path) -> Result<(), CacheError> {
    root.rename(from, to).context("create", to)?;
    to.parent().into_iter().for_each(|folder| sync_dir(root, folder));
    Ok(())
}

/// Removes a file that may be gone already.
pub(super) fn remove(root: &Root, path: &Path) -> Result<(), CacheError> {
    match root.unlink(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.context("remove", path),
    }
}

/// Puts a file of this content in place, through a temporary one in the folder `aside`.
pub(super) fn write_whole(root: &Root, path: &Path, aside: &Path, content: &[u8]) -> Result<(), CacheError> {
    write_with(root, path, aside, |file| file.write_all(content))
}

/// Puts a file in place whose content is `written` piece by piece, so that it is never in memory as a whole.
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

/// What lies in a folder; nothing where it cannot be read.
pub(super) fn entries(root: &Root, folder: &Path) -> impl Iterator<Item = Entry> + use<> {
    root.entries(folder).into_iter().flatten().flatten()
}

/// A name that no other writer has.
pub(super) fn unique(folder: &Path, end: &str) -> PathBuf {
    folder.join(format!("{:08x}.{end}", fastrand::u32(..)))
}

/// A file that is removed again unless it is put in place.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    /// Open for writing.
    pub(super) file: File,
    /// Its name as long as it is in no other place.
    pub(super) path: PathBuf,
    root: Root,
    kept: AtomicBool,
}

impl TemporaryFile {
    /// A file with a name of its own in `folder`.
    pub(super) fn create(root: &Root, folder: &Path) -> Result<Self, CacheError> {
        Self::create_at(root, unique(folder, "tmp"))
    }

    /// A file of this name, which must be free.
    pub(super) fn create_at(root: &Root, path: PathBuf) -> Result<Self, CacheError> {
        let file = root.create_file(&path).context("create", &path)?;
        let file = Self::of(root, file, path);
        // At once and not in the end: other users must be able to open it to see whether its writer lives.
        open_to_all(&file.file).context("set the mode of", &file.path)?;
        Ok(file)
    }

    /// A file that is open already.
    pub(super) fn of(root: &Root, file: File, path: PathBuf) -> Self {
        Self { file, path, root: root.clone(), kept: AtomicBool::new(false) }
    }

    /// Puts the file in place, whole and lasting.
    pub(super) fn put(&self, path: &Path) -> Result<(), CacheError> {
        self.file.sync_all().context("write", path)?;
        self.rename(path)?;
        path.parent().into_iter().for_each(|folder| sync_dir(&self.root, folder));
        Ok(())
    }

    /// Puts the file in place, whole. It lasts when the file system has been synced.
    pub(super) fn rename(&self, path: &Path) -> Result<(), CacheError> {
        self.root.rename(&self.path, path).context("create", path)?;
        self.keep();
        Ok(())
    }

    /// It is not removed any more.
    pub(super) fn keep(&self) {
        self.kept.store(true, Relaxed);
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.kept.load(Relaxed)
            && let Err(error) = remove(&self.root, &self.path)
        {
            tracing::warn!(%error, "a temporary file stays behind");
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
    fn a_file_in_place_of_the_cache_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "mine").unwrap();
        for path in [file.clone(), file.join("hub/cache")] {
            let error = make_root(&Root::new(&path)).unwrap_err();
            assert_eq!(error.reason(), Reason::VolumeUnsafe, "{error}");
            let expected = format!(
                "cannot use {} as a cache: {} is a file. Name a folder",
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
    fn a_file_is_put_whole_or_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        let path = folder.path().join("x");
        write_whole(&root, &path, root.path(), b"one").unwrap();
        write_whole(&root, &path, root.path(), b"two").unwrap();
        drop(TemporaryFile::create(&root, root.path()).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, FILE);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
