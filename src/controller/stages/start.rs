//! What a Job needs before it is created: permission, room, refs that no other ModelCache has, and the claim to itself.

use std::{convert::Infallible, ops::ControlFlow};

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use super::{Fill, Stage, WHILE_BUSY, attempt::Next, not_checked};
use crate::{
    controller::{
        claim, consent,
        job::{self, JobKind},
        messages::{Blocked, Grow},
        neighbour,
        patience::Help,
        plan::{Action, Plan},
        standstill::Point,
    },
    reason::Reason,
};

pub(super) fn stage(fill: &Fill<'_>, next: Next) -> Stage<Infallible> {
    let input = fill.on.input;
    let cached = || fill.on.cached.clone();
    if input.observation.cache.spec.suspend {
        return ControlFlow::Break(Plan::blocked(&Blocked::Suspended, cached()));
    }
    let Some(job) = fill.job(next.number) else {
        return ControlFlow::Break(not_checked(input, cached()));
    };
    consent(fill)?;
    room(fill)?;
    refs(fill)?;
    turn(fill)?;
    let begins = Point { since: Some(input.now), ..Point::of(Reason::JobPending) };
    let mut plan = Plan::waits(&Blocked::JobCreated { job: &job.name_any() }, cached())
        .at(begins)
        .and(Action::CreateJob(Box::new(job)))
        .after_deleting(next.replaces);
    plan.outcome.corrected = next.corrected;
    ControlFlow::Break(plan)
}

fn consent(fill: &Fill<'_>) -> Stage<()> {
    match consent::missing(fill.on.input.observation, fill.on.claim, fill.on.cached.as_ref()) {
        Some(plan) => ControlFlow::Break(plan),
        None => ControlFlow::Continue(()),
    }
}

fn room(fill: &Fill<'_>) -> Stage<()> {
    let claim = fill.on.claim;
    let wanted = fill.on.input.access.snapshot.as_ref().map_or(0, |snapshot| snapshot.bytes);
    let Some(size) = claim::capacity(claim).filter(|size| *size < wanted) else {
        return ControlFlow::Continue(());
    };
    let grow = Grow::Claim(claim::trouble::grow(claim));
    let small = Blocked::ClaimTooSmall { claim: &claim.name_any(), size, wanted, grow };
    ControlFlow::Break(Plan::blocked(&small, fill.on.cached.clone()))
}

fn refs(fill: &Fill<'_>) -> Stage<()> {
    let observation = fill.on.input.observation;
    let neighbours = &observation.neighbours;
    let Some((other, name)) = neighbour::conflict(&observation.cache, fill.commit.as_str(), neighbours)
    else {
        return ControlFlow::Continue(());
    };
    let conflict = Blocked::RefConflict {
        other: &other.name,
        holds: other.holds,
        name: &name,
        commit: other.commit.as_deref().unwrap_or_default(),
        is_alias: observation.cache.spec.source.aliases.contains(&name),
    };
    ControlFlow::Break(Plan::waits(&conflict, fill.on.cached.clone()))
}

fn turn(fill: &Fill<'_>) -> Stage<()> {
    let Some(job) = &fill.on.input.observation.busy else { return ControlFlow::Continue(()) };
    // The other one has its own bounds.
    let busy = Plan::waits(&Blocked::ClaimBusy { job, only_reads: false }, fill.on.cached.clone());
    ControlFlow::Break(busy.ended_by(Help::Itself).requeue_after(WHILE_BUSY))
}

impl Fill<'_> {
    /// The Job of an attempt; none while nothing may be created.
    pub(super) fn job(&self, attempt: u32) -> Option<Job> {
        let input = self.on.input;
        let observation = input.observation;
        if observation.cache.spec.suspend || !input.access.granted() {
            return None;
        }
        Some(job::build(job::JobParams {
            cache: &observation.cache,
            inputs: &self.inputs,
            claim_name: &self.on.claim.name_any(),
            attempt,
            secret_version: observation.secret.version(),
            image: input.image,
            place: observation.place.as_ref(),
            kind: JobKind::Fetch(&self.commit, input.access.endpoint.as_ref()?),
            bytes: input.access.snapshot.as_ref().map(|snapshot| snapshot.bytes),
            as_main: neighbour::takes_main(&observation.cache, &observation.neighbours),
        }))
    }
}
