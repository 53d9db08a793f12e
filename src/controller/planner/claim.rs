//! Is there a claim that can be filled? One of ours is created once the files are known.

use std::ops::ControlFlow;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;

use crate::controller::{
    attempt::Attempt,
    claim,
    messages::{Blocked, Grow},
    plan::{Action, Plan},
    stages::input::{Input, OnClaim, Stage, not_checked},
};

pub(super) fn stage<'a>(input: &Input<'a>) -> Stage<&'a PersistentVolumeClaim> {
    let observation = input.observation;
    let cache = &observation.cache;
    let (name, namespace) = (cache.claim_name(), cache.namespace().unwrap_or_default());
    let own = cache.spec.storage.existing_claim.is_none();
    let waits = |by: Blocked<'_>| Plan::waits(&by);
    // A pod that has ended still counts as one that uses the claim: ours must not keep it from going.
    let let_go =
        |by: Blocked<'_>| waits(by).after_deleting(observation.attempts.iter().map(Attempt::obsolete));
    let (claim, namespace) = (name.as_str(), namespace.as_str());
    let Some(found) = &observation.claim else {
        return ControlFlow::Break(if own { create(input) } else { waits(Blocked::ClaimNotFound { claim }) });
    };
    if found.metadata.deletion_timestamp.is_some() {
        return ControlFlow::Break(let_go(Blocked::ClaimTerminating { claim, namespace }));
    }
    if own && !claim::is_ours(found, cache) {
        return ControlFlow::Break(waits(Blocked::ClaimConflict { claim, namespace }));
    }
    if claim::phase(found) == "Lost" {
        return ControlFlow::Break(let_go(Blocked::ClaimLost { claim, namespace, own }));
    }
    ControlFlow::Continue(found)
}

/// Whether a pod can hold a cache on it at all. What is there already stays.
pub(super) fn usable(on: &OnClaim<'_>) -> Stage<()> {
    let is_asked = on.known.is_empty() && !on.input.observation.cache.spec.suspend;
    match claim::trouble::unusable(on.claim).filter(|_| is_asked) {
        Some(why) => ControlFlow::Break(Plan::waits(&Blocked::VolumeUnusable(why))),
        None => ControlFlow::Continue(()),
    }
}

fn create(input: &Input<'_>) -> Plan {
    let cache = &input.observation.cache;
    let may_create = input.access.granted() && !cache.spec.suspend;
    let Some(snapshot) = input.access.snapshot.as_ref().filter(|_| may_create) else {
        return not_checked(input);
    };
    let created = claim::build(cache, snapshot.bytes);
    let name = created.name_any();
    let (claim, size, wanted) = (&*name, claim::capacity(&created).unwrap_or_default(), snapshot.bytes);
    if size < wanted {
        return Plan::blocked(&Blocked::ClaimTooSmall { claim, size, wanted, grow: Grow::Spec });
    }
    Plan::waits(&Blocked::ClaimCreated { claim, size }).and(Action::CreateClaim(Box::new(created)))
}
