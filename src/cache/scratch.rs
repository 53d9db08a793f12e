//! A temporary folder for libraries that only accept a path. The path refers to the folder's descriptor, so renaming or
//! replacing the folder does not redirect it.

use std::{
    fs::{File, Permissions},
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::{
    disk,
    error::{CacheError, IoContext as _},
    layout::RepoDir,
    root::Root,
};

/// Others can check whether we are alive, but cannot write to it.
const MODE: u32 = 0o755;

/// An initially empty folder on the volume. Removed on drop.
#[derive(Debug)]
pub struct Scratch {
    root: Root,
    place: PathBuf,
    /// Keeps the path valid; locked, which shows `sweep` that we are alive.
    _folder: File,
    path: PathBuf,
}

impl Scratch {
    /// Creates it under a name that nobody can have created a link at before.
    pub fn create(dir: &RepoDir) -> Result<Self, CacheError> {
        let (root, place) = (dir.root(), disk::unique(&dir.private_dir(), "snapshot"));
        disk::make_root(root)?;
        disk::make_dirs(root, &dir.private_dir())?;
        root.create_folder(&place).context("create the folder", &place)?;
        let folder = root.open_folder(&place).context("open", &place)?;
        let moded = folder.set_permissions(Permissions::from_mode(MODE));
        if let Err(error) = moded.and_then(|()| Ok(folder.try_lock()?)) {
            tracing::debug!(%error, "the file system has no modes or no locks");
        }
        let path = format!("/proc/self/fd/{}", folder.as_raw_fd()).into();
        Ok(Self { root: root.clone(), place, _folder: folder, path })
    }
}

impl AsRef<Path> for Scratch {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.root.remove_tree(&self.place) {
            tracing::debug!(path = %self.place.display(), %error, "cannot remove a temporary folder");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::cache::testing::repo_dir;

    #[test]
    fn the_path_still_refers_to_a_renamed_folder() {
        let (root, dir) = repo_dir();
        let elsewhere = root.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let scratch = Scratch::create(&dir).unwrap();
        let away = dir.private_dir().join("away");
        fs::rename(&scratch.place, &away).unwrap();
        symlink(&elsewhere, &scratch.place).unwrap();
        fs::create_dir_all(scratch.as_ref().join("a/b")).unwrap();
        assert!(away.join("a/b").is_dir());
        drop(scratch);
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn dropping_it_removes_its_content() {
        let (_root, dir) = repo_dir();
        let scratch = Scratch::create(&dir).unwrap();
        fs::create_dir_all(scratch.as_ref().join("a/b")).unwrap();
        drop(scratch);
        assert_eq!(disk::entries(dir.root(), &dir.private_dir()).count(), 0);
    }
}
