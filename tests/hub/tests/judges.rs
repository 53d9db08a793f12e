//! The judges tell right caches from wrong ones, and the made models are real.
#![allow(clippy::unwrap_used, reason = "tests fail by it")]

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};
use standin_hub::{Repo, StandinHub};
use test_support::{client::Client, programs::root};

/// The made models, kept between runs beside the build's other output.
fn models() -> PathBuf {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("models");
    let made = Command::new(root("tests/models/make")).arg(&out).args(["--size", "20"]).status().unwrap();
    assert!(made.success());
    out
}

#[tokio::test]
async fn made_models_are_loaded_by_id_from_a_cache_and_judged_right() {
    let hub = StandinHub::start().await;
    let client = Client::of(&hub);
    let cache = client.cache();
    let cache = cache.to_str().unwrap();
    for name in ["static-embedding", "large", "llama-like"] {
        let repo = format!("acme/{name}");
        hub.add(Repo::model(&repo).folder(models().join(name)));
        client.hf(&["download", &repo]).unwrap();

        let commit = hub.commit(&repo, "main");
        let loaded = client.judge(&["offline-load", cache, &repo]).unwrap();
        assert!(loaded["path"].as_str().unwrap().ends_with(&commit));
        let files: Vec<Value> = hub
            .files(&repo, "main")
            .iter()
            .map(|file| json!({"path": file.path, "size": file.size, "sha256": file.content.sha256().unwrap()}))
            .collect();
        assert_eq!(loaded["files"], json!(files));

        let verified = client.judge(&["verify", cache, &repo, "--endpoint", hub.url()]).unwrap();
        assert_eq!(
            verified,
            json!({"commit": commit, "checked": files.len(), "mismatches": [], "missing": [], "extra": []})
        );
    }

    let scan = client.judge(&["scan", cache]).unwrap();
    assert_eq!(scan["warnings"], json!([]));
    let ids: Vec<&Value> = scan["repos"].as_array().unwrap().iter().map(|repo| &repo["id"]).collect();
    assert_eq!(ids, ["acme/large", "acme/llama-like", "acme/static-embedding"]);
    assert_eq!(scan["repos"][1]["revisions"][0]["refs"], json!(["main"]));

    let embedded = client.judge(&["embed", cache, "acme/static-embedding"]).unwrap();
    assert_eq!((&embedded["shape"], &embedded["norm"]), (&json!([2, 64]), &json!(2.0)), "two unit vectors");
}

#[tokio::test]
async fn a_damaged_cache_is_judged_wrong() {
    let hub = StandinHub::start().await;
    hub.add(Repo::model("acme/tiny").file("config.json", "{}").file("vocab.txt", "a\n"));
    let client = Client::of(&hub);
    let cache = client.cache();
    let cache = cache.to_str().unwrap();
    let missing = client.judge(&["offline-load", cache, "acme/tiny"]).unwrap_err();
    assert!(missing.contains("\"error\": \"LocalEntryNotFoundError\""), "{missing}");

    client.hf(&["download", "acme/tiny"]).unwrap();
    let snapshot = client.cache().join("models--acme--tiny/snapshots").join(hub.commit("acme/tiny", "main"));
    std::fs::write(snapshot.join("config.json"), "[]").unwrap();
    std::fs::remove_file(snapshot.join("vocab.txt")).unwrap();
    let verified = client.judge(&["verify", cache, "acme/tiny", "--endpoint", hub.url()]).unwrap();
    assert_eq!(verified["mismatches"][0]["path"], "config.json");
    assert_eq!(verified["missing"], json!(["vocab.txt"]));
    let incomplete = client.judge(&["offline-load", cache, "acme/tiny"]).unwrap_err();
    assert!(incomplete.contains("\"error\": \"IncompleteSnapshotError\""), "{incomplete}");

    std::fs::remove_dir_all(&snapshot).unwrap();
    let scan = client.judge(&["scan", cache]).unwrap();
    assert_eq!(scan["repos"], json!([]));
    assert_eq!(scan["warnings"].as_array().unwrap().len(), 1);
}
