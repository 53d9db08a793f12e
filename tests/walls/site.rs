//! The environment of one case: a cache, and files outside that must not change.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use tempfile::TempDir;

use crate::{
    base::{Base, Bases, TOKEN},
    canary::Picture,
};

/// The content of files outside. No output may contain it.
pub const SECRET: &str = "outside-content-verysecret";
/// Part of the names of files outside that only a directory walk would reveal.
pub const UNSEEN: &str = "outside-name-verysecret";
/// An unprivileged user, as in a pod.
const NOBODY: u32 = 12_345;

/// The environment of one case. Removed on drop.
pub struct Site {
    root: TempDir,
    /// The user that runs the program, if it differs from the tests' (root).
    pub user: Option<u32>,
}

impl Site {
    /// With a cache in this state.
    pub fn new(bases: &Bases, base: Base, as_nobody: bool) -> Self {
        let root = tempfile::Builder::new().prefix("walls").tempdir_in(folder()).unwrap();
        let user = (as_nobody && rustix::process::geteuid().is_root()).then_some(NOBODY);
        let site = Self { root, user };
        bases.copy(base, &site.cache());
        for folder in ["outside/folder", "outside/moved", "outside/work", "home"] {
            fs::create_dir_all(site.path(folder)).unwrap();
        }
        for file in ["outside/secret", &format!("outside/folder/{UNSEEN}"), "home/file"] {
            fs::write(site.path(file), SECRET).unwrap();
        }
        fs::write(site.path("home/token"), TOKEN).unwrap();
        fs::write(site.path("home/ca.pem"), include_bytes!("../hub_client/tls/ca.pem")).unwrap();
        site.trap(bases, "outside/trap");
        fs::set_permissions(site.path("outside/secret"), fs::Permissions::from_mode(0o640)).unwrap();
        if let Some(user) = user {
            give(site.root.path(), user);
        }
        site
    }

    /// A folder with everything that is ever removed or replaced, long unused.
    pub fn trap(&self, bases: &Bases, at: &str) {
        let trap = self.path(at);
        fs::create_dir_all(&trap).unwrap();
        let (commit, lost) = (bases.commit(), "0".repeat(40));
        let etag = bases.etag("model.safetensors");
        for folder in ["0badcafe.snapshot", "xet", &lost, &format!("refs{UNSEEN}")] {
            fs::create_dir_all(trap.join(folder)).unwrap();
            fs::write(trap.join(folder).join(UNSEEN), SECRET).unwrap();
        }
        let names = [
            "0badcafe.tmp".to_owned(),
            format!("{etag}.0badcafe.incomplete"),
            format!("{etag}.0badcafe.parts"),
            format!("{lost}-{}.json", bases.selection),
            format!("{lost}.json"),
            "ab".repeat(32),
            format!("{commit}{UNSEEN}"),
            UNSEEN.to_owned(),
        ];
        for name in names.iter().filter(|name| !trap.join(name).exists()) {
            fs::write(trap.join(name), SECRET).unwrap();
        }
        let long_ago = SystemTime::now() - Duration::from_secs(3 * 86_400);
        for entry in fs::read_dir(&trap).unwrap().flatten() {
            if entry.file_type().unwrap().is_file() {
                File::open(entry.path()).unwrap().set_modified(long_ago).unwrap();
            }
        }
        File::open(trap.join("0badcafe.snapshot")).unwrap().set_modified(long_ago).unwrap();
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    pub fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    /// The folder of the model.
    pub fn model(&self) -> PathBuf {
        self.cache().join("models--acme--tiny")
    }

    /// Makes the user of the program the owner of everything in the cache.
    pub fn give_cache(&self) {
        self.user.iter().for_each(|user| give(&self.cache(), *user));
    }

    /// Everything but the cache and the files that the program may write.
    pub fn outside(&self) -> Picture {
        let ours = ["cache", "out", "err", "report"].map(|name| self.path(name));
        // Their parent folder changes with these.
        Picture::of(self.root.path(), &|path| ours.iter().any(|it| it == path)).without(self.root.path())
    }

    /// The content of the cache, except below these folders.
    pub fn inside(&self, but: &[&str]) -> Picture {
        let but: Vec<_> = but.iter().map(|name| self.cache().join(name)).collect();
        let picture = Picture::of(&self.cache(), &|path| but.iter().any(|it| it == path));
        if but.is_empty() { picture } else { picture.without(&self.cache()) }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Too deep for the standard library, and with restrictive modes.
        if rustix::process::geteuid().is_root() {
            let _ = Command::new("rm").arg("-rf").arg(self.root.path()).status();
        } else {
            let script = "chmod -R u+rwX \"$0\"; rm -rf \"$0\"";
            let _ = Command::new("sh").args(["-c", script]).arg(self.root.path()).status();
        }
    }
}

/// In memory if there is space: on a disk, each sync would take time.
pub fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    let writable = rustix::fs::access(memory, rustix::fs::Access::WRITE_OK).is_ok();
    if writable && room > 1 << 30 { memory.to_owned() } else { std::env::temp_dir() }
}

/// Changes the owner of everything below a folder, at any depth.
pub fn give(path: &Path, user: u32) {
    let status = Command::new("chown")
        .args(["--recursive", "--no-dereference", &format!("{user}:{user}")])
        .arg(path)
        .status();
    assert!(status.unwrap().success());
}
