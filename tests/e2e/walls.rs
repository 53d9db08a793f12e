//! What a user writes, and what lies on a user's volume, as the real kubelet takes it.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use k8s_openapi::api::batch::v1::Job;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use modelcache::{api::ModelCache, reason::ConditionType};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::{
    audit::Audit,
    cluster::{message, show},
    volumes::{claim, disk, drop_disk, free_folder, node_affinity, node_name, roots_folder},
    world::{hub, model, spec, team, with},
};

/// What the kubelet, a shell or a path would make something else of. `HOME`, `PATH` and the service's address are variables that
/// the container has.
const SIGNS: [&str; 6] = ["$(PATH)", "$$(HOME)", "$$", "${PATH}", "$(KUBERNETES_SERVICE_HOST)", "`id`"];

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn storage(sub_path: &str) -> Value {
    json!({ "storage": { "existingClaim": "disk", "subPath": sub_path } })
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_text_of_the_spec_reaches_the_volume_as_it_was_written() {
    let (_cluster, team) = team("signs").await;
    let tag = |sign: &str| format!("v{sign}x");
    let mut repo = model("acme/signs").file("left.txt", "").file("a$b.json", "").file("a/usr/bin.json", "");
    for sign in SIGNS {
        repo = repo.file(&format!("a{sign}.json"), sign).file(&format!("b{sign}.json"), sign);
    }
    hub().add(repo.tag(&tag("$(PATH)")));
    let folder = free_folder();
    disk(&team, "disk", json!({ "hostPath": { "path": folder.path().to_str().unwrap() } })).await;
    claim(&team, "disk").await;
    let annotations: serde_json::Map<_, _> =
        SIGNS.iter().enumerate().map(|(n, sign)| (format!("example.com/{n}"), json!(sign))).collect();
    let more = json!({
        "source": {
            "revision": tag("$(PATH)"),
            "aliases": SIGNS.map(|sign| format!("alias{sign}")),
            "include": SIGNS.map(|sign| format!("[ab]{sign}.json")),
            "exclude": SIGNS.map(|sign| format!("b{sign}.*")),
        },
        "job": { "annotations": annotations },
        "storage": { "existingClaim": "disk" },
    });
    team.cache("signs", with(spec("acme/signs"), more)).await;
    let cache = team.ready("signs").await;

    let cached = cache.status.as_ref().unwrap().current().unwrap();
    let files: BTreeSet<_> = SIGNS.iter().map(|sign| format!("a{sign}.json")).collect();
    assert_eq!(names(&folder.path().join(&cached.path)), files, "{}", show(&cache));
    let refs: BTreeSet<_> = SIGNS.iter().map(|sign| format!("alias{sign}")).chain([tag("$(PATH)")]).collect();
    assert_eq!(names(&folder.path().join("models--acme--signs/refs")), refs);
    let job = team.api::<Job>().list(&ListParams::default()).await.unwrap().items.remove(0);
    for (key, sign) in &annotations {
        assert_eq!(job.annotations().get(key).map(String::as_str), sign.as_str());
    }
    drop_disk(&team, "disk").await;
}

/// The operator may read every Secret of the cluster. It reads the one that a ModelCache names.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn of_all_secrets_the_named_one_is_read() {
    let (_cluster, team) = team("secrets").await;
    hub().add(model("acme/secrets"));
    for name in ["database", "secrets", "hf-old"] {
        team.secret(name, "hf_0123456789abcdef0123456789abcdefgh").await;
    }
    team.cache("secrets", spec("acme/secrets")).await;
    team.ready("secrets").await;
    assert_eq!(Audit::of(&team.namespace).secrets(), BTreeSet::from(["hf".to_owned()]));
}

