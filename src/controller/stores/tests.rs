use futures::{StreamExt as _, stream};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Time};
use kube::runtime::{reflector::ObjectRef, watcher::Event};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::{
    indexed::{Change, Stored},
    *,
};
use crate::{
    api::{self, CachedSnapshot, Progress, Resolved},
    controller::{
        fixtures::{self, at, with_token},
        watcher::{Guarded, Metadata},
    },
    telemetry::Contacts,
};

/// The stores, with what feeds them.
struct World {
    stores: Stores,
    keepers: Keepers,
}

impl World {
    fn empty() -> Self {
        let (stores, keepers) = Stores::empty();
        Self { stores, keepers }
    }
}

/// What has changed by events.
fn changes<K: Stored>(keeper: &mut Keeper<K>, events: Vec<Event<Guarded<K>>>) -> Vec<Change<K>> {
    events.into_iter().flat_map(|event| keeper.apply(event)).collect()
}

fn names(woken: Vec<ObjectRef<Guarded<ModelCache>>>) -> Vec<String> {
    let mut names: Vec<_> = woken.into_iter().map(|woken| woken.name).collect();
    names.sort();
    names.dedup();
    names
}

fn parse<K: Stored>(raw: &Value) -> Guarded<K> {
    serde_json::from_str(&raw.to_string()).unwrap()
}

fn listed<K: Stored>(objects: impl IntoIterator<Item = Guarded<K>>) -> Vec<Event<Guarded<K>>> {
    [Event::Init]
        .into_iter()
        .chain(objects.into_iter().map(Event::InitApply))
        .chain([Event::InitDone])
        .collect()
}

/// A ModelCache on the claim `models`, of the repo of its fixture.
fn cache(name: &str) -> ModelCache {
    let mut cache = with_token(fixtures::cache());
    cache.metadata.name = Some(name.to_owned());
    cache.metadata.uid = Some(format!("{name}-uid"));
    cache.metadata.resource_version = Some("1".to_owned());
    cache.spec.storage.existing_claim = Some("models".to_owned());
    cache
}

/// A Job of a ModelCache that writes to the claim `models`.
fn job(name: &str, owner: &str, version: u32) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "team", "uid": format!("{name}-uid"), "resourceVersion": version.to_string(),
            "labels": { api::LABEL_CLAIM_UID: "claim-uid", api::LABEL_MANAGED_BY: "modelcache" },
            "ownerReferences": [{
                "apiVersion": "modelcache.internal/v1alpha1", "kind": "ModelCache", "name": owner, "uid": format!("{owner}-uid"),
                "controller": true,
            }],
        },
        "spec": { "template": { "spec": {
            "containers": [{ "name": "fetch", "args": ["fetch", "acme/tiny", "--alias=x", "--type=model", "--revision=main"] }],
            "volumes": [{ "name": "cache", "persistentVolumeClaim": { "claimName": "models" } }],
        } } },
    })
}

fn pod(name: &str, job: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "team", "uid": format!("{name}-uid"), "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T12:00:00Z",
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": format!("{job}-uid"), "controller": true,
            }],
        },
        "status": { "phase": "Running" },
    })
}

fn ended(mut job: Value) -> Value {
    job["status"] = json!({ "conditions": [{ "type": "Complete", "status": "True" }] });
    job
}

fn found(jobs: &[Arc<Job>]) -> Vec<String> {
    let mut names: Vec<_> = jobs.iter().map(|job| job.name_any()).collect();
    names.sort();
    names
}

fn claim() -> PersistentVolumeClaim {
    let mut claim = fixtures::bound_claim(&fixtures::cache());
    claim.metadata.name = Some("models".to_owned());
    claim
}

#[test]
fn nothing_is_read_before_all_kinds_are_listed() {
    let World { stores, keepers } = World::empty();
    let Keepers { mut caches, mut claims, mut jobs, mut pods, secrets } = keepers;
    changes(&mut caches, listed([]));
    changes(&mut claims, listed([]));
    changes(&mut jobs, listed([]));
    let is_ready = || futures::FutureExt::now_or_never(stores.ready());
    changes(&mut pods, vec![Event::Init]);
    assert_eq!(is_ready(), None);
    changes(&mut pods, vec![Event::InitDone]);
    assert_eq!(is_ready(), None, "the Secrets are not");
    secrets.are_not_watched();
    assert_eq!(is_ready(), Some(true));
}

