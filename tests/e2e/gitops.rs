//! What GitOps tools make of a ModelCache, by their own libraries: kstatus, Argo CD's health check in Lua, and Flux's
//! expressions. The objects are the API server's.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use kube::api::{Patch, PatchParams, PostParams};
use modelcache::{api::ModelCache, reason::ConditionType};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use standin_hub::{Access, Class, Fault, FaultKind};

use crate::{
    cluster::{holds, message},
    world::{USER, gated, hub, model, spec, team, with},
};

/// What the three say of an object: kstatus, Argo CD, Flux. The message is Argo CD's.
fn judged(cache: &ModelCache) -> ([String; 3], String) {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut judge = Command::new(format!("{root}/target/gitops/gitops"))
        .args([
            format!("{root}/deploy/argocd/argocd-cm.yaml"),
            format!("{root}/deploy/flux/kustomization.yaml"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tests/gitops/build has made it");
    writeln!(judge.stdin.take().unwrap(), "{}", serde_json::to_string(cache).unwrap()).unwrap();
    let output = judge.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    ([&said["kstatus"], &said["argocd"]["status"], &said["flux"]].map(text), text(&said["argocd"]["message"]))
}

#[track_caller]
fn assert_judged(cache: &ModelCache, expected: [&str; 3]) {
    let (statuses, told) = judged(cache);
    assert_eq!(statuses.each_ref().map(String::as_str), expected, "{cache:?}");
    if holds(cache, ConditionType::Ready) || !message(cache, ConditionType::Ready).is_empty() {
        let changed = cache.status.as_ref().unwrap().observed_generation != cache.metadata.generation;
        assert!(changed || told == message(cache, ConditionType::Ready), "{told}");
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn gitops_tools_see_what_is_so() {
    const GOING: [&str; 3] = ["InProgress", "Progressing", "InProgress"];
    const STUCK: [&str; 3] = ["Failed", "Degraded", "Failed"];
    const DONE: [&str; 3] = ["Current", "Healthy", "Current"];
    let (_cluster, team) = team("gitops").await;
    hub().add(gated("acme/gitops"));
    hub().add(model("acme/gitops-down"));
    let caches = team.api::<ModelCache>();

    // As the API server has it before anybody has looked.
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let object = json!({
        "apiVersion": "modelcache.internal/v1alpha1", "kind": "ModelCache",
        "metadata": { "name": "new" }, "spec": spec("acme/gitops"),
    });
    let new = caches.create(&dry, &serde_json::from_value(object).unwrap()).await.unwrap();
    assert_eq!(new.status.as_ref().unwrap().observed_generation, Some(-1));
    assert_judged(&new, GOING);

    team.cache("stuck", spec("acme/gitops")).await;
    assert_judged(&team.reason("stuck", "TermsNotAccepted").await, STUCK);

    hub().fault(Fault::new(FaultKind::Status(503)).on(Class::Api).path("acme/gitops-down"));
    team.cache("down", spec("acme/gitops-down")).await;
    assert_judged(&team.reason("down", "HubUnreachable").await, GOING);

    hub().set_access(USER, "acme/gitops", Access::Accepted);
    let ready = team.ready("stuck").await;
    assert_judged(&ready, DONE);

    let asleep = with(spec("acme/gitops"), json!({ "suspend": true }));
    team.cache("asleep", asleep).await;
    let asleep = team.reason("asleep", "Suspended").await;
    assert_judged(&asleep, ["InProgress", "Suspended", "InProgress"]);

    // The spec has just been changed, and nobody has looked yet.
    let change = json!({ "spec": { "source": { "include": ["*.json"] } } });
    let changed = caches
        .patch("stuck", &PatchParams { dry_run: true, ..PatchParams::default() }, &Patch::Merge(change))
        .await
        .unwrap();
    assert!(changed.metadata.generation > ready.metadata.generation);
    assert_judged(&changed, GOING);
}
