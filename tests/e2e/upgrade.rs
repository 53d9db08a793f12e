//! What an earlier operator left, and the operator of today: nothing is downloaded again, and what waited goes on.
//!
//! `before/record` keeps what an earlier version leaves: its CRD, the objects to the byte as they lay in etcd, with their
//! UIDs, and the files on the volumes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{Namespace, PersistentVolume, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use modelcache::api::ModelCache;
use serde_json::{Value, json};

use crate::{
    audit::{Audit, Request},
    cluster::{Cluster, Leave, Team, eventually, leave_to_replace_the_operator, show},
    download::load,
    volumes::free_folder,
    world::{hub, served, team},
};

const TOKEN: &str = "hf_erin0123456789abcdefghijklmnopqr";
const GATED: &str = "[('README.md', 7), ('config.json', 22), ('model.safetensors', 4096)]";

fn folder() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/upgrade_fixtures").into()
}

/// The earlier versions, each a folder.
fn versions() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn json(path: &Path) -> Vec<Value> {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn what_an_earlier_version_made_stays_ready_without_a_new_download() {
    let leave = leave_to_replace_the_operator().await;
    let (cluster, _) = team("upgrade").await;
    let team = Team { client: cluster.client.clone(), namespace: "before".to_owned() };
    assert!(!versions().is_empty(), "an upgrade begins somewhere");
    for version in versions() {
        upgrade(&cluster, &team, &leave, &version).await;
    }
}

async fn upgrade(cluster: &Cluster, team: &Team, leave: &Leave, version: &Path) {
    standin_hub::config::load(hub(), &folder().join("hub.json")).unwrap();
    let disks = free_folder();
    scale(cluster, leave, 0).await;
    clear(team).await;
    team.secret("hf", TOKEN).await;
    restore(team, version, disks.path()).await;
    let (old, jobs) = (all(team).await, jobs(team).await);
    assert_eq!((old.len(), jobs.len()), (4, 3), "{} is whole", version.display());
    let audit = Audit::of(&team.namespace);
    let (earlier_writes, earlier_bytes) = (audit.writes().len(), served("before/"));

    scale(cluster, leave, 1).await;
    for old in &old {
        let cache = looked_at(team, &old.name_any(), "after the upgrade").await;
        // Conditions that the earlier version did not have are new, and no others.
        let known: BTreeSet<_> = since(old).into_iter().map(|it| it.0).collect();
        let kept: BTreeSet<_> = since(&cache).into_iter().filter(|it| known.contains(it.0)).collect();
        assert_eq!(kept, since(old), "{}", show(&cache));
        let snapshots = |cache: &ModelCache| cache.status.as_ref().unwrap().snapshots.clone();
        assert_eq!(snapshots(&cache), snapshots(old), "{}", show(&cache));
    }
    assert!(self::jobs(team).await.iter().all(|job| jobs.contains(job)), "no Job was made");
    // A Job that ended long ago goes, whoever made it.
    let may_be = |it: &&Request| match it.resource.as_str() {
        "modelcaches" => it.subresource == "status",
        "jobs" => it.verb == "delete",
        resource => resource == "events",
    };
    let writes = audit.writes();
    let others: Vec<_> = writes[earlier_writes..].iter().filter(|write| !may_be(write)).collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(team.python("gated", &load("before/gated")).await.trim(), GATED);
    assert_eq!(served("before/"), earlier_bytes, "not a byte of a model came from the Hub");

    // Life goes on: what waited for a person, and what is asked for in addition.
    hub().accept_terms("erin", "before/terms");
    looked_at(team, "terms", "after the terms").await;
    team.ready("terms").await;
    let more = json!({ "spec": { "source": { "exclude": null } } });
    team.change("gated", more).await;
    team.ready("gated").await;
    let brought = served("before/") - earlier_bytes;
    assert_eq!(brought, 2 + 4096 + 4096, "the model that waited, and the one file that was left out");

    clear(team).await;
}

/// Conditions and since when they are so: an upgrade is nothing that happens to a model.
fn since(cache: &ModelCache) -> BTreeSet<(&str, &str, &str, String)> {
    let conditions = cache.conditions().iter();
    conditions
        .map(|it| (&*it.type_, &*it.status, &*it.reason, it.last_transition_time.0.to_string()))
        .collect()
}

async fn all(team: &Team) -> Vec<ModelCache> {
    team.api().list(&ListParams::default()).await.unwrap().items
}

async fn jobs(team: &Team) -> Vec<(String, Option<String>)> {
    let jobs = team.api::<Job>().list(&ListParams::default()).await.unwrap();
    jobs.iter().map(|job| (job.name_any(), job.uid())).collect()
}

/// Asks for a look, and waits for its end.
async fn looked_at(team: &Team, name: &str, when: &str) -> ModelCache {
    let ask = json!({ "metadata": { "annotations": { "modelcache.internal/reconcile-at": when } } });
    team.change(name, ask).await;
    team.until(name, "looked at", |cache| {
        cache.status.as_ref().and_then(|it| it.last_handled_reconcile_at.as_deref()) == Some(when)
    })
    .await
}

/// Puts back what `record` kept.
async fn restore(team: &Team, version: &Path, disks: &Path) {
    let volumes: Api<PersistentVolume> = Api::all(team.client.clone());
    for volume in json(&version.join("volumes.json")) {
        let name = volume["name"].as_str().unwrap();
        let disk = disks.join(name);
        fs::create_dir(&disk).unwrap();
        let archive = version.join(format!("{name}.tar.gz"));
        let tar = Command::new("tar").arg("-xpzf").arg(archive).arg("-C").arg(&disk).status().unwrap();
        assert!(tar.success());
        let made = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": {
                "hostPath": { "path": disk }, "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": volume["claimRef"], "accessModes": volume["accessModes"],
                "capacity": volume["capacity"], "storageClassName": volume["storageClassName"],
            },
        }));
        volumes.create(&PostParams::default(), &made.unwrap()).await.unwrap();
    }
    for entry in json(&version.join("etcd.json")) {
        put(&entry);
    }
}

