//! Reads files named by a user or a mount, without blocking and with a size limit. Follows links, since mounted Secrets are links.
//! Not for caches, whose volumes are accessed only relative to descriptors.

use std::{
    fs::{self, File, FileType, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::{OFlags, fcntl_setfl, fstatfs};

/// The file system of anonymous pipes (`PIPEFS_MAGIC`): only the parent process can have passed one in.
const PIPEFS: i64 = 0x5049_5045;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// An I/O error.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not a regular file: reading it could block forever or have side effects.
    #[error("it is a {0}, not a file")]
    Kind(&'static str),
    /// Larger than the limit in bytes.
    #[error("it has more than {0} bytes")]
    Large(u64),
    /// Not UTF-8.
    #[error("it is not text")]
    NoText,
}

/// Reads a regular file of at most `most` bytes.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, Unread> {
    // Before opening, too: merely opening a device can have side effects.
    check(fs::metadata(path)?.file_type(), false)?;
    let file = open(path)?;
    check(file.metadata()?.file_type(), false)?;
    bounded(file, most)
}

/// The same for an explicitly named file, which may also be an anonymous pipe: `<(…)` of a shell.
pub fn read_given(path: &Path, most: u64) -> Result<Vec<u8>, Unread> {
    check(fs::metadata(path)?.file_type(), true)?;
    let file = open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_fifo() && is_unnamed(&file)? {
        // Blocking: the writer may be slow.
        fcntl_setfl(&file, OFlags::empty()).map_err(io::Error::from)?;
    } else {
        check(kind, false)?;
    }
    bounded(file, most)
}

/// Reads everything from a reader, up to `most` bytes.
pub fn bounded(from: impl Read, most: u64) -> Result<Vec<u8>, Unread> {
    let mut content = Vec::new();
    from.take(most.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > most { Err(Unread::Large(most)) } else { Ok(content) }
}

/// Converts content to text.
pub fn text(content: Vec<u8>) -> Result<String, Unread> {
    String::from_utf8(content).map_err(|_| Unread::NoText)
}

fn open(path: &Path) -> io::Result<File> {
    let careful = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new().read(true).custom_flags(careful.bits().cast_signed()).open(path)
}

fn is_unnamed(pipe: &File) -> io::Result<bool> {
    Ok(fstatfs(pipe)?.f_type == PIPEFS)
}

fn check(kind: FileType, pipe: bool) -> Result<(), Unread> {
    match kind {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory).into()),
        kind if kind.is_fifo() && pipe => Ok(()),
        kind if kind.is_fifo() => Err(Unread::Kind("pipe")),
        kind if kind.is_socket() => Err(Unread::Kind("socket")),
        _ => Err(Unread::Kind("device")),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        os::{fd::AsRawFd as _, unix::fs::symlink},
        thread,
    };

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    fn said(read: Result<Vec<u8>, Unread>) -> String {
        match read {
            Ok(content) => format!("{} bytes", content.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn reading_never_blocks_and_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "12345").unwrap();
        symlink("file", path("link")).unwrap();
        mkfifoat(CWD, path("pipe"), Mode::from_raw_mode(0o600)).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        File::create(path("sparse")).unwrap().set_len(1 << 40).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for (name, most, expected) in [
            ("file", 5, "5 bytes"),
            ("link", 5, "5 bytes"),
            ("file", 4, "it has more than 4 bytes"),
            ("sparse", 1 << 20, "it has more than 1048576 bytes"),
            ("pipe", 5, "it is a pipe, not a file"),
            ("zero", 5, "it is a device, not a file"),
            ("socket", 5, "it is a socket, not a file"),
            (".", 5, "is a directory"),
            ("none", 5, "No such file or directory (os error 2)"),
        ] {
            assert_eq!(said(read(&path(name), most)), expected, "{name}");
            assert_eq!(said(read_given(&path(name), most)), expected, "{name}");
        }
    }

    #[test]
    fn an_anonymous_pipe_is_read_up_to_the_limit() {
        for (content, expected) in [("1234", "4 bytes"), ("12345678", "it has more than 5 bytes")] {
            let (reader, mut writer) = io::pipe().unwrap();
            let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
            assert_eq!(said(read(Path::new(&path), 5)), "it is a pipe, not a file");
            // It is still empty, so reading blocks.
            let writing = thread::spawn(move || writer.write_all(content.as_bytes()));
            assert_eq!(said(read_given(Path::new(&path), 5)), expected);
            writing.join().unwrap().unwrap();
        }
    }
}
