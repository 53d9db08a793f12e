//! The kinds of hostile modifications, and how to undo them.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions},
    io::Write as _,
    os::unix::{
        ffi::OsStringExt as _,
        fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, makedev, mkdirat, mknodat, openat, utimensat,
};

use crate::{
    base::Bases,
    forged::{self, NAMES},
    place::Place,
    site::{SECRET, Site, UNSEEN, give},
};

/// The depth of a folder chain.
const DEEP: usize = 2000;
/// The number of files in `Many`.
const MANY: u32 = 2000;

/// What replaces the genuine file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A link to the genuine file or folder, moved outside.
    Moved,
    /// The same, by a relative link.
    MovedRelative,
    /// A link to a folder outside with everything that is ever removed.
    Trap,
    /// A link to a file outside.
    Secret,
    /// A link to the token.
    Token,
    /// A link to nothing, outside.
    Dangling,
    /// A link to itself.
    Itself,
    /// A link to the parent folder.
    Up,
    /// A link to another repo of the cache.
    Neighbour,
    /// A link to the environment of the opening process.
    Environment,
    /// A link to the working directory of the opening process.
    WorkingFolder,
    /// A link to standard input.
    Input,
    /// A link to a device.
    ZeroLink,
    /// A hard link to a file outside.
    HardSecret,
    /// The genuine file, with a hard link outside.
    HardMoved,
    /// A pipe without a writer.
    Pipe,
    /// A pipe with a writer that never closes it.
    HeldPipe,
    Socket,
    /// The device with endless zeros.
    Zero,
    /// The device that is always full.
    Full,
    /// The device with endless random data.
    Random,
    /// A sparse file of 64 GiB; smaller if its size is unknown, so that all of it must be read.
    Huge,
    /// A sparse file of 1 GiB.
    Large,
    /// A folder where a file belongs, or the reverse.
    OtherShape,
    /// Nothing.
    Gone,
    /// Nobody may read it.
    Closed,
    /// Nobody may write to it.
    ReadOnly,
    Empty,
    Byte,
    Noise,
    /// A corrupt file of the right size.
    SameSize,
    /// Forged content.
    Forged,
    /// The same, so that it is chosen more often.
    ForgedAgain,
    /// A folder chain deeper than the longest path.
    Deep,
    /// Files with misleading names.
    Names,
    /// Names and paths of maximum length.
    LongNames,
    /// Very many files.
    Many,
}

impl Kind {
    pub const ALL: [Self; 37] = [
        Self::Moved,
        Self::MovedRelative,
        Self::Trap,
        Self::Secret,
        Self::Token,
        Self::Dangling,
        Self::Itself,
        Self::Up,
        Self::Neighbour,
        Self::Environment,
        Self::WorkingFolder,
        Self::Input,
        Self::ZeroLink,
        Self::HardSecret,
        Self::HardMoved,
        Self::Pipe,
        Self::HeldPipe,
        Self::Socket,
        Self::Zero,
        Self::Full,
        Self::Random,
        Self::Huge,
        Self::Large,
        Self::OtherShape,
        Self::Gone,
        Self::Closed,
        Self::ReadOnly,
        Self::Empty,
        Self::Byte,
        Self::Noise,
        Self::SameSize,
        Self::Forged,
        Self::ForgedAgain,
        Self::Deep,
        Self::Names,
        Self::LongNames,
        Self::Many,
    ];

    /// Whether it affects only unprivileged users.
    pub fn is_about_modes(self) -> bool {
        matches!(self, Self::Closed | Self::ReadOnly)
    }
}

/// A planted modification.
#[derive(Debug)]
pub struct Planted {
    path: PathBuf,
    /// Further files.
    more: Vec<PathBuf>,
    /// The original mode.
    mode: Option<u32>,
    /// A pipe that is held open.
    held: Option<File>,
}

/// Plants a modification.
pub fn plant(kind: Kind, place: Place, bases: &Bases, site: &Site, chance: &mut fastrand::Rng) -> Planted {
    let path = place.path(bases, site);
    let mut planted = Planted { path: path.clone(), more: Vec::new(), mode: None, held: None };
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if matches!(place, Place::Incomplete | Place::Sidecar) {
        planted.more = pair(bases, site, chance);
    }
    if place == Place::Record && matches!(kind, Kind::Forged | Kind::ForgedAgain) && chance.bool() {
        spoil(&Place::Blob.path(bases, site), chance);
    }
    // So that only the planted file has another owner.
    site.give_cache();
    planted.fill(kind, place, bases, site, chance);
    if let Some(user) = site.user {
        give(&site.path("outside"), user);
    }
    if chance.bool() && !kind.is_about_modes() {
        site.give_cache();
    }
    age(&path, kind, place, chance);
    planted
}

