//! Volumes that do not do what they should: a host path ignores fsGroup, a `local` volume honours it.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use modelcache::reason::Topic;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use crate::{
    cluster::{Team, message, show},
    world::{hub, model, spec, team, with},
};

/// A volume on a folder of this machine, which is the node, bound to a claim of the team.
async fn volume(team: &Team, name: &str, source: Value) {
    let full = format!("{}-{name}", team.namespace);
    let mut spec = json!({
        "capacity": { "storage": "1Gi" },
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "",
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": { "namespace": team.namespace, "name": name },
    });
    spec.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    let volumes: Api<PersistentVolume> = Api::all(team.client.clone());
    let volume = serde_json::from_value(json!({ "metadata": { "name": full }, "spec": spec })).unwrap();
    volumes.create(&PostParams::default(), &volume).await.unwrap();
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": full,
            "resources": { "requests": { "storage": "1Gi" } },
        },
    }))
    .unwrap();
    team.api::<PersistentVolumeClaim>().create(&PostParams::default(), &claim).await.unwrap();
}

async fn drop_volume(team: &Team, name: &str) {
    let volumes: Api<PersistentVolume> = Api::all(team.client.clone());
    volumes.delete(&format!("{}-{name}", team.namespace), &DeleteParams::default()).await.unwrap();
}

/// A folder that root alone may write.
fn roots_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn node_affinity(node: &str) -> Value {
    json!({ "required": { "nodeSelectorTerms": [{
        "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] }],
    }] } })
}

async fn node_name(team: &Team) -> String {
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(team.client.clone());
    let node = nodes.list(&kube::api::ListParams::default()).await.unwrap().items.remove(0);
    node.metadata.labels.unwrap()["kubernetes.io/hostname"].clone()
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_host_path_of_another_user_is_told_with_owner_and_mode_and_mending_it_is_enough() {
    let (_cluster, team) = team("hostpath").await;
    hub().add(model("acme/hostpath"));
    let folder = roots_folder();
    let path = folder.path().to_str().unwrap();
    volume(&team, "disk", json!({ "hostPath": { "path": path } })).await;
    team.cache("hostpath", with(spec("acme/hostpath"), json!({ "storage": { "existingClaim": "disk" } })))
        .await;
    let cache = team.reason("hostpath", "VolumeNotWritable").await;
    let said = message(&cache, Topic::Downloaded);
    for part in ["0:0", "755", "65532"] {
        assert!(said.contains(part), "{said:?} does not say {part}");
    }
    assert_eq!(fs::read_dir(path).unwrap().count(), 0, "nothing is left behind");

    std::os::unix::fs::chown(path, Some(65532), Some(65532)).unwrap();
    team.ready("hostpath").await;
    drop_volume(&team, "disk").await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_local_volume_of_root_is_written_through_its_fs_group() {
    let (_cluster, team) = team("local").await;
    hub().add(model("acme/local"));
    let folder = roots_folder();
    let path = folder.path().to_str().unwrap();
    let node = node_name(&team).await;
    volume(&team, "disk", json!({ "local": { "path": path }, "nodeAffinity": node_affinity(&node) })).await;
    team.cache("local", with(spec("acme/local"), json!({ "storage": { "existingClaim": "disk" } }))).await;
    let cache = team.ready("local").await;
    let snapshot =
        Path::new(path).join(cache.status.as_ref().unwrap().cached.as_ref().unwrap().path.as_str());
    let file = fs::metadata(snapshot.join("config.json"))
        .unwrap_or_else(|error| panic!("{error}: {}", show(&cache)));
    assert_eq!((file.gid(), file.mode() & 0o444), (65532, 0o444), "any user can read it");
    drop_volume(&team, "disk").await;
}
