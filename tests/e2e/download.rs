//! What happens after the Hub has said yes: the volume is filled, verified, and stays usable whatever comes.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Event, PersistentVolumeClaim, Pod, Secret},
};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use modelcache::{api::ModelCache, reason::ConditionType};
use serde_json::json;
use standin_hub::{Access, Class, Content, Fault, FaultKind, Repo};

use crate::{
    audit::Audit,
    cluster::{eventually, holds, leave_to_replace_the_operator, message, reason, show},
    volumes::claim,
    world::{TOKEN, USER, gated, hub, model, spec, team, with},
};

/// Loads every file of a repo through the official client, offline, and prints their sizes.
pub fn load(repo: &str) -> String {
    format!(
        "import os, huggingface_hub as h\n\
         root = h.snapshot_download('{repo}')\n\
         warnings = h.scan_cache_dir().warnings\n\
         assert not [w for w in warnings if 'lost+found' not in str(w)], warnings\n\
         print(sorted((os.path.relpath(os.path.join(d, f), root), os.path.getsize(os.path.join(d, f)))\n\
                      for d, _, fs in os.walk(root) for f in fs))"
    )
}

/// What that prints for the small model.
pub const FILES: &str = "[('config.json', 22), ('model.safetensors', 3145728), ('onnx/config.json', 16)]";

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn one_yaml_fills_a_volume_and_a_pod_loads_the_gated_model_offline() {
    let (cluster, team) = team("first-light").await;
    hub().add(gated("acme/first-light").access(USER, Access::Accepted));
    team.cache("first.light", spec("acme/first-light")).await;
    let cache = team.ready("first.light").await;
    let status = cache.status.clone().unwrap();
    let (resolved, cached) = (status.resolved.clone().unwrap(), status.current().cloned().unwrap());
    let commit = hub().commit("acme/first-light", "main");
    assert_eq!((resolved.commit.as_str(), resolved.files), (commit.as_str(), 3));
    assert_eq!(cached.path, format!("models--acme--first-light/snapshots/{commit}"));
    assert_eq!(cached.claim_name, "first.light");

    assert_eq!(team.python("first.light", &load("acme/first-light")).await.trim(), FILES);

    let claim = team.api::<PersistentVolumeClaim>().get("first.light").await.unwrap();
    assert_eq!(claim.owner_references().len(), 0);
    let events = team.api::<Event>().list(&ListParams::default()).await.unwrap();
    assert!(events.iter().any(|event| event.reason.as_deref() == Some("Verified")), "{:?}", events.items);

    let text = team.everything_readable().await + &cluster.operator_log().await;
    assert!(text.len() > 1000 && !text.contains(TOKEN), "a token is where people can read it");
    assert_eq!(hub().token_leaks(), Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_repo_that_is_asked_for_in_another_case_or_by_a_former_name_loads_by_both() {
    let (_cluster, team) = team("names").await;
    hub().add(model("acme/names-case"));
    hub().add(model("acme/names-former"));
    hub().rename("acme/names-former", "acme/names-now");
    for (name, asked, own) in
        [("case", "ACME/Names-Case", "acme/names-case"), ("former", "acme/names-former", "acme/names-now")]
    {
        team.cache(name, spec(asked)).await;
        let cache = team.ready(name).await;
        let status = cache.status.clone().unwrap();
        assert_eq!(
            (status.resolved.clone().unwrap().repo, status.current().unwrap().names.clone()),
            (own.to_owned(), vec![own.to_owned()])
        );
        let ready = message(&cache, ConditionType::Ready);
        assert!(
            ready.ends_with(&format!("The Hub calls the repo {own}: programs find it under both names.")),
            "{ready}"
        );
        for repo in [asked, own] {
            assert_eq!(team.python(name, &load(repo)).await.trim(), FILES, "{repo}");
        }
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn the_data_stay_usable_when_the_token_is_revoked_and_when_the_operator_is_new() {
    let leave = leave_to_replace_the_operator().await;
    let (cluster, team) = team("revoked").await;
    hub().add(gated("acme/revoked").access("dave", Access::Accepted));
    hub().user("dave").token("hf_dave0123456789abcdefghijklmnopqr");
    team.secret("hf", "hf_dave0123456789abcdefghijklmnopqr").await;
    team.cache("revoked", spec("acme/revoked")).await;
    team.ready("revoked").await;

    hub().remove_token("hf_dave0123456789abcdefghijklmnopqr");
    let ask = json!({ "metadata": { "annotations": { "modelcache.internal/reconcile-at": "1" } } });
    team.change("revoked", ask).await;
    let cache = team
        .until("revoked", "unauthenticated", |cache| {
            reason(cache, ConditionType::Authenticated) == "TokenInvalid"
        })
        .await;
    assert!(holds(&cache, ConditionType::Ready), "{}", show(&cache));
    assert_eq!(cache.status.as_ref().unwrap().last_handled_reconcile_at.as_deref(), Some("1"));

    let requests = hub().requests().len();
    cluster.restart_operator(&leave).await;
    eventually("the new operator to ask the Hub", || async {
        (hub().requests().len() > requests).then_some(())
    })
    .await;
    let cache = team.get("revoked").await;
    assert!(holds(&cache, ConditionType::Ready), "{}", show(&cache));
    let jobs = team.api::<Job>().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(jobs.len(), 1, "a new operator downloads nothing again");
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_second_look_writes_nothing() {
    let (_cluster, team) = team("quiet").await;
    // A name that no earlier run on the same cluster had: its ModelCaches are still looked at.
    let repo = format!("{}/quiet", team.namespace);
    hub().add(model(&repo));
    team.cache("quiet", spec(&repo)).await;
    team.ready("quiet").await;
    // The event is the last that the look writes which finds the data complete; progress may end with the next one.
    let audit = Audit::of(&team.namespace);
    eventually("the last event and the end of the progress to be written", || async {
        let events = team.api::<Event>().list(&ListParams::default()).await.unwrap().items;
        let last = events.iter().find(|event| event.reason.as_deref() == Some("Verified"))?.name_any();
        let told = audit.writes().iter().any(|write| write.resource == "events" && write.name == last);
        (told && team.get("quiet").await.status?.progress.is_none()).then_some(())
    })
    .await;
    let (settled, written) = (team.get("quiet").await.resource_version(), audit.writes());
    // Another version of the Secret makes the operator ask the Hub again, which tells that a look takes place. Looks at
    // one object never overlap: when the third one asks, two are over, with all that they would write.
    let probe = format!("/{repo}/auth-check");
    let asked = || hub().requests().iter().filter(|it| it.path.ends_with(&probe)).count();
    for version in ["1", "2", "3"] {
        let before = asked();
        let touch = json!({ "metadata": { "annotations": { "version": version } } });
        team.api::<Secret>().patch("hf", &PatchParams::default(), &Patch::Merge(&touch)).await.unwrap();
        eventually("the operator to ask again", || async { (asked() > before).then_some(()) }).await;
    }
    assert_eq!(audit.writes(), written, "not even a write that changes nothing");
    let cache = team.get("quiet").await;
    assert_eq!(cache.resource_version(), settled, "{}", show(&cache));

    // Over its whole life, nothing of the object but its status is ever written.
    let of_it = written.iter().filter(|write| write.resource == "modelcaches");
    let parts: BTreeSet<_> = of_it.map(|write| (&*write.verb, &*write.subresource, &*write.name)).collect();
    assert_eq!(parts, BTreeSet::from([("patch", "status", "quiet")]));
    assert_eq!(cache.metadata.generation, Some(1));
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn wrong_bytes_are_never_published_and_the_next_attempt_heals() {
    let (_cluster, team) = team("bytes").await;
    hub().add(model("acme/bytes"));
    hub().fault(Fault::new(FaultKind::WrongBytes).on(Class::Cdn).path("acme/bytes"));
    team.cache("bytes", spec("acme/bytes")).await;
    let cache = team.reason("bytes", "HashMismatch").await;
    assert!(message(&cache, ConditionType::Downloaded).contains("model.safetensors"), "{}", show(&cache));
    hub().clear_faults_on("acme/bytes");
    team.ready("bytes").await;
    assert_eq!(team.python("bytes", &load("acme/bytes")).await.trim(), FILES);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_download_shows_its_progress_and_survives_its_pod_and_the_operator() {
    let leave = leave_to_replace_the_operator().await;
    let (cluster, team) = team("progress").await;
    let size: u64 = 64 << 20;
    hub().add(
        Repo::model("acme/progress")
            .file("config.json", "{}")
            .lfs("model.safetensors", Content::random(3, size)),
    );
    hub().fault(Fault::new(FaultKind::Slow(4 << 20)).on(Class::Cdn).path("acme/progress").after(1).times(2));
    team.cache("progress", spec("acme/progress")).await;
    let cache = team
        .until("progress", "under way", |cache| {
            cache.status.as_ref().and_then(|it| it.progress.as_ref()).is_some_and(|it| it.percent > 0)
        })
        .await;
    assert_eq!(reason(&cache, ConditionType::Ready), "Downloading", "{}", show(&cache));
    assert_eq!(reason(&cache, ConditionType::Reconciling), "Downloading");

    cluster.restart_operator(&leave).await;
    let pods = team.api::<Pod>();
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        pods.delete(&pod.name_any(), &kube::api::DeleteParams::default()).await.unwrap();
    }
    let cache = team.ready("progress").await;
    assert_eq!(cache.status.unwrap().current().unwrap().bytes, Some(i64::try_from(size).unwrap() + 2));
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn patterns_and_aliases_decide_what_is_on_the_volume() {
    let (_cluster, team) = team("patterns").await;
    hub().add(model("acme/patterns"));
    let commit = hub().commit("acme/patterns", "main");
    // The commit has no name: it is `main`, for programs that name no revision.
    let source = json!({ "source": { "revision": commit, "include": ["*.json"] } });
    team.cache("patterns", with(spec("acme/patterns"), source)).await;
    team.ready("patterns").await;
    let files = team.python("patterns", &load("acme/patterns")).await;
    assert_eq!(files.trim(), "[('config.json', 22), ('onnx/config.json', 16)]");

    let all = json!({ "spec": { "source": { "include": [] } } });
    team.change("patterns", all).await;
    team.ready("patterns").await;
    assert_eq!(team.python("patterns", &load("acme/patterns")).await.trim(), FILES);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn two_models_share_one_claim() {
    let (_cluster, team) = team("shared").await;
    hub().add(model("acme/base"));
    hub().add(model("acme/adapter"));
    claim(&team, "models").await;
    let storage = json!({ "storage": { "existingClaim": "models", "subPath": "hub" } });
    team.cache("base", with(spec("acme/base"), storage.clone())).await;
    team.cache("adapter", with(spec("acme/adapter"), storage)).await;
    team.ready("base").await;
    team.ready("adapter").await;
    let code = "import os; os.environ['HF_HUB_CACHE'] = '/models/hub'\n".to_owned() + &load("acme/base");
    let both = code.clone() + "\nprint(h.snapshot_download('acme/adapter').count('adapter'))";
    assert_eq!(team.python("models", &both).await.trim(), format!("{FILES}\n1"));
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_claim_that_is_deleted_goes_and_is_filled_again() {
    let (_cluster, team) = team("again").await;
    hub().add(model("acme/again"));
    team.cache("again", spec("acme/again")).await;
    let before = team.ready("again").await.status.unwrap().current().unwrap().claim_uid.clone();
    let claims = team.api::<PersistentVolumeClaim>();
    claims.delete("again", &kube::api::DeleteParams::default()).await.unwrap();
    let cache = team
        .until("again", "Ready on another claim", |cache| {
            let uid = cache.status.as_ref().and_then(|it| it.current()).map(|it| it.claim_uid.clone());
            uid.is_some_and(|uid| uid != before)
        })
        .await;
    assert!(holds(&cache, ConditionType::Ready), "{}", show(&cache));
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_modelcache_that_is_made_again_is_ready_at_its_old_commit_without_the_hub() {
    let (_cluster, team) = team("remade").await;
    hub().add(model("acme/remade"));
    team.cache("remade", spec("acme/remade")).await;
    let old = team.ready("remade").await.status.unwrap().current().unwrap().commit.clone();
    let api = team.api::<ModelCache>();
    api.delete("remade", &kube::api::DeleteParams::default()).await.unwrap();
    eventually("the ModelCache to be gone", || async {
        api.get_opt("remade").await.unwrap().is_none().then_some(())
    })
    .await;
    // The branch moves on, and the Hub is down.
    hub().update("acme/remade", |repo| repo.file("config.json", "{}").branch("main"));
    let new = hub().commit("acme/remade", "main");
    assert_ne!(old, new);
    hub().fault(Fault::new(FaultKind::Status(500)).on(Class::Api).path("acme/remade"));
    let served = || {
        hub()
            .requests()
            .iter()
            .filter(|it| it.class == Class::Cdn && !it.is_for_a_byte() && it.path.contains("acme/remade"))
            .count()
    };
    let before = served();
    assert!(before > 0);
    team.cache("remade", spec("acme/remade")).await;
    let cache = team.ready("remade").await;
    assert_eq!(cache.status.as_ref().unwrap().current().unwrap().commit, old, "{}", show(&cache));
    assert_eq!(reason(&cache, ConditionType::Authorized), "HubUnreachable", "{}", show(&cache));
    assert_eq!(served(), before, "what is on the claim is not downloaded again");
    // Once the Hub is back, the newer commit is told and not followed.
    hub().clear_faults_on("acme/remade");
    let cache = team
        .until("remade", "told of the newer commit", |cache| holds(cache, ConditionType::UpdateAvailable))
        .await;
    assert!(message(&cache, ConditionType::UpdateAvailable).contains(&new), "{}", show(&cache));
    assert_eq!(cache.status.unwrap().current().unwrap().commit, old);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_job_that_cannot_run_is_made_again_when_the_spec_is_corrected() {
    let (_cluster, team) = team("job").await;
    hub().add(model("acme/job"));
    let nowhere = json!({ "job": { "nodeSelector": { "gpu": "none-has-this" } } });
    team.cache("job", with(spec("acme/job"), nowhere)).await;
    let cache = team
        .until("job", "unscheduled", |cache| {
            message(cache, ConditionType::Downloaded).contains("not scheduled")
        })
        .await;
    assert!(
        message(&cache, ConditionType::Downloaded).contains("node affinity/selector"),
        "{}",
        show(&cache)
    );
    let mended = json!({ "spec": { "job": { "nodeSelector": null } } });
    team.change("job", mended).await;
    team.ready("job").await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_suspended_modelcache_is_told_and_goes_on_when_resumed() {
    let (_cluster, team) = team("suspended").await;
    // A name that no earlier run on the same cluster had: its ModelCaches are still looked at.
    let repo = format!("{}/suspended", team.namespace);
    hub().add(model(&repo));
    team.cache("suspended", with(spec(&repo), json!({ "suspend": true }))).await;
    let cache = team.until("suspended", "looked at", |cache| {
        cache.status.as_ref().and_then(|it| it.observed_generation) == cache.metadata.generation
    });
    assert!(!holds(&cache.await, ConditionType::Ready));
    assert!(!hub().requests().iter().any(|it| it.path.contains(&repo)), "the Hub is not asked");
    let resumed = json!({ "spec": { "suspend": false } });
    team.change("suspended", resumed).await;
    team.ready("suspended").await;
}
