//! Has a snapshot gone from its volume since it was recorded as complete? Pure.

use kube::ResourceExt as _;

use crate::{
    controller::attempt::{Attempt, AttemptState},
    reason::Reason,
};

/// Whether the Job has found that the snapshot is not complete on the volume any more, and nothing was downloaded since.
pub(super) fn is_lost(update: Option<&Attempt>, fetch: Option<&Attempt>) -> bool {
    // It has no Hub to fetch from: what it cannot reach is what the volume lacks.
    let Some(AttemptState::Failed { reason: Reason::HubUnreachable, at, .. }) = update.map(Attempt::state)
    else {
        return false;
    };
    let created = fetch.and_then(|fetch| fetch.job.creation_timestamp());
    created.is_none_or(|created| created.0 < at)
}
