//! Repos requested in another case or by a former name: programs find them under both names, and every command and the official
//! client can still read the cache.

use std::fs;

use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::{
    list::{self, fetch},
    stage::{Stage, WEIGHTS},
};
use standin_hub::Content;

/// What the official client loads offline under a name: the commit, and the hash of its weights.
fn loaded(stage: &Stage, name: &str) -> (String, String) {
    let loaded = stage.judge("offline-load", &[name, "--revision", "main"]);
    let commit = loaded["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let files = loaded["files"].as_array().unwrap();
    let weights = files.iter().find(|file| file["path"] == "model.safetensors").unwrap();
    (commit, weights["sha256"].as_str().unwrap().to_owned())
}

/// The same on the Hub, at `main`.
fn served(stage: &Stage, name: &str) -> (String, String) {
    let files = stage.hub.files(name, "main");
    let weights = files.iter().find(|file| file.path == "model.safetensors").unwrap();
    (stage.hub.commit(name, "main"), weights.content.sha256().unwrap().to_owned())
}

/// The links at the root of the cache.
fn links(stage: &Stage) -> Vec<String> {
    let entries = fs::read_dir(stage.cache()).unwrap().flatten();
    let mut links: Vec<_> = entries
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            Some(format!("{} -> {}", entry.file_name().display(), target.display()))
        })
        .collect();
    links.sort();
    links
}

fn report(stage: &Stage, arguments: &[&str]) -> Value {
    let output = stage.modelcache(&[&["fetch", "-o", "json"], arguments].concat()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn objects(stage: &Stage, arguments: &[&str]) -> Vec<Value> {
    list::objects(&stage.modelcache(arguments).output().unwrap())
}

/// Asserts that the scan of the official client has these repos and no warnings.
#[track_caller]
fn assert_scanned(stage: &Stage, names: &[&str]) {
    let scan = stage.judge("scan", &[]);
    let found: Vec<_> = scan["repos"].as_array().unwrap().iter().map(|repo| repo["id"].clone()).collect();
    assert_eq!((json!(found), &scan["warnings"]), (json!(names), &json!([])));
}

#[tokio::test]
async fn programs_find_a_repo_by_the_hubs_and_by_the_requested_name() {
    for (asked, own) in [("Acme/TINY", "acme/tiny"), ("acme/tiny", "other/new.name")] {
        let stage = Stage::new().await;
        if !own.eq_ignore_ascii_case(asked) {
            stage.hub.rename("acme/tiny", own);
        }
        let told = report(&stage, &[asked]);
        assert_eq!((&told["repo"], &told["names"]), (&json!(asked), &json!([own])));
        assert!(
            told["path"].as_str().unwrap().starts_with(&format!("models--{}/", asked.replace('/', "--")))
        );
        let message = told["message"].as_str().unwrap();
        assert!(
            message.ends_with(&format!("The Hub calls the repo {own}: programs find it under both names.")),
            "{message}"
        );
        for name in [asked, own] {
            assert_eq!(loaded(&stage, name), served(&stage, own), "{name}");
        }
        let mut names = [asked, own];
        names.sort_unstable();
        assert_scanned(&stage, &names);

        // It is one repo, under whichever name.
        for more in [vec![], vec![asked], vec![own]] {
            let arguments = [&["list", "-o", "json"], more.as_slice()].concat();
            let listed = objects(&stage, &arguments);
            assert_eq!(listed.len(), 1, "{arguments:?}");
            assert_eq!((&listed[0]["repo"], &listed[0]["names"]), (&json!(asked), &json!([own])));
            assert_eq!(listed[0]["revisions"][0]["state"], "verified");
            let arguments = [&["verify", "-o", "json"], more.as_slice()].concat();
            let verified = objects(&stage, &arguments);
            assert_eq!(
                (verified.len(), &verified[0]["id"], &verified[0]["problems"]),
                (1, &json!(asked), &json!([]))
            );
            let status = stage
                .modelcache(&[&["prune", "--all", "--min-age", "0s"], more.as_slice()].concat())
                .status();
            assert!(status.unwrap().success());
            assert_eq!(loaded(&stage, own), loaded(&stage, asked));
        }
        // Offline too.
        for name in [asked, own] {
            let output = stage.modelcache(&["fetch", name]).env("HF_HUB_OFFLINE", "1").output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
    }
}

#[tokio::test]
async fn a_repo_cached_under_one_name_is_not_downloaded_under_another() {
    let stage = Stage::new().await;
    fetch(&stage, &["acme/tiny"]);
    let again = report(&stage, &["ACME/Tiny"]);
    assert_eq!((&again["downloadedBytes"], &again["names"]), (&json!(0), &json!(["acme/tiny"])));
    assert_eq!(links(&stage), ["models--ACME--Tiny -> models--acme--tiny"]);

    // Under whichever name a new commit is fetched, both have it.
    for name in ["ACME/Tiny", "acme/tiny", "acme/TINY"] {
        stage.hub.update("acme/tiny", |repo| {
            let seed = name.bytes().fold(0, |sum, byte| sum * 2 + u64::from(byte));
            repo.lfs("model.safetensors", Content::random(seed, WEIGHTS)).branch("main")
        });
        fetch(&stage, &[name]);
        for reader in ["acme/tiny", "ACME/Tiny"] {
            assert_eq!(loaded(&stage, reader), served(&stage, "acme/tiny"), "{reader} after {name}");
        }
    }
    assert_scanned(&stage, &["ACME/Tiny", "acme/TINY", "acme/tiny"]);
}

#[tokio::test]
async fn an_existing_folder_with_the_hubs_name_is_kept_and_reported() {
    let stage = Stage::new().await;
    for name in ["acme--tiny", "acme--other"] {
        fs::create_dir_all(stage.cache().join(format!("models--{name}/snapshots"))).unwrap();
    }
    stage.hub.rename("acme/tiny", "acme/other");
    let told = report(&stage, &["acme/tiny"]);
    let message = told["message"].as_str().unwrap();
    assert!(
        message.ends_with("The Hub calls the repo acme/other, but programs find this only as acme/tiny."),
        "{message}"
    );
    assert_eq!((&told["names"], links(&stage)), (&json!(null), Vec::new()));
    assert_eq!(loaded(&stage, "acme/tiny"), served(&stage, "acme/other"));
}

#[tokio::test]
async fn dangling_redirects_are_removed_or_replaced() {
    let stage = Stage::new().await;
    fetch(&stage, &["Acme/Tiny"]);
    for name in ["acme/tiny", "Acme/Tiny"] {
        fs::remove_dir_all(stage.cache().join("models--Acme--Tiny")).unwrap();
        let output = stage.modelcache(&["list"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        fetch(&stage, &[name]);
        assert_eq!(loaded(&stage, name), served(&stage, "acme/tiny"));
        if name == "acme/tiny" {
            assert_eq!(links(&stage), Vec::<String>::new());
            fs::remove_dir_all(stage.cache().join("models--acme--tiny")).unwrap();
            fetch(&stage, &["Acme/Tiny"]);
        }
    }
    fs::remove_dir_all(stage.cache().join("models--Acme--Tiny")).unwrap();
    let gone = objects(&stage, &["prune", "-o", "json"]);
    assert_eq!(gone[0]["items"], json!([{"kind": "trace", "path": "models--acme--tiny", "bytes": 0}]));
    assert_eq!(links(&stage), Vec::<String>::new());
}
