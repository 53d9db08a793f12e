//! Is another snapshot to be the current one, or are refs to name it that do not yet? A Job of a second makes the refs name what is
//! on the volume already. It asks no Hub, so that neither an outage nor a revoked token keeps anyone from going back.

use std::ops::ControlFlow;

use super::{
    attempt,
    input::{Stage, Task, Work},
    start,
};
pub(super) fn stage(work: &Work<'_>) -> Stage<()> {
    if work.snapshot().is_none() {
        return ControlFlow::Continue(());
    }
    let next = attempt::stage(work, Task::UpdateRefs)?;
    let ControlFlow::Break(plan) = start::stage(work, Task::UpdateRefs, next);
    ControlFlow::Break(plan)
}
