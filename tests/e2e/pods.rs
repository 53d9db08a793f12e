//! Pods that ask for a model by one label: they wait without a GPU, are told why, and load offline.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    batch::v1::Job,
    core::v1::Pod,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, LogParams, PostParams},
    runtime::{WatchStreamExt as _, watcher},
};
use modelcache::{api::ModelCache, reason::ConditionType};
use serde_json::{Value, json};
use standin_hub::{Class, Content, Fault, FaultKind, Repo};

use crate::{
    cluster::{eventually, holds, show, within},
    measured::measured,
    volumes::claim,
    world::{USER, gated, hub, model, spec, team, with},
};

/// Does nothing, for as long as it is let.
const PAUSE: &str = "localhost/modelcache-test/pause:1";
const PYTHON: &str = "localhost/modelcache-test/python:1";

/// A pod template that asks for a model, under the restricted profile, as a user that nobody knows.
fn template(model: &str, image: &str, command: &Value) -> Value {
    json!({
        "metadata": { "labels": { "app": "server", "modelcache.internal/mount": model } },
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 43210, "runAsGroup": 43210,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "server", "image": image, "command": command,
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    })
}

fn pausing(model: &str) -> Value {
    template(model, PAUSE, &Value::Null)
}

/// A workload with that template.
fn workload(kind: &str, template: &Value, more: Value) -> Value {
    let selector = json!({ "matchLabels": { "app": "server" } });
    let (version, spec) = match kind {
        "Job" => ("batch/v1", json!({ "backoffLimit": 0 })),
        _ => ("apps/v1", json!({ "selector": selector })),
    };
    let spec = with(with(spec, json!({ "template": template })), more);
    json!({ "apiVersion": version, "kind": kind, "metadata": { "name": kind.to_lowercase() }, "spec": spec })
}

fn gates(pod: &Pod) -> Vec<String> {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.clone());
    gates.into_iter().flatten().map(|gate| gate.name).collect()
}