/// Writes a key to etcd. The API server has no way to make an object with the UID that it had.
fn put(entry: &Value) {
    let address = "http://127.0.0.1:2379/v3/kv/put";
    let answer = standin_hub::client::request("POST", address, &[], &entry.to_string()).unwrap();
    assert_eq!(answer.status, 200, "etcd takes {}: {}", entry["key"], answer.text());
}

/// The namespace as it is before anything is in it, and no volume kept for it.
async fn clear(team: &Team) {
    let namespaces: Api<Namespace> = Api::all(team.client.clone());
    if namespaces.get_opt(&team.namespace).await.unwrap().is_some() {
        namespaces.delete(&team.namespace, &DeleteParams::default()).await.unwrap();
        eventually("the namespace to be gone", || async {
            namespaces.get_opt(&team.namespace).await.unwrap().is_none().then_some(())
        })
        .await;
    }
    let volumes: Api<PersistentVolume> = Api::all(team.client.clone());
    for volume in volumes.list(&ListParams::default()).await.unwrap() {
        let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.namespace.as_deref());
        if claim == Some(&team.namespace) {
            volumes.delete(&volume.name_any(), &DeleteParams::default()).await.unwrap();
            eventually("the volume to be gone", || async {
                volumes.get_opt(&volume.name_any()).await.unwrap().is_none().then_some(())
            })
            .await;
        }
    }
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let namespace = json!({ "metadata": { "name": team.namespace, "labels": labels } });
    let namespace = serde_json::from_value(namespace).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
}

/// Ends the operator, or starts it, and waits until that is so.
async fn scale(cluster: &Cluster, _leave: &Leave, replicas: i32) {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), "modelcache-system");
    let wanted = json!({ "spec": { "replicas": replicas } });
    deployments.patch("modelcache", &PatchParams::default(), &Patch::Merge(&wanted)).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "modelcache-system");
    eventually("as many operators as asked for", || async {
        let ready = deployments.get("modelcache").await.unwrap().status?.ready_replicas.unwrap_or(0);
        let there = pods.list(&ListParams::default()).await.unwrap().items.len();
        (ready == replicas && there == usize::try_from(replicas).unwrap()).then_some(())
    })
    .await;
}

