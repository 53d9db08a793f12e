//! What a Job needs before it is created: permission, room, refs that no other ModelCache has, and the claim to itself.

use std::{convert::Infallible, ops::ControlFlow};

use kube::ResourceExt;

use super::{
    attempt::Next,
    input::{Fill, Stage, WHILE_BUSY, not_checked},
};
use crate::{
    controller::{
        claim, consent,
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
