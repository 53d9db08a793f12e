//! `modelcache fetch` in an init container, as the samples have it: the operator has no part in it.

use std::{collections::BTreeSet, fs, process::Command};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::{DeleteParams, ListParams};
use modelcache::reason::{ConditionType, Reason};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use standin_hub::{Access, Class, Content, Fault, FaultKind, Gate, Repo};

use crate::{
    cluster::{Team, eventually, message},
    containers::{ended, init, report},
    models::made,
    samples::sample,
    volumes::{disk, drop_disk, free_folder},
    world::{TOKEN, USER, hub, served, spec, team, with},
};

const POD: &str = "embed-by-itself";
const SHAPE: &str = "(1, 64)\n";

/// A working model behind a gate.
fn embedder(id: &str) -> Repo {
    Repo::model(id).folder(made("static-embedding")).gated(Gate::Manual)
}

/// Applies a sample with another model and the stand-in's address. Nothing else is changed, but what `adapt` does.
async fn apply(team: &Team, name: &str, repo: &str, adapt: impl Fn(&mut Value)) {
    for object in sample(name) {
        let mut object =
            serde_json::from_str(&object.to_string().replace("acme/gated-embedder", repo)).unwrap();
        for pod in ["/spec", "/spec/template/spec"] {
            if let Some(Value::Array(env)) =
                Value::pointer_mut(&mut object, &format!("{pod}/initContainers/0/env"))
            {
                env.push(json!({ "name": "HF_ENDPOINT", "value": hub().url() }));
            }
        }
        adapt(&mut object);
        team.apply(object).await;
    }
}

/// The bytes of its contents, each once.
fn size(repo: &str) -> u64 {
    let contents: BTreeSet<_> =
        hub().files(repo, "main").into_iter().map(|file| (file.etag, file.size)).collect();
    contents.iter().map(|(_, size)| size).sum()
}