/// A field that is gone or has another type, a word that is not taken any more, or a field that must be given from now on:
/// the files of a team would not be taken after the upgrade.
#[test]
fn what_an_earlier_crd_takes_is_taken_today() {
    let today = crd(&folder().join("../../../crds/modelcaches.modelcache.internal.yaml"));
    for version in versions() {
        let mut wrong = Vec::new();
        let earlier = crd(&version.join("crd.yaml"));
        narrower("", &earlier, &today, &mut wrong);
        assert_eq!(wrong, Vec::<String>::new(), "since {}", version.display());
    }
    let schema = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
    let old = schema(
        "{properties: {a: {type: string, enum: [one, two]}, b: {type: integer}, c: {items: {type: string}}, d: {maxLength: 9}, e: {}, f: {}}}",
    );
    let new = schema(
        "{properties: {a: {type: string, enum: [one]}, c: {items: {type: object}}, d: {maxLength: 8}, e: {enum: [z]}, f: {maxItems: 7}}, required: [c]}",
    );
    let mut wrong = Vec::new();
    narrower("", &old, &new, &mut wrong);
    wrong.sort();
    assert_eq!(
        wrong,
        [
            " needs c",
            ".a has no two",
            ".b is gone",
            ".c[] was \"string\"",
            ".d has a narrower maxLength",
            ".e took any word",
            ".f has a first maxItems"
        ]
    );
}

fn crd(path: &Path) -> Value {
    let crd: Value = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn narrower(path: &str, old: &Value, new: &Value, wrong: &mut Vec<String>) {
    if new.is_null() {
        wrong.push(format!("{path} is gone"));
        return;
    }
    if old["type"] != new["type"] {
        wrong.push(format!("{path} was {}", old["type"]));
    }
    let words = |schema: &Value, key: &str| -> BTreeSet<String> {
        let words = schema[key].as_array().into_iter().flatten();
        words.map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect()
    };
    if new["enum"].is_array() {
        let gone = words(old, "enum").difference(&words(new, "enum")).cloned().collect::<Vec<_>>();
        wrong.extend(gone.iter().map(|word| format!("{path} has no {word}")));
    }
    if new["enum"].is_array() && !old["enum"].is_array() {
        wrong.push(format!("{path} took any word"));
    }
    if !new["pattern"].is_null() && new["pattern"] != old["pattern"] {
        let first = if old["pattern"].is_null() { "a first" } else { "another" };
        wrong.push(format!("{path} has {first} pattern"));
    }
    for (limit, is_upper) in [
        ("maxLength", true),
        ("maxItems", true),
        ("maxProperties", true),
        ("maximum", true),
        ("minLength", false),
        ("minItems", false),
        ("minimum", false),
    ] {
        let (before, now) = (old[limit].as_f64(), new[limit].as_f64());
        let narrowed = now.is_some_and(|now| {
            before.is_none_or(|before| if is_upper { now < before } else { now > before })
        });
        if narrowed {
            let which = if before.is_none() { "first" } else { "narrower" };
            wrong.push(format!("{path} has a {which} {limit}"));
        }
    }
    let needed = words(new, "required").difference(&words(old, "required")).cloned().collect::<Vec<_>>();
    wrong.extend(needed.iter().map(|field| format!("{path} needs {field}")));
    for (name, old) in old["properties"].as_object().into_iter().flatten() {
        narrower(&format!("{path}.{name}"), old, &new["properties"][name], wrong);
    }
    for (key, sign) in [("items", "[]"), ("additionalProperties", "{}")] {
        if old[key].is_object() {
            narrower(&format!("{path}{sign}"), &old[key], &new[key], wrong);
        }
    }
}