#[tokio::test]
async fn all_who_wait_for_the_lists_are_woken() {
    let World { stores, keepers } = World::empty();
    let Keepers { mut caches, mut claims, mut jobs, mut pods, secrets } = keepers;
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let stores = stores.clone();
            tokio::spawn(async move { stores.ready().await })
        })
        .collect();
    // Each of them waits before anything is listed.
    tokio::task::yield_now().await;
    changes(&mut caches, listed([]));
    tokio::task::yield_now().await;
    changes(&mut claims, listed([]));
    changes(&mut jobs, listed([]));
    changes(&mut pods, listed([]));
    secrets.are_not_watched();
    for one in waiting {
        let woken = tokio::time::timeout(std::time::Duration::from_secs(10), one).await;
        assert!(woken.expect("it was not woken").unwrap());
    }
}

#[test]
fn jobs_are_found_by_owner_and_by_claim_and_by_nothing_else() {
    let World { stores, keepers } = World::empty();
    let mut keeper = keepers.jobs;
    let mut elsewhere = job("elsewhere", "a", 1);
    elsewhere["metadata"]["namespace"] = json!("others");
    changes(&mut keeper, listed([job("one", "a", 1), job("two", "b", 1), elsewhere].iter().map(parse)));
    let of = |name: &str| found(&stores.jobs_of(&cache(name)));
    assert_eq!((of("a"), of("b"), of("c")), (vec!["one".into()], vec!["two".into()], vec![]));
    assert_eq!(found(&stores.jobs_on(&claim())), ["one", "two"]);
    // Another owner, and deleted while the watch was away.
    changes(&mut keeper, vec![Event::Apply(parse(&job("two", "c", 2)))]);
    assert_eq!((of("b"), of("c")), (vec![], vec!["two".into()]));
    let gone = changes(&mut keeper, listed([parse(&job("two", "c", 2))]));
    let gone: Vec<_> = gone.iter().filter(|change| change.is_news()).collect();
    assert_eq!((gone.len(), gone.iter().all(|change| change.new.is_none())), (2, true));
    assert_eq!((of("a"), found(&stores.jobs_on(&claim()))), (vec![], vec!["two".into()]));
    changes(&mut keeper, vec![Event::Delete(parse(&job("two", "c", 3)))]);
    assert_eq!(found(&stores.jobs_on(&claim())), [] as [&str; 0]);
}

#[test]
fn forged_jobs_are_refused_and_never_fill_the_memory() {
    let World { stores, keepers } = World::empty();
    let mut keeper = keepers.jobs;
    let with = |pointer: &str, value: Value| {
        let mut job = job("forged", "a", 1);
        *job.pointer_mut(pointer).unwrap() = value;
        parse(&job)
    };
    changes(
        &mut keeper,
        listed([
            with("/metadata/ownerReferences", json!([])),
            with("/metadata/ownerReferences/0/kind", json!("Deployment")),
            with("/metadata/ownerReferences/0/apiVersion", json!("apps/v1")),
            with("/metadata/ownerReferences/0/controller", json!(false)),
            with("/spec/template/spec/containers", json!("none")),
            with(
                "/spec/template/spec/containers/0/args/4",
                json!("--revision=".to_owned() + &"x".repeat(400_000)),
            ),
        ]),
    );
    assert!(stores.jobs.store().is_empty());
    let many = || (0..100).map(|number| parse(&job(&format!("job-{number:03}"), "a", 1)));
    changes(&mut keeper, listed(many()));
    assert_eq!(stores.jobs_of(&cache("a")).len(), 16);
    changes(&mut keeper, many().map(Event::Apply).collect());
    assert_eq!((stores.jobs_of(&cache("a")).len(), stores.jobs.store().len()), (16, 16));
    changes(&mut keeper, vec![Event::Apply(parse(&job("other", "b", 1)))]);
    assert_eq!(found(&stores.jobs_of(&cache("b"))), ["other"], "nobody else has less room");

    changes(&mut keeper, vec![Event::Apply(parse(&job("moved", "nobody", 1)))]);
    changes(&mut keeper, vec![Event::Apply(parse(&job("moved", "a", 2)))]);
    assert_eq!(stores.jobs_of(&cache("a")).len(), 16, "one that was another's is counted");
    let has_ours = || found(&stores.jobs_of(&cache("a"))).contains(&"ours".to_owned());
    stores.jobs.wrote(parse(&job("ours", "a", 200)));
    changes(&mut keeper, vec![Event::Apply(parse(&job("ours", "a", 200)))]);
    assert!(has_ours(), "what we have made is kept");
    changes(&mut keeper, listed(many().chain([parse(&job("ours", "a", 201))])));
    assert!(has_ours(), "and stays after another list");
}

