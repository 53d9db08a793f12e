//! A case-insensitive file system on a loop device, visible only to this test and the program.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// Creates and mounts it, and waits until it is no longer needed.
const SCRIPT: &str = r#"truncate -s 128M "$0.img"; mkfs.exfat "$0.img" >/dev/null
    device=$(losetup --find --show "$0.img")
    trap 'cd /; umount "$0"; losetup --detach "$device"' EXIT
    mount.exfat-fuse "$device" "$0" >/dev/null 2>&1
    echo ready; read -r _ || true"#;

/// A mounted exFAT. Unmounted on drop.
pub struct Medium {
    root: TempDir,
    keeper: Child,
}

impl Medium {
    /// Prints why and returns `None` if the machine does not allow it.
    pub fn mount() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can mount an exFAT file system");
            return None;
        }
        let prepared =
            Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fetch/exfat")).output().unwrap();
        if !prepared.status.success() {
            eprintln!("skipped: exFAT cannot be had here: {}", String::from_utf8_lossy(&prepared.stderr));
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("medium")).unwrap();
        let mut keeper = Command::new("unshare")
            .args(["--mount", "bash", "-euc", SCRIPT])
            .arg(root.path().join("medium"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "exFAT cannot be mounted");
        Some(Self { root, keeper })
    }

    /// A path on it, as the program sees it.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.path().join("medium").join(below)
    }

    /// The same, as the test sees it.
    pub fn seen(&self, path: &Path) -> PathBuf {
        Path::new("/proc")
            .join(self.keeper.id().to_string())
            .join("root")
            .join(path.strip_prefix("/").unwrap())
    }

    /// The program, where it sees the medium.
    pub fn modelcache(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.keeper.id()));
        command
            .arg(env!("CARGO_BIN_EXE_modelcache"))
            .args(arguments)
            .env_clear()
            .env("HOME", self.root.path());
        command
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        // The script exits when its input is closed.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
