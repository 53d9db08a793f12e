//! What stands in the way of a download: told as stuck from the first second where no time ends it, for as long as it is so, and in
//! the words of who knows it.

use std::{fs, path::Path, process::Command};

use k8s_openapi::api::{batch::v1::Job, core::v1::PersistentVolumeClaim};
use kube::{
    ResourceExt as _,
    api::{ListParams, PostParams},
};
use modelcache::{
    api::{self, ModelCache},
    reason::ConditionType,
};
use serde_json::{Value, json};

use crate::{
    cluster::{self, Team, holds, message, show},
    volumes::{cache_on_disk, drop_disk, free_folder, node_affinity, node_name},
    world::{hub, model, spec, team, with},
};

/// Waits for what is told, and sees that it was never told as something that goes on by itself.
async fn stalled(team: &Team, name: &str, reason: &str, words: &str) {
    team.until(name, &format!("stalled by {reason}, with {words:?}"), |cache| {
        let is_told = cluster::reason(cache, ConditionType::Ready) == reason
            && message(cache, ConditionType::Ready).contains(words);
        assert!(!is_told || holds(cache, ConditionType::Stalled), "{}", show(cache));
        is_told
    })
    .await;
}

/// A claim that nobody can download to.
async fn odd_claim(team: &Team, name: &str, mode: &str, volume_mode: &str) {
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "accessModes": [mode], "volumeMode": volume_mode,
            "resources": { "requests": { "storage": "1Gi" } },
        },
    }))
    .unwrap();
    team.api::<PersistentVolumeClaim>().create(&PostParams::default(), &claim).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn what_only_a_person_can_end_is_stalled_from_the_first_second() {
    let (_cluster, team) = team("stalled").await;
    hub().add(model("acme/stalled"));
    odd_claim(&team, "raw", "ReadWriteOnce", "Block").await;
    odd_claim(&team, "archive", "ReadOnlyMany", "Filesystem").await;
    let rows: [(&str, Value, &str, &str); 7] = [
        (
            "class",
            json!({ "storage": { "claim": { "storageClassName": "none" } } }),
            "ClaimPending",
            "storageclass.storage.k8s.io \"none\" not found. Make that class. Or delete the ModelCache and its claim",
        ),
        (
            "mode",
            json!({ "storage": { "claim": { "accessModes": ["ReadWriteMany"] } } }),
            "ClaimPending",
            "access modes. Class and access modes of a claim cannot be changed",
        ),
        ("raw", json!({ "storage": { "existingClaim": "raw" } }), "VolumeNotWritable", "volumeMode Block"),
        (
            "archive",
            json!({ "storage": { "existingClaim": "archive" } }),
            "VolumeNotWritable",
            "ReadOnlyMany alone",
        ),
        (
            "account",
            json!({ "job": { "serviceAccountName": "none" } }),
            "JobRejected",
            "serviceaccount \"none\" not found",
        ),
        ("priority", json!({ "job": { "priorityClassName": "none" } }), "JobRejected", "PriorityClass"),
        (
            "runtime",
            json!({ "job": { "runtimeClassName": "none" } }),
            "JobRejected",
            "RuntimeClass \"none\" not found",
        ),
    ];
    for (name, more, ..) in &rows {
        team.cache(name, with(spec("acme/stalled"), more.clone())).await;
    }
    for (name, _, reason, words) in &rows {
        stalled(&team, name, reason, words).await;
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_volume_that_the_node_cannot_mount_is_told_in_the_kubelets_words() {
    let (_cluster, team) = team("unmounted").await;
    hub().add(model("acme/unmounted"));
    let folder = free_folder();
    let missing = folder.path().join("missing");
    let source =
        json!({ "local": { "path": missing }, "nodeAffinity": node_affinity(&node_name(&team).await) });
    cache_on_disk(&team, "model", "acme/unmounted", source).await;
    let words = format!("path \"{}\" does not exist", missing.display());
    let told = |cache: &ModelCache| message(cache, ConditionType::Downloaded);
    let cache = team.until("model", "told by the kubelet", |cache| told(cache).contains("FailedMount")).await;
    assert!(told(&cache).contains(&words), "{}", show(&cache));

    fs::create_dir(&missing).unwrap();
    fs::set_permissions(&missing, fs::metadata(folder.path()).unwrap().permissions()).unwrap();
    team.ready("model").await;
    drop_disk(&team, "disk").await;
}

/// Runs a command where the kubelet of this network mounts its volumes.
fn on_the_node(command: &[&str]) {
    let network = fs::read_link("/proc/self/ns/net").unwrap();
    let is_kubelet = |process: &Path| {
        let is_called_so =
            fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "kubelet");
        is_called_so && fs::read_link(process.join("ns/net")).is_ok_and(|its| its == network)
    };
    let mut processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let kubelet = processes.find(|process| is_kubelet(process)).expect("the node is this machine");
    let mounts = format!("--mount={}", kubelet.join("ns/mnt").display());
    let done = Command::new("nsenter").arg(mounts).args(command).output().unwrap();
    assert!(done.status.success(), "{command:?}: {done:?}");
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_full_volume_stays_stalled_while_attempts_come_and_go_until_it_has_room() {
    let (_cluster, team) = team("full").await;
    hub().add(model("acme/full"));
    let folder = free_folder();
    let path = folder.path().to_str().unwrap();
    on_the_node(&["mount", "-t", "tmpfs", "-o", "size=2m,mode=777", "none", path]);
    cache_on_disk(&team, "model", "acme/full", json!({ "hostPath": { "path": path } })).await;
    stalled(&team, "model", "VolumeFull", "kubectl edit pvc disk").await;

    let attempts = async || {
        let jobs = team.api::<Job>().list(&ListParams::default()).await.unwrap();
        let number = |job: &Job| job.labels()[api::LABEL_ATTEMPT].parse::<u32>().unwrap();
        jobs.iter().map(number).max().unwrap_or_default()
    };
    let before = attempts().await;
    // The next attempt begins, runs and fails meanwhile.
    cluster::eventually("two more attempts", || async {
        let cache = team.get("model").await;
        assert!(holds(&cache, ConditionType::Stalled), "{}", show(&cache));
        assert_eq!(cluster::reason(&cache, ConditionType::Ready), "VolumeFull", "{}", show(&cache));
        (attempts().await >= before + 2).then_some(())
    })
    .await;

    on_the_node(&["mount", "-o", "remount,size=64m", path]);
    team.ready("model").await;
    on_the_node(&["umount", "--lazy", path]);
    drop_disk(&team, "disk").await;
}
