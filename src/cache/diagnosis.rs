//! What a person needs to know about a failure of a volume, in words.

use std::{fmt, path::PathBuf};

use super::error::CacheError;
use crate::units::size;

/// A failure, and what its volume says about it. Displays as one message with the remedy.
#[derive(Debug)]
pub struct Diagnosis<'a> {
    pub(super) error: &'a CacheError,
    pub(super) finding: Option<Finding>,
}

#[derive(Debug)]
pub(super) enum Finding {
    /// The bytes that the file system still calls free: plenty where a quota is the limit.
    Space { free: u64 },
    /// The nearest folder that exists, and who we are.
    Permissions { place: Option<Place>, uid: u32, gid: u32 },
}

/// A folder and its owner.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) read_only: bool,
}

impl fmt::Display for Diagnosis<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, finding } = self;
        write!(f, "{error}")?;
        match finding {
            None => Ok(()),
            Some(Finding::Space { free }) => write!(
                f,
                " ({} free). Enlarge the volume or its quota, or remove other data from it",
                size(*free)
            ),
            Some(Finding::Permissions { place: Some(place), .. }) if place.read_only => {
                write!(f, ". {} is on a read-only mount. Mount it writable", place.path.display())
            }
            Some(Finding::Permissions { place: Some(place), uid, gid }) => write!(
                f,
                ". {} belongs to {}:{} with mode {:04o}, and we are {uid}:{gid}. Run as that user, or make the folder \
                 writable for one of our groups (for a pod: `fsGroup` in its securityContext)",
                place.path.display(),
                place.uid,
                place.gid,
                place.mode,
            ),
            Some(Finding::Permissions { place: None, uid, gid }) => write!(f, ". We are {uid}:{gid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, path::Path};

    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn a_refusal_says_whose_the_folder_is_and_who_we_are() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = CacheError::new("create", Path::new("/c/x"), denied);
        let diagnosis = |read_only| {
            let place = Place { path: "/c".into(), uid: 0, gid: 7, mode: 0o755, read_only };
            let finding = Finding::Permissions { place: Some(place), uid: 1000, gid: 2000 };
            Diagnosis { error: &error, finding: Some(finding) }.to_string()
        };
        assert_eq!(
            diagnosis(false),
            "cannot create /c/x: permission denied. /c belongs to 0:7 with mode 0755, and we are 1000:2000. Run as that \
             user, or make the folder writable for one of our groups (for a pod: `fsGroup` in its securityContext)"
        );
        assert_eq!(
            diagnosis(true),
            "cannot create /c/x: permission denied. /c is on a read-only mount. Mount it writable"
        );
    }

    #[test]
    fn a_full_volume_says_how_much_is_free() {
        let full = io::Error::from(io::ErrorKind::QuotaExceeded);
        let error = CacheError::new("write", Path::new("/c/x"), full);
        assert_eq!(
            Diagnosis { error: &error, finding: Some(Finding::Space { free: 1 << 30 }) }.to_string(),
            "cannot write /c/x: quota exceeded (1 GiB free). Enlarge the volume or its quota, or remove other data from it"
        );
    }
}
