//! Gathers all that exists around one ModelCache into one plain value. Reads only; decides nothing.

use std::{collections::HashMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod, Secret},
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, LogParams},
    runtime::reflector::Store,
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
    users::{ClaimUsers, PodUse},
    watcher::Guarded,
};
use crate::api::{self, ModelCache, Progress, TokenSecretRef};

/// Gathers the observation of one resource.
pub async fn observe(
    client: &Client,
    caches: &[Store<Guarded<ModelCache>>],
    cache: Arc<ModelCache>,
) -> Result<Observation, ObserveError> {
    let namespace = cache.namespace().unwrap_or_default();
    let claim_name = cache.claim_name();
    let (secret, claim, jobs) = futures::try_join!(
        secret(client, &namespace, cache.spec.token_secret_ref.as_ref()),
        found_claim(client, &namespace, &claim_name),
        found_jobs(client, &namespace, &cache),
    )?;
    // After the Jobs: a Job that has ended must not be seen with a pod that has not.
    let mut pods = newest_pods(client, &namespace, &cache, &jobs).await?;
    let mut attempts = Vec::with_capacity(jobs.len());
    for job in jobs {
        let pod = job.uid().and_then(|uid| pods.remove(&uid));
        let said = said::about_attempt(client, &namespace, &job, pod.as_ref()).await;
        attempts.push(Attempt { job, pod, said });
    }
    attempts.sort_by_key(Attempt::number);
    let running = attempts.last().and_then(|attempt| attempt.pod.as_ref().filter(|pod| runs(pod)));
    let known = caches.iter().flat_map(Store::state);
    let known: Vec<_> = known.filter_map(|cache| cache.parsed().cloned()).collect();
    let a_job_may_be_made = running.is_none() && !cache.spec.suspend && !cache.is_ready();
    let (mut busy, mut place, mut writer) = (None, None, None);
    if let Some(claim) = &claim {
        let one_node = !claim::is_shared(claim);
        let asks_place = a_job_may_be_made && one_node && Place::is_open(&cache);
        let asks_consent =
            a_job_may_be_made && consent::depends_on_pods(claim, is_filled(&known, &cache, claim));
        if asks_place || asks_consent {
            let users = users(client, &namespace, claim).await?;
            place = users.place().filter(|_| asks_place).cloned();
            writer = users.writer().filter(|_| asks_consent).map(ToOwned::to_owned);
        }
        if one_node {
            busy = at_work(client, &namespace, claim, &cache).await?;
        }
    }
    let progress = match running {
        Some(pod) => read_progress(client, &namespace, pod).await,
        None => None,
    };
    let last_pod = attempts.last().and_then(|last| last.pod.as_ref());
    let claim_said = said::about_claim(client, &namespace, claim.as_ref(), last_pod).await;
    let neighbours = Neighbour::all(&known, &cache);
    Ok(Observation { cache, secret, claim, claim_said, attempts, busy, place, writer, neighbours, progress })
}

async fn secret(
    client: &Client,
    namespace: &str,
    wanted: Option<&TokenSecretRef>,
) -> Result<SecretState, ObserveError> {
    let Some(wanted) = wanted else { return Ok(SecretState::NotAsked) };
    let secrets: Api<Guarded<Secret>> = Api::namespaced(client.clone(), namespace);
    let found = listing::one(&secrets, &wanted.name, "Secret").await?;
    Ok(found.map_or(SecretState::NotFound, |secret| SecretState::of(secret, &wanted.key)))
}

async fn found_claim(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<PersistentVolumeClaim>, ObserveError> {
    let claims: Api<Guarded<PersistentVolumeClaim>> = Api::namespaced(client.clone(), namespace);
    listing::one(&claims, name, "claim").await
}

/// The Jobs of a resource.
async fn found_jobs(client: &Client, namespace: &str, cache: &ModelCache) -> Result<Vec<Job>, ObserveError> {
    let mut found = Vec::new();
    let listed = listing::each(client, Some(namespace), labelled(cache), |job: Job| {
        let is_ours = owned_by(&job, cache);
        if is_ours {
            found.push(job);
        }
        is_ours
    });
    listed.await.map_err(|source| ObserveError::List { kind: "Jobs", source })?;
    Ok(found)
}

/// The newest pod of each Job, by the UID of the Job. Anybody can give a pod our label: none other is kept.
async fn newest_pods(
    client: &Client,
    namespace: &str,
    cache: &ModelCache,
    jobs: &[Job],
) -> Result<HashMap<String, Pod>, ObserveError> {
    let mut newest = HashMap::<String, Pod>::new();
    if jobs.is_empty() {
        return Ok(newest);
    }
    let listed = listing::each(client, Some(namespace), labelled(cache), |pod: Pod| {
        let is_of =
            |job: &&Job| pod.owner_references().iter().any(|owner| Some(&owner.uid) == job.uid().as_ref());
        let Some(job) = jobs.iter().find(is_of).and_then(Job::uid) else { return false };
        let made = |pod: &Pod| pod.creation_timestamp().map(|time| time.0);
        let known = newest.get(&job);
        let is_first = known.is_none();
        if known.is_none_or(|known| made(known) <= made(&pod)) {
            newest.insert(job, pod);
        }
        is_first
    });
    listed.await.map_err(|source| ObserveError::List { kind: "pods", source })?;
    Ok(newest)
}

fn labelled(cache: &ModelCache) -> ListParams {
    ListParams::default().labels(&format!("{}={}", api::LABEL_NAME, cache.name_any()))
}

/// A label can be given by anyone, and outlives a resource of the same name; an owner reference says whose it is.
pub fn owned_by(job: &impl ResourceExt, cache: &ModelCache) -> bool {
    job.owner_references().iter().any(|owner| Some(&owner.uid) == cache.metadata.uid.as_ref())
}

fn runs(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

/// Two Jobs on one volume are safe but no faster, and a volume that attaches to one node may keep the second waiting.
async fn at_work(
    client: &Client,
    namespace: &str,
    claim: &PersistentVolumeClaim,
    cache: &ModelCache,
) -> Result<Option<String>, ObserveError> {
    let uid = claim.metadata.uid.as_deref().unwrap_or_default();
    let query = ListParams::default().labels(&format!("{}={uid}", api::LABEL_CLAIM_UID));
    let mut first: Option<String> = None;
    let listed = listing::each(client, Some(namespace), query, |job: Job| {
        if !owned_by(&job, cache) && attempt::is_active(&job) && is_at_work(&job) {
            let name = job.name_any();
            first = Some(first.take().map_or(name.clone(), |other| other.min(name)));
        }
        false
    });
    listed.await.map_err(|source| ObserveError::List { kind: "Jobs", source })?;
    Ok(first)
}

/// What pods do with the claim. All pods of the namespace are listed for it: nothing else tells who uses a claim.
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

/// Whether a ModelCache of the namespace has a model on the claim: once it was taken, it stays so.
fn is_filled(known: &[Arc<ModelCache>], cache: &ModelCache, claim: &PersistentVolumeClaim) -> bool {
    let holds = |other: &ModelCache| {
        let cached = other.status.as_ref().and_then(|status| status.cached.as_ref());
        cached.is_some_and(|cached| Some(&cached.claim_uid) == claim.metadata.uid.as_ref())
    };
    holds(cache) || known.iter().any(|other| other.namespace() == cache.namespace() && holds(other))
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
