//! Jobs that are not needed any more: of other tasks, of earlier attempts, and finished ones after an hour.

use std::time::Duration;

use super::input::{Task, Work};
use crate::controller::{attempt::Attempt, backoff, plan::Plan};

/// How long a finished Job stays after its result was recorded, so that its log can be read.
const KEEP_FINISHED: Duration = Duration::from_secs(3600);

pub(super) fn stage(work: &Work<'_>, plan: Plan) -> Plan {
    let attempts = &work.on.input.observation.attempts;
    let mut obsolete: Vec<_> = attempts.iter().map(Attempt::obsolete).collect();
    let mut requeue = plan.requeue;
    for task in [Task::Fetch, Task::UpdateRefs] {
        let Some(last) = work.last_attempt(task) else { continue };
        let left = left_to_live(work, task, last);
        if left != Some(Duration::ZERO) {
            obsolete.retain(|job| *job != last.obsolete());
            requeue = [requeue, left].into_iter().flatten().min();
        }
    }
    Plan { requeue, ..plan.after_deleting(obsolete) }
}

/// How long the last Job of a task is kept. None while its result is not in the status that the API server has.
fn left_to_live(work: &Work<'_>, task: Task, last: &Attempt) -> Option<Duration> {
    let recorded = match task {
        // What it has reported is not so any more.
        Task::Fetch if work.lost => return Some(Duration::ZERO),
        Task::Fetch => work.snapshot().is_some(),
        Task::UpdateRefs => work.current().is_some(),
    };
    let ended = last.ended_at().filter(|_| recorded)?;
    Some(KEEP_FINISHED.saturating_sub(backoff::elapsed(ended, work.on.input.now)))
}
