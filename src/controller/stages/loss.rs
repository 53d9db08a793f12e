//! Has a snapshot gone from its volume since it was recorded as complete? Pure.

use crate::{
    controller::attempt::{Attempt, AttemptState},
    reason::Reason,
};

/// Whether the Job has found that the snapshot is not complete on the volume any more, and nothing has been or is being downloaded since.
/// The ends of both Jobs are of one clock.
pub(super) fn is_lost(update: Option<&Attempt>, fetch: Option<&Attempt>) -> bool {
    // It has no Hub to fetch from: what it cannot reach is what the volume lacks.
    let Some(AttemptState::Failed { reason: Reason::HubUnreachable, at, .. }) = update.map(Attempt::state)
    else {
        return false;
    };
    fetch.is_none_or(|fetch| fetch.ended_at().is_some_and(|ended| ended < at))
}
