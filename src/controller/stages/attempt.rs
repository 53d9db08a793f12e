//! The state of the last attempt, and when the next one follows.

use std::{ops::ControlFlow, time::Duration};

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use super::{
    complete,
    input::{Stage, Task, Work},
};
use crate::{
    api,
    controller::{
        attempt::{Attempt, AttemptState, Obsolete},
        backoff, claim,
        messages::Blocked,
        plan::Plan,
        standstill::{Point, Step},
    },
    reason::Reason,
};

/// How often a running download's progress is read. Each time costs two requests: for the log and the status.
const WHILE_RUNNING: Duration = Duration::from_secs(12);
/// How often it is read at first, and for how long: users wait for the first sign of it, and most downloads are small.
const AT_FIRST: Duration = Duration::from_secs(4);
const FIRST: Duration = Duration::from_secs(10);

/// The attempt that may be started.
pub(super) struct Next {
    /// Its number.
    pub number: u32,
    /// A Job that it replaces.
    pub replaces: Option<Obsolete>,
    /// Whether the user has corrected what the last one ended for.
    pub corrected: bool,
}

pub(super) fn stage(work: &Work<'_>, task: Task) -> Stage<Next> {
    let Some(last) = work.last_attempt(task) else {
        return ControlFlow::Continue(Next { number: 1, replaces: None, corrected: false });
    };
    let observation = work.on.input.observation;
    let (number, name) = (last.number(), last.job.name_any());
    let point = last.point(bytes(work));
    let replaced =
        Next { number: number.saturating_add(1), replaces: Some(last.obsolete()), corrected: false };
    ControlFlow::Break(match last.state() {
        // What keeps a pod from running is often fixed in the spec or by another image.
        AttemptState::Pending { .. } if is_outdated(work, task, last) || is_elsewhere(work, task, last) => {
            return ControlFlow::Continue(replaced);
        }
        AttemptState::Pending { reason: Reason::JobPending, message, .. }
            if claim::phase(work.on.claim) == "Pending" && last.pod.is_some() =>
        {
            let said = observation.claim_said.as_ref();
            let (message, help) = claim::trouble::pending(&observation.cache, said, &message);
            // The pod has got as far as its Job, and no further before there is a volume.
            Plan::waits_for_attempt(Reason::ClaimPending, message)
                .ended_by(help)
                .at(Point { step: Step::Job, ..point })
        }
        AttemptState::Pending { reason, message, help } => {
            Plan::waits_for_attempt(reason, message).ended_by(help).at(point)
        }
        AttemptState::Running if task == Task::UpdateRefs => {
            let (claim, commit) = (work.on.claim.name_any(), work.fill.commit.short());
            Plan::waits(&Blocked::UpdatingRefs { job: &name, claim: &claim, commit }).at(point)
        }
        AttemptState::Running => {
            let of = work.on.input.access.snapshot.as_ref().map(|snapshot| (snapshot.files, snapshot.bytes));
            let downloading = Blocked::Downloading { job: &name, of, claim: &work.on.claim.name_any() };
            let runs = point.since.map_or(FIRST, |since| backoff::elapsed(since, work.on.input.now));
            let pause = if runs < FIRST { AT_FIRST } else { WHILE_RUNNING };
            Plan::blocked(&downloading).at(point).requeue_after(pause)
        }
        AttemptState::Succeeded(_) if work.lost => return ControlFlow::Continue(replaced),
        AttemptState::Succeeded(report) => complete::record(&work.on, &work.fill, &last.job, report),
        AttemptState::Failed { reason, message, at, retry_after } => {
            let pause = backoff::attempt(reason, number, retry_after, &name);
            let waited = backoff::elapsed(at, work.on.input.now);
            // What the user has done may have fixed it. The Hub's own wish to wait is kept all the same.
            let corrected = token_changed(work, last)
                || (retry_after.is_none()
                    && (is_outdated(work, task, last) || last.reconcile_requested_since(&observation.cache)));
            if waited >= pause || corrected || observation.cache.spec.suspend {
                return ControlFlow::Continue(Next {
                    number: number.saturating_add(1),
                    replaces: None,
                    corrected,
                });
            }
            let message = claim::trouble::of_attempt(work.on.claim, reason, message);
            let message = backoff::with_time(message, reason, backoff::after(at, pause));
            Plan::waits_for_attempt(reason, message).at(point).requeue_after(pause.saturating_sub(waited))
        }
    })
}

/// The bytes on the volume, as the log of the last attempt reports them, or reported them as long as it ran.
fn bytes(work: &Work<'_>) -> Option<i64> {
    let observation = work.on.input.observation;
    let last = || observation.cache.status.as_ref()?.progress.as_ref();
    observation.progress.as_ref().or_else(last).map(|progress| progress.downloaded_bytes)
}

/// A refused token need not wait for the timer once the Secret has another one.
fn token_changed(work: &Work<'_>, last: &Attempt) -> bool {
    let then = last.job.annotations().get(api::ANNOTATION_SECRET_VERSION).map(String::as_str);
    last.was_denied() && work.on.input.observation.secret.version() != then
}

/// Whether the Job would be created differently today. A spec that is suspended, or that may not be read now, creates none.
fn is_outdated(work: &Work<'_>, task: Task, last: &Attempt) -> bool {
    work.job(task, last.number()).is_some_and(|today| last.is_outdated(&today))
}

/// Whether the Job waits for another node than the one where the claim is in use now.
fn is_elsewhere(work: &Work<'_>, task: Task, last: &Attempt) -> bool {
    let node = last.pod.as_ref().and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
    let moved = match (&work.on.input.observation.place, node) {
        (Some(place), Some(node)) => place.node != node,
        (_, None) => true,
        // Whoever used the claim has gone meanwhile: the pod is about to start.
        (None, Some(_)) => false,
    };
    let bound = |job: &Job| job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()?.affinity.clone());
    moved && work.job(task, last.number()).is_some_and(|today| bound(&today) != bound(&last.job))
}
