//! `modelcache prune`: what is removed, what is kept, and whether the official client still loads the rest.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::Stdio,
    time::{Duration, SystemTime},
};

use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use standin_hub::{Class, Content, Fault, FaultKind, Repo};

use crate::{
    client::Client,
    list::{fetch, lines, objects, told},
    listing::listing,
    stage::{Stage, WEIGHTS, text},
};

/// Makes everything below a folder an hour old.
fn age(folder: &Path) {
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    for path in listing(folder) {
        let (name, link) = path.split_once(" -> ").map_or((path.as_str(), false), |(name, _)| (name, true));
        if link {
            // Also the times of links themselves.
            let status = std::process::Command::new("touch")
                .args(["-h", "-d", "1 hour ago"])
                .arg(folder.join(name))
                .status();
            assert!(status.unwrap().success());
        } else {
            fs::File::options().append(true).open(folder.join(name)).unwrap().set_modified(long_ago).unwrap();
        }
    }
    for path in fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path().join("snapshots")) {
        for snapshot in fs::read_dir(path).into_iter().flatten().flatten() {
            fs::File::open(snapshot.path()).unwrap().set_modified(long_ago).unwrap();
        }
    }
}

/// A cache of a model at three commits: one that `main` names, one with only a record, and one that the official client
/// fetched by commit.
async fn stage() -> (Stage, [String; 3]) {
    let stage = Stage::new().await;
    let first = stage.commit();
    stage.hub.update("acme/tiny", |repo| {
        repo.lfs("model.safetensors", Content::random(8, WEIGHTS)).branch("main")
    });
    let second = stage.commit();
    stage.hub.update("acme/tiny", |repo| {
        repo.lfs("model.safetensors", Content::random(9, WEIGHTS)).branch("main")
    });
    fetch(&stage, &["acme/tiny", "--revision", &second]);
    fetch(&stage, &["acme/tiny"]);
    let cache = stage.cache();
    let arguments = ["download", "acme/tiny", "--revision", &first, "--cache-dir", cache.to_str().unwrap()];
    Client::of(&stage.hub).hf(&arguments).unwrap();
    age(&cache);
    let third = stage.commit();
    (stage, [first, second, third])
}

fn items(value: &Value) -> Vec<(String, String, u64)> {
    let item = |item: &Value| (text(&item["kind"]), text(&item["path"]), item["bytes"].as_u64().unwrap());
    value["items"].as_array().unwrap().iter().map(item).collect()
}

fn prune(stage: &Stage, arguments: &[&str]) -> Vec<Value> {
    objects(&stage.modelcache(&[&["prune", "-o", "json"], arguments].concat()).output().unwrap())
}

