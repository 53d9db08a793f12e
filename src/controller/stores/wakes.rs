//! Which ModelCaches a change wakes. The operator's own writes are delivered by the watches, too: a change of what no reconcile reads
//! wakes none. kube's `predicate_filter` is not used, because it takes the deletion of an object for no change.

use std::sync::Arc;

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{Resource as _, ResourceExt as _, runtime::reflector::ObjectRef};

use super::{
    Stores,
    indexed::{Change, Stored as _},
    kinds::{self, CacheKey},
};
use crate::{
    api::ModelCache,
    controller::{attempt, job, neighbour::Neighbour, watcher::Guarded},
};

type Woken = Vec<ObjectRef<Guarded<ModelCache>>>;

/// The ModelCache itself, and those on its claim that want the same repo.
pub fn of_cache(stores: &Stores, change: &Change<ModelCache>) -> Woken {
    let mut woken = Woken::new();
    if let Some(object) = change.new.as_ref().or(change.old.as_ref()).filter(|_| concerns_itself(change)) {
        woken.push(ObjectRef::from_obj(&**object));
    }
    if concerns_neighbours(change) {
        for cache in change.states() {
            let neighbours = stores.same_repo(cache).into_iter();
            let others =
                neighbours.filter(|other| other.metadata.uid != cache.metadata.uid && !other.is_ready());
            woken.extend(others.map(|other| to(&other)));
        }
    }
    woken
}

/// All but the progress, and the rest of a status that we have written. What that records of the volume and of the commit, the next
/// reconcile depends on.
fn concerns_itself(change: &Change<ModelCache>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    let (before, after) = (old.meta(), new.meta());
    let meta = before.uid == after.uid
        && before.generation == after.generation
        && before.labels == after.labels
        && before.annotations == after.annotations
        && before.deletion_timestamp == after.deletion_timestamp;
    // Two operators at one time have their own times of the next attempt in their messages: neither is wrong.
    let status = |cache: &ModelCache| {
        let mut status = cache.status.clone().unwrap_or_default();
        status.progress = None;
        status.conditions.iter_mut().for_each(|condition| condition.message.clear());
        status
    };
    let same_status = |old: &ModelCache, new: &ModelCache| {
        let (old, new) = (status(old), status(new));
        let recorded = old.snapshots == new.snapshots && old.resolved == new.resolved;
        recorded && (change.is_ours || old == new)
    };
    let rest = match (old.get(), new.get()) {
        (Ok(old), Ok(new)) => same_status(old, new),
        (Err(old), Err(new)) => (&old.field, &old.problem) == (&new.field, &new.problem),
        _ => false,
    };
    !meta || !rest
}

fn concerns_neighbours(change: &Change<ModelCache>) -> bool {
    let reads = |state: &Option<Arc<Guarded<ModelCache>>>| {
        let cache = state.as_ref().and_then(|state| state.parsed())?;
        // One that is being deleted no longer counts.
        let stays = cache.metadata.deletion_timestamp.is_none();
        stays.then(|| (Neighbour::of(cache), cache.keys()))
    };
    reads(&change.old) != reads(&change.new)
}

/// Those that use the claim.
pub fn of_claim(stores: &Stores, change: &Change<PersistentVolumeClaim>) -> Woken {
    let Some(claim) = change.new.as_ref().or(change.old.as_ref()).filter(|_| change.is_news()) else {
        return Woken::new();
    };
    let key = CacheKey::Claim(claim.namespace().unwrap_or_default(), claim.name_any());
    stores.caches.under(&key).iter().map(|cache| to(cache)).collect()
}

/// The one that the Job is of, and those that wait for its claim if it leaves that.
pub fn of_job(stores: &Stores, change: &Change<Job>) -> Woken {
    if !change.is_news() {
        return Woken::new();
    }
    let mut woken: Woken = change.states().filter_map(of_owner).collect();
    woken.dedup();
    let new = change.new.as_ref().and_then(|job| job.parsed());
    if let Some(job) = change.states().next().filter(|_| new.is_none_or(|job| !attempt::is_active(job))) {
        let namespace = job.namespace().unwrap_or_default();
        let claim = claim(job).map(|claim| CacheKey::Claim(namespace, claim.to_owned()));
        let waiting = claim.into_iter().flat_map(|claim| stores.caches.under(&claim));
        woken
            .extend(waiting.filter(|cache| !cache.is_ready() && !cache.spec.suspend).map(|cache| to(&cache)));
    }
    woken
}

/// The one that the pod's Job is of.
pub fn of_pod(stores: &Stores, change: &Change<Pod>) -> Woken {
    if !change.is_news() {
        return Woken::new();
    }
    let names = change.states().flat_map(|pod| {
        let namespace = pod.namespace().unwrap_or_default();
        pod.owner_references().iter().filter_map(move |owner| stores.jobs.get(&namespace, &owner.name))
    });
    let mut woken: Woken = names.filter_map(|job| of_owner(job.parsed()?)).collect();
    woken.dedup();
    woken
}

/// Those that use the Secret.
pub fn of_secret(stores: &Stores, (namespace, name): &(String, String)) -> Woken {
    let key = CacheKey::Secret(namespace.clone(), name.clone());
    stores.caches.under(&key).iter().map(|cache| to(cache)).collect()
}

fn of_owner(job: &Job) -> Option<ObjectRef<Guarded<ModelCache>>> {
    Some(ObjectRef::new(&kinds::owner(job)?.name).within(&job.namespace()?))
}

/// The claim that a Job writes to.
fn claim(job: &Job) -> Option<&str> {
    let volumes = job.spec.as_ref()?.template.spec.as_ref()?.volumes.as_ref()?;
    let ours = volumes.iter().find(|volume| volume.name == job::VOLUME)?;
    Some(&ours.persistent_volume_claim.as_ref()?.claim_name)
}

fn to(cache: &ModelCache) -> ObjectRef<Guarded<ModelCache>> {
    ObjectRef::new(&cache.name_any()).within(&cache.namespace().unwrap_or_default())
}
