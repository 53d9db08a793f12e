//! What one reconcile asks the API server for.

use std::{convert::Infallible, sync::Mutex};

use axum::http::{Request, Response};
use futures::{StreamExt as _, stream};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{client::Body, runtime::watcher::Event};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::*;
use crate::{
    api,
    controller::{
        attempt::Attempt,
        fixtures::{
            COMMIT, at, bound_claim, cache, ended, granted, next_job, reconciled, refused, report, running,
            seen, with_token,
        },
        observation::SecretState,
        watcher::Parse,
    },
    sync::locked,
};

const HOUR: Duration = Duration::from_secs(3600);

/// An API server that takes what it is given, and what it was asked for.
#[derive(Clone, Default)]
struct Server {
    cache: Arc<Mutex<Value>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// The pods with the label of the ModelCache.
    pods: Arc<Mutex<Value>>,
    /// All pods.
    users: Arc<Mutex<Vec<Value>>>,
    /// A Job that has every name already.
    taken: Arc<Mutex<Option<Value>>>,
}

impl Server {
    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().rsplit_once("/namespaces/team/").unwrap().1.to_owned();
        let is_labelled = parts.uri.query().is_some_and(|query| query.contains("labelSelector"));
        let asked = format!("{} {path}{}", parts.method, if is_labelled { " of tiny" } else { "" });
        locked(&self.asked).push(asked.clone());
        let body = body.collect_bytes().await.unwrap();
        let given: Value = serde_json::from_slice(&body).unwrap_or_default();
        if let Some(job) = &*locked(&self.taken) {
            let exists =
                json!({ "code": 409, "reason": "AlreadyExists", "status": "Failure", "message": "exists" });
            let (code, answer) = match asked.split('/').next() {
                Some("POST jobs") => (409, exists),
                Some("GET jobs") => (200, job.clone()),
                _ => (0, Value::Null),
            };
            if code > 0 {
                let response =
                    Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
                return Ok(response.unwrap());
            }
        }
        let answer = match &*asked {
            "GET secrets/hf" => json!({
                "metadata": { "name": "hf", "uid": "secret-uid", "resourceVersion": "1" }, "data": { "token": "aGZfYWJj" },
            })
            .to_string(),
            "GET pods/pod/log" => {
                json!({ "event": "progress", "downloadedBytes": 50, "totalBytes": 200 }).to_string()
            }
            "GET pods of tiny" => locked(&self.pods).to_string(),
            "GET pods" => json!({ "items": *locked(&self.users) }).to_string(),
            "GET events" => json!({ "items": [] }).to_string(),
            "PATCH modelcaches/tiny/status" => {
                let mut cache = locked(&self.cache);
                for (field, value) in given["status"].as_object().unwrap() {
                    cache["status"][field] = value.clone();
                }
                let version: u32 = cache["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                cache["metadata"]["resourceVersion"] = json!((version + 1).to_string());
                cache.to_string()
            }
            "POST jobs" => {
                let mut job = given;
                job["metadata"]["uid"] = json!("job-uid");
                job["metadata"]["resourceVersion"] = json!("7");
                job.to_string()
            }
            "DELETE jobs/tiny-old" => {
                assert_eq!(given["preconditions"]["uid"], "old-uid");
                json!({ "kind": "Status", "status": "Success" }).to_string()
            }
            _ => given.to_string(),
        };
        Ok(Response::new(Body::from(answer.into_bytes())))
    }
}

/// An operator whose watches have delivered something, and deliver nothing more.
struct World {
    server: Server,
    context: Context,
    cache: Arc<Guarded<ModelCache>>,
}

/// The pod of an attempt, as its Job makes it.
fn of_job(attempt: &Attempt) -> Pod {
    let mut pod = attempt.pod.clone().unwrap();
    pod.metadata = serde_json::from_value(json!({
        "name": "pod", "namespace": "team",
        "ownerReferences": [{ "apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": attempt.job.uid(), "controller": true }],
    }))
    .unwrap();
    pod
}

/// What a watch delivers.
fn listed<K: Parse>(objects: Vec<K>) -> impl Iterator<Item = Event<Guarded<K>>> {
    let objects = objects.into_iter().map(|object| Event::InitApply(object.into()));
    [Event::Init].into_iter().chain(objects).chain([Event::InitDone])
}

