//! What can go wrong on a volume.

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

/// A failure of the cache room.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// We may not write there. `diagnose` says whose it is.
    #[error("cannot {action} {}: {}", .path.display(), .error.kind())]
    NotWritable {
        /// The attempted action.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// There is not enough space for what is still missing.
    #[error(
        "{} are missing in {}, and only {} are free on its volume. Enlarge the volume or remove other data from it",
        size(*.needed), .path.display(), size(*.free)
    )]
    TooSmall {
        /// The cache.
        path: PathBuf,
        /// Bytes that are still missing.
        needed: u64,
        /// Bytes that we may write.
        free: u64,
    },
    /// The space or a quota ran out while writing. `diagnose` says how much is free.
    #[error("cannot {action} {}: {error}", .path.display())]
    Full {
        /// The attempted action.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// The bytes are not those that the Hub lists.
    #[error("the content has the hash {found} instead of {expected}")]
    Mismatch {
        /// The hash that the Hub lists.
        expected: Digest,
        /// The hash of what came.
        found: Digest,
    },
    /// More or fewer bytes than the Hub lists.
    #[error("the content has {found} bytes or more instead of {expected}")]
    WrongSize {
        /// The size that the Hub lists.
        expected: u64,
        /// The size that came.
        found: u64,
    },
    /// Refs are files, and one would have to be a folder of the other.
    #[error(
        "the ref {wanted} cannot be beside the ref {other} in {}. Remove that one, or fetch without this one",
        .repo.display()
    )]
    RefInTheWay {
        /// The ref that was asked for.
        wanted: String,
        /// The ref that is there, or was asked for as well.
        other: String,
        /// The folder of the repo.
        repo: PathBuf,
    },
    /// A ref is empty or says something else than a commit. Who wrote it may want any of the snapshots.
    #[error(
        "the ref {} names no commit, so every snapshot of its repo counts as needed. Fetch again what it stands for, or remove it",
        .path.display()
    )]
    UnclearRef {
        /// The file.
        path: PathBuf,
    },
    /// What was on the volume is not there any more.
    #[error("{} was removed by another program while it was needed", .path.display())]
    Vanished {
        /// The file.
        path: PathBuf,
    },
    /// Something else lies where the cache has a file or a folder of its own, such as a link that leads out of it.
    #[error(
        "cannot {action} {}: {foreign}. A cache is used only where its folders are folders and its files are files with one \
         name; no link is followed. Remove {} and fetch again",
        .path.display(), .foreign.path.display()
    )]
    Foreign {
        /// The attempted action.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What is in the way.
        foreign: Foreign,
    },
    /// Something else lies where the folder of the cache would be, or one above it.
    #[error(
        "cannot use {} as a cache: {foreign}. Name a folder for the cache; in a Job it is what `spec.storage.subPath` names on the volume",
        .path.display()
    )]
    NoFolder {
        /// The cache.
        path: PathBuf,
        /// What is in the way.
        foreign: Foreign,
    },
    /// The file system cannot do something without which there is no cache.
    #[error(
        "the file system of {} cannot {ability}: {error}. A cache needs that: use another file system, such as one of the \
         guide on storage",
        .folder.display()
    )]
    Unable {
        /// What it cannot.
        ability: &'static str,
        /// The cache.
        folder: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// Two names of the repo are one on the medium, such as `Readme` and `README` where it has no letter case.
    #[error(
        "{one} and {other} are one name on the file system of {}. Leave one of them out, or use a file system that tells \
         letter case and forms of Unicode apart",
        .folder.display()
    )]
    OneName {
        /// The one that was there first.
        one: String,
        /// The other.
        other: String,
        /// The cache.
        folder: PathBuf,
    },
    /// The medium cannot hold a name of the repo.
    #[error(
        "the file system of {} cannot hold the name {name}: {error}. Leave the file out by a pattern, or use another file system",
        .folder.display()
    )]
    Name {
        /// The path of the file in the repo.
        name: RepoPath,
        /// The cache.
        folder: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// Any other failure of the file system.
    #[error("cannot {action} {}: {error}", .path.display())]
    Io {
        /// The attempted action.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
}

impl CacheError {
    /// The published word for it.
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

    /// The same where it is about the name of a file of the repo and nothing else.
    pub(super) fn for_name(self, folder: &Path, name: &RepoPath) -> Self {
        match self {
            // EINVAL, ENAMETOOLONG, EILSEQ and ENOENT.
            Self::Io { error, .. } if matches!(error.raw_os_error(), Some(2 | 22 | 36 | 84)) => {
                Self::Name { name: name.clone(), folder: folder.to_owned(), error }
            }
            other => other,
        }
    }

    /// Why the folder of a cache cannot be made.
    pub(super) fn no_folder(path: &Path, error: io::Error) -> Self {
        match error.downcast() {
            Ok(foreign) => Self::NoFolder { path: path.to_owned(), foreign },
            Err(error) => Self::new("create the folder", path, error),
        }
    }

    /// An answer of the file system, by its kind.
    pub(super) fn new(action: &'static str, path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        let error = match error.downcast::<Foreign>() {
            Ok(foreign) => return Self::Foreign { action, path, foreign },
            Err(error) => error,
        };
        match error.kind() {
            // A name that is to become a file's, and is a folder's.
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

/// Adds to an answer of the file system what was attempted.
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
    fn the_answer_of_the_file_system_decides_the_reason() {
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