#[test]
fn of_a_job_is_kept_what_is_read() {
    let World { stores, keepers } = World::empty();
    let mut keeper = keepers.jobs;
    let kept = job("job", "a", 1);
    let mut raw = kept.clone();
    raw["spec"]["backoffLimit"] = json!(0);
    let container = &mut raw["spec"]["template"]["spec"]["containers"];
    container[0]["env"] = json!([{ "name": "SSL_CERT_FILE", "value": "x".repeat(1_000) }]);
    container.as_array_mut().unwrap().push(json!({ "name": "sidecar", "args": ["x"] }));
    let volumes = raw["spec"]["template"]["spec"]["volumes"].as_array_mut().unwrap();
    volumes.push(json!({ "name": "more", "persistentVolumeClaim": { "claimName": "models" } }));
    raw["metadata"]["managedFields"] = json!([{ "manager": "modelcache-job" }]);
    let mut expected = kept;
    expected["spec"]["template"]["spec"]["containers"][0]["args"] =
        json!(["fetch", "acme/tiny", "--type=model", "--revision=main", "--alias=x"]);
    changes(&mut keeper, vec![Event::Apply(parse(&raw))]);
    let expected: Job = serde_json::from_value(expected).unwrap();
    assert_eq!(*stores.jobs_of(&cache("a"))[0], expected);
}

#[test]
fn the_newest_pod_of_a_job_is_its_pod() {
    let World { stores, keepers } = World::empty();
    let mut keeper = keepers.pods;
    let mut newer = pod("b", "job");
    newer["metadata"]["creationTimestamp"] = json!("2026-01-01T12:05:00Z");
    let mut forged = pod("c", "job");
    forged["metadata"]["ownerReferences"][0]["kind"] = json!("ReplicaSet");
    changes(&mut keeper, listed([pod("a", "job"), newer, pod("d", "other"), forged].iter().map(parse)));
    let job: Guarded<Job> = parse(&job("job", "a", 1));
    assert_eq!(stores.newest_pod(job.parsed().unwrap()).unwrap().name_any(), "b");
    assert_eq!(stores.pods.store().len(), 3);
}

#[test]
fn own_writes_are_read_before_the_watch_delivers_them() {
    let World { stores, keepers } = World::empty();
    let mut keeper = keepers.jobs;
    changes(&mut keeper, listed([parse(&job("first", "a", 1))]));
    let of = |name: &str| found(&stores.jobs_of(&cache(name)));
    stores.jobs.deleted("first-uid".to_owned());
    stores.jobs.wrote(parse(&job("second", "a", 5)));
    assert_eq!((of("a"), found(&stores.jobs_on(&claim()))), (vec!["second".into()], vec!["second".into()]));
    // The deletion comes first: there is no moment without a Job.
    changes(&mut keeper, vec![Event::Delete(parse(&job("first", "a", 4)))]);
    assert_eq!(of("a"), ["second"]);
    changes(&mut keeper, vec![Event::Apply(parse(&job("second", "a", 5)))]);
    assert_eq!(of("a"), ["second"]);
    changes(&mut keeper, vec![Event::Delete(parse(&job("second", "a", 6)))]);
    assert_eq!(of("a"), [] as [&str; 0]);
}

/// Each would be a second copy of a large object.
#[test]
fn the_answer_to_a_write_is_not_kept_where_the_watch_was_faster() {
    let World { stores, keepers } = World::empty();
    let mut keeper = keepers.jobs;
    changes(&mut keeper, vec![Event::Apply(parse(&job("job", "a", 5)))]);
    stores.jobs.wrote(parse(&job("job", "a", 5)));
    stores.jobs.wrote(parse(&job("job", "a", 4)));
    assert_eq!(stores.jobs.own_writes(), 0);
    stores.jobs.wrote(parse(&job("job", "a", 6)));
    assert_eq!(stores.jobs.own_writes(), 1);
    changes(&mut keeper, vec![Event::Apply(parse(&job("job", "a", 6)))]);
    assert_eq!(stores.jobs.own_writes(), 0);
}