fn commits(stage: &Stage) -> Vec<String> {
    let scan = stage.judge("scan", &[]);
    assert_eq!(scan["warnings"], json!([]));
    scan["repos"][0]["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|revision| text(&revision["commit"]))
        .collect()
}

#[tokio::test]
async fn unneeded_data_is_removed_and_the_rest_still_loads() {
    let (stage, [first, second, third]) = stage().await;
    let dir = stage.repo_dir();
    let unfinished = dir.join(format!("blobs/{}.0123abcd.incomplete", "ab".repeat(32)));
    let unneeded = dir.join(format!("blobs/{}", "cd".repeat(32)));
    fs::write(&unfinished, "half").unwrap();
    fs::write(&unneeded, "whole").unwrap();
    fs::write(dir.join("blobs/notes"), "none of ours").unwrap();
    age(&stage.cache());
    // As left by older clients.
    let old = ["incomplete", "part", "sync.part"].map(|end| unneeded.with_extension(end));
    for path in old {
        fs::write(path, "old").unwrap();
    }
    age(&stage.cache());
    let at = |path: String| format!("models--acme--tiny/{path}");
    let mut expected =
        vec![("unfinished".to_owned(), at(format!("blobs/{}.0123abcd.incomplete", "ab".repeat(32))), 4)];
    for end in ["incomplete", "part", "sync.part"] {
        expected.push(("unfinished".to_owned(), at(format!("blobs/{}.{end}", "cd".repeat(32))), 3));
    }
    expected.push(("blob".to_owned(), at(format!("blobs/{}", "cd".repeat(32))), 5));

    let before = listing(&stage.cache());
    let found = |arguments: &[&str]| {
        let mut found = items(&prune(&stage, arguments)[0]);
        // In directory order.
        let unfinished = found.iter().take_while(|(kind, ..)| kind == "unfinished").count();
        found[..unfinished].sort_unstable();
        found
    };
    assert_eq!(found(&["--dry-run"]), expected);
    let after = listing(&stage.cache());
    let new: Vec<_> = after.iter().filter(|path| !before.contains(path)).collect();
    assert!(
        new.iter().all(|path| path.ends_with(".lock")) && after.len() == before.len() + new.len(),
        "{new:?}"
    );

    assert_eq!(found(&[]), expected);
    assert!(!unfinished.exists() && !unneeded.exists() && dir.join("blobs/notes").exists());
    let mut kept = vec![first.clone(), second.clone(), third.clone()];
    kept.sort();
    assert_eq!(commits(&stage), kept);
    for revision in [&first, &second, "main"] {
        stage.judge("offline-load", &["acme/tiny", "--revision", revision]);
    }
    assert_eq!(prune(&stage, &["--min-age", "0s"])[0]["items"], json!([]), "what is left is needed");

    // Snapshots with only a record are removed on request, then those pinned by others, but never one that a ref names.
    for (asked, goes) in [("--unreferenced", &second), ("--all", &first)] {
        let gone = items(&prune(&stage, &["acme/tiny", asked, "--min-age", "0s"])[0]);
        assert_eq!(gone[0], ("snapshot".to_owned(), at(format!("snapshots/{goes}")), 0));
        assert_eq!((gone.len(), gone[1].2), (2, WEIGHTS));
        assert!(!listing(&dir).iter().any(|path| path.contains(goes) || path.contains(&gone[1].1)));
        kept.retain(|commit| commit != goes);
        assert_eq!(commits(&stage), kept);
    }
    assert_eq!(kept, [third]);
    stage.assert_loads(|_| true);
    let verified = stage.modelcache(&["verify"]).output().unwrap();
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    fetch(&stage, &["acme/tiny"]);
}

#[tokio::test]
async fn text_output_lists_items_and_sizes() {
    let (stage, [_, second, _]) = stage().await;
    let output = stage.modelcache(&["prune", "--unreferenced", "--dry-run"]).output().unwrap();
    assert_eq!(lines(&output)[0], format!("models--acme--tiny/snapshots/{second}   0 B   no ref names it"));
    assert_eq!(told(&output), "Would remove 1 snapshot, 1 blob: 3 MiB.");
    let output = stage.modelcache(&["prune", "--unreferenced"]).output().unwrap();
    assert_eq!(told(&output), "Removed 1 snapshot, 1 blob: 3 MiB.");
    let output = stage.modelcache(&["prune"]).output().unwrap();
    assert!(lines(&output).is_empty() && told(&output) == "Nothing to remove.", "{output:?}");
}

#[tokio::test]
async fn recent_and_used_data_are_kept() {
    let (stage, [first, ..]) = stage().await;
    let dir = stage.repo_dir();
    let blob = dir.join(format!("blobs/{}", "cd".repeat(32)));
    fs::write(&blob, "just now").unwrap();
    let output = stage.modelcache(&["prune"]).output().unwrap();
    assert!(told(&output).ends_with("(see --min-age): acme/tiny."), "{output:?}");
    age(&stage.cache());

    // A running download: its finished blobs are not linked yet.
    stage.hub.update("acme/tiny", |repo| {
        repo.lfs("model.safetensors", Content::random(10, WEIGHTS)).branch("main")
    });
    stage.hub.fault(Fault::new(FaultKind::Stall(1000)).on(Class::Cdn));
    let mut child = stage.modelcache(&["fetch", "acme/tiny"]).spawn().unwrap();
    let names = || fs::read_dir(dir.join("blobs")).unwrap().map(|entry| entry.unwrap().file_name());
    let on_its_way = || names().any(|name| name.to_str().unwrap().ends_with(".incomplete"));
    while !on_its_way() {
        assert!(child.try_wait().unwrap().is_none());
        tokio::task::yield_now().await;
    }
    let found = &prune(&stage, &["--min-age", "0s", "--all"])[0];
    assert_eq!((&found["inUse"], &found["items"]), (&json!(true), &json!([])));
    assert!(blob.exists() && dir.join("snapshots").join(first).exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let found = items(&prune(&stage, &["--min-age", "0s"])[0]);
    assert_eq!(found.iter().filter(|(kind, ..)| kind == "unfinished").count(), 1, "{found:?}");
    assert!(!blob.exists());
}

#[tokio::test]
async fn no_link_is_followed() {
    let (stage, [first, ..]) = stage().await;
    let (dir, cache) = (stage.repo_dir(), stage.cache());
    let weights = fs::canonicalize(dir.join(format!("snapshots/{first}/model.safetensors"))).unwrap();
    let elsewhere = stage.root.path().join("elsewhere");
    fs::create_dir_all(elsewhere.join("folder")).unwrap();
    fs::write(elsewhere.join("folder/file"), "x").unwrap();
    symlink(elsewhere.join("folder"), dir.join(format!("snapshots/{first}/out"))).unwrap();
    // The store of the official client.
    fs::create_dir_all(cache.join("blobs/ab")).unwrap();
    fs::write(cache.join("blobs/.huggingface-shared-blobs"), "1\n").unwrap();
    fs::rename(&weights, cache.join("blobs/ab/abcd")).unwrap();
    symlink("../../blobs/ab/abcd", &weights).unwrap();
    age(&cache);
    let mut gone = items(&prune(&stage, &["--all"])[0]);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    gone.retain(|(_, path, _)| [first.clone(), name(&weights)].contains(&name(Path::new(path))));
    let kinds: Vec<_> = gone.into_iter().map(|(kind, _, bytes)| (kind, bytes)).collect();
    assert_eq!(kinds, [("snapshot".to_owned(), 0), ("blob".to_owned(), 0)]);
    assert!(fs::symlink_metadata(&weights).is_err());
    assert!(cache.join("blobs/ab/abcd").exists() && elsewhere.join("folder/file").exists());

    // A blob folder shared by several repos: nothing in it is removed, since it may belong to another.
    let shared = stage.root.path().join("shared");
    fs::rename(dir.join("blobs"), &shared).unwrap();
    fs::write(shared.join("ef".repeat(32)), "of another repo").unwrap();
    symlink(&shared, dir.join("blobs")).unwrap();
    age(&cache);
    let before = listing(&shared);
    let refused = stage.modelcache(&["prune", "acme/tiny", "--min-age", "0s"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(73), "{refused:?}");
    assert!(told(&refused).starts_with("VolumeUnsafe: "), "{refused:?}");
    assert_eq!(listing(&shared), before);
}

#[tokio::test]
async fn traces_of_removed_snapshots_are_removed() {
    let (stage, [first, second, third]) = stage().await;
    let dir = stage.repo_dir();
    fs::remove_dir_all(dir.join("snapshots").join(&second)).unwrap();
    let of_another = dir.join(".no_exist").join("ab".repeat(20));
    for absent in [&dir.join(".no_exist").join(&second), &of_another] {
        fs::create_dir_all(absent).unwrap();
    }
    let verify = || stage.modelcache(&["verify"]).output().unwrap().status.code();
    assert_eq!(verify(), Some(65), "the record names what is not there");
    let gone: Vec<_> =
        items(&prune(&stage, &[])[0]).into_iter().map(|(kind, path, _)| (kind, path)).collect();
    assert_eq!(gone[0], ("trace".to_owned(), format!("models--acme--tiny/snapshots/{second}")));
    assert!(!listing(&dir).iter().any(|path| path.contains(&second)));
    assert!(!dir.join(".no_exist").join(&second).exists() && of_another.exists());
    let mut kept = vec![first, third.clone()];
    kept.sort();
    assert_eq!((verify(), commits(&stage)), (Some(0), kept));
    prune(&stage, &["--all", "--min-age", "0s"]);
    assert!(!of_another.exists());

    // A ref to a missing snapshot may still be wanted: it is listed and kept with its metadata.
    fs::remove_dir_all(dir.join("snapshots").join(&third)).unwrap();
    let kinds: Vec<_> =
        items(&prune(&stage, &["--min-age", "0s", "--all"])[0]).into_iter().map(|it| it.0).collect();
    assert!(!kinds.contains(&"trace".to_owned()) && dir.join("refs/main").exists());
}

#[tokio::test]
async fn an_unclear_ref_protects_its_repo_only() {
    let (stage, _) = stage().await;
    stage.hub.add(Repo::model("plain").file("x", "x").branch("main"));
    fetch(&stage, &["plain", "--revision", stage.hub.commit("plain", "main").as_str()]);
    let dir = stage.repo_dir();
    for folder in ["", "refs", "snapshots", "blobs", ".."] {
        fs::write(dir.join(folder).join(".DS_Store"), b"\0\0\0\x01Bud1\xff\xfe").unwrap();
    }
    let run = |command: &str, more: &[&str]| stage.modelcache(&[&[command], more].concat()).output().unwrap();
    let before = listing(&dir.join("snapshots"));
    let everything = ["--all", "--min-age", "0s", "--dry-run"];
    assert_eq!(told(&run("prune", &everything)), "Would remove 3 snapshots, 3 blobs: 6 MiB.");
    let pulled = dir.join("refs/pulled");
    for (what, said) in [
        ("an empty one", "names no commit, so every snapshot of its repo counts as needed"),
        ("a link", "refs/pulled is a link"),
        ("nonsense", "names no commit"),
    ] {
        match what {
            "a link" => symlink("gone", &pulled).unwrap(),
            "nonsense" => fs::write(&pulled, "x".repeat(1000)).unwrap(),
            _ => fs::write(&pulled, "").unwrap(),
        }
        for output in [run("list", &[]), run("prune", &everything)] {
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(73), "{what}: {output:?}");
            assert!(told.contains("VolumeUnsafe: ") && told.contains(said), "{what}: {told}");
            // The other repo is still listed, and so is the rest of this one.
            assert!(String::from_utf8_lossy(&output.stdout).contains("plain"), "{what}: {output:?}");
        }
        let output = run("prune", &everything);
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("Would remove 1 snapshot, 1 blob: 1 B."));
        fs::remove_file(&pulled).unwrap();
    }
    fs::write(&pulled, "").unwrap();
    run("prune", &everything[..3]);
    assert_eq!(listing(&dir.join("snapshots")), before);
}

#[tokio::test]
async fn snapshots_without_links_free_their_bytes() {
    let stage = Stage::new().await;
    let first = stage.commit();
    let files = |arguments: &[&str]| {
        let output = stage
            .modelcache(&[&["fetch", "acme/tiny"], arguments].concat())
            .env("HF_HUB_DISABLE_SYMLINKS", "1")
            .output();
        assert_eq!(output.unwrap().status.code(), Some(0));
    };
    files(&["--revision", &first]);
    stage.hub.update("acme/tiny", |repo| repo.file("new.txt", "new").branch("main"));
    files(&[]);
    let gone = items(&prune(&stage, &["--min-age", "0s", "--unreferenced"])[0]);
    assert_eq!(
        gone,
        [("snapshot".to_owned(), format!("models--acme--tiny/snapshots/{first}"), crate::stage::SIZE)]
    );
    stage.assert_loads(|_| true);
}

/// Repeated concurrent fetches and prunes: in any order, the snapshot that `main` names is complete.
#[tokio::test]
async fn a_concurrent_fetch_completes() {
    let stage =
        Stage::with(Repo::model("acme/tiny").file("a.txt", "0").file("b.txt", "b").branch("main")).await;
    for round in 1..=12 {
        stage.hub.update("acme/tiny", |repo| repo.file("a.txt", (round % 3).to_string()).branch("main"));
        let mut prune = stage.modelcache(&["prune", "--min-age", "0s", "--all"]);
        let pruning = stage.cache().exists().then(|| prune.stdout(Stdio::null()).spawn().unwrap());
        let fetched = stage.modelcache(&["fetch", "acme/tiny"]).output().unwrap();
        if let Some(mut pruning) = pruning {
            assert!(pruning.wait().unwrap().success());
        }
        // If it is hit in the middle, it reports that, and the next attempt succeeds.
        if fetched.status.code() != Some(0) {
            assert!(told(&fetched).contains("removed by another program"), "{fetched:?}");
            fetch(&stage, &["acme/tiny"]);
        }
        let verified = stage.modelcache(&["verify"]).output().unwrap();
        assert_eq!(verified.status.code(), Some(0), "round {round}: {verified:?}");
    }
    stage.judge("offline-load", &["acme/tiny", "--revision", "main"]);
}

#[tokio::test]
async fn a_read_only_cache_is_listed_and_not_pruned() {
    let (stage, [_, second, _]) = stage().await;
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" && exec \"$@\"";
    let cache = stage.cache();
    let starter = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, cache.to_str().unwrap()];
    let run = |arguments: &[&str]| stage.modelcache_through(&starter, arguments).output().unwrap();
    let listed = run(&["list"]);
    if told(&listed).contains("unshare") || told(&listed).contains("mount:") {
        eprintln!("skipped: a mount of our own is not allowed here");
        return;
    }
    assert_eq!(lines(&listed).len(), 4);
    let would = run(&["prune", "--unreferenced", "--dry-run"]);
    assert!(
        lines(&would)[0].contains(&second) && told(&would).starts_with("Would remove 1 snapshot"),
        "{would:?}"
    );
    let refused = run(&["prune", "--unreferenced"]);
    assert_eq!(refused.status.code(), Some(73), "{refused:?}");
    assert!(told(&refused).starts_with("VolumeNotWritable: cannot "), "{refused:?}");
    assert_eq!(commits(&stage).len(), 3);
}
