//! A release, to the end: what `.ci/release files` has made goes to a registry, and a user takes it from there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a story that cannot go on has to fail at that line, in the helpers as in the tests"
)]

mod registry;

use std::{fs, path::PathBuf, process::Command};
use test_support::programs;

use serde_json::Value;
use standin_hub::{Content, Repo, StandinHub};

use crate::{
    programs::{root, said},
    registry::Registry,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn files() -> PathBuf {
    root("target/release-files")
}

#[test]
#[ignore = "needs target/release-files: make test"]
fn a_release_is_pushed_once_and_never_overwritten() {
    let registry = Registry::start();
    let names = registry.push().unwrap();
    let [image, chart] = [0, 1].map(|line| names.lines().nth(line).unwrap());
    assert!(image.starts_with(&format!("{}/acme/modelcache@sha256:", registry.address())), "{names}");
    assert!(chart.starts_with(&format!("{}/acme/charts/modelcache@sha256:", registry.address())), "{names}");

    // Both are there, whole, in the eyes of another client.
    for name in [image, chart] {
        registry.crane(&["validate", "--remote", name]).unwrap();
    }
    let index: Value = serde_json::from_str(&registry.crane(&["manifest", image]).unwrap()).unwrap();
    let platforms: Vec<_> = index["manifests"].as_array().unwrap().iter().map(|it| &it["platform"]).collect();
    assert_eq!(
        platforms,
        [
            &serde_json::json!({ "architecture": "amd64", "os": "linux" }),
            &serde_json::json!({ "architecture": "arm64", "os": "linux" })
        ]
    );
    for platform in ["linux/amd64", "linux/arm64"] {
        let config: Value =
            serde_json::from_str(&registry.crane(&["config", "--platform", platform, image]).unwrap())
                .unwrap();
        let run = &config["config"];
        assert_eq!(
            (&run["User"], &run["Entrypoint"][0]),
            (&"65532:65532".into(), &"/usr/bin/modelcache".into())
        );
        let labels = run["Labels"].as_object().unwrap();
        assert_eq!(labels["org.opencontainers.image.version"], VERSION);
        assert_eq!(labels["org.opencontainers.image.revision"].as_str().unwrap().len(), 40);
    }

    // The chart names the image for which it was made.
    let rendered = registry.helm(&["template", "x", &registry.chart(), "--version", VERSION]).unwrap();
    let uses = rendered.matches(&format!("registry.example/modelcache:{VERSION}")).count();
    assert_eq!(uses, 3, "for the operator, for its Jobs, and in the policy on them");

    // The same again changes nothing; other files under the same version are refused.
    assert_eq!(registry.push().unwrap(), names);
    let amd64 =
        format!("{}@{}", image.split('@').next().unwrap(), index["manifests"][0]["digest"].as_str().unwrap());
    registry.crane(&["tag", &amd64, VERSION]).unwrap();
    let refusal = registry.push().unwrap_err();
    assert!(refusal.contains(&format!("acme/modelcache:{VERSION} is there with other content")), "{refusal}");
}

/// On this machine the processor is emulated; the program, its libraries and its certificates are those of the image.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs target/release-files: make test"]
async fn the_image_for_arm64_fetches_and_verifies() {
    let registry = Registry::start();
    registry.push().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (image_root, cache) = (folder.path().join("root"), folder.path().join("hub"));
    fs::create_dir(&image_root).unwrap();
    let image = format!("{}/acme/modelcache:{VERSION}", registry.address());
    let archive = folder.path().join("root.tar");
    registry.crane(&["export", "--platform", "linux/arm64", &image, archive.to_str().unwrap()]).unwrap();
    said(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&image_root)).unwrap();

    let hub = StandinHub::start().await;
    hub.add(
        Repo::model("acme/tiny")
            .file("config.json", "{}")
            .lfs("model.safetensors", Content::random(3, 5 << 20)),
    );
    let modelcache = |arguments: &[&str]| {
        said(
            Command::new("qemu-aarch64-static")
                .arg("-L")
                .arg(&image_root)
                .arg(image_root.join("usr/bin/modelcache"))
                .args(arguments)
                .env_clear()
                .envs([("HF_ENDPOINT", hub.url()), ("HF_HUB_CACHE", cache.to_str().unwrap())]),
        )
    };
    modelcache(&["fetch", "acme/tiny"]).unwrap();
    modelcache(&["verify"]).unwrap();
    let commit = hub.commit("acme/tiny", "main");
    let file = cache.join(format!("models--acme--tiny/snapshots/{commit}/model.safetensors"));
    assert_eq!(fs::read(file).unwrap(), Content::random(3, 5 << 20).to_vec().unwrap());
    assert!(
        fs::read_to_string(image_root.join("usr/share/doc/modelcache/THIRD-PARTY.md"))
            .unwrap()
            .contains("\n- reqwest ")
    );
}

#[test]
#[ignore = "needs target/release-files: make test"]
fn the_files_of_a_release_are_whole() {
    let there = |name: String| {
        fs::read_to_string(files().join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let sums = there("checksums.txt".to_owned());
    said(Command::new("sha256sum").args(["--check", "--strict", "checksums.txt"]).current_dir(files()))
        .unwrap();
    let install = there(format!("install-{VERSION}.yaml"));
    assert!(install.contains("kind: CustomResourceDefinition") && install.contains("kind: Deployment"));
    assert!(!install.contains("MutatingAdmissionPolicy") && !install.contains("localhost/"), "{install}");
    assert!(there(format!("install-pods-{VERSION}.yaml")).contains("kind: MutatingAdmissionPolicy"));
    let bill: Value = serde_json::from_str(&there(format!("modelcache-{VERSION}.cdx.json"))).unwrap();
    let parts: Vec<_> =
        bill["components"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(
        bill["bomFormat"] == "CycloneDX" && parts.contains(&"reqwest") && parts.contains(&"hf-xet"),
        "{parts:?}"
    );
    assert_eq!(sums.lines().count(), 6, "{sums}");
}
