//! Real file systems and users as clusters have them: full, read-only, without links, with `lost+found`, with fsGroup.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    process::{Command, Output},
};

use modelcache::{fetch::Report, reason::Reason};
use pretty_assertions::assert_eq;
use standin_hub::{Class, Fault, FaultKind, Repo};

use crate::{
    client::venv,
    outside::{assert_unseen, assert_whole},
    programs::root,
    stage::Stage,
    volume::{OTHER, in_own_mounts, we_are_root},
};

/// The reports in a script's output, and the other lines.
#[track_caller]
fn reports(output: &Output) -> (Vec<Report>, Vec<String>) {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let (mut reports, mut rest) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| !line.contains(r#""event":"progress""#)) {
        match Report::parse(line) {
            Some(report) => reports.push(report),
            None => rest.push(line.to_owned()),
        }
    }
    (reports, rest)
}

/// A shell command with which the official client loads the model from the cache `$0`.
fn official_client_loads() -> String {
    let (python, judge) = (venv().join("bin/python"), root("tests/python/judge.py"));
    let (python, judge) = (python.display(), judge.display());
    format!("'{python}' '{judge}' offline-load \"$0\" acme/tiny --revision main >/dev/null")
}

#[tokio::test]
async fn a_volume_that_fills_up_is_reported_and_nothing_is_corrupted() {
    let stage = Stage::new().await;
    stage.hub.fault(Fault::new(FaultKind::Slow(1 << 20)).on(Class::Cdn));
    // Another program uses up the space during the download. Prints the report, the exit code, what readers see, and the
    // report of a run after some space was freed.
    let script = format!(
        r#"mount -t tmpfs -o size=6m none "$0"
        "$@" > "$0.out" & run=$!
        until find "$0" -name '*.incomplete' -size +200k | grep -q .; do kill -0 $run; sleep 0.02; done
        cat /dev/zero > "$0/filler" 2>/dev/null || true
        code=0; wait $run || code=$?
        tail -n 1 "$0.out"; echo "code $code"
        find "$0" -path '*/snapshots/*' -o -path '*/refs/*'
        rm "$0/filler"
        "$@"
        "$1" verify --cache-dir "$0" >/dev/null
        {}"#,
        official_client_loads()
    );
    let Some(output) = in_own_mounts(&stage, &script) else { return };
    let (reports, rest) = reports(&output);
    let [full, again] = reports.as_slice() else { panic!("{reports:#?}") };
    assert_eq!((full.reason, again.reason), (Reason::VolumeFull, Reason::Verified), "{full:#?}");
    assert_eq!(rest, ["code 73"], "a reader saw something");
    assert!(full.message.contains("free") || full.message.contains("larger"), "no remedy: {}", full.message);
}

#[tokio::test]
async fn a_complete_cache_on_a_read_only_mount_is_enough() {
    let stage = Stage::new().await;
    let script = r#"mount --bind "$0" "$0"
        "$@"
        mount -o remount,bind,ro "$0"
        "$@"
        HF_HUB_OFFLINE=1 "$@"
        code=0; "$1" fetch acme/tiny --cache-dir "$0" --alias other -o json || code=$?
        echo "code $code""#;
    let Some(output) = in_own_mounts(&stage, script) else { return };
    let (reports, rest) = reports(&output);
    let reasons: Vec<_> = reports.iter().map(|report| report.reason).collect();
    let good = Reason::Verified;
    assert_eq!(reasons, [good, good, good, Reason::VolumeNotWritable], "{reports:#?}");
    assert_eq!(rest, ["code 73"]);
    assert_whole(&stage);
}