impl World {
    async fn new(seen: Observation, others: Vec<Job>) -> Self {
        let server = Server::default();
        let client = Client::new(
            tower::service_fn({
                let server = server.clone();
                move |request| server.clone().answer(request)
            }),
            "default",
        );
        let mut cache = Arc::unwrap_or_clone(seen.cache);
        cache.metadata.resource_version = Some("1".to_owned());
        *locked(&server.cache) = json!(cache);
        let (stores, keepers) = Stores::empty();
        let pods: Vec<Pod> =
            seen.attempts.iter().filter(|attempt| attempt.pod.is_some()).map(of_job).collect();
        let jobs = seen.attempts.iter().map(|attempt| attempt.job.clone()).chain(others);
        let claims: Vec<PersistentVolumeClaim> = seen.claim.into_iter().collect();
        keepers.caches.keep(stream::iter(listed(vec![cache.clone()]))).count().await;
        keepers.claims.keep(stream::iter(listed(claims))).count().await;
        keepers.jobs.keep(stream::iter(listed(jobs.collect()))).count().await;
        keepers.pods.keep(stream::iter(listed(pods))).count().await;
        keepers.secrets.are_not_watched();
        let context = Context::of(client, stores);
        Self { server, context, cache: Arc::new(cache.into()) }
    }

    /// One reconcile, with the Hub's answer there. Gives what was asked for.
    async fn reconcile(&self) -> (Vec<String>, Action) {
        self.reconcile_with(granted).await
    }

    /// The same with another answer.
    async fn reconcile_with(&self, hub: impl Fn(&ModelCache) -> AccessReport) -> (Vec<String>, Action) {
        let Context { client, stores, .. } = &self.context;
        assert!(stores.ready().await);
        let cache = stores.caches.newest_of(self.cache.clone()).get().unwrap().clone();
        let seen = observe::observe(client, stores, cache).await.unwrap();
        let access = hub(&seen.cache);
        let action = bring_about(seen, &access, HOUR, &self.context).await.unwrap();
        let asked = std::mem::take(&mut *locked(&self.server.asked));
        // Events are published, and counted elsewhere.
        (asked.into_iter().filter(|it| it != "POST events").collect(), action)
    }
}

/// A ModelCache with a token, on a bound claim.
fn bound() -> Observation {
    let mut seen = seen(with_token(cache()));
    let mut claim = bound_claim(&seen.cache);
    claim.metadata.creation_timestamp = Some(Time(at(1)));
    seen.claim = Some(claim);
    seen.secret = SecretState::Present("hf_abc".parse().unwrap(), "secret-uid/1".to_owned());
    seen
}

fn job(seen: &Observation) -> Job {
    next_job(seen, &granted(&seen.cache), Timestamp::now())
}

#[tokio::test]
async fn a_ready_one_asks_for_its_secret_alone() {
    let (mut seen, now) = (bound(), Timestamp::now());
    seen.attempts = vec![ended(job(&seen), "Complete", Some(&report("Verified")), now)];
    let access = granted(&seen.cache);
    let world = World::new(reconciled(seen, &access, now), Vec::new()).await;
    assert_eq!(world.reconcile().await.0, ["GET secrets/hf"]);
}

#[tokio::test]
async fn a_running_download_costs_at_most_twenty_requests_a_minute() {
    let mut seen = bound();
    seen.attempts = vec![running(job(&seen))];
    let access = granted(&seen.cache);
    let world = World::new(reconciled(seen, &access, Timestamp::now()), Vec::new()).await;
    let (asked, action) = world.reconcile().await;
    assert_eq!(asked, ["GET secrets/hf", "GET pods/pod/log", "PATCH modelcaches/tiny/status"]);
    let pause = 12;
    assert_eq!(action, Action::requeue(Duration::from_secs(pause)));
    assert!(asked.len() * 60 / usize::try_from(pause).unwrap() <= 20);
    assert_eq!(world.reconcile().await.0, ["GET secrets/hf", "GET pods/pod/log"], "no news is not written");
}

#[tokio::test]
async fn who_waits_for_a_claim_asks_for_nothing_around_it() {
    let mut seen = bound();
    let mut other = job(&seen);
    other.metadata.name = Some("other".to_owned());
    other.metadata.owner_references.as_mut().unwrap()[0].uid = "other-uid".to_owned();
    other.metadata.creation_timestamp = Some(Time(Timestamp::now()));
    seen.busy = Some("other".to_owned());
    let access = granted(&seen.cache);
    let world = World::new(reconciled(seen, &access, Timestamp::now()), vec![other]).await;
    let (asked, action) = world.reconcile().await;
    assert_eq!(
        (asked, action),
        (vec!["GET secrets/hf".to_owned()], Action::requeue(Duration::from_secs(30)))
    );
}