#[test]
fn a_modelcache_is_woken_by_what_it_reads_and_not_by_its_own_status() {
    let World { stores, keepers } = World::empty();
    let mut keeper = keepers.caches;
    let first = changes(&mut keeper, listed([Guarded::from(cache("a"))]));
    assert_eq!(names(wakes::of_cache(&stores, &first[0])), ["a"], "all are reconciled once");
    let mut woken_by = |is_ours: bool, edit: &dyn Fn(&mut ModelCache)| {
        let mut changed = cache("a");
        changed.metadata.resource_version = Some("2".to_owned());
        edit(&mut changed);
        changes(&mut keeper, vec![Event::Apply(cache("a").into())]);
        if is_ours {
            stores.caches.wrote(changed.clone().into());
        }
        let change = changes(&mut keeper, vec![Event::Apply(changed.into())]);
        !wakes::of_cache(&stores, &change[0]).is_empty()
    };
    let status = |cache: &mut ModelCache, edit: &dyn Fn(&mut api::ModelCacheStatus)| {
        edit(cache.status.get_or_insert_default());
    };
    let progress = |cache: &mut ModelCache| status(cache, &|it| it.progress = Some(Progress::default()));
    let conditions = |cache: &mut ModelCache| {
        status(cache, &|status| status.conditions = fixtures::downloaded().0.cache.conditions().to_vec());
    };
    for (is_ours, edit, expected) in [
        (true, &progress as &dyn Fn(&mut ModelCache), false),
        (false, &progress, false),
        (true, &conditions, false),
        (false, &conditions, true),
        (false, &|_| {}, false),
    ] {
        assert_eq!(woken_by(is_ours, edit), expected, "{is_ours}");
    }
    for edit in [
        &|cache: &mut ModelCache| cache.metadata.generation = Some(2),
        &|cache: &mut ModelCache| cache.metadata.uid = Some("another".to_owned()),
        &|cache: &mut ModelCache| cache.metadata.deletion_timestamp = Some(Time(at(1))),
        &|cache: &mut ModelCache| {
            cache.annotations_mut().insert(api::ANNOTATION_RECONCILE_AT.to_owned(), "now".to_owned());
        },
        &|cache: &mut ModelCache| status(cache, &|status| status.snapshots = vec![CachedSnapshot::default()]),
        &|cache: &mut ModelCache| status(cache, &|status| status.resolved = Some(Resolved::default())),
    ] as [&dyn Fn(&mut ModelCache); _]
    {
        assert!(woken_by(true, edit));
    }
    // Another operator's time of the next attempt.
    let with_message = |version: &str, message: &str| {
        let mut cache = (*fixtures::downloaded().0.cache).clone();
        (cache.metadata.name, cache.metadata.uid) = (Some("a".to_owned()), Some("a-uid".to_owned()));
        cache.metadata.resource_version = Some(version.to_owned());
        message.clone_into(&mut cache.status.as_mut().unwrap().conditions[0].message);
        vec![Event::Apply(cache.into())]
    };
    changes(&mut keeper, with_message("3", "The next attempt is at 12:00:00."));
    let change = changes(&mut keeper, with_message("4", "The next attempt is at 12:00:05."));
    assert_eq!(names(wakes::of_cache(&stores, &change[0])), [] as [&str; 0]);
    let gone = changes(&mut keeper, vec![Event::Delete(cache("a").into())]);
    assert_eq!(names(wakes::of_cache(&stores, &gone[0])), ["a"]);
}

#[test]
fn neighbours_are_woken_by_what_they_depend_on() {
    let World { stores, keepers } = World::empty();
    let mut keeper = keepers.caches;
    let mut other_repo = cache("other-repo");
    other_repo.spec.source.repo = "acme/another".to_owned();
    let mut other_claim = cache("other-claim");
    other_claim.spec.storage.existing_claim = Some("mine".to_owned());
    let mut ready = (*fixtures::downloaded().0.cache).clone();
    (ready.metadata.name, ready.metadata.uid) = (Some("ready".to_owned()), Some("ready-uid".to_owned()));
    ready.spec.storage.existing_claim = Some("models".to_owned());
    let all = [cache("a"), cache("b"), other_repo, other_claim, ready].map(Guarded::from);
    changes(&mut keeper, listed(all));
    let mut pinned = cache("a");
    pinned.status.get_or_insert_default().resolved =
        Some(Resolved { commit: fixtures::COMMIT.to_owned(), ..Resolved::default() });
    let change = changes(&mut keeper, vec![Event::Apply(pinned.clone().into())]);
    assert_eq!(names(wakes::of_cache(&stores, &change[0])), ["a", "b"]);
    pinned.status.as_mut().unwrap().progress = Some(Progress::default());
    let change = changes(&mut keeper, vec![Event::Apply(pinned.clone().into())]);
    assert_eq!(names(wakes::of_cache(&stores, &change[0])), [] as [&str; 0]);
    pinned.spec.suspend = true;
    let change = changes(&mut keeper, vec![Event::Apply(pinned.into())]);
    assert_eq!(names(wakes::of_cache(&stores, &change[0])), ["b"]);
}

