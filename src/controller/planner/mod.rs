//! From a `ModelCache` to the fill that it wants, and the refs that will name it. What becomes of a fill is its own matter
//! (`stages`). Pure.
//!
//! claim → source → adopt → commit, and then the stages of the fill.

mod adopt;
mod claim;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::{
    access::Snapshot,
    fill::{Fill, Target},
    job, neighbour,
    pin::{self, Pin},
    plan::Plan,
    snapshots, source,
    stages::{
        self,
        input::{Input, OnClaim, Stage, Work, not_checked},
    },
};
use crate::{
    api::CachedSnapshot,
    hub::{Commit, Revision},
};

/// Plans one reconcile.
#[must_use]
pub fn plan(input: &Input<'_>) -> Plan {
    match claim::stage(input) {
        ControlFlow::Continue(claim) => on_claim(input, claim),
        // What was on the claim is out of reach.
        ControlFlow::Break(plan) => plan,
    }
}

fn on_claim(input: &Input<'_>, claim: &PersistentVolumeClaim) -> Plan {
    let mut known = snapshots::on(claim, &input.observation.cache);
    let jobs = input.observation.attempts.iter().map(|attempt| &attempt.job);
    snapshots::without_moved(
        &mut known,
        jobs.filter_map(|job| Some((job::commit_of(job)?, job::refs_of(job)))),
    );
    let Some(source) = &input.access.wanted else { return not_checked(input).keeping(known) };
    let on = OnClaim {
        input,
        claim,
        source,
        target: target(input, claim, source),
        refs: refs(input, source),
        known,
    };
    match before_the_fill(&on) {
        ControlFlow::Continue((commit, pin)) => {
            let fill = Fill::new(on.target.clone(), commit);
            let work = Work::new(on, fill);
            let plan = stages::plan(&work).keeping(work.on.known);
            pin.into_iter().fold(plan, Plan::pinned)
        }
        ControlFlow::Break(plan) => plan.keeping(on.known),
    }
}

/// The commit to fill the volume with, and where it comes from if that is neither the Hub nor the status.
fn before_the_fill(on: &OnClaim<'_>) -> Stage<(Commit, Option<Pin>)> {
    claim::usable(on)?;
    adopt::stage(on)?;
    let from_hub = on.input.access.snapshot.as_ref();
    if let Some(commit) = pin::commit(&on.input.observation.cache, from_hub) {
        return ControlFlow::Continue((commit, None));
    }
    // The way back to a commit that is on the volume takes no answer of the Hub.
    match named_by_spec(on) {
        Some(snapshot) => ControlFlow::Continue((snapshot.commit.clone(), Some(Pin::FromVolume(snapshot)))),
        None => ControlFlow::Break(not_checked(on.input)),
    }
}

fn named_by_spec(on: &OnClaim<'_>) -> Option<Snapshot> {
    let commit = on.source.revision.as_commit()?;
    let known = on.known.iter().find(|known| known.commit == commit.as_str())?;
    let CachedSnapshot { files, bytes, .. } = known;
    let number = |it: &Option<i64>| it.and_then(|it| u64::try_from(it).ok()).unwrap_or_default();
    Some(Snapshot { repo: None, commit, files: number(files), bytes: number(bytes), latest: None })
}

fn target(input: &Input<'_>, claim: &PersistentVolumeClaim, source: &source::Wanted) -> Target {
    Target {
        repo: source.repo.clone(),
        patterns: source.patterns.clone(),
        claim_uid: claim.metadata.uid.clone().unwrap_or_default(),
        sub_path: input.observation.cache.folder().map(ToOwned::to_owned),
    }
}

/// The refs that the spec names, and `main` where the commit has no other name.
fn refs(input: &Input<'_>, source: &source::Wanted) -> Vec<Revision> {
    let observation = input.observation;
    let mut refs = source.refs();
    if neighbour::takes_main(&observation.cache, &observation.neighbours) {
        refs.extend(Revision::DEFAULT.parse());
    }
    refs.sort();
    refs.dedup();
    refs
}
