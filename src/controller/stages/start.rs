//! What a Job needs before it is created: permission, room, refs that no other ModelCache has, and the claim to itself.

use std::{convert::Infallible, ops::ControlFlow};

use kube::ResourceExt;

use super::{
    attempt::Next,
    input::{Stage, Task, WHILE_BUSY, Work, not_checked},
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

pub(super) fn stage(work: &Work<'_>, task: Task, next: Next) -> Stage<Infallible> {
    let input = work.on.input;
    let Some(job) = work.job(task, next.number) else {
        return ControlFlow::Break(not_checked(input));
    };
    consent(work)?;
    if task == Task::Fetch {
        room(work)?;
    }
    refs(work)?;
    turn(work)?;
    let begins = Point { since: Some(input.now), ..Point::of(Reason::JobPending) };
    let mut plan = Plan::waits(&Blocked::JobCreated { job: &job.name_any() })
        .at(begins)
        .and(Action::CreateJob(Box::new(job)))
        .after_deleting(next.replaces);
    plan.outcome.corrected = next.corrected;
    ControlFlow::Break(plan)
}

fn consent(work: &Work<'_>) -> Stage<()> {
    match consent::missing(work.on.input.observation, work.on.claim) {
        Some(plan) => ControlFlow::Break(plan),
        None => ControlFlow::Continue(()),
    }
}

fn room(work: &Work<'_>) -> Stage<()> {
    let claim = work.on.claim;
    let wanted = work.on.input.access.snapshot.as_ref().map_or(0, |snapshot| snapshot.bytes);
    let Some(size) = claim::capacity(claim).filter(|size| *size < wanted) else {
        return ControlFlow::Continue(());
    };
    let grow = Grow::Claim(claim::trouble::grow(claim));
    let small = Blocked::ClaimTooSmall { claim: &claim.name_any(), size, wanted, grow };
    ControlFlow::Break(Plan::blocked(&small))
}

fn refs(work: &Work<'_>) -> Stage<()> {
    let observation = work.on.input.observation;
    let neighbours = &observation.neighbours;
    let Some((other, name)) = neighbour::conflict(&observation.cache, work.fill.commit.as_str(), neighbours)
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
    ControlFlow::Break(Plan::waits(&conflict))
}

fn turn(work: &Work<'_>) -> Stage<()> {
    let Some(job) = &work.on.input.observation.busy else { return ControlFlow::Continue(()) };
    // The other one has its own bounds.
    let busy = Plan::waits(&Blocked::ClaimBusy { job, only_reads: false });
    ControlFlow::Break(busy.ended_by(Help::Itself).requeue_after(WHILE_BUSY))
}
