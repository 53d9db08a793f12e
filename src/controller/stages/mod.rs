//! From what was observed to what happens next for one fill: a chain of stages, in this order. Each goes on with what the next
//! one needs, or ends the chain with a plan. Pure.
//!
//! claim → source → adopt → commit → cached → attempt → start, and cleanup of the Jobs that are not needed any more.

mod adopt;
mod attempt;
mod cached;
mod claim;
mod cleanup;
mod start;

use std::{convert::Infallible, ops::ControlFlow, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::{
    access::AccessReport, attempt::Attempt, inputs::Inputs, messages::Blocked, observation::Observation, pin,
    plan::Plan, source::Wanted,
};
use crate::{api::Cached, hub::Commit, reason::Topic};

/// How often a claim that another Job uses is checked: no watch reports that another's Job has ended.
const WHILE_BUSY: Duration = Duration::from_secs(5);

/// All that a decision depends on.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// What exists in the cluster.
    pub observation: &'a Observation,
    /// What the Hub answered.
    pub access: &'a AccessReport,
    /// The controller's own image, for the Jobs.
    pub image: &'a str,
    /// The time.
    pub now: Timestamp,
}

/// Go on, or end the chain with a plan.
type Stage<T> = ControlFlow<Plan, T>;

/// A claim that can be filled, what is to be on it, and what is known to be.
struct OnClaim<'a> {
    input: &'a Input<'a>,
    claim: &'a PersistentVolumeClaim,
    source: &'a Wanted,
    cached: Option<Cached>,
}

/// The same, once the commit is known.
struct Fill<'a> {
    on: OnClaim<'a>,
    commit: Commit,
    inputs: Inputs,
}

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

/// The first of the earlier conditions that is missing says what the download waits for, unless it is suspended.
fn not_checked(input: &Input<'_>, cached: Option<Cached>) -> Plan {
    if input.observation.cache.spec.suspend {
        return Plan::blocked(&Blocked::Suspended, cached);
    }
    let waits_for = input.access.first_unmet().map_or(Topic::Resolved, |verdict| verdict.topic);
    Plan::blocked(&Blocked::NotChecked { waits_for }, cached)
}

impl OnClaim<'_> {
    /// What decides which bytes are on the claim.
    fn inputs(&self, commit: Option<Commit>) -> Inputs {
        let folder = self.input.observation.cache.folder().map(ToOwned::to_owned);
        let uid = self.claim.metadata.uid.clone().unwrap_or_default();
        let Wanted { repo, patterns, .. } = self.source;
        Inputs::new(repo.clone(), commit, self.source.refs(), patterns.clone(), uid, folder)
    }

    /// The newest attempt at these inputs.
    fn last_attempt(&self, inputs: &Inputs) -> Option<&Attempt> {
        self.input.observation.attempts.iter().rfind(|attempt| attempt.is_at(inputs))
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
