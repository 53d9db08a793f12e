//! Gathers all that exists around one ModelCache into one plain value. Reads only; decides nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod, Secret},
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, LogParams},
};
use tracing::debug;

use super::{
    attempt::{self, Attempt},
    claim, consent, job,
    listing::{self, ObserveError},
    neighbour::Neighbour,
    observation::{Observation, SecretState},
    placement::Place,
    progress, said,
    stores::Stores,
    users::{ClaimUsers, PodUse},
    watcher::Guarded,
};
use crate::api::{self, ModelCache, Progress, TokenSecretRef};

/// Gathers the observation of one resource, without the users of its claim. What is watched is taken from the stores; the Secret, the
/// log and the events are requested.
pub async fn observe(
    client: &Client,
    stores: &Stores,
    cache: Arc<ModelCache>,
) -> Result<Observation, ObserveError> {
    let namespace = cache.namespace().unwrap_or_default();
    let secret = secret(client, stores, &namespace, cache.spec.token_secret_ref.as_ref()).await?;
    let claim = stores.claim(&namespace, &cache.claim_name())?.map(Arc::unwrap_or_clone);
    let mut attempts = Vec::new();
    for (job, pod) in jobs(client, stores, &cache).await? {
        let said = said::about_attempt(client, &namespace, &job, pod.as_ref()).await;
        attempts.push(Attempt { job, pod, said });
    }
    // Of several tasks the one that is at work is the last.
    attempts.sort_by_key(|it| (attempt::is_active(&it.job), it.number(), it.job.name_any()));
    let active = attempts.last().filter(|attempt| attempt::is_active(&attempt.job));
    let running = active.and_then(|attempt| attempt.pod.as_ref().filter(|pod| runs(pod)));
    // Two Jobs on a volume that attaches to one node could keep the second waiting.
    let busy = on_one_node(claim.as_ref()).and_then(|claim| at_work(stores, claim, &cache));
    let progress = match running {
        Some(pod) => read_progress(client, &namespace, pod).await,
        None => None,
    };
    let last_pod = attempts.last().and_then(|last| last.pod.as_ref());
    let claim_said = said::about_claim(client, &namespace, claim.as_ref(), last_pod).await;
    let neighbours = Neighbour::all(&stores.same_repo(&cache), &cache);
    let (place, writer) = (None, None);
    Ok(Observation { cache, secret, claim, claim_said, attempts, busy, place, writer, neighbours, progress })
}

/// The same, with what the pods that use the claim decide: where a Job can run, and whether it needs consent. All pods of the
/// namespace are listed for it, so that it is asked only where a Job would be made without them, or waits to run.
pub async fn with_users(
    client: &Client,
    stores: &Stores,
    mut seen: Observation,
) -> Result<Observation, ObserveError> {
    let Some(claim) = &seen.claim else { return Ok(seen) };
    let asks_place = !claim::is_shared(claim) && Place::is_open(&seen.cache);
    let asks_consent = consent::depends_on_pods(claim, is_filled(stores, &seen.cache, claim));
    if asks_place || asks_consent {
        let users = users(client, &seen.cache.namespace().unwrap_or_default(), claim).await?;
        seen.place = users.place().filter(|_| asks_place).cloned();
        seen.writer = users.writer().filter(|_| asks_consent).map(ToOwned::to_owned);
    }
    Ok(seen)
}

/// The claim, where its volume attaches to one node.
pub fn on_one_node(claim: Option<&PersistentVolumeClaim>) -> Option<&PersistentVolumeClaim> {
    claim.filter(|claim| !claim::is_shared(claim))
}

/// Whether an attempt has no pod that runs yet, and may need another place.
pub fn waits_to_run(seen: &Observation) -> bool {
    let waits =
        |attempt: &Attempt| attempt::is_active(&attempt.job) && !attempt.pod.as_ref().is_some_and(runs);
    !seen.cache.spec.suspend && !seen.cache.is_ready() && seen.attempts.iter().any(waits)
}

async fn secret(
    client: &Client,
    stores: &Stores,
    namespace: &str,
    wanted: Option<&TokenSecretRef>,
) -> Result<SecretState, ObserveError> {
    let Some(wanted) = wanted else { return Ok(SecretState::NotAsked) };
    if let Some(read) = stores.secrets.get(namespace, &wanted.name, &wanted.key) {
        return Ok(read);
    }
    let secrets: Api<Guarded<Secret>> = Api::namespaced(client.clone(), namespace);
    let Some(found) = listing::one(&secrets, &wanted.name, "Secret").await? else {
        return Ok(SecretState::NotFound);
    };
    let state = SecretState::of(&found, &wanted.key);
    stores.secrets.read(&found, &wanted.key, &state);
    Ok(state)
}

