//! The samples that users copy, applied as they are: what does not work here would not work there.

use std::fs;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{ListParams, LogParams},
};
use modelcache::{api::ModelCache, reason::ConditionType};
use serde_json::{Value, json};
use standin_hub::{Access, Gate, Repo};

use crate::{
    cluster::{Team, eventually, holds, show},
    download::{FILES, load},
    models::made,
    volumes::{disk, drop_disk, free_folder},
    world::{TOKEN, USER, hub, model, team},
};

/// Every sample; those of init containers are applied by their stories.
const SAMPLES: [&str; 7] = [
    "by-label.yaml",
    "gated.yaml",
    "init-container-claim.yaml",
    "init-container.yaml",
    "pod.yaml",
    "public.yaml",
    "shared-claim.yaml",
];

/// The objects of a sample.
pub fn sample(name: &str) -> Vec<Value> {
    assert!(SAMPLES.contains(&name));
    documents(&fs::read_to_string(folder().join(name)).unwrap())
}

fn documents(text: &str) -> Vec<Value> {
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

fn folder() -> std::path::PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples").into()
}

#[test]
fn no_sample_is_left_out() {
    let names =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, SAMPLES);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_public_model_is_loaded_by_a_pod() {
    let (_cluster, team) = team("sample-public").await;
    hub().add(Repo::model("acme/tiny-embedder").folder(made("static-embedding")));
    for object in [sample("public.yaml"), sample("pod.yaml")].concat() {
        team.apply(object).await;
    }
    assert_eq!(team.succeeded("embed").await.1, "(1, 64)\n");
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_deployment_gets_its_model_by_one_label() {
    let (_cluster, team) = team("sample-label").await;
    hub().add(Repo::model("acme/tiny-embedder").folder(made("static-embedding")));
    for object in sample("by-label.yaml") {
        team.apply(object).await;
    }
    let pods = team.api::<Pod>();
    let both = eventually("both pods to have loaded it", || async {
        let mut logs = Vec::new();
        for pod in pods.list(&ListParams::default().labels("app=embedder")).await.unwrap() {
            logs.push(pods.logs(&pod.name_any(), &LogParams::default()).await.unwrap_or_default());
        }
        (logs.len() == 2 && logs.iter().all(|log| !log.is_empty())).then_some(logs)
    })
    .await;
    assert_eq!(both, ["(1, 64)\n", "(1, 64)\n"]);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_gated_model_comes_onto_a_volume_for_many() {
    let (_cluster, team) = team("sample-gated").await;
    team.secret("hf-token", TOKEN).await;
    let llama = model("meta-llama/Llama-3.1-8B").file("original/params.json", "{}");
    hub().add(llama.gated(Gate::Manual).access(USER, Access::Accepted));
    // The class of the test cluster makes no volume for many.
    let folder = free_folder();
    disk(&team, "llama-3.1-8b", json!({ "hostPath": { "path": folder.path() } })).await;
    for object in sample("gated.yaml") {
        team.apply(object).await;
    }
    team.ready("llama-3.1-8b").await;
    let files = team.python("llama-3.1-8b", &load("meta-llama/Llama-3.1-8B")).await;
    assert_eq!(files.trim(), FILES, "without `original/`");
    drop_disk(&team, "llama-3.1-8b").await;
}

/// Applies objects that bring `base` and `adapter` of an owner onto one claim, and waits for both.
async fn both_ready(team: &Team, owner: &str, objects: Vec<Value>) -> [ModelCache; 2] {
    let names = ["base", "adapter"];
    for name in names {
        hub().add(model(&format!("{owner}/{name}")));
    }
    for object in objects {
        team.apply(object).await;
    }
    [team.ready(names[0]).await, team.ready(names[1]).await]
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn two_models_come_onto_a_claim_of_the_users() {
    let (_cluster, team) = team("sample-shared").await;
    for cache in both_ready(&team, "acme", sample("shared-claim.yaml")).await {
        assert!(holds(&cache, ConditionType::Downloaded), "{}", show(&cache));
    }
}

/// The first block of the guide, in a namespace of the test.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn two_models_come_onto_the_claim_of_the_guide() {
    let (_cluster, team) = team("guide-shared").await;
    let guide = include_str!("../../docs/guides/sharing.md");
    let block = guide.split("\n```yaml\n").nth(1).unwrap().split("\n```").next().unwrap();
    let mut objects = documents(block);
    for object in &mut objects {
        object["metadata"].as_object_mut().unwrap().remove("namespace");
    }
    for cache in both_ready(&team, "our-org", objects).await {
        let cached = cache.status.as_ref().unwrap().current().unwrap();
        assert_eq!(cached.claim_name, "models", "{}", show(&cache));
        let folder = format!("hub/models--our-org--{}/", cache.name_any());
        assert!(cached.path.starts_with(&folder), "{}", show(&cache));
    }
}