/// Sets another modification time, unless that alone would make a blob trusted.
fn age(path: &Path, kind: Kind, place: Place, chance: &mut fastrand::Rng) {
    let day = Duration::from_secs(86_400);
    let at = match chance.u8(..4) {
        0 if !(place.is_content() && kind == Kind::SameSize) => SystemTime::now() - 3 * day,
        1 => SystemTime::now() + 3650 * day,
        _ => return,
    };
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let at = Timespec { tv_sec: at.as_secs().cast_signed(), tv_nsec: 0 };
    let times = Timestamps { last_access: at, last_modification: at };
    // It may not exist.
    let _ = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// An incomplete download that a run would resume.
fn pair(bases: &Bases, site: &Site, chance: &mut fastrand::Rng) -> Vec<PathBuf> {
    let [content, sidecar] = [Place::Incomplete, Place::Sidecar].map(|place| place.path(bases, site));
    let there = |folder: &Path, end: &str| {
        let mut entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.find(|path| path.extension().is_some_and(|it| it == end))
    };
    for (to, end) in [(&content, "incomplete"), (&sidecar, "parts")] {
        let folder = to.parent().unwrap();
        fs::create_dir_all(folder).unwrap();
        if let Some(from) = there(folder, end) {
            fs::rename(from, to).unwrap();
        }
    }
    if !content.exists() {
        fs::write(&content, forged::noise(chance, 1000)).unwrap();
        fs::write(&sidecar, forged::sidecar_of(700_000, 8 << 20, &[1])).unwrap();
    }
    vec![content, sidecar]
}

/// Corrupts a file without changing its size.
fn spoil(path: &Path, chance: &mut fastrand::Rng) {
    let Ok(mut bytes) = fs::read(path) else { return };
    let Some(byte) = chance.choice(&mut bytes) else { return };
    *byte ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

impl Planted {
    fn fill(&mut self, kind: Kind, place: Place, bases: &Bases, site: &Site, chance: &mut fastrand::Rng) {
        let path = self.path.clone();
        match kind {
            Kind::Moved | Kind::MovedRelative | Kind::HardMoved => {
                return move_out(kind, place, bases, site, &path);
            }
            Kind::Closed | Kind::ReadOnly => return self.close(kind, place, site),
            Kind::Names | Kind::LongNames | Kind::Many => return self.crowd(kind, place, bases),
            Kind::SameSize if place.is_content() && path.is_file() => return spoil(&path, chance),
            _ => {}
        }
        remove(&path);
        match kind {
            Kind::Trap => link(site.path("outside/trap"), &path),
            Kind::Secret => link(site.path("outside/secret"), &path),
            Kind::Token => link(site.path("home/token"), &path),
            Kind::Dangling => link(site.path("outside/folder/new"), &path),
            Kind::Itself => link(path.file_name().unwrap(), &path),
            Kind::Up => link("..", &path),
            Kind::Neighbour => link(site.cache().join("models--acme--other"), &path),
            Kind::Environment => link("/proc/self/environ", &path),
            Kind::WorkingFolder => link("/proc/self/cwd", &path),
            Kind::Input => link("/proc/self/fd/0", &path),
            Kind::ZeroLink => link("/dev/zero", &path),
            Kind::HardSecret => fs::hard_link(site.path("outside/secret"), &path).unwrap(),
            Kind::Pipe => node(&path, FileType::Fifo, 0),
            Kind::HeldPipe => {
                node(&path, FileType::Fifo, 0);
                let flags = OFlags::NONBLOCK.bits().cast_signed();
                let mut pipe =
                    OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path).unwrap();
                pipe.write_all(b"{").unwrap();
                self.held = Some(pipe);
            }
            Kind::Socket => node(&path, FileType::Socket, 0),
            Kind::Zero => node(&path, FileType::CharacterDevice, makedev(1, 5)),
            Kind::Full => node(&path, FileType::CharacterDevice, makedev(1, 7)),
            Kind::Random => node(&path, FileType::CharacterDevice, makedev(1, 9)),
            Kind::Huge | Kind::Large if place == Place::UnknownBlob => {
                File::create(&path).unwrap().set_len(48 << 20).unwrap();
            }
            Kind::Huge => File::create(&path).unwrap().set_len(64 << 30).unwrap(),
            Kind::Large => File::create(&path).unwrap().set_len(1 << 30).unwrap(),
            Kind::OtherShape if place.is_folder() => fs::write(&path, SECRET).unwrap(),
            Kind::OtherShape => {
                fs::create_dir(&path).unwrap();
                fs::write(path.join("inside"), "x").unwrap();
            }
            Kind::Empty => fs::write(&path, "").unwrap(),
            Kind::Byte => fs::write(&path, "x").unwrap(),
            Kind::Noise | Kind::SameSize => fs::write(&path, forged::noise(chance, 4096)).unwrap(),
            Kind::Forged | Kind::ForgedAgain => {
                fs::write(&path, forged::content(place, bases, chance)).unwrap();
            }
            Kind::Deep => deep(&path),
            _ => {}
        }
    }

    fn close(&mut self, kind: Kind, place: Place, site: &Site) {
        if fs::symlink_metadata(&self.path).is_err() {
            if place.is_folder() {
                fs::create_dir(&self.path).unwrap();
            } else {
                fs::write(&self.path, "x").unwrap();
            }
        } else if self.path.exists() {
            self.mode = Some(fs::metadata(&self.path).unwrap().mode() & 0o7777);
        }
        let mode = if kind == Kind::Closed { 0 } else { 0o555 };
        // Links have no mode.
        let _ = fs::set_permissions(&self.path, Permissions::from_mode(mode));
        if site.user.is_some() && self.path.exists() && !self.path.is_symlink() {
            std::os::unix::fs::lchown(&self.path, Some(0), Some(0)).unwrap();
        }
    }

    /// Fills a folder with foreign files.
    fn crowd(&mut self, kind: Kind, place: Place, bases: &Bases) {
        let folder =
            if place.is_folder() { self.path.clone() } else { self.path.parent().unwrap().to_owned() };
        if !folder.exists() {
            fs::create_dir(&folder).unwrap();
        }
        let text = bases.commit();
        let mut put = |name: OsString| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            self.more.push(path);
        };
        match kind {
            Kind::Names => {
                for name in NAMES.iter().filter(|name| name.len() > 1 && !name.contains(['/', '\0'])) {
                    put(name.into());
                    put(format!("{name}.tmp").into());
                }
                put(OsString::from_vec(b"\xff\xfe\x80.json".to_vec()));
            }
            Kind::LongNames => {
                put("n".repeat(255).into());
                put("ü".repeat(127).into());
                let top = folder.join("d".repeat(200));
                let mut below = top.clone();
                (0..14).for_each(|_| below.push("e".repeat(200)));
                fs::create_dir_all(&below).unwrap();
                fs::write(below.join("f"), text).unwrap();
                self.more.push(top);
            }
            _ => (0..MANY).for_each(|number| {
                let end = ["tmp", "json", "lock", "parts"][number as usize % 4];
                put(format!("{number:08x}.{end}").into());
            }),
        }
    }

    /// Removes it.
    pub fn take_away(self) {
        for path in &self.more {
            remove(path);
        }
        match self.mode {
            Some(mode) => {
                // A run may have removed it.
                let _ = fs::set_permissions(&self.path, Permissions::from_mode(mode));
            }
            None if self.more.is_empty()
                || fs::symlink_metadata(&self.path).is_ok_and(|stat| !stat.is_dir()) =>
            {
                remove(&self.path);
            }
            None => {}
        }
    }
}