/// Waits for the first end of the fetch, which must be a refusal.
async fn refused(team: &Team) -> Pod {
    let pod = team.pod(POD, "the fetch to be refused", |pod| ended(pod).is_some()).await;
    assert_eq!(ended(&pod).unwrap().exit_code, 77, "{:?}", ended(&pod));
    pod
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn an_empty_dir_is_filled_and_the_model_loads_offline() {
    let (_cluster, team) = team("init").await;
    team.secret("hf-token", TOKEN).await;
    hub().add(embedder("acme/init-alone").access(USER, Access::Accepted));
    apply(&team, "init-container.yaml", "acme/init-alone", |_| {}).await;
    let (pod, log) = team.succeeded(POD).await;
    assert_eq!(log, SHAPE);
    let report = report(&pod);
    assert_eq!((report.reason, report.downloaded_bytes), (Reason::Verified, size("acme/init-alone")));
    assert!(!team.everything_readable().await.contains(TOKEN));
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn terms_that_are_not_accepted_are_told_as_the_condition_tells_them_and_accepting_them_is_enough() {
    let (_cluster, team) = team("init-terms").await;
    team.secret("hf-token", TOKEN).await;
    hub().add(embedder("acme/init-terms"));
    apply(&team, "init-container.yaml", "acme/init-terms", |_| {}).await;
    let report = report(&refused(&team).await);
    assert_eq!(report.reason, Reason::TermsNotAccepted);
    team.cache("terms", spec("acme/init-terms")).await;
    let cache = team.reason("terms", "TermsNotAccepted").await;
    // What continues is the operator; here it is the kubelet.
    let told = format!("{} The cache continues by itself.", report.message);
    assert_eq!(told, message(&cache, ConditionType::Ready));

    hub().accept_terms(USER, "acme/init-terms");
    assert_eq!(team.succeeded(POD).await.1, SHAPE);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_wrong_token_is_told_as_the_condition_tells_it_and_correcting_the_secret_is_enough() {
    let (_cluster, team) = team("init-token").await;
    team.secret("hf-token", "hf_unknown0123456789abcdefghijklmnop").await;
    hub().add(embedder("acme/init-token").access(USER, Access::Accepted));
    apply(&team, "init-container.yaml", "acme/init-token", |_| {}).await;
    let report = report(&refused(&team).await);
    assert_eq!(report.reason, Reason::TokenInvalid);
    let its = json!({ "tokenSecretRef": { "name": "hf-token" } });
    team.cache("token", with(spec("acme/init-token"), its)).await;
    let cache = team.reason("token", "TokenInvalid").await;
    assert_eq!(report.message, message(&cache, ConditionType::Ready));

    team.secret("hf-token", TOKEN).await;
    assert_eq!(team.succeeded(POD).await.1, SHAPE);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn what_the_command_line_does_not_mean_is_told_too() {
    let (_cluster, team) = team("init-usage").await;
    team.secret("hf-token", TOKEN).await;
    let mistyped =
        |object: &mut Value| object["spec"]["initContainers"][0]["args"] = json!(["fetch", "--repo", "x"]);
    apply(&team, "init-container.yaml", "acme/init-usage", mistyped).await;
    let pod = team.pod(POD, "the fetch to be refused", |pod| ended(pod).is_some()).await;
    let end = ended(&pod).unwrap();
    assert_eq!(end.exit_code, 2);
    assert!(
        end.message.as_ref().is_some_and(|it| it.contains("a similar argument exists: '--report'")),
        "{end:?}"
    );
}

/// Kills the process of a container from its node, as the kernel does when memory runs out.
fn kill(container: &str) {
    let id = container.trim_start_matches("containerd://");
    let its = |process: &fs::DirEntry| {
        fs::read_to_string(process.path().join("cgroup")).is_ok_and(|groups| groups.contains(id))
    };
    let process =
        fs::read_dir("/proc").unwrap().flatten().find(its).expect("the container runs on this machine");
    assert!(
        Command::new("sh")
            .args(["-c", "kill -KILL \"$0\""])
            .arg(process.file_name())
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn killed_in_the_middle_of_a_file_it_goes_on_with_what_is_there() {
    const LARGE: u64 = 64 << 20;
    // What is between the Hub and the disk when the process dies: the kernel's buffers of each connection, full on a busy machine.
    const ON_ITS_WAY: u64 = 16 << 20;
    let (_cluster, team) = team("init-killed").await;
    team.secret("hf-token", TOKEN).await;
    let large = embedder("acme/init-killed").lfs("large.bin", Content::random(5, LARGE));
    hub().add(large.access(USER, Access::Accepted));
    hub().fault(Fault::new(FaultKind::Slow(1 << 20)).on(Class::Cdn).path("acme/init-killed"));
    apply(&team, "init-container.yaml", "acme/init-killed", |_| {}).await;
    hub().until(|_| served("acme/init-killed") > LARGE / 2).await;
    let pod = team.api::<Pod>().get(POD).await.unwrap();
    kill(init(&pod).unwrap().container_id.as_ref().unwrap());

    let (pod, log) = team.succeeded(POD).await;
    assert_eq!((log.as_str(), init(&pod).unwrap().restart_count), (SHAPE, 1));
    let (served, size, second) =
        (served("acme/init-killed"), size("acme/init-killed"), report(&pod).downloaded_bytes);
    println!("killed in the middle: {served} bytes served of {size}, {second} of them after the restart");
    assert!((size..=size + ON_ITS_WAY).contains(&served), "{served} bytes were served of {size}");
    assert!(second < LARGE / 2 + ON_ITS_WAY, "{second} bytes came after the restart");
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn twenty_replicas_on_one_volume_cost_one_download() {
    const REPLICAS: i32 = 20;
    let (_cluster, team) = team("init-many").await;
    team.secret("hf-token", TOKEN).await;
    let large = embedder("acme/init-many").lfs("large.bin", Content::random(6, 32 << 20));
    hub().add(large.access(USER, Access::Accepted));
    // So slow that all of them come while the first downloads.
    hub().fault(Fault::new(FaultKind::Slow(256 << 10)).on(Class::Cdn).path("acme/init-many"));
    let folder = free_folder();
    disk(&team, "models", json!({ "hostPath": { "path": folder.path() } })).await;
    let replicas = |object: &mut Value| {
        if object["kind"] == "Deployment" {
            object["spec"]["replicas"] = REPLICAS.into();
        }
    };
    apply(&team, "init-container-claim.yaml", "acme/init-many", replicas).await;

    let deployments = team.api::<Deployment>();
    eventually("all replicas to have loaded the model", || async {
        let status = deployments.get("embedder").await.unwrap().status?;
        (status.available_replicas == Some(REPLICAS)).then_some(())
    })
    .await;
    let pods = team.api::<Pod>().list(&ListParams::default()).await.unwrap();
    let reports: Vec<_> = pods.iter().map(report).collect();
    assert!(reports.iter().all(|report| report.reason == Reason::Verified), "{reports:?}");
    let downloads = reports.iter().filter(|report| report.downloaded_bytes > 0).count();
    println!("{REPLICAS} replicas: {} bytes served of {}", served("acme/init-many"), size("acme/init-many"));
    assert_eq!((downloads, served("acme/init-many")), (1, size("acme/init-many")));
    let starts =
        pods.iter().map(|pod| init(pod).unwrap().state.clone().unwrap().terminated.unwrap().started_at);
    let last_start = starts.max().unwrap();
    let first_end = pods.iter().map(|pod| ended(pod).unwrap().finished_at.clone()).min().unwrap();
    assert!(last_start < first_end, "not all were there while the first downloaded");

    deployments.delete("embedder", &DeleteParams::foreground()).await.unwrap();
    drop_disk(&team, "models").await;
}
