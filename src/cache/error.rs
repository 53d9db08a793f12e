//! The errors of the cache, as data: building one does no I/O.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::root::Foreign;
use crate::{
    hub::{Digest, RepoPath},
    reason::Reason,
    units::size,
};

/// A failed operation on a cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Permission denied or read-only. `diagnose` adds the owner.
    #[error("cannot {action} {}: {}", .path.display(), .error.kind())]
    NotWritable {
        /// The attempted action.
        action: &'static str,
        /// The path it was attempted on.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// Not enough free space for the remaining download.
    #[error(
        "{} more are needed in {}, but its volume has only {} free. Enlarge the volume or remove other data from it",
        size(*.needed), .path.display(), size(*.free)
    )]
    TooSmall {
        /// The cache.
        path: PathBuf,
        /// Bytes still to be downloaded.
        needed: u64,
        /// Bytes available to this process.
        free: u64,
    },
    /// No space or quota left while writing. `diagnose` adds the free space.
    #[error("cannot {action} {}: {error}", .path.display())]
    Full {
        /// The attempted action.
        action: &'static str,
        /// The path it was attempted on.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// The content does not match the hash that the Hub lists.
    #[error("the content has the hash {found} instead of {expected}")]
    Mismatch {
        /// The hash that the Hub lists.
        expected: Digest,
        /// The hash of the received bytes.
        found: Digest,
    },
    /// More or fewer bytes than the Hub lists.
    #[error("the content has {found} bytes or more instead of {expected}")]
    WrongSize {
        /// The size that the Hub lists.
        expected: u64,
        /// The size received so far.
        found: u64,
    },
    /// Refs are files, and one would have to be a parent folder of the other.
    #[error(
        "the refs {wanted} and {other} cannot both exist in {}. Remove {other}, or fetch without {wanted}",
        .repo.display()
    )]
    RefInTheWay {
        /// The requested ref.
        wanted: String,
        /// The conflicting ref, on the volume or requested too.
        other: String,
        /// The folder of the repo.
        repo: PathBuf,
    },
    /// A ref is empty or does not contain a commit. It may have been meant for any of the snapshots.
    #[error(
        "the ref {} names no commit, so every snapshot of its repo counts as needed. Fetch that revision again, or remove the ref",
        .path.display()
    )]
    UnclearRef {
        /// The file.
        path: PathBuf,
    },
    /// A file was removed concurrently.
    #[error("{} was removed by another program while it was needed", .path.display())]
    Vanished {
        /// The file.
        path: PathBuf,
    },
    /// A path of the cache is taken by something unexpected, such as a link out of the cache.
    #[error(
        "cannot {action} {}: {foreign}. In a cache, only real folders and files without other hard links are used, and links \
        are not followed. Remove {} and fetch again",
        .path.display(), .foreign.path.display()
    )]
    Foreign {
        /// The attempted action.
        action: &'static str,
        /// The path it was attempted on.
        path: PathBuf,
        /// What was found instead.
        foreign: Foreign,
    },
    /// The path of the cache, or a parent of it, is not a folder.
    #[error(
        "cannot use {} as a cache: {foreign}. Use a folder as the cache; in a Job it is the `spec.storage.subPath` of the volume",
        .path.display()
    )]
    NoFolder {
        /// The cache.
        path: PathBuf,
        /// What was found instead.
        foreign: Foreign,
    },
    /// The file system lacks an ability that a cache requires.
    #[error(
        "the file system of {} cannot {ability}: {error}. A cache requires this: use another file system, such as one listed in \
        the guide on storage",
        .folder.display()
    )]
    Unable {
        /// The missing ability.
        ability: &'static str,
        /// The cache.
        folder: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// The file system treats two names of the repo as one, such as `Readme` and `README` when it ignores case.
    #[error(
        "{one} and {other} are the same name on the file system of {}. Exclude one of them, or use a file system that \
        distinguishes letter case and Unicode forms",
        .folder.display()
    )]
    OneName {
        /// The existing name.
        one: String,
        /// The conflicting name.
        other: String,
        /// The cache.
        folder: PathBuf,
    },
    /// The file system cannot store a file name of the repo.
    #[error(
        "the file system of {} cannot store the name {name}: {error}. Exclude the file by a pattern, or use another file system",
        .folder.display()
    )]
    Name {
        /// The path of the file in the repo.
        name: RepoPath,
        /// The cache.
        folder: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// Any other file system error.
    #[error("cannot {action} {}: {error}", .path.display())]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The path it was attempted on.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
}

impl CacheError {
    /// The published reason code.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NotWritable { .. } | Self::Unable { .. } => Reason::VolumeNotWritable,
            Self::TooSmall { .. } | Self::Full { .. } => Reason::VolumeFull,
            Self::Mismatch { .. } | Self::WrongSize { .. } => Reason::HashMismatch,
            Self::RefInTheWay { .. } => Reason::RefConflict,
            Self::Foreign { .. } | Self::NoFolder { .. } | Self::UnclearRef { .. } => Reason::VolumeUnsafe,
            Self::OneName { .. } | Self::Name { .. } => Reason::NameNotSupported,
            Self::Vanished { .. } | Self::Io { .. } => Reason::DownloadFailed,
        }
    }

    /// Turns an I/O error caused only by a file name of the repo into [`CacheError::Name`].
    pub(super) fn for_name(self, folder: &Path, name: &RepoPath) -> Self {
        match self {
            // EINVAL, ENAMETOOLONG, EILSEQ and ENOENT.
            Self::Io { error, .. } if matches!(error.raw_os_error(), Some(2 | 22 | 36 | 84)) => {
                Self::Name { name: name.clone(), folder: folder.to_owned(), error }
            }
            other => other,
        }
    }

    /// The error for a cache folder that cannot be created.
    pub(super) fn no_folder(path: &Path, error: io::Error) -> Self {
        match error.downcast() {
            Ok(foreign) => Self::NoFolder { path: path.to_owned(), foreign },
            Err(error) => Self::new("create the folder", path, error),
        }
    }

    /// Classifies an I/O error.
    pub(super) fn new(action: &'static str, path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        let error = match error.downcast::<Foreign>() {
            Ok(foreign) => return Self::Foreign { action, path, foreign },
            Err(error) => error,
        };
        match error.kind() {
            // A folder where a file is to be renamed to.
            io::ErrorKind::IsADirectory => {
                let foreign = Foreign { path: path.clone(), found: "a folder" };
                Self::Foreign { action, path, foreign }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { action, path, error }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { action, path, error },
            _ => Self::Io { action, path, error },
        }
    }
}

/// Adds the attempted action and its path to an I/O error.
pub(super) trait IoContext<T> {
    /// `cannot {action} {path}: …`
    fn context(self, action: &'static str, path: &Path) -> Result<T, CacheError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, CacheError> {
        self.map_err(|error| CacheError::new(action, path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errno_decides_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        // ENOSPC, EDQUOT, EROFS, EACCES, EPERM and EIO.
        for (number, reason) in [
            (28, Reason::VolumeFull),
            (122, Reason::VolumeFull),
            (30, Reason::VolumeNotWritable),
            (13, Reason::VolumeNotWritable),
            (1, Reason::VolumeNotWritable),
            (5, Reason::DownloadFailed),
        ] {
            let error = CacheError::new("write", &path, io::Error::from_raw_os_error(number));
            assert_eq!(error.reason(), reason, "{error}");
            assert!(error.to_string().starts_with(&format!("cannot write {}: ", path.display())), "{error}");
        }
    }
}