#[tokio::test]
async fn claims_jobs_pods_and_secrets_wake_those_that_read_them() {
    let World { stores, keepers } = World::empty();
    let Keepers { mut caches, mut claims, mut jobs, mut pods, secrets } = keepers;
    let mut stranger = cache("stranger");
    stranger.spec.storage.existing_claim = None;
    stranger.spec.token_secret_ref = None;
    changes(&mut caches, listed([cache("a"), cache("b"), stranger].map(Guarded::from)));
    assert!(changes(&mut claims, listed([claim().into()])).is_empty(), "what is there is read anyway");
    assert!(changes(&mut jobs, listed([parse(&job("job", "a", 1))])).is_empty());

    let mut touched = claim();
    touched.metadata.resource_version = Some("9".to_owned());
    let change = changes(&mut claims, vec![Event::Apply(touched.clone().into())]);
    assert_eq!(names(wakes::of_claim(&stores, &change[0])), [] as [&str; 0], "nothing that is read differs");
    touched.status.as_mut().unwrap().phase = Some("Lost".to_owned());
    let change = changes(&mut claims, vec![Event::Apply(touched.into())]);
    assert_eq!(names(wakes::of_claim(&stores, &change[0])), ["a", "b"]);

    let mut running = job("job", "a", 2);
    running["status"] = json!({ "ready": 1, "uncountedTerminatedPods": {} });
    let change = changes(&mut jobs, vec![Event::Apply(parse(&running))]);
    assert_eq!(names(wakes::of_job(&stores, &change[0])), ["a"]);
    running["metadata"]["resourceVersion"] = json!("3");
    running["status"]["active"] = json!(1);
    let change = changes(&mut jobs, vec![Event::Apply(parse(&running))]);
    assert_eq!(names(wakes::of_job(&stores, &change[0])), [] as [&str; 0]);

    let change =
        changes(&mut pods, listed([]).into_iter().chain([Event::Apply(parse(&pod("pod", "job")))]).collect());
    assert_eq!(names(wakes::of_pod(&stores, &change[0])), ["a"]);
    let mut heartbeat = pod("pod", "job");
    heartbeat["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]);
    heartbeat["status"]["podIP"] = json!("10.0.0.1");
    let change = changes(&mut pods, vec![Event::Apply(parse(&heartbeat))]);
    assert_eq!(names(wakes::of_pod(&stores, &change[0])), [] as [&str; 0]);

    // The claim is free for whoever waits for it.
    let change = changes(&mut jobs, vec![Event::Apply(parse(&ended(job("job", "a", 4))))]);
    assert_eq!(names(wakes::of_job(&stores, &change[0])), ["a", "b"]);
    let change = changes(&mut jobs, vec![Event::Delete(parse(&job("job", "a", 5)))]);
    assert_eq!(names(wakes::of_job(&stores, &change[0])), ["a", "b"]);

    let secret = |version: &str| -> Metadata<Secret> {
        let raw = json!({ "metadata": { "name": "hf", "namespace": "team", "resourceVersion": version } });
        serde_json::from_str(&raw.to_string()).unwrap()
    };
    let events = [Event::Init, Event::InitApply(secret("1")), Event::InitDone, Event::Apply(secret("2"))];
    let contact = Contacts::default().add("secrets".into());
    let changed: Vec<_> = secrets.changed(stream::iter(events), contact.observer()).collect().await;
    assert_eq!(changed, [("team".to_owned(), "hf".to_owned())]);
    assert_eq!(names(wakes::of_secret(&stores, &changed[0])), ["a", "b"]);
}
