//! The root folder of a cache, opened once. Everything below is accessed relative to that descriptor without following links,
//! so that other writers on the volume cannot lead us out of it. Knows no layout.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    fs::{self, File, Metadata},
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStringExt as _,
            fs::{FileTypeExt as _, MetadataExt as _},
        },
    },
    path::{Component, Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustix::{
    fs::{
        Access, AtFlags, FileType, Mode, OFlags, ResolveFlags, accessat, fstatvfs, mkdirat, openat, openat2,
        readlinkat, renameat, symlinkat, syncfs, unlinkat,
    },
    io::Errno,
};

use crate::text::of_path;

/// The most entries in one folder: a repo has at most 200,000 files.
const ENTRIES: usize = 1_000_000;
/// The longest listing of a folder, in bytes of paths: callers hold all of them in memory.
const TEXT: usize = 256 << 20;
/// The longest path below a cache, in bytes: file paths in a repo have at most 2,048.
const LONGEST: usize = 3_000;
/// The most folders to keep open while a tree is removed.
const LEVELS: usize = 64;

/// Refers to the last component of a path without opening it.
const REACH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW);
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
/// A FIFO or a device must neither block us nor become our terminal.
const CAREFUL: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// The root folder of a cache. Its own path, given by the user, may contain links. Every method takes the full path of
/// something below it, and fails for any other path.
#[derive(Clone, Debug)]
pub(super) struct Root {
    path: PathBuf,
    folder: Arc<OnceLock<OwnedFd>>,
    /// Avoids `openat2`, as on kernels without it.
    stepwise: bool,
}

impl PartialEq for Root {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Root {}

/// Something unexpected at a path of the cache, which is neither followed nor used.
#[derive(Debug, thiserror::Error)]
#[error("{} is {found}", of_path(path))]
pub struct Foreign {
    /// Its path.
    pub path: PathBuf,
    /// What it is, with its article.
    pub found: &'static str,
}

impl Foreign {
    pub(super) fn of(path: &Path, stat: &Metadata) -> Self {
        let kind = stat.file_type();
        let found = match () {
            () if kind.is_symlink() => "a link",
            () if kind.is_dir() => "a folder",
            () if kind.is_fifo() => "a FIFO",
            () if kind.is_socket() => "a socket",
            () if kind.is_file() && stat.nlink() > 1 => "a file with other hard links",
            () if kind.is_file() => "a file",
            () => "a device",
        };
        Self { path: path.to_owned(), found }
    }

    /// Extracts it from an I/O error.
    pub(super) fn in_answer(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<Foreign> for io::Error {
    fn from(foreign: Foreign) -> Self {
        Self::other(foreign)
    }
}

impl Root {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), folder: Arc::default(), stepwise: false }
    }

    /// Avoids `openat2`.
    #[cfg(test)]
    pub(super) fn stepwise(self) -> Self {
        Self { stepwise: true, ..self }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the folder and its parents if they are missing. Returns whether it is new. The parents are not ours, so their
    /// mode is left to the umask.
    pub(super) fn create(&self) -> io::Result<bool> {
        let above = self.path.parent().filter(|above| !above.as_os_str().is_empty());
        let made = above.map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::create_dir(&self.path));
        match made {
            Ok(()) => Ok(true),
            // It already exists.
            Err(_) if self.folder().is_ok() => Ok(false),
            Err(error) => Err(self.no_folder().map_or(error, Into::into)),
        }
    }

    /// The nearest path component of the cache that exists but is not a folder.
    fn no_folder(&self) -> Option<Foreign> {
        let is_no_folder = |place: &Path| {
            let stat = fs::metadata(place).ok().filter(|stat| !stat.is_dir())?;
            Some(Foreign::of(place, &stat))
        };
        self.path.ancestors().find_map(is_no_folder)
    }

