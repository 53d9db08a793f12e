//! Gathers all that exists around one ModelCache into one plain value. Reads only; decides nothing.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Event, PersistentVolumeClaim, Pod, Secret},
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, LogParams},
    runtime::reflector::Store,
};
use tracing::debug;

use super::{ObserveError, attempt, claim, job, neighbour::Neighbour, placement::Place, progress};
use crate::{
    api::{self, ModelCache, Progress, TokenSecretRef},
    hub::{Token, TokenError},
};

/// The Secret that a ModelCache refers to, as far as it matters.
#[derive(Clone, Debug)]
pub enum SecretState {
    /// The spec names none.
    NotAsked,
    /// There is no such Secret.
    NotFound,
    /// The Secret has other keys.
    KeyNotFound {
        /// The keys that it has, sorted.
        keys: Vec<String>,
    },
    /// The value cannot be a token.
    Malformed(TokenError),
    /// A token, and the version of the Secret that it is from.
    Present(Token, String),
}

impl SecretState {
    /// The token, where there is one.
    #[must_use]
    pub fn token(&self) -> Option<&Token> {
        match self {
            Self::Present(token, _) => Some(token),
            _ => None,
        }
    }

    /// The version of the Secret, where it holds a token.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Present(_, version) => Some(version),
            _ => None,
        }
    }
}

/// An attempt at a download: its Job with what is known of the pod.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The Job.
    pub job: Job,
    /// Its newest pod.
    pub pod: Option<Pod>,
    /// The API server's words, where the pod of the Job could not be made.
    pub refusal: Option<String>,
}

/// Everything that a decision looks at, but for the Hub's answers.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The resource itself.
    pub cache: Arc<ModelCache>,
    /// The Secret with the token.
    pub secret: SecretState,
    /// The claim that the resource uses.
    pub claim: Option<PersistentVolumeClaim>,
    /// The Jobs of the resource, oldest attempt first.
    pub attempts: Vec<Attempt>,
    /// The name of another resource's Job that is at work on the claim.
    pub busy: Option<String>,
    /// Where a Job has to run, if one may be made.
    pub place: Option<Place>,
    /// Other resources that use the claim.
    pub neighbours: Vec<Neighbour>,
    /// How far the running Job has come.
    pub progress: Option<Progress>,
}

/// Gathers the observation of one resource.
pub async fn observe(
    client: &Client,
    caches: &[Store<ModelCache>],
    cache: Arc<ModelCache>,
) -> Result<Observation, ObserveError> {
    let namespace = cache.namespace().unwrap_or_default();
    let claim_name = cache.claim_name();
    let (secret, claim, jobs) = futures::try_join!(
        secret(client, &namespace, cache.spec.token_secret_ref.as_ref()),
        found_claim(client, &namespace, &claim_name),
        ours::<Job>(client, &namespace, &cache, "Jobs"),
    )?;
    // After the Jobs: a Job that has ended shall not be seen with a pod that has not.
    let pods =
        if jobs.is_empty() { Vec::new() } else { ours::<Pod>(client, &namespace, &cache, "pods").await? };
    let mut attempts = Vec::with_capacity(jobs.len());
    for job in jobs.into_iter().filter(|job| owned_by(job, &cache)) {
        let pod = newest_pod(&pods, &job);
        let refusal = match pod {
            None if attempt::is_active(&job) => refusal(client, &namespace, &job).await,
            _ => None,
        };
        attempts.push(Attempt { job, pod, refusal });
    }
    attempts.sort_by_key(|attempt| attempt::number(&attempt.job));
    let running = attempts.last().and_then(|attempt| attempt.pod.as_ref().filter(|pod| runs(pod)));
    let (busy, place) = match claim.as_ref().filter(|claim| !claim::is_shared(claim)) {
        Some(claim) => {
            let a_job_may_be_made =
                running.is_none() && !cache.spec.suspend && !cache.is_ready() && Place::is_open(&cache);
            let place = if a_job_may_be_made { place(client, &namespace, claim).await? } else { None };
            (busy(client, &namespace, claim, &cache).await?, place)
        }
        None => (None, None),
    };
    let progress = match running {
        Some(pod) => read_progress(client, &namespace, pod).await,
        None => None,
    };
    let known: Vec<_> = caches.iter().flat_map(Store::state).collect();
    let neighbours = Neighbour::all(&known, &cache);
    Ok(Observation { cache, secret, claim, attempts, busy, place, neighbours, progress })
}