/// Creates a hostile link.
fn link(target: impl AsRef<Path>, at: &Path) {
    symlink(target, at).unwrap();
}

/// Creates a special file.
fn node(path: &Path, kind: FileType, device: u64) {
    // If devices cannot be created, use a pipe.
    let kind = if device > 0 && !rustix::process::geteuid().is_root() { FileType::Fifo } else { kind };
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o666), device).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
}

/// Moves the genuine file outside and replaces it with a link.
fn move_out(kind: Kind, place: Place, bases: &Bases, site: &Site, path: &Path) {
    let outside = site.path("outside/moved/it");
    if fs::symlink_metadata(path).is_ok() {
        fs::rename(path, &outside).unwrap();
    } else if place.is_folder() {
        fs::create_dir(&outside).unwrap();
    } else {
        fs::write(&outside, SECRET).unwrap();
    }
    if outside.is_dir() && !outside.is_symlink() {
        site.trap(bases, "outside/moved/it");
    }
    match kind {
        Kind::HardMoved if outside.is_file() => fs::hard_link(&outside, path).unwrap(),
        Kind::MovedRelative => {
            let above = path.parent().unwrap().strip_prefix(site.path("")).unwrap().components().count();
            link(Path::new(&"../".repeat(above)).join("outside/moved/it"), path);
        }
        _ => link(&outside, path),
    }
}

fn deep(path: &Path) {
    let open = |folder: &std::os::fd::OwnedFd, name: &str| {
        mkdirat(folder, name, Mode::from_raw_mode(0o755)).unwrap();
        openat(folder, name, OFlags::DIRECTORY, Mode::empty()).unwrap()
    };
    let above = openat(CWD, path.parent().unwrap(), OFlags::DIRECTORY, Mode::empty()).unwrap();
    let mut folder = open(&above, path.file_name().unwrap().to_str().unwrap());
    for _ in 0..DEEP {
        folder = open(&folder, "d");
    }
    let _ = File::from(
        openat(&folder, UNSEEN, OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o644)).unwrap(),
    );
}

/// Removes whatever it is.
fn remove(path: &Path) {
    let Ok(stat) = fs::symlink_metadata(path) else { return };
    if stat.is_dir() {
        // The standard library cannot remove such deep trees.
        assert!(Command::new("rm").arg("-rf").arg(path).status().unwrap().success());
    } else {
        fs::remove_file(path).unwrap();
    }
}
