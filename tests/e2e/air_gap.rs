//! A cluster that no Hub can be reached from: what is fetched elsewhere and brought onto a claim is found there.

use std::process::Command;

use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use serde_json::json;

use crate::{
    cluster::{eventually, show},
    download::{FILES, load},
    volumes::{claim, disk, drop_disk, free_folder},
    world::{NAMELESS, hub, model, team},
};

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn files_that_are_brought_later_are_found_when_a_person_asks() {
    let (_cluster, team) = team("air-gap").await;
    let volume = free_folder();
    disk(&team, "models", json!({ "hostPath": { "path": volume.path() } })).await;
    claim(&team, "models").await;
    let source = json!({ "repo": "acme/air-gap", "endpoint": NAMELESS, "exclude": ["onnx/*"] });
    team.cache(
        "air-gap",
        json!({ "source": source, "storage": { "existingClaim": "models", "subPath": "hub" } }),
    )
    .await;
    team.reason("air-gap", "HubUnreachable").await;
    eventually("the volume to be asked in vain", || async {
        let jobs = team.api::<Job>().list(&ListParams::default()).await.unwrap().items;
        let failed = |job: &Job| {
            let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|it| it.type_ == "Failed" && it.status == "True"))
        };
        jobs.iter().any(failed).then_some(())
    })
    .await;

    // Where there is a Hub, with the same selection; then by a tar, which keeps links and times.
    hub().add(model("acme/air-gap"));
    let elsewhere = free_folder();
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    let hub_cache = elsewhere.path().join("hub");
    run(Command::new(env!("CARGO_BIN_EXE_modelcache"))
        .args(["fetch", "acme/air-gap", "--exclude=onnx/*", "--cache-dir"])
        .arg(&hub_cache)
        .args(["--endpoint", hub().url()]));
    let archive = elsewhere.path().join("hub.tar");
    run(Command::new("tar").arg("-C").arg(elsewhere.path()).arg("-cf").arg(&archive).arg("hub"));
    run(Command::new("tar").arg("-C").arg(volume.path()).arg("-xf").arg(&archive));
    run(Command::new("chown").args(["-R", "65532:65532"]).arg(volume.path().join("hub")));

    let ask = json!({ "metadata": { "annotations": { "modelcache.internal/reconcile-at": "brought" } } });
    team.change("air-gap", ask).await;
    let cache = team.ready("air-gap").await;
    let status = cache.status.clone().unwrap();
    assert_eq!(status.current().unwrap().commit, hub().commit("acme/air-gap", "main"), "{}", show(&cache));
    let code = "import os; os.environ['HF_HUB_CACHE'] = '/models/hub'\n".to_owned() + &load("acme/air-gap");
    let files = FILES.replace(", ('onnx/config.json', 16)", "");
    assert_eq!(team.python("models", &code).await.trim(), files);
    drop_disk(&team, "models").await;
}