fn runs(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

fn claims(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone())).collect()
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn one_label_is_enough_to_load_a_gated_model_once_its_terms_are_accepted() {
    let (_cluster, team) = team("by-label").await;
    hub().add(gated("acme/by-label"));
    team.cache("by-label", spec("acme/by-label")).await;
    team.reason("by-label", "TermsNotAccepted").await;
    let code =
        "import huggingface_hub as h; print(open(h.hf_hub_download('acme/by-label', 'config.json')).read())";
    let pod = template("by-label", PYTHON, &json!(["python3", "-c", code]));
    let pod = with(
        json!({ "metadata": { "name": "loads" } }),
        with(pod, json!({ "spec": { "restartPolicy": "Never" } })),
    );
    let made = team.make::<Pod>(pod).await;
    assert_eq!(gates(&made), ["modelcache.internal/by-label"]);
    let said = team.told("loads", "TermsNotAccepted").await;
    let page = format!("{}/acme/by-label", hub().url());
    assert!(said.contains("Waits for the ModelCache by-label: ") && said.contains(&page), "{said}");

    hub().accept_terms(USER, "acme/by-label");
    let pods = team.api::<Pod>();
    let end = eventually("the pod to end", || async {
        let phase = pods.get("loads").await.unwrap().status?.phase?;
        matches!(phase.as_str(), "Succeeded" | "Failed").then_some(phase)
    })
    .await;
    let log = pods.logs("loads", &LogParams::default()).await.unwrap();
    assert_eq!((end.as_str(), log.trim()), ("Succeeded", r#"{"model_type": "tiny"}"#));
}

/// Two models in one folder of a shared claim, for a container and an init container of which one writes: by every variable
/// that libraries read, with a read-only root file system.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn models_are_read_only_in_a_folder_that_can_be_written() {
    const CODE: &str = r#"
import os, tempfile
import huggingface_hub as h
from pathlib import Path
home, hub = Path(os.environ["HF_HOME"]), Path(os.environ["HF_HUB_CACHE"])
assert hub == home / "hub" == Path(os.environ["HUGGINGFACE_HUB_CACHE"])
for model in "acme/nested", "acme/nested-adapter":
    assert Path(h.snapshot_download(model)).is_relative_to(hub)
assert sorted(path.name for path in hub.glob("models--*")) == ["models--acme--nested", "models--acme--nested-adapter"]
try:
    (hub / "mine").mkdir()
    print("the cache can be written")
except OSError as error:
    print(os.strerror(error.errno))
assert Path.home() == home and tempfile.gettempdir() == str(home)
with tempfile.NamedTemporaryFile(): (home / "modules").mkdir(exist_ok=True)
"#;
    let (_cluster, team) = team("nested").await;
    claim(&team, "models").await;
    let storage = json!({ "storage": { "existingClaim": "models", "subPath": "team/hub" } });
    for (name, repo) in [("nested", "acme/nested"), ("adapter", "acme/nested-adapter")] {
        hub().add(model(repo));
        team.cache(name, with(spec(repo), storage.clone())).await;
        team.ready(name).await;
    }
    let mut pod = template("nested", PYTHON, &json!(["python3", "-c", CODE]));
    let mut first = pod["spec"]["containers"][0].clone();
    first["name"] = json!("warm-up");
    pod["spec"]["initContainers"] = json!([first]);
    let annotations =
        json!({ "modelcache.internal/also-mount": "adapter", "modelcache.internal/home": "on" });
    let metadata = json!({ "metadata": { "name": "loads", "annotations": annotations } });
    team.make::<Pod>(with(with(pod, metadata), json!({ "spec": { "restartPolicy": "Never" } }))).await;
    for container in ["warm-up", "server"] {
        assert_eq!(team.printed_by("loads", container).await.trim(), "Read-only file system");
    }
}

/// Made while the download runs, all of them wait for it, and cost it once.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn fifty_replicas_wait_for_one_download_and_go_within_a_second() {
    const REPLICAS: usize = 50;
    let (_cluster, team) = team("fifty").await;
    let size: u64 = 48 << 20;
    hub().add(
        Repo::model("acme/fifty")
            .file("config.json", "{}")
            .lfs("model.safetensors", Content::random(5, size)),
    );
    hub().fault(Fault::new(FaultKind::Slow(4 << 20)).on(Class::Cdn).path("acme/fifty"));
    team.cache("fifty", spec("acme/fifty")).await;
    // The claim is of a class that attaches its volume to a node when its first pod comes: that is our Job, not these.
    team.make::<Deployment>(workload("Deployment", &pausing("fifty"), json!({ "replicas": REPLICAS }))).await;
    eventually("all pods to be made", || async { (team.asking().await.len() == REPLICAS).then_some(()) })
        .await;
    assert!(team.asking().await.iter().all(|pod| gates(pod) == ["modelcache.internal/fifty"]));
    assert!(!holds(&team.get("fifty").await, ConditionType::Ready), "the download was too quick to wait for");

    // What an observer of the API server sees, and when.
    let ready = async {
        team.ready("fifty").await;
        Instant::now()
    };
    let free = async {
        let asking = watcher::Config::default().labels("modelcache.internal/mount");
        let pods = watcher(team.api::<Pod>(), asking).default_backoff().applied_objects();
        let free = pods.try_filter(|pod| std::future::ready(gates(pod).is_empty()));
        let mut names = std::collections::BTreeSet::new();
        let mut free = std::pin::pin!(free);
        while names.len() < REPLICAS {
            names.insert(free.next().await.unwrap().unwrap().name_any());
        }
        Instant::now()
    };
    let (ready, free) = within("all gates to go", async { tokio::join!(ready, free) }).await;
    let took = free.saturating_duration_since(ready);
    let figure = format!("{} ms", took.as_millis());
    measured("from Ready to the last of 50 waiting pods without a gate", "10 s", figure);
    // The bound is wide, for machines that are busy with other tests.
    assert!(took < Duration::from_secs(10), "{took:?}");
    eventually("all pods to run", || async {
        let pods = team.asking().await;
        (pods.len() == REPLICAS && pods.iter().all(runs)).then_some(())
    })
    .await;
    let served: u64 = hub()
        .requests()
        .iter()
        .filter(|it| it.class == Class::Cdn && it.path.contains("acme/fifty"))
        .map(|it| it.bytes)
        .sum();
    assert!(served >= size && served < size + size / 4, "{served} bytes for a model of {size}");
    team.api::<Deployment>().delete("deployment", &DeleteParams::default()).await.unwrap();
}

