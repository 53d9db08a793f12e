//! A pod as strict clusters start it, on this machine: a user that nobody planned for, the model read-only below an emptyDir, a root file
//! system that is read-only too, no network.

use std::{
    path::Path,
    process::{Command, Output},
    sync::OnceLock,
};

use modelcache::api::mount;

use crate::volume::Volume;

/// A user as `OpenShift` makes them up: it has no name and no home, and owns nothing.
pub const USER: &str = "1000730000";

/// Mounts the volume `$2` in the place `$1`, makes all else read-only, and goes on as the user.
///
/// Files of root are that user's as well, whose name is another one inside: the programs may lie where only root can come to. The
/// volume's are not, and the rights of root are gone.
const START: &str = r#"
place=$1 volume=$2 user=$3
shift 3
mount -t tmpfs none "$place"
mkdir "$place/hub"
mount --bind "$volume" "$place/hub"
while read -r _ _ _ _ at _; do
  case $at in
    "$place" | /proc | /proc/*) ;;
    *) mount -o remount,bind,ro "$at" 2>/dev/null || true ;;
  esac
done </proc/self/mountinfo
cd /
exec unshare --user --map-user="$user" --map-group="$user" -- "$@"
"#;

/// What a container has in its environment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pod {
    /// The block.
    Plain,
    /// With the annotation `modelcache.internal/home` besides.
    Home,
    /// Two variables of the block: all that the current client needs.
    HubCacheOnly,
}

impl Pod {
    /// Runs a program to its end.
    pub fn run(self, volume: &Volume, program: &[impl AsRef<Path>]) -> Output {
        let place = volume.place.to_str().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--net", "sh", "-euc", START, "pod"]);
        command.arg(place).arg(&volume.cache).arg(USER).args(program.iter().map(AsRef::as_ref));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/");
        command.envs(self.env(place));
        command.output().unwrap()
    }

    /// Its environment, with the cache at `hub` in this folder.
    fn env(self, home: &str) -> Vec<(&'static str, String)> {
        let block = mount::variables(home).into_iter();
        match self {
            Self::Plain => block.collect(),
            Self::Home => block.chain(mount::writable(home)).collect(),
            Self::HubCacheOnly => {
                block.filter(|(name, _)| ["HF_HUB_CACHE", "HF_HUB_OFFLINE"].contains(name)).collect()
            }
        }
    }
}

/// Whether such a pod can be started here; says so where it cannot.
pub fn can_start() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    let can = *CAN.get_or_init(|| {
        let probe = ["--user", "--map-root-user", "--mount", "--net", "mount", "-t", "tmpfs", "none", "/mnt"];
        Command::new("unshare").args(probe).output().is_ok_and(|probe| probe.status.success())
    });
    if !can {
        eprintln!("skipped: namespaces of users and mounts are not allowed here");
    }
    can
}
