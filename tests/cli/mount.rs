//! `mount -f`: the part of a pod template, from files.

use std::{fs, process::Command};

use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::list::told;

const CACHES: &str = "\
apiVersion: modelcache.internal/v1alpha1
kind: ModelCache
metadata: {name: base}
spec: {source: {repo: acme/base, revision: v1}}
---
apiVersion: modelcache.internal/v1alpha1
kind: ModelCache
metadata: {name: shared}
spec: {source: {repo: acme/shared}, storage: {existingClaim: models, subPath: a/hub}}
---
apiVersion: modelcache.internal/v1alpha1
kind: ModelCache
metadata: {name: twice, namespace: staging}
spec: {source: {repo: acme/twice}, storage: {existingClaim: small}}
---
apiVersion: modelcache.internal/v1alpha1
kind: ModelCache
metadata: {name: twice, namespace: production}
spec: {source: {repo: acme/twice}, storage: {existingClaim: large}}
";

fn mount(arguments: &[&str]) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("caches.yaml");
    fs::write(&file, CACHES).unwrap();
    Command::new(env!("CARGO_BIN_EXE_modelcache"))
        .args(["mount", "-f"])
        .arg(&file)
        .args(arguments)
        .output()
        .unwrap()
}

fn block(arguments: &[&str]) -> Value {
    serde_saphyr::from_slice(&mount(arguments).stdout).unwrap()
}

fn expected(container: &str, home: &str, claim: &str) -> Value {
    let hub = format!("{home}/hub");
    json!({ "spec": {
        "containers": [{
            "name": container,
            "env": [
                { "name": "HF_HOME", "value": home },
                { "name": "HF_HUB_CACHE", "value": hub },
                { "name": "HUGGINGFACE_HUB_CACHE", "value": hub },
                { "name": "HF_HUB_OFFLINE", "value": "1" },
                { "name": "TRANSFORMERS_OFFLINE", "value": "1" },
                { "name": "HF_DATASETS_OFFLINE", "value": "1" },
            ],
            "volumeMounts": [
                { "name": "modelcache-home", "mountPath": home },
                { "name": "modelcache", "mountPath": hub, "readOnly": true },
            ],
        }],
        "volumes": [
            { "name": "modelcache-home", "emptyDir": {} },
            { "name": "modelcache", "persistentVolumeClaim": { "claimName": claim, "readOnly": true } },
        ],
    } })
}

#[test]
fn the_output_has_claim_folder_and_path() {
    assert_eq!(block(&["base"]), expected("server", "/modelcache", "base"));
    let mut shared = expected("vllm", "/srv", "models");
    let container = &mut shared["spec"]["containers"][0];
    container["volumeMounts"][1]["subPath"] = json!("a/hub");
    let writable = ["HOME", "TMPDIR"].map(|name| json!({ "name": name, "value": "/srv" }));
    container["env"].as_array_mut().unwrap().extend(writable);
    let more = ["shared", "--container", "vllm", "--mount-path", "/srv/", "--home"];
    assert_eq!(block(&more), shared);
    // The namespace decides if there are several.
    assert_eq!(block(&["base", "-n", "staging"]), block(&["base"]));
    assert_eq!(block(&["twice", "-n", "staging"]), expected("server", "/modelcache", "small"));
    assert_eq!(block(&["base", "--patch"]), json!({ "spec": { "template": block(&["base"]) } }));
    let told = told(&mount(&["base"]));
    assert_eq!(told.trim(), "It loads as acme/base at revision v1 once the ModelCache is Ready.");
}

#[test]
fn errors_have_a_remedy() {
    for (arguments, code, sentence) in [
        (
            &["other"][..],
            66,
            "no ModelCache other in the files; they have base, shared, staging/twice, production/twice",
        ),
        (
            &["twice"],
            2,
            "more than one ModelCache twice: staging/twice and production/twice; select a namespace with -n",
        ),
        (&["twice", "-n", "test"], 66, "no ModelCache twice in the files"),
        (&["base", "--container", ""], 2, "it must be a container name"),
        (&["base", "--container", "a b"], 2, "it must be a container name"),
        (&["base", "--mount-path", "srv"], 2, "it must be absolute, without `:`, `.` and `..`"),
        (&["base", "--mount-path", "/"], 2, "it must be absolute"),
        (&["base", "--mount-path", "/srv//hf"], 2, "it must be absolute"),
        (&["base", "--mount-path", "/."], 2, "it must be absolute"),
        (&["base", "--mount-path", "/a\nb"], 2, "it must be absolute"),
    ] {
        let output = mount(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(told(&output).contains(sentence), "{}", told(&output));
    }
}
