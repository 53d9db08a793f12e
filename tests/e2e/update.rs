//! Moving to a newer commit and back, as docs/guides/updating.md has it: two fields of the spec, and every pod that loads by
//! ID follows.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use modelcache::{
    api::{Kept, ModelCache},
    reason::ConditionType,
};
use serde_json::json;

use crate::{
    cluster::{Team, holds, message, show},
    world::{hub, model, served, spec, team},
};

const REPO: &str = "acme/update";

/// The commit that a program gets which asks for the model by its ID alone.
async fn loaded(team: &Team) -> String {
    let code = format!("import huggingface_hub as h; print(h.snapshot_download('{REPO}').split('/')[-1])");
    team.python("update", &code).await.trim().to_owned()
}

async fn moved_to(team: &Team, commit: &str) {
    team.change("update", json!({ "spec": { "source": { "revision": commit, "aliases": ["main"] } } })).await;
    let cached = |cache: &ModelCache| Some(cache.status.as_ref()?.current()?.commit.clone());
    team.until("update", "at the commit", |cache| cached(cache).as_deref() == Some(commit)).await;
    team.ready("update").await;
}

/// Another commit of the branch, and the ModelCache that tells of it.
async fn newer(team: &Team, text: &str) -> String {
    hub().update(REPO, |repo| repo.file("config.json", text).branch("main"));
    let commit = hub().commit(REPO, "main");
    team.change(
        "update",
        json!({ "metadata": { "annotations": { "modelcache.internal/reconcile-at": commit } } }),
    )
    .await;
    let told = |cache: &ModelCache| message(cache, ConditionType::UpdateAvailable).contains(&commit);
    let cache = team
        .until("update", "told of the newer commit", |cache| {
            holds(cache, ConditionType::UpdateAvailable) && told(cache)
        })
        .await;
    assert!(
        message(&cache, ConditionType::UpdateAvailable).starts_with("main is now at commit"),
        "{}",
        show(&cache)
    );
    commit
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn moving_on_and_back_is_two_fields_and_the_next_commit_is_told_again() {
    let (_cluster, team) = team("update").await;
    hub().add(model(REPO));
    let first = hub().commit(REPO, "main");
    team.cache("update", spec(REPO)).await;
    team.ready("update").await;

    let second = newer(&team, r#"{"model_type": "tiny", "version": 2}"#).await;
    assert_eq!(loaded(&team).await, first, "told, and not followed");
    moved_to(&team, &second).await;
    assert_eq!(loaded(&team).await, second);
    assert!(!holds(&team.get("update").await, ConditionType::UpdateAvailable));

    // With a commit in the spec, its alias tells what is newer.
    let third = newer(&team, r#"{"model_type": "tiny", "version": 3}"#).await;
    assert_ne!(third, second);

    let before = served(REPO);
    moved_to(&team, &first).await;
    assert_eq!(loaded(&team).await, first);
    assert_eq!(served(REPO), before, "it is still there");

    // Nor does the way take a Hub that still has the repo.
    hub().remove(REPO);
    moved_to(&team, &second).await;
    assert_eq!(loaded(&team).await, second);
    let cache = team.get("update").await;
    let listed: Vec<_> =
        cache.status.as_ref().unwrap().snapshots.iter().map(|it| (&*it.commit, it.kept)).collect();
    assert_eq!(listed, [(&*second, Kept::Current), (&*first, Kept::Previous)], "{}", show(&cache));
    assert_eq!(cache.status.as_ref().unwrap().current().unwrap().refs, ["main"], "{}", show(&cache));
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn an_alias_downloads_nothing_and_a_snapshot_that_was_removed_by_hand_is_downloaded_again() {
    const REPO: &str = "acme/alias";
    let (_cluster, team) = team("alias").await;
    hub().add(model(REPO));
    team.cache("alias", spec(REPO)).await;
    let cache = team.ready("alias").await;
    let before = served(REPO);
    let named = |name: &'static str| {
        move |cache: &ModelCache| {
            let current = cache.status.as_ref().and_then(|status| status.current());
            holds(cache, ConditionType::Ready)
                && current.is_some_and(|it| it.refs.iter().any(|it| it == name))
        }
    };
    team.change("alias", json!({ "spec": { "source": { "aliases": ["stable"] } } })).await;
    team.until("alias", "named stable", named("stable")).await;
    assert_eq!(served(REPO), before);

    let snapshot = volume(&team, "alias").await.join(&cache.status.as_ref().unwrap().current().unwrap().path);
    std::fs::remove_dir_all(&snapshot).unwrap();
    team.change("alias", json!({ "spec": { "source": { "aliases": ["stable", "approved"] } } })).await;
    team.until("alias", "named approved", named("approved")).await;
    assert!(snapshot.join("config.json").exists());
}

/// The folder of a claim's volume on the node.
async fn volume(team: &Team, claim: &str) -> PathBuf {
    let claim: PersistentVolumeClaim = team.api().get(claim).await.unwrap();
    let volumes: Api<PersistentVolume> = Api::all(team.client.clone());
    let volume = volumes.get(&claim.spec.unwrap().volume_name.unwrap()).await.unwrap().spec.unwrap();
    let local = volume.local.map(|local| local.path);
    local.or_else(|| Some(volume.host_path?.path)).unwrap().into()
}