/// The Jobs of a resource, each with its newest pod.
async fn jobs(
    client: &Client,
    stores: &Stores,
    cache: &ModelCache,
) -> Result<Vec<(Job, Option<Pod>)>, ObserveError> {
    let found = stores.jobs_of(cache).into_iter().map(|job| {
        let pod = stores.newest_pod(&job).map(Arc::unwrap_or_clone);
        (Arc::unwrap_or_clone(job), pod)
    });
    let mut found: Vec<_> = found.collect();
    // What it has ended for is in its pod. The watch may be late with it; it is not requested again once the end is recorded.
    let is_late = |job: &Job, pod: &Option<Pod>| {
        !attempt::is_active(job) && !pod.as_ref().is_some_and(attempt::is_over) && !cache.is_ready()
    };
    if found.iter().any(|(job, pod)| is_late(job, pod)) {
        let mut pods = newest_pods(client, cache, found.iter().map(|(job, _)| job)).await?;
        for (job, pod) in &mut found {
            if is_late(job, pod) {
                *pod = job.uid().and_then(|uid| pods.remove(&uid));
            }
        }
    }
    Ok(found)
}

/// The newest pod of each Job, by the UID of the Job, as the API server has them.
async fn newest_pods<'a>(
    client: &Client,
    cache: &ModelCache,
    jobs: impl Iterator<Item = &'a Job>,
) -> Result<HashMap<String, Pod>, ObserveError> {
    let jobs: HashSet<String> = jobs.filter_map(ResourceExt::uid).collect();
    let namespace = cache.namespace();
    let labelled = ListParams::default().labels(&format!("{}={}", api::LABEL_NAME, cache.name_any()));
    let made = |pod: &Pod| pod.creation_timestamp().map(|time| time.0);
    let mut newest = HashMap::<String, Pod>::new();
    let listed = listing::each(client, namespace.as_deref(), labelled, |pod: Pod| {
        // Anybody can give a pod our label: none other is kept.
        let Some(job) = pod.owner_references().iter().map(|owner| &owner.uid).find(|uid| jobs.contains(*uid))
        else {
            return;
        };
        if newest.get(job).is_none_or(|known| made(known) <= made(&pod)) {
            newest.insert(job.clone(), pod);
        }
    });
    listed.await.map_err(|source| ObserveError::List { kind: "pods", source })?;
    Ok(newest)
}

/// A label can be given by anyone, and outlives a resource of the same name; an owner reference says whose it is.
pub fn owned_by(job: &impl ResourceExt, cache: &ModelCache) -> bool {
    job.owner_references().iter().any(|owner| Some(&owner.uid) == cache.metadata.uid.as_ref())
}

fn runs(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

/// Two Jobs on one volume are safe but no faster, and a volume that attaches to one node may keep the second waiting.
pub fn at_work(stores: &Stores, claim: &PersistentVolumeClaim, cache: &ModelCache) -> Option<String> {
    let jobs = stores.jobs_on(claim).into_iter();
    let others = jobs.filter(|job| !owned_by(&**job, cache) && attempt::is_active(job) && is_at_work(job));
    others.map(|job| job.name_any()).min()
}

/// What pods do with the claim. All pods of the namespace are listed for it: nothing else shows who uses a claim.
async fn users(
    client: &Client,
    namespace: &str,
    claim: &PersistentVolumeClaim,
) -> Result<ClaimUsers, ObserveError> {
    let mut users = ClaimUsers::of(claim.name_any());
    listing::fold::<Pod, PodUse>(client, namespace, |pod| users.add(pod))
        .await
        .map_err(|source| ObserveError::List { kind: "pods", source })?;
    Ok(users)
}

/// Whether a ModelCache has a model on the claim: once it was taken, it stays so.
fn is_filled(stores: &Stores, cache: &ModelCache, claim: &PersistentVolumeClaim) -> bool {
    let holds = |other: &ModelCache| {
        let mut snapshots = other.status.iter().flat_map(|status| &status.snapshots);
        snapshots.any(|snapshot| Some(&snapshot.claim_uid) == claim.metadata.uid.as_ref())
    };
    holds(cache) || stores.caches_on(claim).iter().any(|other| holds(other))
}

/// A Job whose pod cannot start must not keep others waiting forever; one that was made just now has had no time to.
fn is_at_work(job: &Job) -> bool {
    let runs = job.status.as_ref().and_then(|status| status.ready).is_some_and(|ready| ready > 0);
    let young = job
        .creation_timestamp()
        .is_some_and(|made| Timestamp::now().duration_since(made.0) < SignedDuration::from_secs(60));
    runs || young
}

/// The last line of the log that is a progress line. Without the right to read logs only this is missing.
async fn read_progress(client: &Client, namespace: &str, pod: &Pod) -> Option<Progress> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let query = LogParams {
        container: Some(job::CONTAINER.to_owned()),
        tail_lines: Some(50),
        limit_bytes: Some(64 << 10),
        ..LogParams::default()
    };
    match pods.logs(&pod.name_any(), &query).await {
        Ok(text) => text.lines().rev().find_map(progress::parse_line),
        Err(error) => {
            debug!(pod = pod.name_any(), %error, "no progress: the log cannot be read");
            None
        }
    }
}