/// GitOps tools apply all at once, in any order: here everything else is there before its ModelCache.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn what_came_before_its_modelcache_gets_its_model_without_a_persons_help() {
    let (_cluster, team) = team("early").await;
    hub().add(model("acme/early"));
    team.make::<Deployment>(workload("Deployment", &pausing("early"), json!({ "replicas": 2 }))).await;
    team.make::<StatefulSet>(workload(
        "StatefulSet",
        &with(pausing("early"), json!({ "metadata": { "labels": { "app": "set" } } })),
        json!({ "serviceName": "set", "selector": { "matchLabels": { "app": "set" } } }),
    ))
    .await;
    team.make::<DaemonSet>(workload(
        "DaemonSet",
        &with(pausing("early"), json!({ "metadata": { "labels": { "app": "daemon" } } })),
        json!({ "selector": { "matchLabels": { "app": "daemon" } } }),
    ))
    .await;
    let job = with(
        pausing("early"),
        json!({ "metadata": { "labels": { "app": "job" } }, "spec": { "restartPolicy": "Never" } }),
    );
    team.make::<Job>(workload("Job", &job, json!({}))).await;
    let bare = with(
        json!({ "metadata": { "name": "bare" } }),
        with(pausing("early"), json!({ "metadata": { "labels": { "app": "bare" } } })),
    );
    team.make::<Pod>(bare).await;
    let said = team.told("bare", "ModelCacheNotFound").await;
    assert!(said.contains("There is no ModelCache early in this namespace"), "{said}");

    team.cache("early", spec("acme/early")).await;
    let cache = team.ready("early").await;
    let app = |pod: &Pod| pod.labels()["app"].clone();
    let running = eventually("the workloads to run", || async {
        let pods = team.asking().await;
        let mut apps: Vec<_> = pods.iter().filter(|pod| runs(pod)).map(app).collect();
        apps.sort();
        (apps == ["daemon", "server", "server", "set"]).then_some(pods)
    })
    .await;
    for pod in &running {
        match app(pod).as_str() {
            "bare" | "job" => {
                assert_eq!(gates(pod), ["modelcache.internal/early"]);
                let said = team.told(&pod.name_any(), "MadeBeforeModelCache").await;
                assert!(said.contains("made before the ModelCache early was known"), "{said}");
            }
            _ => assert_eq!(claims(pod), ["early"], "{}", show(&cache)),
        }
    }
    let status = team.api::<Job>().get("job").await.unwrap().status.unwrap();
    assert_eq!((status.failed, status.conditions), (None, None), "no Job is failed by us");
}

/// Both in one moment, many times: neither order may leave a pod behind.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn pods_and_modelcache_of_the_same_second_find_each_other() {
    let (_cluster, team) = team("same-second").await;
    hub().add(model("acme/same-second"));
    let names: Vec<_> = (0..6).map(|round| format!("round-{round}")).collect();
    for (round, name) in names.iter().enumerate() {
        let labels = json!({ "metadata": { "labels": { "app": name } } });
        let more = json!({ "selector": { "matchLabels": { "app": name } } });
        let mut object = workload("Deployment", &with(pausing(name), labels), more);
        object["metadata"]["name"] = json!(name);
        let pods = team.make::<Deployment>(object);
        let cache = team.cache(name, spec("acme/same-second"));
        if round % 2 == 0 {
            tokio::join!(pods, cache);
        } else {
            tokio::join!(cache, pods);
        }
    }
    let pods = eventually("a pod of each to run", || async {
        let running: Vec<_> = team.asking().await.into_iter().filter(runs).collect();
        (running.len() == names.len()).then_some(running)
    })
    .await;
    for pod in pods {
        assert_eq!(claims(&pod), [pod.labels()["app"].clone()]);
    }
}

/// Scaling needs no operator: what is Ready is known to the API server itself.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_pod_that_is_made_when_its_model_is_there_never_waits() {
    let (_cluster, team) = team("scaled").await;
    hub().add(model("acme/scaled"));
    team.cache("scaled", spec("acme/scaled")).await;
    team.ready("scaled").await;
    let pod = |name: &str| with(json!({ "metadata": { "name": name } }), pausing("scaled"));
    // The API server learns of the status by a watch of its own.
    eventually("a pod without a gate", || async {
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let made =
            team.api::<Pod>().create(&params, &serde_json::from_value(pod("probe")).unwrap()).await.unwrap();
        gates(&made).is_empty().then_some(())
    })
    .await;
    let made = team.make::<Pod>(pod("free")).await;
    assert_eq!((gates(&made), claims(&made)), (vec![], vec!["scaled".to_owned()]));
    eventually("it to run", || async { runs(&team.api::<Pod>().get("free").await.unwrap()).then_some(()) })
        .await;

    // Its ModelCache is gone: the next one waits, and says for what. The one that runs goes on.
    team.api::<ModelCache>().delete("scaled", &DeleteParams::default()).await.unwrap();
    eventually("the API server to know", || async {
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let made =
            team.api::<Pod>().create(&params, &serde_json::from_value(pod("probe")).unwrap()).await.unwrap();
        (gates(&made) == ["modelcache.internal/scaled"]).then_some(())
    })
    .await;
    team.make::<Pod>(pod("late")).await;
    assert!(team.told("late", "ModelCacheNotFound").await.contains("no ModelCache scaled"));
    assert!(runs(&team.api::<Pod>().get("free").await.unwrap()));
}