    fn folder(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(folder) = self.folder.get() {
            return Ok(folder.as_fd());
        }
        let path = if self.path.as_os_str().is_empty() { Path::new(".") } else { &self.path };
        let opened = rustix::fs::open(path, FOLDER | OFlags::CLOEXEC, Mode::empty())?;
        Ok(self.folder.get_or_init(|| opened).as_fd())
    }

    /// The path relative to the root.
    fn below<'a>(&self, path: &'a Path) -> io::Result<&'a Path> {
        let relative = path.strip_prefix(&self.path).ok();
        relative
            .filter(|relative| relative.components().all(|part| matches!(part, Component::Normal(_))))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path is not inside the cache"))
    }

    fn open(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let relative = self.below(path)?;
        let folder = self.folder()?;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let at_once = || {
            let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
            openat2(folder, relative, flags, mode, beneath)
        };
        let opened = match if self.stepwise { Err(Errno::NOSYS) } else { at_once() } {
            // The kernel lacks the call, or a seccomp filter rejects it.
            Err(Errno::NOSYS | Errno::PERM) => step_by_step(folder, relative, flags, mode),
            other => other,
        };
        opened.map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => {
                self.in_the_way(relative).map_or_else(|| error.into(), io::Error::from)
            }
            other => other.into(),
        })
    }

    /// The first component of a path that is not a folder.
    fn in_the_way(&self, relative: &Path) -> Option<Foreign> {
        let mut folder = openat(self.folder().ok()?, ".", FOLDER | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut path = self.path.clone();
        for name in relative {
            path.push(name);
            let found = File::from(step(folder.as_fd(), name, REACH | OFlags::CLOEXEC, Mode::empty()).ok()?);
            let stat = found.metadata().ok()?;
            if !stat.is_dir() {
                return Some(Foreign::of(&path, &stat));
            }
            folder = found.into();
        }
        None
    }

    fn parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        self.below(path)?;
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if path != self.path => {
                Ok((self.open(parent, FOLDER, Mode::empty())?, name))
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn reach(&self, path: &Path) -> io::Result<File> {
        self.open(path, REACH, Mode::empty()).map(File::from)
    }

    /// The metadata of a path; of a link, its own.
    pub(super) fn stat(&self, path: &Path) -> io::Result<Metadata> {
        self.reach(path)?.metadata()
    }

    /// Whether the path is a folder.
    pub(super) fn is_folder(&self, path: &Path) -> bool {
        self.stat(path).is_ok_and(|stat| stat.is_dir())
    }

    /// Whether the path exists.
    pub(super) fn exists(&self, path: &Path) -> bool {
        self.stat(path).is_ok()
    }

    /// The target of a link.
    pub(super) fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let target = readlinkat(self.reach(path)?, "", Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// Opens a regular file for reading, regardless of other hard links.
    pub(super) fn open_file(&self, path: &Path) -> io::Result<File> {
        self.regular(path, OFlags::RDONLY, Metadata::is_file)
    }

    /// Opens a regular file for writing. It must have no other hard links, which could be anywhere.
    pub(super) fn open_own(&self, path: &Path) -> io::Result<File> {
        self.regular(path, OFlags::RDWR, |stat| stat.is_file() && stat.nlink() == 1)
    }

    fn regular(&self, path: &Path, access: OFlags, fits: fn(&Metadata) -> bool) -> io::Result<File> {
        let check = |stat: Metadata| {
            if fits(&stat) { Ok(()) } else { Err(io::Error::from(Foreign::of(path, &stat))) }
        };
        // Before opening, too: merely opening a device can have side effects.
        check(self.stat(path)?)?;
        let file = File::from(self.open(path, access | CAREFUL, Mode::empty())?);
        check(file.metadata()?)?;
        Ok(file)
    }

    /// Reads a regular file of at most `most` bytes.
    pub(super) fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.reader(path, most)?.read_to_end(&mut content)?;
        Ok(content)
    }

    /// A reader for a regular file of at most `most` bytes.
    pub(super) fn reader(&self, path: &Path, most: u64) -> io::Result<io::Take<File>> {
        let file = self.open_file(path)?;
        if file.metadata()?.len() > most {
            let why = format!("it has more than {most} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        Ok(file.take(most))
    }

    /// Creates a file, which must not exist, for reading and writing.
    pub(super) fn create_file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        self.open(path, flags, Mode::from_raw_mode(0o666)).map(File::from)
    }

    /// Creates a folder, which must not exist.
    pub(super) fn create_folder(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(mkdirat(parent, name, Mode::from_raw_mode(0o777))?)
    }

    /// Creates a symlink, which must not exist.
    pub(super) fn link(&self, target: &Path, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(symlinkat(target, parent, name)?)
    }

    /// Renames, replacing an existing file.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((from, old), (to, new)) = (self.parent(from)?, self.parent(to)?);
        Ok(renameat(from, old, to, new)?)
    }

    /// Removes a file or link, not a folder.
    pub(super) fn unlink(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(unlinkat(parent, name, AtFlags::empty())?)
    }

    /// Opens a folder to sync it, lock it or set its mode.
    pub(super) fn open_folder(&self, path: &Path) -> io::Result<File> {
        self.open(path, LIST, Mode::empty()).map(File::from)
    }

    /// Makes everything written to the volume durable.
    pub(super) fn sync_volume(&self, folder: &Path) -> io::Result<()> {
        Ok(syncfs(self.open_folder(folder)?)?)
    }

    /// Checks for write permission on a folder.
    pub(super) fn may_write(&self, folder: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(folder)?;
        Ok(accessat(parent, name, Access::WRITE_OK, AtFlags::empty())?)
    }

    /// The bytes available to this process, if the file system reports them.
    pub(super) fn free_space(&self) -> Option<u64> {
        let stat = fstatvfs(self.folder().ok()?).ok()?;
        // Some network file systems report zeros instead.
        (stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Iterates over the entries of a folder.
    pub(super) fn entries(&self, folder: &Path) -> io::Result<Entries> {
        if self.below(folder)?.as_os_str().len() > LONGEST {
            return Err(io::Error::other("its path is longer than any in a repo"));
        }
        let opened = self.open(folder, LIST, Mode::empty())?;
        Ok(Entries { listing: rustix::fs::Dir::new(opened)?, folder: folder.to_owned(), count: 0, bytes: 0 })
    }

    /// Removes a file, a link or a folder tree without following links. Deeply nested folders are moved up first, so that depth
    /// costs neither stack nor descriptors.
    pub(super) fn remove_tree(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        if remove_one(parent.as_fd(), name)? {
            return Ok(());
        }
        let mut levels = vec![Level::open(parent.as_fd(), name)?];
        let mut moved = 0u64;
        while let Some(level) = levels.last_mut() {
            if level.names.is_empty() {
                level.names = names(level.folder.as_fd())?;
            }
            let Some(inner) = level.names.pop() else {
                let done = levels.pop().map(|level| level.name).unwrap_or_default();
                let above = levels.last().map_or(parent.as_fd(), |level| level.folder.as_fd());
                // Fails if another process added something meanwhile.
                unlinkat(above, done, AtFlags::REMOVEDIR)?;
                continue;
            };
            let depth = levels.len();
            let folder = levels[depth - 1].folder.as_fd();
            if remove_one(folder, &inner)? {
                continue;
            }
            if depth < LEVELS {
                let next = Level::open(folder, &inner)?;
                levels.push(next);
                continue;
            }
            moved += 1;
            let up = format!("{moved:016x}.{:016x}", fastrand::u64(..));
            renameat(folder, &inner, &levels[0].folder, up)?;
        }
        Ok(())
    }
}

/// A folder that is being removed.
struct Level {
    folder: OwnedFd,
    /// Its name in the parent.
    name: OsString,
    /// Some of its entries.
    names: Vec<OsString>,
}

impl Level {
    fn open(above: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        let folder = step(above, name, LIST | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { folder, name: name.to_owned(), names: Vec::new() })
    }
}

/// Removes an entry; returns `false` for a folder that is not empty.
fn remove_one(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(error) => return Err(error.into()),
    }
    match unlinkat(folder, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        // Not a folder: the first `EPERM` applies.
        Err(Errno::NOTDIR) => Err(Errno::PERM.into()),
        Err(error) => Err(error.into()),
    }
}

/// Some of the names in a folder, which the caller then removes or moves.
fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<OsString>> {
    const SOME: usize = 1_000;
    let listing = rustix::fs::Dir::read_from(folder)?;
    let name = |entry: rustix::io::Result<rustix::fs::DirEntry>| {
        let name = entry.map(|entry| OsString::from_vec(entry.file_name().to_bytes().to_vec()));
        name.map(|name| Some(name).filter(|name| name != "." && name != "..")).transpose()
    };
    Ok(listing.filter_map(name).take(SOME).collect::<Result<_, _>>()?)
}

/// Emulates `openat2` for kernels without it: component by component, none of which may be a link.
fn step_by_step(
    root: BorrowedFd<'_>,
    relative: &Path,
    flags: OFlags,
    mode: Mode,
) -> rustix::io::Result<OwnedFd> {
    let mut names: Vec<_> = relative.iter().collect();
    let last = names.pop().unwrap_or(OsStr::new("."));
    let mut folder: Option<OwnedFd> = None;
    for name in names {
        let from = folder.as_ref().map_or(root, |folder| folder.as_fd());
        let next = step(from, name, FOLDER | OFlags::CLOEXEC, Mode::empty())?;
        folder = Some(next);
    }
    step(folder.as_ref().map_or(root, |folder| folder.as_fd()), last, flags, mode)
}

/// Opens one name in a folder; a link only with `O_PATH`.
fn step(folder: BorrowedFd<'_>, name: &OsStr, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    openat(folder, name, flags | OFlags::NOFOLLOW, mode)
}

/// The entries of a folder.
pub(super) struct Entries {
    listing: rustix::fs::Dir,
    folder: PathBuf,
    count: usize,
    bytes: usize,
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// One entry of a folder.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// Of a link, its own type.
    pub(super) kind: FileType,
}

impl Iterator for Entries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.listing.read()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error.into())),
            };
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            if name == "." || name == ".." {
                continue;
            }
            if self.count > ENTRIES || self.bytes > TEXT {
                return None;
            }
            self.count += 1;
            self.bytes += self.folder.as_os_str().len() + name.len();
            if let Some(limit) = exceeded(self.count, self.bytes) {
                return Some(Err(io::Error::other(format!("it has more than {limit}"))));
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match self.kind_of(&name) {
                    Ok(kind) => kind,
                    // Removed meanwhile.
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Some(Err(error.into())),
                },
                kind => kind,
            };
            return Some(Ok(Entry { path: self.folder.join(name), kind }));
        }
    }
}

