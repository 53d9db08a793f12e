//! What the watches of a scope have delivered: ModelCaches, claims, Jobs and their pods, trimmed to what is read, and indexed by
//! what refers to them. Reconciles read from here and not from the API server.
//!
//! The view may be stale: by the latency of an event as a rule, and by a minute where a connection has died silently. That is
//! bounded as follows:
//! - Nothing is read before each watch has listed all once ([`Stores::ready`]): a list that has not arrived is not empty.
//! - Our own writes are read at once (`own.rs`): what is decided next never takes a Job that was made or deleted, or a status that
//!   was written, for undone.
//! - Another operator's are not, nor are they before a restart: but names follow from content, so that the same Job made twice is
//!   one (`AlreadyExists`), Jobs are deleted by UID, and the status is applied whole.
//! - The kinds are not of one moment: why a Job has ended is requested where its pod is seen running (`observe.rs`).
//! - A pod is released by a read of its ModelCache and never by the store (`pods/reconcile.rs`), and a Secret counts only while its
//!   watch is open (`secrets.rs`).
//!
//! Does not know how the objects are watched, or what is decided.

mod indexed;
mod kinds;
mod own;
mod secrets;
mod turns;
pub mod wakes;

use std::sync::Arc;

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::ResourceExt as _;

pub use indexed::{Change, Indexed, Keeper, Stored};
use kinds::{CacheKey, JobKey};
pub use secrets::{Listed, Secrets};
use turns::Turns;

use super::{listing::ObserveError, neighbour};
use crate::api::ModelCache;

/// The side that is read.
#[derive(Clone, Debug)]
pub struct Stores {
    /// The ModelCaches.
    pub caches: Indexed<ModelCache>,
    /// The claims.
    pub claims: Indexed<PersistentVolumeClaim>,
    /// The Jobs of ModelCaches.
    pub jobs: Indexed<Job>,
    /// The pods of Jobs of ours.
    pub pods: Indexed<Pod>,
    /// What was read of Secrets.
    pub secrets: Secrets,
    /// Who makes a Job for a claim.
    pub turns: Turns,
}

/// The sides that the watches write, one for each.
pub struct Keepers {
    /// The ModelCaches.
    pub caches: Keeper<ModelCache>,
    /// The claims.
    pub claims: Keeper<PersistentVolumeClaim>,
    /// The Jobs of ModelCaches.
    pub jobs: Keeper<Job>,
    /// The pods of Jobs of ours.
    pub pods: Keeper<Pod>,
    /// The Secrets.
    pub secrets: Listed,
}

impl Stores {
    /// With nothing in them. What is listed first wakes each ModelCache once, by itself.
    pub fn empty() -> (Self, Keepers) {
        let (caches, keep_caches) = Keeper::new(true);
        let (claims, keep_claims) = Keeper::new(false);
        let (jobs, keep_jobs) = Keeper::new(false);
        let (pods, keep_pods) = Keeper::new(false);
        let (secrets, listed) = Secrets::empty();
        let keepers = Keepers {
            caches: keep_caches,
            claims: keep_claims,
            jobs: keep_jobs,
            pods: keep_pods,
            secrets: listed,
        };
        (Self { caches, claims, jobs, pods, secrets, turns: Turns::default() }, keepers)
    }

    /// Waits until each kind was listed once. False where the watches end before.
    pub async fn ready(&self) -> bool {
        self.caches.ready().await
            && self.claims.ready().await
            && self.jobs.ready().await
            && self.pods.ready().await
            && self.secrets.ready().await
    }

    /// The claim of a name.
    pub fn claim(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<PersistentVolumeClaim>>, ObserveError> {
        let Some(found) = self.claims.get(namespace, name) else { return Ok(None) };
        let unusable = |invalid| ObserveError::parse("claim", name, invalid);
        found.get().cloned().map(Some).map_err(|invalid| unusable(Arc::new(invalid.clone())))
    }

    /// The Jobs that a ModelCache owns. A label can be given by anyone, and outlives a ModelCache of the same name.
    pub fn jobs_of(&self, cache: &ModelCache) -> Vec<Arc<Job>> {
        let (namespace, uid) = (cache.namespace().unwrap_or_default(), cache.uid().unwrap_or_default());
        self.jobs.under(&JobKey::Owner(namespace, uid))
    }

    /// The Jobs that write to a claim, whoever owns them.
    pub fn jobs_on(&self, claim: &PersistentVolumeClaim) -> Vec<Arc<Job>> {
        let (namespace, uid) = (claim.namespace().unwrap_or_default(), claim.uid().unwrap_or_default());
        self.jobs.under(&JobKey::Claim(namespace, uid))
    }

    /// The newest pod of a Job.
    pub fn newest_pod(&self, job: &Job) -> Option<Arc<Pod>> {
        let pods = self.pods.under(&(job.namespace()?, job.uid()?));
        pods.into_iter().max_by_key(|pod| (pod.creation_timestamp().map(|time| time.0), pod.name_any()))
    }

    /// The ModelCaches that use a claim.
    pub fn caches_on(&self, claim: &PersistentVolumeClaim) -> Vec<Arc<ModelCache>> {
        let key = CacheKey::Claim(claim.namespace().unwrap_or_default(), claim.name_any());
        self.caches.under(&key)
    }

    /// The ModelCaches on the claim of this one that want the same repo, itself among them.
    pub fn same_repo(&self, cache: &ModelCache) -> Vec<Arc<ModelCache>> {
        let (namespace, claim) = (cache.namespace().unwrap_or_default(), cache.claim_name());
        let key = |name| CacheKey::Repo(namespace.clone(), claim.clone(), name);
        let mut found: Vec<_> =
            neighbour::names(cache).into_iter().flat_map(|name| self.caches.under(&key(name))).collect();
        found.sort_by_key(|other| other.name_any());
        found.dedup_by_key(|other| other.name_any());
        found
    }
}

#[cfg(test)]
mod tests;
