//! Jobs that are not needed any more: of other inputs, of earlier attempts, and finished ones after an hour.

use std::time::Duration;

use super::input::Fill;
use crate::controller::{attempt::Attempt, backoff, plan::Plan};

/// How long a finished Job stays after its result was recorded, so that its log can be read.
const KEEP_FINISHED: Duration = Duration::from_secs(3600);

pub(super) fn stage(fill: &Fill<'_>, plan: Plan) -> Plan {
    let attempts = &fill.on.input.observation.attempts;
    let last = fill.on.last_attempt(&fill.inputs).map(Attempt::obsolete);
    let mut obsolete: Vec<_> = attempts.iter().map(Attempt::obsolete).collect();
    let left = left_to_live(fill);
    if left != Some(Duration::ZERO) {
        obsolete.retain(|job| Some(job) != last.as_ref());
    }
    let mut plan = plan.after_deleting(obsolete);
    if let Some(left) = left.filter(|left| !left.is_zero()) {
        plan.requeue = Some(plan.requeue.map_or(left, |pause| pause.min(left)));
    }
    plan
}

/// How long the last Job is kept. None while its result is not in the status that the API server has.
fn left_to_live(fill: &Fill<'_>) -> Option<Duration> {
    let input = fill.on.input;
    let recorded = input.observation.cache.status.as_ref()?.cached.as_ref()?;
    if recorded.inputs_hash != fill.inputs.hash() {
        return None;
    }
    let ended = fill.on.last_attempt(&fill.inputs)?.ended_at()?;
    Some(KEEP_FINISHED.saturating_sub(backoff::elapsed(ended, input.now)))
}
