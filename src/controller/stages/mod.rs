//! The state machine of one fill: a chain of stages, in this order. Each passes on what the next one needs, or ends the chain with
//! a plan. Knows one content on one volume, and not why it is wanted. Pure.
//!
//! complete → refs → attempt → start, and cleanup of the Jobs that are not needed any more.

mod attempt;
mod cleanup;
pub mod complete;
pub mod input;
mod loss;
mod refs;
mod start;

use std::{convert::Infallible, ops::ControlFlow};

use input::{Stage, Task, Work};

use super::plan::Plan;

/// Plans the next step of a fill.
#[must_use]
pub fn plan(work: &Work<'_>) -> Plan {
    let ControlFlow::Break(plan) = advance(work);
    cleanup::stage(work, plan)
}

/// Whether the data are there is asked of the status and the Jobs, never of the Hub: an outage changes nothing.
fn advance(work: &Work<'_>) -> Stage<Infallible> {
    complete::stage(work)?;
    refs::stage(work)?;
    let next = attempt::stage(work, Task::Fetch)?;
    start::stage(work, Task::Fetch, next)
}
