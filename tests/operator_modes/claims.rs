//! What the operator makes of the pods around a claim: how much it reads of them, and whom it asks before it writes.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use modelcache::{api::condition, reason::ConditionType};
use serde_json::json;

use crate::{
    cluster::{Cluster, Team, eventually, message},
    operator::{Account, Operator, documented_rules, names},
    world::{TOKEN, hub, model, spec, with},
};

/// A pod that no node runs, with one volume.
fn pod(name: &str, claim: &str, more: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "schedulingGates": [{ "name": "example.com/never" }],
            "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "c", "image": "none", "env": [{ "name": "E", "value": more }],
                "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }],
        },
    }))
    .unwrap()
}

async fn jobs(team: &Team) -> usize {
    team.api::<Job>().list(&ListParams::default()).await.unwrap().items.len()
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn the_volume_of_a_database_is_not_written_before_its_owner_agrees() {
    let cluster = Cluster::without_operator().await;
    let team = cluster.namespace("consent").await;
    let account = Account::new(&cluster, "consent").await;
    account.may(&documented_rules(), &team).await;
    hub().add(model("acme/consent"));
    team.secret("hf", TOKEN).await;
    let claim = json!({
        "metadata": { "name": "postgres-data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    });
    let claims = team.api::<PersistentVolumeClaim>();
    claims.create(&PostParams::default(), &serde_json::from_value(claim).unwrap()).await.unwrap();
    let pods = team.api::<Pod>();
    pods.create(&PostParams::default(), &pod("postgres-0", "postgres-data", "x")).await.unwrap();

    let operator = Operator::start(&account, &["--namespace", &names(&[&team])]).await;
    let on_it = with(spec("acme/consent"), json!({ "storage": { "existingClaim": "postgres-data" } }));
    team.cache("taker", on_it).await;
    let cache = team.reason("taker", "ClaimInUse").await;
    let said = message(&cache, ConditionType::Downloaded);
    let command = format!(
        "kubectl annotate pvc postgres-data -n {} --overwrite modelcache.internal/allow-writes=true",
        team.namespace
    );
    assert!(
        said.contains("The pod postgres-0 writes to the claim postgres-data") && said.contains(&command),
        "{said}"
    );
    assert!(
        condition::find(cache.conditions(), ConditionType::Stalled).is_some_and(|it| it.status == "True"),
        "user action is required"
    );
    assert_eq!(jobs(&team).await, 0);

    // The claim is watched: nothing else has to happen.
    let agreed = json!({ "metadata": { "annotations": { "modelcache.internal/allow-writes": "true" } } });
    claims.patch("postgres-data", &PatchParams::default(), &Patch::Merge(agreed)).await.unwrap();
    eventually("the Job", || async { (jobs(&team).await == 1).then_some(()) }).await;
    operator.stop();
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn pods_of_many_bytes_cost_the_operator_little_memory() {
    const PODS: usize = 400;
    const CACHES: usize = 2;
    let cluster = Cluster::without_operator().await;
    let team = cluster.namespace("large-pods").await;
    let account = Account::new(&cluster, "large-pods").await;
    account.may(&documented_rules(), &team).await;
    hub().add(model("acme/large-pods"));
    team.secret("hf", TOKEN).await;
    let pods = team.api::<Pod>();
    let value = "x".repeat(200 << 10);
    stream::iter(0..PODS)
        .map(|number| {
            let (pods, pod) = (pods.clone(), pod(&format!("p{number}"), "data", &value));
            async move { pods.create(&PostParams::default(), &pod).await }
        })
        .buffer_unordered(8)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();

    let operator = Operator::start(&account, &["--namespace", &names(&[&team])]).await;
    let idle = operator.peak();
    for number in 0..CACHES {
        let plain = spec("acme/large-pods");
        team.cache(&format!("c{number}"), plain).await;
    }
    // Each lists the pods at least once before its Job.
    eventually("all Jobs", || async { (jobs(&team).await == CACHES).then_some(()) }).await;
    let peak = operator.peak();
    println!("{PODS} pods of 200 KiB, {CACHES} ModelCaches: {} MiB, {} MiB before", peak >> 20, idle >> 20);
    assert!(peak < 160 << 20, "{} MiB", peak >> 20);
    operator.stop();
    pods.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
}