/// A file in place of the folder, and links out of the volume: told, and nothing outside is touched.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn what_is_no_folder_at_a_sub_path_is_told_and_left_alone() {
    let (_cluster, team) = team("no-folder").await;
    hub().add(model("acme/no-folder"));
    let (folder, outside) = (free_folder(), free_folder());
    fs::write(folder.path().join("file"), "mine").unwrap();
    symlink(outside.path(), folder.path().join("link")).unwrap();
    fs::create_dir(folder.path().join("team")).unwrap();
    symlink("../../../../../../../../etc", folder.path().join("team/up")).unwrap();
    disk(&team, "disk", json!({ "hostPath": { "path": folder.path().to_str().unwrap() } })).await;
    claim(&team, "disk").await;
    for (name, sub_path, reason) in [
        ("file", "file", "VolumeUnsafe"),
        ("below-file", "file/hub", "VolumeNotWritable"),
        ("link", "link", "VolumeNotWritable"),
        ("up", "team/up/hub", "VolumeNotWritable"),
    ] {
        team.cache(name, with(spec("acme/no-folder"), storage(sub_path))).await;
        let cache = team.reason(name, reason).await;
        let said = message(&cache, ConditionType::Downloaded);
        assert!(said.contains("spec.storage.subPath"), "{name}: {}", show(&cache));
        // One Job after another: they share the claim.
        team.api::<ModelCache>().delete(name, &DeleteParams::default()).await.unwrap();
    }
    assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "mine");
    assert_eq!(names(outside.path()), BTreeSet::new());
    assert_eq!(names(&folder.path().join("team")), BTreeSet::from(["up".to_owned()]));
    drop_disk(&team, "disk").await;
}

/// Two teams on one volume: each download sees its own folder, which the kubelet makes, and nothing of the other's.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_folder_that_is_missing_is_made_and_is_all_that_the_job_sees() {
    let (_cluster, team) = team("own-folder").await;
    hub().add(model("acme/own-folder"));
    let node = node_name(&team).await;
    let with_group = roots_folder();
    let source = json!({ "local": { "path": with_group.path().to_str().unwrap() }, "nodeAffinity": node_affinity(&node) });
    disk(&team, "disk", source).await;
    claim(&team, "disk").await;
    // What another team has on the same volume, open to everybody and full of traps.
    let other = with_group.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o777)).unwrap();
    symlink("/etc", with_group.path().join("models--acme--own-folder")).unwrap();
    team.cache("own", with(spec("acme/own-folder"), storage("teams/own"))).await;
    let cache = team.ready("own").await;
    let cached = cache.status.as_ref().unwrap().current().unwrap();
    assert!(cached.path.starts_with("teams/own/models--acme--own-folder/snapshots/"), "{}", cached.path);
    assert!(with_group.path().join(&cached.path).join("config.json").is_file());
    let job = team.api::<Job>().list(&ListParams::default()).await.unwrap().items.remove(0);
    let pod = job.spec.unwrap().template.spec.unwrap();
    let mounted: Vec<_> = pod.containers[0]
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| (&mount.name[..], mount.sub_path.as_deref()))
        .collect();
    assert_eq!(mounted, [("cache", Some("teams/own")), ("token", None)]);
    assert_eq!(names(&other), BTreeSet::new());
    drop_disk(&team, "disk").await;
}

/// Without `fsGroup` the kubelet's folder belongs to root; one that the owner of the volume made for the Job's user is used.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_folder_of_root_is_told_and_mending_it_is_enough() {
    let (_cluster, team) = team("roots-folder").await;
    hub().add(model("acme/roots-folder"));
    let folder = roots_folder();
    disk(&team, "disk", json!({ "hostPath": { "path": folder.path().to_str().unwrap() } })).await;
    claim(&team, "disk").await;
    team.cache("own", with(spec("acme/roots-folder"), storage("teams/own"))).await;
    team.reason("own", "VolumeNotWritable").await;
    let made = folder.path().join("teams/own");
    assert_eq!(names(&made), BTreeSet::new());
    chown(&made, Some(65532), Some(65532)).unwrap();
    let cache = team.ready("own").await;
    let cached = cache.status.as_ref().unwrap().current().unwrap();
    assert!(folder.path().join(&cached.path).join("config.json").is_file());
    drop_disk(&team, "disk").await;
}
