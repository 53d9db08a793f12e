//! Volumes of each kind, filled and then read by another user: a host path ignores fsGroup, a `local` volume honours it,
//! and a provisioned one is made when the first pod wants it.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use modelcache::reason::ConditionType;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use crate::{
    cluster::{Team, message, show},
    download::{FILES, load},
    world::{hub, model, spec, team, with},
};

/// A volume on a folder of this machine, which is the node, kept for a claim of the team.
pub async fn disk(team: &Team, claim: &str, source: Value) {
    let mut spec = json!({
        "capacity": { "storage": "10Gi" },
        "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
        "storageClassName": "local-path",
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": { "namespace": team.namespace, "name": claim },
    });
    spec.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    let volumes: Api<PersistentVolume> = Api::all(team.client.clone());
    let name = format!("{}-{claim}", team.namespace);
    let volume = serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap();
    volumes.create(&PostParams::default(), &volume).await.unwrap();
}

pub async fn drop_disk(team: &Team, claim: &str) {
    let volumes: Api<PersistentVolume> = Api::all(team.client.clone());
    volumes.delete(&format!("{}-{claim}", team.namespace), &DeleteParams::default()).await.unwrap();
}

/// A claim of the default class, which makes a volume for it where none is kept.
pub async fn claim(team: &Team, name: &str) {
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    }))
    .unwrap();
    team.api::<PersistentVolumeClaim>().create(&PostParams::default(), &claim).await.unwrap();
}

/// A ModelCache of a repo on a claim `disk` with such a volume.
pub async fn cache_on_disk(team: &Team, name: &str, repo: &str, source: Value) {
    disk(team, "disk", source).await;
    claim(team, "disk").await;
    team.cache(name, with(spec(repo), json!({ "storage": { "existingClaim": "disk" } }))).await;
}

/// A folder that anybody may write.
pub fn free_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// A folder that root alone may write.
pub fn roots_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

pub fn node_affinity(node: &str) -> Value {
    json!({ "required": { "nodeSelectorTerms": [{
        "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] }],
    }] } })
}

pub async fn node_name(team: &Team) -> String {
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(team.client.clone());
    let node = nodes.list(&ListParams::default()).await.unwrap().items.remove(0);
    node.metadata.labels.unwrap()["kubernetes.io/hostname"].clone()
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_host_path_of_another_user_is_told_with_owner_and_mode_and_mending_it_is_enough() {
    let (_cluster, team) = team("hostpath").await;
    hub().add(model("acme/hostpath"));
    let folder = roots_folder();
    let path = folder.path().to_str().unwrap();
    cache_on_disk(&team, "hostpath", "acme/hostpath", json!({ "hostPath": { "path": path } })).await;
    let cache = team.reason("hostpath", "VolumeNotWritable").await;
    let said = message(&cache, ConditionType::Downloaded);
    for part in ["0:0", "755", "65532"] {
        assert!(said.contains(part), "{said:?} does not say {part}");
    }
    assert_eq!(fs::read_dir(path).unwrap().count(), 0, "nothing is left behind");

    std::os::unix::fs::chown(path, Some(65532), Some(65532)).unwrap();
    team.ready("hostpath").await;
    assert_eq!(team.python("disk", &load("acme/hostpath")).await.trim(), FILES);
    drop_disk(&team, "disk").await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_local_volume_of_root_is_written_through_its_fs_group() {
    let (_cluster, team) = team("local").await;
    hub().add(model("acme/local"));
    let folder = roots_folder();
    let path = folder.path().to_str().unwrap();
    let node = node_name(&team).await;
    let source = json!({ "local": { "path": path }, "nodeAffinity": node_affinity(&node) });
    cache_on_disk(&team, "local", "acme/local", source).await;
    let cache = team.ready("local").await;
    let snapshot = Path::new(path).join(cache.status.as_ref().unwrap().current().unwrap().path.as_str());
    let file = fs::metadata(snapshot.join("config.json"))
        .unwrap_or_else(|error| panic!("{error}: {}", show(&cache)));
    assert_eq!((file.gid(), file.mode() & 0o444), (65532, 0o444), "any user can read it");
    assert_eq!(team.python("disk", &load("acme/local")).await.trim(), FILES);
    drop_disk(&team, "disk").await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_volume_that_is_made_for_its_first_consumer_is_made_by_the_job() {
    let (_cluster, team) = team("first-consumer").await;
    let classes: Api<StorageClass> = Api::all(team.client.clone());
    let class = classes.get("local-path").await.unwrap();
    assert_eq!(class.volume_binding_mode.as_deref(), Some("WaitForFirstConsumer"));
    hub().add(model("acme/first-consumer"));
    claim(&team, "disk").await;
    let storage = json!({ "storage": { "existingClaim": "disk" } });
    team.cache("first-consumer", with(spec("acme/first-consumer"), storage)).await;
    team.ready("first-consumer").await;
    let claim = team.api::<PersistentVolumeClaim>().get("disk").await.unwrap();
    assert_eq!(claim.spec.unwrap().storage_class_name.as_deref(), Some("local-path"));
    assert_eq!(team.python("disk", &load("acme/first-consumer")).await.trim(), FILES);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_job_goes_to_the_node_where_the_claim_is_in_use() {
    let (_cluster, team) = team("in-use").await;
    hub().add(model("acme/in-use"));
    team.cache("in-use", with(spec("acme/in-use"), json!({ "source": { "exclude": ["onnx/*"] } }))).await;
    team.ready("in-use").await;
    let sleeps =
        "import signal; print('reads'); signal.signal(signal.SIGTERM, lambda *_: exit()); signal.pause()";
    let server = team.start_python("in-use", sleeps).await;
    let pod = team
        .pod(&server, "the server to run", |pod| {
            pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
        })
        .await;
    let node = pod.spec.unwrap().node_name.unwrap();

    let more = json!({ "spec": { "source": { "exclude": null } } });
    team.change("in-use", more).await;
    team.ready("in-use").await;
    let jobs = team.api::<Job>().list(&ListParams::default()).await.unwrap().items;
    let newest = jobs.iter().max_by_key(|job| job.creation_timestamp()).unwrap();
    let template = newest.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let rules = serde_json::to_value(&template.affinity).unwrap();
    let terms = &rules["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    let here = json!([{ "key": "metadata.name", "operator": "In", "values": [node] }]);
    assert_eq!(terms, &json!([{ "matchFields": here }]));
    team.api::<Pod>().delete(&server, &DeleteParams::default()).await.unwrap();
    assert_eq!(team.python("in-use", &load("acme/in-use")).await.trim(), FILES);
}
