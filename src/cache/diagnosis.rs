//! Renders a volume failure and its diagnosis as one message for the user. Pure: `volume` gathers the facts.

use std::{fmt, path::PathBuf};

use super::error::CacheError;
use crate::units::size;

/// A failure and the state of its volume. Displays as one message with the remedy.
#[derive(Debug)]
pub struct Diagnosis<'a> {
    pub(super) error: &'a CacheError,
    pub(super) finding: Option<Finding>,
}

#[derive(Debug)]
pub(super) enum Finding {
    /// The bytes that the file system reports as free. May be large when a quota is the limit.
    Space { free: u64 },
    /// The nearest existing folder, and the user and group of this process.
    Permissions { place: Option<Place>, uid: u32, gid: u32 },
}

/// A folder with its owner and mode.
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
                ". {} is owned by {}:{} with mode {:04o}, but this process runs as {uid}:{gid}. Run as that user, or make the folder \
                 writable for one of its groups (for a pod: `fsGroup` in its securityContext)",
                place.path.display(),
                place.uid,
                place.gid,
                place.mode,
            ),
            Some(Finding::Permissions { place: None, uid, gid }) => {
                write!(f, ". This process runs as {uid}:{gid}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, path::Path};

    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn permission_denied_names_the_owner_and_the_process_ids() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = CacheError::new("create", Path::new("/c/x"), denied);
        let diagnosis = |read_only| {
            let place = Place { path: "/c".into(), uid: 0, gid: 7, mode: 0o755, read_only };
            let finding = Finding::Permissions { place: Some(place), uid: 1000, gid: 2000 };
            Diagnosis { error: &error, finding: Some(finding) }.to_string()
        };
        assert_eq!(
            diagnosis(false),
            "cannot create /c/x: permission denied. /c is owned by 0:7 with mode 0755, but this process runs as 1000:2000. Run as that \
             user, or make the folder writable for one of its groups (for a pod: `fsGroup` in its securityContext)"
        );
        assert_eq!(
            diagnosis(true),
            "cannot create /c/x: permission denied. /c is on a read-only mount. Mount it writable"
        );
    }

    #[test]
    fn a_full_volume_reports_its_free_space() {
        let full = io::Error::from(io::ErrorKind::QuotaExceeded);
        let error = CacheError::new("write", Path::new("/c/x"), full);
        assert_eq!(
            Diagnosis { error: &error, finding: Some(Finding::Space { free: 1 << 30 }) }.to_string(),
            "cannot write /c/x: quota exceeded (1 GiB free). Enlarge the volume or its quota, or remove other data from it"
        );
    }
}
