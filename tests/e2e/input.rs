//! Bad input: a clear word, and nothing is changed.

use k8s_openapi::api::{batch::v1::Job, core::v1::PersistentVolumeClaim};
use kube::{
    ResourceExt,
    api::{ListParams, PostParams},
};
use modelcache::{api::ModelCache, reason::ConditionType};
use serde_json::json;

use crate::{
    cluster::{self, message, show},
    world::{hub, model, spec, team, with},
};

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn names_and_patterns_that_lead_nowhere_are_told() {
    let (_cluster, team) = team("names").await;
    hub().add(model("acme/names"));
    for repo in ["../etc/passwd", "a/../b", "a/b/c", "-x/y"] {
        let refused = team.try_cache("bad", spec(repo)).await.unwrap_err().to_string();
        assert!(refused.contains("spec.source.repo"), "{refused}");
    }
    let revision = json!({ "source": { "revision": "v9" } });
    team.cache("revision", with(spec("acme/names"), revision)).await;
    let cache = team.reason("revision", "RevisionNotFound").await;
    assert!(message(&cache, ConditionType::Resolved).contains("v9"), "{}", show(&cache));

    let pattern = json!({ "source": { "include": ["*.gguf"] } });
    team.cache("pattern", with(spec("acme/names"), pattern)).await;
    let cache = team.reason("pattern", "NoMatchingFiles").await;
    assert!(message(&cache, ConditionType::Resolved).contains("*.gguf"), "{}", show(&cache));

    assert_eq!(team.api::<Job>().list(&ListParams::default()).await.unwrap().items.len(), 0);
    assert_eq!(
        team.api::<PersistentVolumeClaim>().list(&ListParams::default()).await.unwrap().items.len(),
        0
    );
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_file_name_that_leads_out_of_the_volume_is_refused() {
    let (_cluster, team) = team("paths").await;
    for (name, path) in [
        ("absolute", "/etc/cron.d/x".to_owned()),
        ("dots", "a/../../x".to_owned()),
        ("control", "a\u{1b}[31m.bin".to_owned()),
        ("long", "x".repeat(300)),
    ] {
        let repo = format!("acme/path-{name}");
        hub().add(model(&repo).file(&path, "x"));
        team.cache(name, spec(&repo)).await;
        let cache = team.reason(name, "UnsafeFileName").await;
        assert!(!message(&cache, ConditionType::Resolved).contains('\u{1b}'), "{}", show(&cache));
    }
    assert_eq!(team.api::<Job>().list(&ListParams::default()).await.unwrap().items.len(), 0);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_claim_that_is_not_ours_is_left_alone_and_one_that_is_too_small_is_not_made() {
    let (_cluster, team) = team("claims").await;
    hub().add(model("acme/claims"));
    let theirs: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": { "name": "theirs" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    }))
    .unwrap();
    let claims = team.api::<PersistentVolumeClaim>();
    let before = claims.create(&PostParams::default(), &theirs).await.unwrap();
    team.cache("theirs", spec("acme/claims")).await;
    team.reason("theirs", "ClaimConflict").await;
    assert_eq!(claims.get("theirs").await.unwrap().resource_version(), before.resource_version());

    team.cache("small", with(spec("acme/claims"), json!({ "storage": { "claim": { "size": "2Mi" } } })))
        .await;
    let cache = team.reason("small", "VolumeFull").await;
    assert!(message(&cache, ConditionType::Downloaded).contains("2 MiB"), "{}", show(&cache));
    assert!(claims.get_opt("small").await.unwrap().is_none());

    team.cache("nowhere", with(spec("acme/claims"), json!({ "storage": { "existingClaim": "none" } }))).await;
    team.reason("nowhere", "ClaimNotFound").await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_quota_that_refuses_the_job_or_the_claim_is_told_in_the_api_servers_words() {
    for (kind, reason) in [("pods", "JobRejected"), ("persistentvolumeclaims", "ClaimPending")] {
        let (cluster, team) = team("quota").await;
        hub().add(model("acme/quota"));
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": { "name": "none", "namespace": team.namespace },
            "spec": { "hard": { kind: "0" } },
        });
        cluster.apply_object(&serde_json::from_value(quota).unwrap()).await.unwrap();
        team.cache("quota", spec("acme/quota")).await;
        let said = |cache: &ModelCache| message(cache, ConditionType::Downloaded);
        let cache = team.until("quota", reason, |cache| said(cache).contains("exceeded quota")).await;
        assert_eq!(cluster::reason(&cache, ConditionType::Downloaded), reason, "{}", show(&cache));
    }
}
