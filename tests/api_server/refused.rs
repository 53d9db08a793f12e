//! What is refused, each with a sentence that names the field.

use serde_json::{Value, json};

use crate::support::{Server, object, refusal, spec};

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn bad_objects_are_refused_with_a_sentence() {
    let server = Server::new().await;
    let long = "x".repeat(300);
    let mut unlike = Vec::new();
    for (more, said) in [bad_sources(&long), bad_storages(), bad_jobs()].concat() {
        let message = refusal(server.create("bad", &spec(&more)).await);
        if !message.contains(said) {
            unlike.push(format!("{more}\n  got:    {message}\n  wanted: {said}"));
        }
    }
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));

    let message = refusal(server.create(&"n".repeat(64), &spec(&json!({}))).await);
    assert!(message.contains("metadata.name must have at most 63 characters"), "{message}");
    server.create(&"n".repeat(63), &spec(&json!({}))).await.unwrap();
}

type Refusal = (Value, &'static str);

fn bad_sources(long: &str) -> Vec<Refusal> {
    let repo = |repo: &str| json!({ "source": { "repo": repo } });
    let revision = |revision: &str| json!({ "source": { "revision": revision } });
    let endpoint = |endpoint: &str| json!({ "source": { "endpoint": endpoint } });
    let interval = |interval: &str| json!({ "interval": interval });

    let mut all = vec![
        (json!({ "source": null }), "spec.source: Required value"),
        (json!({ "source": { "repo": null } }), "spec.source.repo: Required value"),
        (json!({ "source": { "type": "model" } }), "spec.source.type: Unsupported value"),
        (json!({ "source": { "include": [""] } }), "spec.source.include[0]"),
        (json!({ "source": { "include": [long] } }), "spec.source.include[0]: Too long"),
        (
            json!({ "source": { "exclude": vec!["x"; 65] } }),
            "spec.source.exclude: Too many: 65: must have at most 64",
        ),
        (
            json!({ "source": { "aliases": ["a b"] } }),
            "spec.source.aliases[] must be a branch, tag or commit",
        ),
        (json!({ "source": { "aliases": ["a", "a"] } }), "spec.source.aliases[1]: Duplicate value"),
        (json!({ "tokenSecretRef": {} }), "spec.tokenSecretRef.name: Required value"),
        (
            json!({ "tokenSecretRef": { "name": "A" } }),
            "spec.tokenSecretRef.name must be the name of an object",
        ),
        (
            json!({ "tokenSecretRef": { "name": "a", "key": "a/b" } }),
            "spec.tokenSecretRef.key must be a key of a Secret",
        ),
    ];
    for name in
        ["a/b/c", "a--b", "a/..", "a..b", "-a/b", "a/b.", "a/b.git", "a/b.GIT", "a b", "ä", "/a", "a/", "a\n"]
    {
        all.push((repo(name), "spec.source.repo must be `name` or `namespace/name`"));
    }
    all.push((repo(""), "spec.source.repo in body should be at least 1 chars long"));
    for name in [
        "a b", "a..b", "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a~1", "a\\b", "@", "a@{1}", "-x", "a\n",
        "a.", "a*", "[a", "a^", "a:b", "a?", "\u{7f}",
    ] {
        all.push((revision(name), "spec.source.revision must be a branch, tag or commit"));
    }
    for address in [
        "huggingface.co",
        "ftp://a",
        "https://",
        "https://u:p@a",
        "https://a?b",
        "https://a#b",
        "https://a b",
    ] {
        all.push((endpoint(address), "spec.source.endpoint must be an address such as"));
    }
    for text in ["", "1", "5s", "59s", "1d", "-1h", "1.5h", "30m1h", "hour", "999999h"] {
        all.push((interval(text), "spec.interval must be hours, minutes and seconds"));
    }
    all
}

fn bad_storages() -> Vec<Refusal> {
    let sub_path = |path: &str| json!({ "storage": { "subPath": path } });
    let claim = |claim: Value| json!({ "storage": { "claim": claim } });
    let modes = |modes: &[&str]| claim(json!({ "accessModes": modes }));
    let class = |class: &str| claim(json!({ "storageClassName": class }));

    let mut all = vec![
        (
            json!({ "storage": { "claim": {}, "existingClaim": "a" } }),
            "spec.storage must have at most one of claim and existingClaim",
        ),
        (
            json!({ "storage": { "existingClaim": "A" } }),
            "spec.storage.existingClaim must be the name of an object",
        ),
        (class("A"), "spec.storage.claim.storageClassName must be the name of a storage class"),
        (modes(&[]), "spec.storage.claim.accessModes in body should have at least 1 items"),
        (modes(&["RWX"]), "spec.storage.claim.accessModes[0]: Unsupported value"),
        (modes(&["ReadOnlyMany"]), "spec.storage.claim.accessModes must have a mode that can be written"),
        (
            modes(&["ReadWriteOncePod", "ReadWriteOnce"]),
            "spec.storage.claim.accessModes must have ReadWriteOncePod alone",
        ),
    ];
    for path in ["/a", "../a", "a/..", "a/./b", "a//b", "a/", "a b", "..", "a\\b"] {
        all.push((sub_path(path), "spec.storage.subPath must be a relative path such as"));
    }
    for size in [json!(0), json!(40), json!(-1), json!("0"), json!("40"), json!("40m"), json!("1023Ki")] {
        all.push((
            claim(json!({ "size": size })),
            "spec.storage.claim.size must be a quantity of at least 1Mi",
        ));
    }
    for size in [json!("40GiB"), json!("-1Gi"), json!("lots"), json!(1.5)] {
        all.push((claim(json!({ "size": size })), "spec.storage.claim.size"));
    }
    all
}

fn bad_jobs() -> Vec<Refusal> {
    let job = |job: Value| json!({ "job": job });

    vec![
        (job(json!({ "labels": { "modelcache.internal/name": "x" } })), "spec.job.labels must have no key"),
        (
            job(json!({ "annotations": { "modelcache.internal/x": "x" } })),
            "spec.job.annotations must have no key",
        ),
        (job(json!({ "logLevel": "debug" })), "spec.job.logLevel: Unsupported value"),
        (
            job(json!({ "serviceAccountName": "a_b" })),
            "spec.job.serviceAccountName must be the name of an object",
        ),
        (job(json!({ "imagePullSecrets": [{}] })), "spec.job.imagePullSecrets[0].name: Required value"),
        (job(json!({ "resources": { "limits": { "cpu": "two" } } })), "spec.job.resources.limits.cpu"),
        (job(json!({ "tolerations": ["all"] })), "spec.job.tolerations[0]"),
    ]
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_misspelt_field_does_not_pass_in_silence() {
    let server = Server::new().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let misspelt = json!({ "revison": "v2", "job": { "affinity": { "nodeAfinity": {} } } });
    std::fs::write(file.path(), serde_json::to_string(&object("typo", &spec(&misspelt))).unwrap()).unwrap();
    let path = file.path().to_str().unwrap();

    let refused = server.kubectl(&["create", "-f", path]);
    for field in ["spec.revison", "spec.job.affinity.nodeAfinity"] {
        assert!(refused.contains(&format!("unknown field \"{field}\"")), "{refused}");
    }
    let warned = server.kubectl(&["create", "--validate=warn", "-f", path]);
    assert!(
        warned.contains("Warning: unknown field \"spec.revison\"") && warned.contains("created"),
        "{warned}"
    );
    assert!(server.plain().get("typo").await.unwrap().data["spec"].get("revison").is_none());
}
