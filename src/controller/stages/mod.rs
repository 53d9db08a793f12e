//! From what was observed to what happens next for one fill: a chain of stages, in this order. Each goes on with what the next
//! one needs, or ends the chain with a plan. Pure.
//!
//! claim → source → adopt → commit → cached → attempt → start, and cleanup of the Jobs that are not needed any more.

mod adopt;
mod attempt;
mod cached;
mod claim;
mod cleanup;
mod input;
mod start;

use std::{convert::Infallible, ops::ControlFlow};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

pub use input::Input;
use input::{Fill, OnClaim, Stage, not_checked};

use super::{pin, plan::Plan};

/// Plans one reconcile.
#[must_use]
pub fn plan(input: &Input<'_>) -> Plan {
    let fill = match fill(input) {
        ControlFlow::Continue(fill) => fill,
        ControlFlow::Break(plan) => return plan,
    };
    let ControlFlow::Break(plan) = advance(&fill);
    cleanup::stage(&fill, plan)
}

fn fill<'a>(input: &'a Input<'a>) -> Stage<Fill<'a>> {
    let claim = claim::stage(input)?;
    let on = source(input, claim)?;
    claim::usable(&on)?;
    adopt::stage(&on)?;
    let from_hub = input.access.snapshot.as_ref();
    let Some(commit) = pin::commit(&input.observation.cache, from_hub) else {
        return ControlFlow::Break(not_checked(input, on.cached));
    };
    let inputs = on.inputs(Some(commit.clone()));
    ControlFlow::Continue(Fill { on, commit, inputs })
}

/// Whether the data are there is asked of the status and the Jobs, never of the Hub: an outage changes nothing.
fn advance(fill: &Fill<'_>) -> Stage<Infallible> {
    cached::stage(fill)?;
    let next = attempt::stage(fill)?;
    start::stage(fill, next)
}

fn source<'a>(input: &'a Input<'a>, claim: &'a PersistentVolumeClaim) -> Stage<OnClaim<'a>> {
    let status = input.observation.cache.status.as_ref();
    let uid = claim.metadata.uid.as_deref().unwrap_or_default();
    let cached = status.and_then(|status| status.cached.clone()).filter(|it| it.claim_uid == uid);
    match &input.access.wanted {
        Some(source) => ControlFlow::Continue(OnClaim { input, claim, source, cached }),
        None => ControlFlow::Break(not_checked(input, cached)),
    }
}

#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;
