//! What is kept of each kind, and what it is found by. Pure.
//!
//! Anybody can give a Job or a pod our labels: kept is only what names an owner of the right kind, and no more of it than a few for
//! each owner. One that names an owner that is not there is removed by Kubernetes itself.

use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Resource as _, ResourceExt};
use serde::Serialize;
use tracing::warn;

use super::indexed::Stored;
use crate::{
    api::{self, ModelCache},
    controller::{job, neighbour, verdict, watcher::Guarded},
};

/// Bytes of a Job or a pod that are kept, as JSON. Of ours these are some hundred, and as many as an affinity has.
const LARGEST: usize = 300 << 10;

/// What ModelCaches are found by. Each has the namespace first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CacheKey {
    /// The name of its claim.
    Claim(String, String),
    /// The name of its Secret.
    Secret(String, String),
    /// The name of its claim, and one of its repo.
    Repo(String, String, String),
}

/// What Jobs are found by. Each has the namespace first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JobKey {
    /// The UID of its ModelCache.
    Owner(String, String),
    /// The UID of the claim that it writes to.
    Claim(String, String),
}

/// The namespace of a pod, and the UID of its Job.
pub type PodKey = (String, String);

impl Stored for ModelCache {
    type Key = CacheKey;

    fn keys(&self) -> Vec<CacheKey> {
        let (namespace, claim) = (self.namespace().unwrap_or_default(), self.claim_name());
        let secret = self.spec.token_secret_ref.as_ref();
        let secret = secret.map(|secret| CacheKey::Secret(namespace.clone(), secret.name.clone()));
        let repos = neighbour::names(self);
        let repos = repos.into_iter().map(|name| CacheKey::Repo(namespace.clone(), claim.clone(), name));
        let claim = CacheKey::Claim(namespace.clone(), claim.clone());
        [claim].into_iter().chain(secret).chain(repos).collect()
    }

    fn admit(_: &mut Guarded<Self>) -> bool {
        true
    }
}

impl Stored for PersistentVolumeClaim {
    /// By its name alone.
    type Key = ();

    fn keys(&self) -> Vec<()> {
        Vec::new()
    }

    fn admit(_: &mut Guarded<Self>) -> bool {
        true
    }
}

impl Stored for Job {
    type Key = JobKey;

    /// Obsolete ones are deleted before another one is made.
    const MOST: usize = 16;

    fn keys(&self) -> Vec<JobKey> {
        let namespace = self.namespace().unwrap_or_default();
        let owner = owner(self).map(|owner| JobKey::Owner(namespace.clone(), owner.uid.clone()));
        let claim = self.labels().get(api::LABEL_CLAIM_UID);
        owner.into_iter().chain(claim.map(|uid| JobKey::Claim(namespace.clone(), uid.clone()))).collect()
    }

    fn admit(object: &mut Guarded<Self>) -> bool {
        let Some(job) = readable(object) else { return false };
        if let Some(pod) = job.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()) {
            pod.containers.retain(|container| container.name == job::CONTAINER);
            pod.volumes.iter_mut().for_each(|volumes| volumes.retain(|volume| volume.name == job::VOLUME));
            for container in &mut pod.containers {
                container.args = container.args.as_deref().map(verdict::read_arguments);
            }
        }
        owner(job).is_some() && is_small(job)
    }
}

impl Stored for Pod {
    type Key = PodKey;

    /// One is made after another that was disrupted; those stay until their Job goes.
    const MOST: usize = 64;

    fn keys(&self) -> Vec<PodKey> {
        let namespace = self.namespace().unwrap_or_default();
        job_of(self).map(|owner| (namespace, owner.uid.clone())).into_iter().collect()
    }

    fn admit(object: &mut Guarded<Self>) -> bool {
        let Some(pod) = readable(object) else { return false };
        (pod.metadata.labels, pod.metadata.annotations) = (None, None);
        if let Some(status) = &mut pod.status {
            let mut conditions = status.conditions.take().unwrap_or_default();
            conditions.retain(|condition| condition.type_ == "PodScheduled");
            status.conditions = (!conditions.is_empty()).then_some(conditions);
        }
        job_of(pod).is_some() && is_small(pod)
    }
}

/// One that cannot be parsed has no effect.
fn readable<K: Stored>(object: &mut Guarded<K>) -> Option<&mut K> {
    if let Err(error) = object.get() {
        let (kind, namespace) = (K::plural(&()), object.namespace());
        warn!(%kind, namespace, name = object.name_any(), %error, "left out what cannot be parsed");
    }
    object.parsed_mut()
}

/// Ours are small, whatever is in their ModelCaches.
fn is_small<K: Stored + Serialize>(object: &K) -> bool {
    let is_small = serde_json::to_vec(object).is_ok_and(|text| text.len() <= LARGEST);
    if !is_small {
        let (kind, namespace) = (K::plural(&()), object.namespace());
        warn!(%kind, namespace, name = object.name_any(), "left out: it is too large to be ours");
    }
    is_small
}

/// The ModelCache that a Job names as its owner.
pub fn owner(job: &Job) -> Option<&OwnerReference> {
    job.owner_references().iter().find(|owner| {
        let group = owner.api_version.split('/').next();
        let is_controller = owner.controller == Some(true);
        is_controller && group == Some(api::GROUP) && owner.kind == ModelCache::kind(&())
    })
}

/// The Job that a pod names as its owner.
fn job_of(pod: &Pod) -> Option<&OwnerReference> {
    let is_job = |owner: &&OwnerReference| owner.api_version == "batch/v1" && owner.kind == "Job";
    pod.owner_references().iter().filter(|owner| owner.controller == Some(true)).find(is_job)
}