/// The exceeded limit, in words, if any.
fn exceeded(count: usize, bytes: usize) -> Option<String> {
    let entries = (count > ENTRIES).then(|| format!("{ENTRIES} entries"));
    entries.or_else(|| (bytes > TEXT).then(|| format!("{} MiB of names", TEXT >> 20)))
}

impl Entries {
    /// For file systems that do not include the type in listings.
    fn kind_of(&self, name: &OsStr) -> rustix::io::Result<FileType> {
        let stat = rustix::fs::statat(self.listing.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// A cache with a folder `in/er` and a file beside it that must not change: with `openat2`, and without.
    fn both() -> [(TempDir, Root); 2] {
        [false, true].map(|stepwise| {
            let outside = tempfile::tempdir().unwrap();
            fs::create_dir_all(outside.path().join("cache/in/er")).unwrap();
            fs::create_dir(outside.path().join("other")).unwrap();
            fs::write(outside.path().join("other/file"), "theirs").unwrap();
            let root = Root::new(outside.path().join("cache"));
            (outside, if stepwise { root.stepwise() } else { root })
        })
    }

    #[test]
    fn folders_are_bounded_in_entries_and_total_name_length() {
        assert_eq!([exceeded(ENTRIES, TEXT), exceeded(2, TEXT)], [None, None]);
        assert_eq!(exceeded(ENTRIES + 1, 0).unwrap(), "1000000 entries");
        // Less than a hundred thousand of the longest paths.
        assert_eq!(exceeded(TEXT / LONGEST + 1, TEXT + 1).unwrap(), "256 MiB of names");
    }

    #[test]
    fn paths_inside_the_root_are_accessible() {
        for (_outside, root) in both() {
            let at = |path: &str| root.path().join(path);
            root.create_folder(&at("in/er/most")).unwrap();
            drop(root.create_file(&at("in/er/most/a")).unwrap());
            fs::write(at("in/er/most/a"), "hello").unwrap();
            assert_eq!(
                root.create_file(&at("in/er/most/a")).unwrap_err().kind(),
                io::ErrorKind::AlreadyExists
            );
            root.rename(&at("in/er/most/a"), &at("in/b")).unwrap();
            root.link(Path::new("../in/b"), &at("in/l")).unwrap();
            assert_eq!(root.read_link(&at("in/l")).unwrap(), Path::new("../in/b"));
            assert!(root.stat(&at("in/l")).unwrap().is_symlink());
            assert_eq!(root.read(&at("in/b"), 5).unwrap(), b"hello");
            assert_eq!(root.read(&at("in/b"), 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
            let mut found: Vec<_> =
                root.entries(&at("in")).unwrap().map(|entry| entry.unwrap().path).collect();
            found.sort_unstable();
            assert_eq!(found, ["b", "er", "l"].map(|name| at("in").join(name)));
            root.may_write(&at("in")).unwrap();
            root.sync_volume(&at("in")).unwrap();
            assert!(root.free_space().unwrap() > 0);
            root.unlink(&at("in/l")).unwrap();
            root.remove_tree(&at("in")).unwrap();
            assert!(!root.exists(&at("in")) && root.is_folder(root.path()));
            assert_eq!(root.stat(&at("in/er")).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn no_link_is_followed_at_any_depth() {
        for (outside, root) in both() {
            let other = outside.path().join("other");
            symlink(&other, root.path().join("away")).unwrap();
            symlink("../../other", root.path().join("in/away")).unwrap();
            symlink("er", root.path().join("in/inside")).unwrap();
            symlink(other.join("file"), root.path().join("in/file")).unwrap();
            for folder in ["away", "in/away", "in/inside"] {
                let folder = root.path().join(folder);
                let file = folder.join("file");
                let answers = [
                    root.open_file(&file).map(drop),
                    root.open_own(&file).map(drop),
                    root.create_file(&folder.join("new")).map(drop),
                    root.create_folder(&folder.join("new")),
                    root.link(Path::new("x"), &folder.join("new")),
                    root.rename(&file, &root.path().join("mine")),
                    root.rename(&root.path().join("in/er"), &folder.join("new")),
                    root.unlink(&file),
                    root.remove_tree(&file),
                    root.open_folder(&folder).map(drop),
                    root.entries(&folder).map(drop),
                    root.stat(&file).map(drop),
                    root.read_link(&file).map(drop),
                ];
                for (number, answer) in answers.into_iter().enumerate() {
                    let error = answer.unwrap_err();
                    let foreign = Foreign::in_answer(&error).unwrap_or_else(|| panic!("{number}: {error}"));
                    assert_eq!(
                        (foreign.path.as_path(), foreign.found),
                        (folder.as_path(), "a link"),
                        "{number}"
                    );
                }
            }
            root.open_file(&root.path().join("in/file")).unwrap_err();
            root.remove_tree(&root.path().join("in")).unwrap();
            root.remove_tree(&root.path().join("away")).unwrap();
            assert_eq!(fs::read(other.join("file")).unwrap(), b"theirs");
            assert_eq!(fs::read_dir(&other).unwrap().count(), 1);
        }
    }

    #[test]
    fn paths_outside_the_root_are_rejected() {
        for (outside, root) in both() {
            for path in ["other/file", "cache/../other/file", "cache/in/../in"] {
                let path = outside.path().join(path);
                assert_eq!(
                    root.stat(&path).unwrap_err().kind(),
                    io::ErrorKind::InvalidInput,
                    "{}",
                    path.display()
                );
            }
            assert!(root.unlink(root.path()).is_err() && root.remove_tree(root.path()).is_err());
        }
    }

    #[test]
    fn only_regular_files_are_opened_and_hard_linked_ones_are_never_written() {
        for (_outside, root) in both() {
            let at = |path: &str| root.path().join(path);
            fs::write(at("file"), "hello").unwrap();
            fs::hard_link(at("file"), at("again")).unwrap();
            rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), Mode::RUSR | Mode::WUSR).unwrap();
            let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
            for (name, found) in [("fifo", "a FIFO"), ("socket", "a socket"), ("in", "a folder")] {
                for error in [root.open_file(&at(name)).unwrap_err(), root.open_own(&at(name)).unwrap_err()] {
                    assert_eq!(Foreign::in_answer(&error).unwrap().found, found);
                }
            }
            root.open_file(&at("again")).unwrap();
            let error = root.open_own(&at("again")).unwrap_err();
            assert_eq!(Foreign::in_answer(&error).unwrap().found, "a file with other hard links");
            fs::remove_file(at("again")).unwrap();
            root.open_own(&at("file")).unwrap();
        }
    }

    #[test]
    fn a_tree_of_any_depth_is_removed() {
        const DEPTH: usize = 5_000;
        for (_outside, root) in both() {
            let name = OsStr::new("a");
            let top = root.path().join("in");
            let mut folder = root.open(&top, FOLDER, Mode::empty()).unwrap();
            for _ in 0..DEPTH {
                mkdirat(&folder, name, Mode::RWXU).unwrap();
                symlinkat("/", &folder, "root").unwrap();
                folder = step(folder.as_fd(), name, FOLDER, Mode::empty()).unwrap();
            }
            root.remove_tree(&top).unwrap();
            assert!(!root.exists(&top));
        }
    }

    #[test]
    fn the_root_itself_may_be_reached_through_a_link() {
        let (outside, _) = both().into_iter().next().unwrap();
        symlink("cache", outside.path().join("link")).unwrap();
        let root = Root::new(outside.path().join("link"));
        assert!(!root.create().unwrap());
        assert!(root.is_folder(&root.path().join("in/er")));
    }

    /// New ways to access the volume belong into `Root`.
    #[test]
    fn no_other_module_of_the_cache_accesses_the_volume_by_path() {
        let room = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cache");
        for entry in fs::read_dir(room).unwrap().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let allowed: &[&str] = match entry.file_name().to_str().unwrap() {
                "root.rs" | "testing.rs" => continue,
                // The kernel's boot ID.
                "parts.rs" => &["fs::read_to_string(\"/proc/sys/kernel/random/boot_id\")"],
                // Owner and mode of the nearest folder, for a message.
                "volume.rs" => &["fs::metadata(near)"],
                _ => &[],
            };
            let code = allowed.iter().fold(code.to_owned(), |code, allowed| code.replace(allowed, ""));
            let begins =
                |at: usize| !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
            for way in [
                "fs::read",
                "fs::write",
                "fs::metadata",
                "fs::symlink_metadata",
                "fs::remove",
                "fs::rename",
                "fs::create",
                "fs::copy",
                "fs::hard_link",
                "File::open",
                "File::create",
                "OpenOptions",
                "unix::fs::symlink",
                ".read_dir()",
                ".canonicalize()",
            ] {
                let found = code.match_indices(way).any(|(at, _)| way.starts_with('.') || begins(at));
                assert!(!found, "{} has {way}", entry.path().display());
            }
        }
    }
}