async fn secret(
    client: &Client,
    namespace: &str,
    wanted: Option<&TokenSecretRef>,
) -> Result<SecretState, ObserveError> {
    let Some(wanted) = wanted else { return Ok(SecretState::NotAsked) };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = secrets
        .get_opt(&wanted.name)
        .await
        .map_err(|source| ObserveError::read("Secret", &wanted.name, source))?;
    let Some(secret) = found else { return Ok(SecretState::NotFound) };
    let data = secret.data.clone().unwrap_or_default();
    let Some(value) = data.get(&wanted.key) else {
        return Ok(SecretState::KeyNotFound { keys: data.into_keys().collect() });
    };
    let version = format!(
        "{}/{}",
        secret.metadata.uid.as_deref().unwrap_or_default(),
        secret.metadata.resource_version.as_deref().unwrap_or_default()
    );
    // Bytes that are no text become a character that no token has, and are refused as such.
    Ok(match Token::parse(&String::from_utf8_lossy(&value.0)) {
        Ok(token) => SecretState::Present(token, version),
        Err(error) => SecretState::Malformed(error),
    })
}

async fn found_claim(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<PersistentVolumeClaim>, ObserveError> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    claims.get_opt(name).await.map_err(|source| ObserveError::read("claim", name, source))
}

async fn ours<K>(
    client: &Client,
    namespace: &str,
    cache: &ModelCache,
    what: &'static str,
) -> Result<Vec<K>, ObserveError>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    let selector = format!("{}={}", api::LABEL_NAME, cache.name_any());
    let found = Api::<K>::namespaced(client.clone(), namespace)
        .list(&recent().labels(&selector))
        .await
        .map_err(|source| ObserveError::list(what, source))?;
    Ok(found.items)
}

/// A list as the API server has it in its cache: what the watches saw or newer, and cheaper than a consistent one. A Job that
/// is not in it yet is not made twice: its name is taken.
fn recent() -> ListParams {
    ListParams::default().match_any()
}

/// A label can be given by anyone, and outlives a resource of the same name; an owner reference says whose it is.
pub fn owned_by(job: &Job, cache: &ModelCache) -> bool {
    job.owner_references().iter().any(|owner| Some(&owner.uid) == cache.metadata.uid.as_ref())
}

fn newest_pod(pods: &[Pod], job: &Job) -> Option<Pod> {
    pods.iter()
        .filter(|pod| {
            pod.owner_references().iter().any(|owner| Some(&owner.uid) == job.metadata.uid.as_ref())
        })
        .max_by_key(|pod| pod.creation_timestamp().map(|time| time.0))
        .cloned()
}

fn runs(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

/// Quota, limits and pod security act on the pod, after the Job was taken: the Job controller tells in an event only.
/// Without the right to read events only these words are missing.
async fn refusal(client: &Client, namespace: &str, job: &Job) -> Option<String> {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let query = recent().fields(&format!("involvedObject.uid={uid},reason=FailedCreate"));
    match events.list(&query).await {
        Ok(found) => found.items.into_iter().filter_map(|event| event.message).next_back(),
        Err(error) => {
            debug!(job = job.name_any(), %error, "no word on why there is no pod: events cannot be read");
            None
        }
    }
}

/// Two Jobs on one volume are safe but no faster, and a volume that attaches to one node may keep the second waiting.
async fn busy(
    client: &Client,
    namespace: &str,
    claim: &PersistentVolumeClaim,
    cache: &ModelCache,
) -> Result<Option<String>, ObserveError> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let uid = claim.metadata.uid.as_deref().unwrap_or_default();
    let query = recent().labels(&format!("{}={uid}", api::LABEL_CLAIM_UID));
    let found = jobs.list(&query).await.map_err(|source| ObserveError::list("Jobs", source))?;
    Ok(found
        .items
        .iter()
        .filter(|job| !owned_by(job, cache) && attempt::is_active(job) && is_at_work(job))
        .map(ResourceExt::name_any)
        .min())
}

/// Where a Job would have to run. All pods of the namespace are listed for it: nothing else tells who uses a claim.
async fn place(
    client: &Client,
    namespace: &str,
    claim: &PersistentVolumeClaim,
) -> Result<Option<Place>, ObserveError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let found = pods.list(&recent()).await.map_err(|source| ObserveError::list("pods", source))?;
    Ok(Place::of_users(&found.items, &claim.name_any()))
}

/// A Job whose pod cannot start must not keep others waiting for ever; one that was made just now has had no time to.
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
