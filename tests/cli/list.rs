//! `modelcache list`, compared with the scan of the official client.

use std::{fs, os::unix::fs::symlink, process::Output};

use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use standin_hub::{Content, Repo};

use crate::{
    client::Client,
    stage::{SIZE, Stage, text},
};

pub fn lines(output: &Output) -> Vec<String> {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

pub fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap().trim_end().to_owned()
}

pub fn objects(output: &Output) -> Vec<Value> {
    lines(output).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
pub fn fetch(stage: &Stage, arguments: &[&str]) {
    let output = stage.modelcache(&[&["fetch"], arguments].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// A cache with two commits of one model, a part of a dataset, and a model that the official client has fetched.
async fn filled() -> Stage {
    let stage = Stage::new().await;
    stage.hub.add(
        Repo::dataset("acme/words")
            .file("a.txt", "a")
            .lfs("b.parquet", Content::random(2, 5000))
            .branch("main"),
    );
    stage.hub.add(Repo::model("plain").lfs("x.bin", Content::random(3, 900)).branch("main").branch("dev"));
    fetch(&stage, &["acme/tiny"]);
    stage.hub.update("acme/tiny", |repo| repo.file("new.txt", "new").branch("main").tag("v2"));
    fetch(&stage, &["acme/tiny", "--alias", "v2"]);
    fetch(&stage, &["acme/words", "--type", "dataset", "--include", "*.txt"]);
    let cache = stage.cache();
    let arguments = ["download", "plain", "--revision", "dev", "--cache-dir", cache.to_str().unwrap()];
    Client::of(&stage.hub).hf(&arguments).unwrap();
    stage
}

/// What a listing and a scan have in common.
fn common(ours: &[Value]) -> Value {
    let mut repos: Vec<_> = ours
        .iter()
        .map(|repo| {
            let mut revisions: Vec<_> = repo["revisions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|revision| json!({ "commit": revision["commit"], "refs": revision["refs"], "files": revision["files"] }))
                .collect();
            revisions.sort_by_key(|revision| text(&revision["commit"]));
            json!({ "type": repo["type"], "id": repo["repo"], "size": repo["bytes"], "revisions": revisions })
        })
        .collect();
    repos.sort_by_key(|repo| (text(&repo["type"]), text(&repo["id"])));
    json!(repos)
}

#[track_caller]
fn assert_as_scanned(stage: &Stage) {
    let ours = stage.modelcache(&["list", "-o", "json"]).output().unwrap();
    let mut scan = stage.judge("scan", &[]);
    for repo in scan["repos"].as_array_mut().unwrap() {
        for revision in repo["revisions"].as_array_mut().unwrap() {
            revision["files"] = json!(revision["files"].as_array().unwrap().len());
        }
    }
    assert_eq!(common(&objects(&ours)), scan["repos"]);
}

#[tokio::test]
async fn a_listing_agrees_with_the_scan_of_the_official_client() {
    let stage = filled().await;
    assert_as_scanned(&stage);
    // Unrelated files: the scan warns about them, and we ignore them.
    let cache = stage.cache();
    for folder in ["lost+found", "models--", "models--a--b--c", "kernels--a--b/snapshots", ".Trash"] {
        fs::create_dir_all(cache.join(folder)).unwrap();
    }
    fs::remove_dir(cache.join("models--")).unwrap();
    fs::remove_dir(cache.join("models--a--b--c")).unwrap();
    fs::remove_dir_all(cache.join("kernels--a--b")).unwrap();
    fs::write(cache.join("models--file"), "x").unwrap();
    fs::write(cache.join("notes.txt"), "x").unwrap();
    assert_as_scanned(&stage);
}

#[tokio::test]
async fn a_listing_shows_what_is_verified() {
    let stage = filled().await;
    let output = stage.modelcache(&["list", "-o", "json"]).output().unwrap();
    let mut repos = objects(&output);
    for revision in repos.iter_mut().flat_map(|repo| repo["revisions"].as_array_mut().unwrap()) {
        let revision = revision.as_object_mut().unwrap();
        let verified = revision.remove("verifiedAt");
        assert_eq!(verified.is_some(), revision["state"] == "verified", "{revision:?}");
    }
    let revisions = |repo: &Value| repo["revisions"].as_array().unwrap().clone();
    let (main, first) = (stage.commit(), text(&revisions(&repos[0])[1]["commit"]));
    let nothing = json!({ "files": 0, "bytes": 0 });
    let expected = [
        json!({
            "repo": "plain", "type": "model", "bytes": 900, "unneeded": nothing, "unfinished": nothing,
            "revisions": [{
                "commit": stage.hub.commit("plain", "dev"), "refs": ["dev"], "files": 1, "bytes": 900,
                "state": "unverified",
            }],
        }),
        json!({
            "repo": "acme/tiny", "type": "model", "bytes": SIZE - 2 + 3, "unneeded": nothing, "unfinished": nothing,
            "revisions": [
                { "commit": main, "refs": ["main", "v2"], "files": 6, "bytes": SIZE - 2 + 3, "state": "verified" },
                { "commit": first, "refs": [], "files": 5, "bytes": SIZE - 2, "state": "verified" },
            ],
        }),
        json!({
            "repo": "acme/words", "type": "dataset", "bytes": 1, "unneeded": nothing, "unfinished": nothing,
            "revisions": [{
                "commit": stage.hub.commit("datasets/acme/words", "main"), "refs": ["main"], "files": 1, "bytes": 1,
                "state": "verified",
            }],
        }),
    ];
    let sorted = |mut repos: Vec<Value>| {
        repos.sort_by_key(|repo| text(&repo["repo"]));
        repos
    };
    assert_eq!(sorted(repos), sorted(expected.to_vec()));
    assert!(told(&output).starts_with("3 repos, 4 snapshots, 3 MiB in "), "{output:?}");

    // A modified blob is not verified, and a missing one makes the snapshot incomplete.
    let trust = |which: usize| {
        let output = stage.modelcache(&["list", "acme/tiny", "-o", "json"]).output().unwrap();
        text(&objects(&output)[0]["revisions"][which]["state"])
    };
    let new = fs::read_link(stage.snapshot().join("new.txt")).unwrap();
    let new = stage.snapshot().join(new);
    fs::write(&new, "new").unwrap();
    assert_eq!((trust(0).as_str(), trust(1).as_str()), ("unverified", "verified"));
    fs::remove_file(&new).unwrap();
    assert_eq!((trust(0).as_str(), trust(1).as_str()), ("incomplete", "verified"));
}

#[tokio::test]
async fn leftovers_of_a_killed_client_are_incomplete() {
    let stage = filled().await;
    let plain = stage.cache().join("models--plain");
    let commit = stage.hub.commit("plain", "dev");
    // As left by the official client: a listing, but not all of its files.
    fs::remove_file(plain.join("snapshots").join(commit).join("x.bin")).unwrap();
    fs::write(plain.join(format!("blobs/{}.0123abcd.incomplete", "ab".repeat(32))), "half").unwrap();
    fs::write(plain.join("refs/gone"), "0".repeat(40)).unwrap();
    let output = stage.modelcache(&["list", "plain", "-o", "json"]).output().unwrap();
    let found = &objects(&output)[0];
    let states: Vec<_> = found["revisions"].as_array().unwrap().iter().map(|it| text(&it["state"])).collect();
    assert_eq!(states, ["incomplete", "incomplete"]);
    assert_eq!(found["unfinished"], json!({ "files": 1, "bytes": 4 }));
    assert_eq!(found["unneeded"], json!({ "files": 1, "bytes": 900 }));
    let output = stage.modelcache(&["list", "plain"]).output().unwrap();
    let see = format!("See `modelcache prune --dry-run --cache-dir {}`.", stage.cache().display());
    assert!(told(&output).trim_end().ends_with(&see), "{output:?}");
    let table = lines(&output);
    let words: Vec<Vec<_>> = table.iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["REPO", "TYPE", "COMMIT", "REFS", "FILES", "SIZE", "VERIFIED"]);
    assert_eq!(words[3], ["plain", "model", "(unfinished)", "-", "1", "4", "B", "-"]);
    assert_eq!(words[4], ["plain", "model", "(unneeded)", "-", "1", "900", "B", "-"]);
}

#[tokio::test]
async fn shared_files_are_counted_once() {
    let stage = filled().await;
    let (tiny, cache) = (stage.blob("model.safetensors"), stage.cache());
    // As huggingface_hub keeps what it has downloaded through Xet.
    fs::create_dir_all(cache.join("blobs/ab")).unwrap();
    fs::write(cache.join("blobs/.huggingface-shared-blobs"), "1\n").unwrap();
    fs::rename(&tiny, cache.join("blobs/ab/abcd")).unwrap();
    symlink("../../blobs/ab/abcd", &tiny).unwrap();
    assert_as_scanned(&stage);
    let output = stage.modelcache(&["ls"]).output().unwrap();
    assert!(told(&output).starts_with("3 repos, 4 snapshots, 3 MiB in "), "{output:?}");
}

#[tokio::test]
async fn listing_changes_nothing_and_reports_failures() {
    let stage = filled().await;
    let before = crate::listing::listing(&stage.cache());
    assert_eq!(lines(&stage.modelcache(&["list"]).output().unwrap()).len(), 5);
    assert_eq!(crate::listing::listing(&stage.cache()), before);
    for (arguments, code, word) in [
        (&["list", "acme/other"][..], 66, "NoMatchingFiles: "),
        (
            &["list", "--cache-dir", "/nowhere"],
            66,
            "NoMatchingFiles: cannot read /nowhere: No such file or directory (os error 2). Fill it with `modelcache fetch`",
        ),
        (&["list", "a/b/c"], 2, "InvalidRepo: "),
        (&["prune", "acme/other"], 66, "NoMatchingFiles: "),
        (&["prune", "--cache-dir", "/nowhere"], 66, "NoMatchingFiles: cannot read /nowhere"),
    ] {
        let output = stage.modelcache(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(told(&output).starts_with(word), "{output:?}");
    }
}