#[tokio::test]
async fn a_job_is_made_once_however_late_the_watch_is() {
    let world = World::new(bound(), Vec::new()).await;
    let (asked, _) = world.reconcile().await;
    assert_eq!(asked, ["GET secrets/hf", "GET pods", "POST jobs", "PATCH modelcaches/tiny/status"]);
    // Its pod is asked for, and that one's place; the same status is not written twice.
    let (asked, _) = world.reconcile().await;
    let writes: Vec<_> = asked.iter().filter(|it| !it.starts_with("GET ")).collect();
    assert_eq!(writes.len(), 1, "{asked:?}: it waits for its pod now");
    let (asked, _) = world.reconcile().await;
    assert_eq!(asked.iter().filter(|it| !it.starts_with("GET ")).count(), 0, "{asked:?}");
}

#[tokio::test]
async fn who_uses_a_claim_is_asked_only_where_a_job_would_be_made() {
    let world = World::new(bound(), Vec::new()).await;
    let refuses = |cache: &ModelCache| refused(cache, Reason::TermsNotAccepted);
    let (asked, _) = world.reconcile_with(refuses).await;
    assert_eq!(asked, ["GET secrets/hf", "PATCH modelcaches/tiny/status"]);
    assert_eq!(world.reconcile_with(refuses).await.0, ["GET secrets/hf"]);

    let mut theirs = bound();
    Arc::make_mut(&mut theirs.cache).spec.storage.existing_claim = Some("tiny".to_owned());
    theirs.claim.as_mut().unwrap().metadata.labels = None;
    let world = World::new(theirs, Vec::new()).await;
    locked(&world.server.users).push(json!({
        "metadata": { "name": "postgres-0" },
        "spec": {
            "containers": [{ "volumeMounts": [{ "name": "data" }] }],
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "tiny" } }],
        },
    }));
    let (asked, _) = world.reconcile().await;
    assert_eq!(asked, ["GET secrets/hf", "GET pods", "PATCH modelcaches/tiny/status"], "no Job is made");
}

/// Its pod is seen running, and has ended long before: that is no download without a report.
#[tokio::test]
async fn what_a_job_has_ended_for_is_asked_where_the_watch_of_pods_is_late() {
    let mut seen = bound();
    let job = job(&seen);
    let now = ended(job, "Complete", Some(&report("Verified")), Timestamp::now());
    seen.attempts = vec![Attempt { job: now.job.clone(), ..running(Job::default()) }];
    let world = World::new(seen, Vec::new()).await;
    *locked(&world.server.pods) = json!({ "items": [of_job(&now)] });
    let (asked, _) = world.reconcile().await;
    assert_eq!(asked, ["GET secrets/hf", "GET pods of tiny", "PATCH modelcaches/tiny/status"]);
    let status = locked(&world.server.cache)["status"].clone();
    assert_eq!(status["snapshots"][0]["commit"], COMMIT);
    assert_eq!(world.reconcile().await.0, ["GET secrets/hf"], "it is recorded");
}

/// Whoever may make Jobs can guess the name of the next one.
#[tokio::test]
async fn a_foreign_job_of_the_name_is_reported_and_never_taken_for_ours() {
    let seen = bound();
    let mut foreign = json!(job(&seen));
    foreign["metadata"]["uid"] = json!("foreign-uid");
    foreign["metadata"]["resourceVersion"] = json!("9");
    foreign["metadata"]["ownerReferences"][0]["uid"] = json!("foreign-owner");
    let claim = seen.claim.clone().unwrap();
    let world = World::new(seen, Vec::new()).await;
    *locked(&world.server.taken) = Some(foreign);
    world.reconcile().await;
    let conditions = locked(&world.server.cache)["status"]["conditions"].to_string();
    assert!(conditions.contains("JobRejected"), "{conditions}");
    let stores = &world.context.stores;
    assert!(stores.jobs_on(&claim).is_empty() && stores.jobs_of(world.cache.parsed().unwrap()).is_empty());
}

#[tokio::test]
async fn jobs_are_deleted_by_their_uid() {
    let mut seen = bound();
    let mut old = job(&seen);
    old.metadata.name = Some("tiny-old".to_owned());
    old.metadata.uid = Some("old-uid".to_owned());
    old.metadata.labels.as_mut().unwrap().insert(api::LABEL_TASK.to_owned(), "others".to_owned());
    seen.attempts = vec![ended(old, "Failed", None, Timestamp::now())];
    let world = World::new(seen, Vec::new()).await;
    let (asked, _) = world.reconcile().await;
    assert!(asked.contains(&"DELETE jobs/tiny-old".to_owned()), "{asked:?}");
    let (asked, _) = world.reconcile().await;
    assert!(!asked.iter().any(|it| it.starts_with("DELETE")), "{asked:?}");
}
