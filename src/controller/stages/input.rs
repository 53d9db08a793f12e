//! What the stages are given, and what they hand on. Pure data.

use std::{ops::ControlFlow, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::PersistentVolumeClaim};
use kube::ResourceExt;

use crate::{
    api::Cached,
    controller::{
        access::AccessReport,
        attempt::Attempt,
        inputs::Inputs,
        job::{self, JobKind},
        messages::Blocked,
        neighbour,
        observation::Observation,
        plan::Plan,
        source::Wanted,
    },
    hub::Commit,
    reason::Topic,
};

/// How often a claim that another Job uses is checked. The watch tells that the Job has ended; that its pod cannot start, time does.
pub(super) const WHILE_BUSY: Duration = Duration::from_secs(30);

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
pub(super) type Stage<T> = ControlFlow<Plan, T>;

/// A claim that can be filled, what is to be on it, and what is known to be.
pub(super) struct OnClaim<'a> {
    pub input: &'a Input<'a>,
    pub claim: &'a PersistentVolumeClaim,
    pub source: &'a Wanted,
    pub cached: Option<Cached>,
}

/// The same, once the commit is known.
pub(super) struct Fill<'a> {
    pub on: OnClaim<'a>,
    pub commit: Commit,
    pub inputs: Inputs,
}

/// The first of the earlier conditions that is missing says what the download waits for, unless it is suspended.
pub(super) fn not_checked(input: &Input<'_>, cached: Option<Cached>) -> Plan {
    if input.observation.cache.spec.suspend {
        return Plan::blocked(&Blocked::Suspended, cached);
    }
    let waits_for = input.access.first_unmet().map_or(Topic::Resolved, |verdict| verdict.topic);
    Plan::blocked(&Blocked::NotChecked { waits_for }, cached)
}

impl OnClaim<'_> {
    /// What decides which bytes are on the claim.
    pub fn inputs(&self, commit: Option<Commit>) -> Inputs {
        let folder = self.input.observation.cache.folder().map(ToOwned::to_owned);
        let uid = self.claim.metadata.uid.clone().unwrap_or_default();
        let Wanted { repo, patterns, .. } = self.source;
        Inputs::new(repo.clone(), commit, self.source.refs(), patterns.clone(), uid, folder)
    }

    /// The newest attempt at these inputs.
    pub fn last_attempt(&self, inputs: &Inputs) -> Option<&Attempt> {
        self.input.observation.attempts.iter().rfind(|attempt| attempt.is_at(inputs))
    }
}

impl Fill<'_> {
    /// The Job of an attempt; none while nothing may be created.
    pub fn job(&self, attempt: u32) -> Option<Job> {
        let input = self.on.input;
        let observation = input.observation;
        if observation.cache.spec.suspend || !input.access.granted() {
            return None;
        }
        Some(job::build(job::JobParams {
            cache: &observation.cache,
            inputs: &self.inputs,
            claim_name: &self.on.claim.name_any(),
            attempt,
            secret_version: observation.secret.version(),
            image: input.image,
            place: observation.place.as_ref(),
            kind: JobKind::Fetch(&self.commit, input.access.endpoint.as_ref()?),
            bytes: input.access.snapshot.as_ref().map(|snapshot| snapshot.bytes),
            as_main: neighbour::takes_main(&observation.cache, &observation.neighbours),
        }))
    }
}
