//! Volumes that cannot be written, are full, or are read by other users.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use modelcache::reason::Reason;
use pretty_assertions::assert_eq;
use standin_hub::Class;

use crate::stage::{Stage, report};

/// Another user.
pub const OTHER: u32 = 12_345;

pub fn we_are_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The command prefix that runs a program as the other user; empty if not root.
fn as_other_user() -> Vec<String> {
    if !we_are_root() {
        return Vec::new();
    }
    let ids = [format!("--reuid={OTHER}"), format!("--regid={OTHER}"), "--clear-groups".to_owned()];
    [vec!["setpriv".to_owned()], ids.to_vec()].concat()
}

/// Runs a script in its own mount namespace, where it may mount: `$0` is the cache's folder.
/// Prints why and returns `None` if the machine does not allow that.
pub fn in_own_mounts(stage: &Stage, script: &str) -> Option<std::process::Output> {
    let mut starter = vec!["unshare", "--mount"];
    if !we_are_root() {
        starter.push("--map-root-user");
    }
    let allowed =
        Command::new(starter[0]).args(&starter[1..]).args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !allowed.is_ok_and(|probe| probe.status.success()) {
        eprintln!("skipped: mounting a small file system is not allowed here");
        return None;
    }
    fs::create_dir_all(stage.cache()).unwrap();
    let cache = stage.cache();
    starter.extend(["sh", "-euc", script, cache.to_str().unwrap()]);
    Some(stage.modelcache_through(&starter, &["fetch", "acme/tiny", "-o", "json"]).output().unwrap())
}

#[tokio::test]
async fn a_full_volume_is_reported_before_the_download() {
    let stage = Stage::new().await;
    let Some(output) = in_own_mounts(&stage, "mount -t tmpfs -o size=1m none \"$0\"; exec \"$@\"") else {
        return;
    };
    assert_eq!(output.status.code(), Some(73), "{output:?}");
    let report = modelcache::fetch::Report::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert_eq!(report.reason, Reason::VolumeFull);
    assert!(report.message.starts_with("3 MiB more are needed in "), "{}", report.message);
    assert!(report.message.contains(" free. Enlarge "), "{}", report.message);
    assert_eq!(report.downloaded_bytes, 0);
}

#[tokio::test]
async fn the_space_of_a_killed_run_is_reclaimed() {
    let stage = Stage::new().await;
    let blob = stage.blob("model.safetensors");
    let leftover = blob.strip_prefix(stage.cache()).unwrap().with_extension("0123abcd.incomplete");
    let script = format!(
        "mount -t tmpfs -o size=5m none \"$0\"; cd \"$0\"; mkdir -p {}; head -c 2500000 /dev/zero > {leftover}; \
         touch -d '57 seconds ago' {leftover}; exec \"$@\"",
        leftover.parent().unwrap().display(),
        leftover = leftover.display(),
    );
    let Some(output) = in_own_mounts(&stage, &script) else { return };
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn a_read_only_mount_is_named() {
    let stage = Stage::new().await;
    let Some(output) = in_own_mounts(&stage, "mount -t tmpfs -o ro none \"$0\"; exec \"$@\"") else { return };
    assert_eq!(output.status.code(), Some(73), "{output:?}");
    let report = modelcache::fetch::Report::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert_eq!(report.reason, Reason::VolumeNotWritable);
    assert!(report.message.ends_with("is on a read-only mount. Mount it writable."), "{}", report.message);
}

#[tokio::test]
async fn a_folder_of_another_user_is_reported_with_owner_and_mode() {
    let stage = Stage::new().await;
    // The other user needs access.
    fs::set_permissions(stage.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(stage.cache()).unwrap();
    fs::set_permissions(stage.cache(), fs::Permissions::from_mode(0o555)).unwrap();
    let starter = as_other_user();
    let starter: Vec<_> = starter.iter().map(String::as_str).collect();
    let output = stage.modelcache_through(&starter, &["fetch", "acme/tiny"]).output().unwrap();
    assert_eq!(output.status.code(), Some(73), "{output:?}");
    let uid = rustix::process::geteuid().as_raw();
    let said = String::from_utf8(output.stderr).unwrap();
    let said = said.lines().last().unwrap();
    assert!(said.starts_with("VolumeNotWritable: cannot create the folder "), "{said}");
    assert!(said.contains(&format!(" is owned by {uid}:")) && said.contains(" with mode 0555"), "{said}");
    if we_are_root() {
        assert!(said.contains(&format!("this process runs as {OTHER}:{OTHER}")), "{said}");
    }
}

#[tokio::test]
async fn other_users_can_read_regardless_of_the_umask() {
    let stage = Stage::new().await;
    fs::set_permissions(stage.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let starter = ["sh", "-c", "umask 077; exec \"$0\" \"$@\""];
    let output = stage.modelcache_through(&starter, &["fetch", "acme/tiny"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut folders = vec![stage.cache()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            match entry.file_type().unwrap() {
                kind if kind.is_symlink() => continue,
                kind if kind.is_dir() => {
                    assert_eq!(mode, 0o775, "{entry:?}");
                    folders.push(entry.path());
                }
                _ => assert_eq!(mode, 0o664, "{entry:?}"),
            }
            seen += 1;
        }
    }
    assert!(seen > 15);
    if we_are_root() {
        // To the other user it is complete, without writing anything.
        let starter = as_other_user();
        let starter: Vec<_> = starter.iter().map(String::as_str).collect();
        let mut command = stage.modelcache_through(&starter, &["fetch", "acme/tiny"]);
        let output = command.env("HF_HUB_OFFLINE", "1").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[tokio::test]
async fn parent_folders_of_the_cache_obey_the_umask() {
    let stage = Stage::new().await;
    let starter = ["sh", "-c", "umask 077; exec \"$0\" \"$@\""];
    let cache = stage.root.path().join("above/cache");
    let mut command = stage.modelcache_through(&starter, &["fetch", "acme/tiny", "--cache-dir"]);
    assert!(command.arg(&cache).output().unwrap().status.success());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(cache.parent().unwrap()), mode(&cache)), (0o700, 0o775));
}

#[tokio::test]
async fn unwritable_refs_are_reported_before_the_download() {
    if !we_are_root() {
        eprintln!("skipped: only root can make a folder of another user");
        return;
    }
    let stage = Stage::new().await;
    fs::set_permissions(stage.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(stage.repo_dir().join("refs")).unwrap();
    for ours in [stage.cache(), stage.repo_dir()] {
        std::os::unix::fs::chown(ours, Some(OTHER), Some(OTHER)).unwrap();
    }
    let starter = as_other_user();
    let starter: Vec<_> = starter.iter().map(String::as_str).collect();
    let output = stage.modelcache_through(&starter, &["fetch", "acme/tiny"]).output().unwrap();
    assert_eq!(output.status.code(), Some(73), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("/refs is owned by 0:0 with mode 0755"), "{said}");
    assert!(stage.hub.requests().iter().all(|request| request.class == Class::Api));
}

#[tokio::test]
async fn a_report_is_written_into_the_existing_file() {
    let stage = Stage::new().await;
    let path = stage.root.path().join("termination-log");
    let other_name = stage.root.path().join("as the kubelet sees it");
    fs::write(&path, "").unwrap();
    fs::hard_link(&path, &other_name).unwrap();
    let output =
        stage.modelcache(&["fetch", "acme/tiny", "--report", path.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(report(&other_name).reason, Reason::Verified);
}