#[tokio::test]
async fn arbitrary_users_share_a_volume_by_its_group() {
    const GROUP: u32 = 2_000;
    if !we_are_root() {
        eprintln!("skipped: only root can become other users");
        return;
    }
    let stage = Stage::new().await;
    fs::set_permissions(stage.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // As the kubelet leaves a volume with fsGroup.
    fs::create_dir(stage.cache()).unwrap();
    chown(stage.cache(), Some(0), Some(GROUP)).unwrap();
    fs::set_permissions(stage.cache(), fs::Permissions::from_mode(0o2775)).unwrap();
    let as_user = |user: u32, umask: &str, more: &[&str]| {
        let (user, group) = (format!("--reuid={user}"), format!("--groups={GROUP}"));
        let umask = format!("umask {umask}; exec \"$0\" \"$@\"");
        // Last, since these users may not have access to the path of the program.
        let starter = ["sh", "-c", &umask, "setpriv", &user, "--regid=0", &group];
        let mut command = stage.modelcache_through(&starter, &["fetch", "acme/tiny"]);
        // It has no home.
        let output = command.args(more).env("HOME", "/").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    // The first downloads a part, the second the rest, the third finds everything.
    as_user(1_000_730_000, "077", &["--include", "*.json"]);
    as_user(1_000_840_000, "022", &[]);
    as_user(1_000_950_000, "022", &["--alias", "other"]);
    assert_whole(&stage);
    let mut folders = vec![stage.cache()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let about = entry.metadata().unwrap();
            assert_eq!(about.gid(), GROUP, "{entry:?}");
            if !about.is_symlink() {
                assert_eq!(about.mode() & 0o060, 0o060, "{entry:?} with mode {:o}", about.mode());
            }
            if about.is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

#[tokio::test]
async fn the_root_of_a_file_system_is_a_cache_like_any_other() {
    if !we_are_root() || Command::new("mkfs.ext4").arg("-V").output().is_err() {
        eprintln!("skipped: an ext4 file system cannot be mounted here");
        return;
    }
    let stage = Stage::new().await;
    fs::set_permissions(stage.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Not even readable for the user who fills the volume.
    let script = format!(
        r#"truncate -s 32M "$0.img"; mkfs.ext4 -q "$0.img"; mount -o loop "$0.img" "$0"
        trap 'cd /; umount "$0"' EXIT
        chown {OTHER} "$0"
        them="setpriv --reuid={OTHER} --regid={OTHER} --clear-groups"
        ! $them ls "$0/lost+found" 2>/dev/null
        $them "$@"
        $them "$@"
        $them "$1" verify --cache-dir "$0"
        test -d "$0/lost+found"
        {}"#,
        official_client_loads()
    );
    let Some(output) = in_own_mounts(&stage, &script) else { return };
    let (reports, rest) = reports(&output);
    let found: Vec<_> = reports.iter().map(|report| (report.reason, report.downloaded_bytes > 0)).collect();
    assert_eq!(found, [(Reason::Verified, true), (Reason::Verified, false)]);
    assert_eq!(rest, ["✓ acme/tiny: 4 files, 3 MiB"]);
}

/// Whether an exFAT file system can be mounted; prints why not.
fn has_exfat() -> bool {
    if !we_are_root() {
        eprintln!("skipped: only root can mount an exFAT file system");
        return false;
    }
    let prepared = Command::new(root("tests/fetch/exfat")).output().unwrap();
    if !prepared.status.success() {
        eprintln!("skipped: exFAT cannot be had here: {}", String::from_utf8_lossy(&prepared.stderr));
    }
    prepared.status.success()
}

#[tokio::test]
async fn a_file_system_without_links_holds_files() {
    if !has_exfat() {
        return;
    }
    let stage = Stage::new().await;
    let script = format!(
        r#"truncate -s 64M "$0.img"; mkfs.exfat "$0.img" >/dev/null
        device=$(losetup --find --show "$0.img")
        trap 'cd /; umount "$0"; losetup --detach "$device"' EXIT
        mount.exfat-fuse "$device" "$0" >/dev/null 2>&1
        ! ln -s there "$0/link" 2>/dev/null
        "$@"
        "$@"
        "$1" verify --cache-dir "$0" >/dev/null
        {}
        find "$0" -name '*.safetensors' -type f | wc -l
        find "$0" -name '*.incomplete'
        find "$0" -path '*/snapshots/*' -name config.json -delete
        "$@""#,
        official_client_loads()
    );
    let Some(output) = in_own_mounts(&stage, &script) else { return };
    let (reports, rest) = reports(&output);
    let found: Vec<_> = reports.iter().map(|report| (report.reason, report.downloaded_bytes)).collect();
    let all = reports[0].downloaded_bytes;
    let good = Reason::Verified;
    // The two lost files share a blob.
    assert_eq!(found, [(good, all), (good, 0), (good, 2)], "{reports:#?}");
    assert_eq!(rest, ["1"]);
}

#[tokio::test]
async fn an_unwritable_part_of_the_cache_is_named_and_unchanged() {
    if !we_are_root() {
        eprintln!("skipped: only root can make a folder of another user");
        return;
    }
    for folder in ["blobs", "snapshots", ".", "../.locks"] {
        let stage = Stage::new().await;
        fs::set_permissions(stage.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let foreign = stage.repo_dir().join(folder);
        fs::create_dir_all(stage.repo_dir()).unwrap();
        fs::create_dir_all(&foreign).unwrap();
        for ours in [stage.cache(), stage.repo_dir()] {
            chown(ours, Some(OTHER), Some(OTHER)).unwrap();
        }
        chown(&foreign, Some(0), Some(0)).unwrap();
        let user = [format!("--reuid={OTHER}"), format!("--regid={OTHER}")];
        let starter = ["setpriv", &user[0], &user[1], "--clear-groups"];
        let output =
            stage.modelcache_through(&starter, &["fetch", "acme/tiny", "-o", "json"]).output().unwrap();
        let report = Report::parse(String::from_utf8(output.stdout.clone()).unwrap().lines().last().unwrap());
        let report = report.unwrap();
        // Locks are advisory: it works without them.
        if folder == "../.locks" {
            assert_eq!(report.reason, Reason::Verified, "{output:?}");
            continue;
        }
        assert_eq!(
            (output.status.code(), report.reason),
            (Some(73), Reason::VolumeNotWritable),
            "{output:?}"
        );
        assert!(report.message.contains(" is owned by 0:0 "), "{folder}: {}", report.message);
        assert!(
            report.message.contains(&format!("this process runs as {OTHER}:{OTHER}")),
            "{folder}: {}",
            report.message
        );
        assert_unseen(&stage);
    }
}

#[tokio::test]
async fn names_that_collide_or_are_invalid_on_a_file_system_are_rejected() {
    if !has_exfat() {
        return;
    }
    for (first, second, said) in [
        ("Readme", "README", &["Readme", "README"][..]),
        ("sub/Readme", "Sub/README", &["sub/Readme", "Sub/README"]),
        ("größe", "GRÖSSE2", &[]),
        ("x", "sub/a:b", &["sub/a:b"]),
    ] {
        let stage =
            Stage::with(Repo::model("acme/tiny").file(first, "one").file(second, "two").branch("main")).await;
        let script = r#"truncate -s 64M "$0.img"; mkfs.exfat "$0.img" >/dev/null
            device=$(losetup --find --show "$0.img")
            trap 'cd /; umount "$0"; losetup --detach "$device"' EXIT
            mount.exfat-fuse "$device" "$0" >/dev/null 2>&1
            for run in 1 2; do "$@" || true; done
            find "$0" -path '*/snapshots/*' -type f | wc -l"#;
        let Some(output) = in_own_mounts(&stage, script) else { return };
        let (reports, rest) = reports(&output);
        for report in &reports {
            let (reason, visible) =
                if said.is_empty() { (Reason::Verified, "2") } else { (Reason::NameNotSupported, "0") };
            assert_eq!((report.reason, &*rest[0]), (reason, visible), "{report:#?}");
            assert!(said.iter().all(|name| report.message.contains(name)), "{}", report.message);
        }
        assert_eq!(reports.len(), 2, "{output:?}");
    }
}

#[tokio::test]
async fn a_case_insensitive_file_system_without_links_has_no_further_names() {
    if !has_exfat() {
        return;
    }
    let (python, judge) = (venv().join("bin/python"), root("tests/python/judge.py"));
    let script = |names: [&str; 2]| {
        let [first, second] = names;
        format!(
            r#"truncate -s 64M "$0.img"; mkfs.exfat "$0.img" >/dev/null
            device=$(losetup --find --show "$0.img")
            trap 'cd /; umount "$0"; losetup --detach "$device"' EXIT
            mount.exfat-fuse "$device" "$0" >/dev/null 2>&1
            for name in {first} {second}; do "$1" fetch $name --cache-dir "$0" -o json; done
            for name in {first} {second}; do
                '{}' '{}' offline-load "$0" $name --revision main >/dev/null
            done
            "$1" list -o json --cache-dir "$0" | wc -l"#,
            python.display(),
            judge.display()
        )
    };
    for names in [["ACME/Tiny", "acme/tiny"], ["acme/tiny", "ACME/Tiny"]] {
        let stage = Stage::new().await;
        let Some(output) = in_own_mounts(&stage, &script(names)) else { return };
        let (reports, rest) = reports(&output);
        let found: Vec<_> =
            reports.iter().map(|it| (it.reason, it.downloaded_bytes > 0, &it.names[..])).collect();
        let further = |name: &str| vec![name.to_owned()];
        // Only the Hub's response to the second fetch, or the first, shows that both are one repo.
        let first = if names[1] == "acme/tiny" { further("acme/tiny") } else { Vec::new() };
        assert_eq!(
            found,
            [(Reason::Verified, true, &first[..]), (Reason::Verified, false, &further(names[0])[..])]
        );
        assert_eq!(rest, ["1"]);
    }
    // Another name would need a link.
    let stage = Stage::new().await;
    stage.hub.rename("acme/tiny", "acme/new");
    let Some(output) = in_own_mounts(&stage, &script(["acme/tiny", "acme/new"])) else { return };
    let (reports, rest) = reports(&output);
    assert!(reports[0].message.ends_with("but programs find this only as acme/tiny."), "{:?}", reports[0]);
    assert!(reports.iter().all(|report| report.reason == Reason::Verified && report.names.is_empty()));
    assert_eq!(rest, ["2"]);
}
