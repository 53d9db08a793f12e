//! What the stages are given, and what they hand on. Pure data.

use std::{ops::ControlFlow, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::PersistentVolumeClaim};
use kube::ResourceExt;

use super::loss;
use crate::{
    api::{CachedSnapshot, Kept},
    controller::{
        access::AccessReport,
        attempt::Attempt,
        fill::{Fill, Target},
        job::{self, JobKind},
        messages::Blocked,
        observation::Observation,
        plan::Plan,
        source::Wanted,
    },
    hub::Revision,
    reason::ConditionType,
};

/// How often a claim that another Job uses is checked. The watch reports that the Job has ended; that its pod cannot start, time does.
pub const WHILE_BUSY: Duration = Duration::from_secs(30);

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
pub type Stage<T> = ControlFlow<Plan, T>;

/// A claim that can be filled, what is to be on it, and what is known to be.
pub struct OnClaim<'a> {
    pub input: &'a Input<'a>,
    pub claim: &'a PersistentVolumeClaim,
    pub source: &'a Wanted,
    pub target: Target,
    /// The refs that are to name the snapshot, sorted.
    pub refs: Vec<Revision>,
    /// What is complete, the current snapshot first.
    pub known: Vec<CachedSnapshot>,
}

/// A fill, and what there is to do for it.
pub struct Work<'a> {
    pub on: OnClaim<'a>,
    pub fill: Fill,
    /// Whether a Job has found that its snapshot is not complete any more. Then it is not among those that are known.
    pub lost: bool,
}

/// What a Job can do for a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Download what is missing, and make the refs name it.
    Fetch,
    /// Make the refs name what is complete.
    UpdateRefs,
}

/// The first of the earlier conditions that is missing says what the download waits for, unless it is suspended.
pub fn not_checked(input: &Input<'_>) -> Plan {
    if input.observation.cache.spec.suspend {
        return Plan::blocked(&Blocked::Suspended);
    }
    let waits_for = input.access.first_unmet().map_or(ConditionType::Resolved, |verdict| verdict.topic);
    Plan::blocked(&Blocked::NotChecked { waits_for })
}

impl OnClaim<'_> {
    /// The newest attempt at what this hash stands for.
    pub fn last_attempt(&self, task: &str) -> Option<&Attempt> {
        self.input.observation.attempts.iter().rfind(|attempt| attempt.is_at(task))
    }

    /// Whether all refs that are to name the snapshot do.
    pub fn is_named(&self, snapshot: &CachedSnapshot) -> bool {
        self.refs.iter().all(|wanted| snapshot.refs.iter().any(|name| name == wanted.as_str()))
    }

    /// Whether a ref is to name the snapshot.
    pub fn wants_ref(&self, name: &str) -> bool {
        self.refs.iter().any(|wanted| wanted.as_str() == name)
    }
}

impl<'a> Work<'a> {
    /// What there is to do for a fill of the claim.
    pub fn new(on: OnClaim<'a>, fill: Fill) -> Self {
        let mut work = Self { on, fill, lost: false };
        let (update, fetch) = (work.last_attempt(Task::UpdateRefs), work.last_attempt(Task::Fetch));
        // What a Job says of a snapshot that is current already, was said before it became so.
        if work.current().is_none() && loss::is_lost(update, fetch) {
            work.lost = true;
            work.on.known.retain(|snapshot| snapshot.fill_hash != work.fill.hash());
        }
        work
    }

    /// The hash of a task, as on the label of its Jobs.
    pub fn hash(&self, task: Task) -> String {
        match task {
            Task::Fetch => self.fill.hash().to_owned(),
            Task::UpdateRefs => self.fill.refs_hash(&self.on.refs),
        }
    }

    /// The newest attempt at a task.
    pub fn last_attempt(&self, task: Task) -> Option<&Attempt> {
        self.on.last_attempt(&self.hash(task))
    }

    /// The snapshot of the fill, once it is complete.
    pub fn snapshot(&self) -> Option<&CachedSnapshot> {
        self.on.known.iter().find(|snapshot| snapshot.fill_hash == self.fill.hash())
    }

    /// The same, once it is the current one and all its refs name it.
    pub fn current(&self) -> Option<&CachedSnapshot> {
        self.snapshot().filter(|snapshot| snapshot.kept == Kept::Current && self.on.is_named(snapshot))
    }

    /// The Job of an attempt; none while nothing may be created.
    pub fn job(&self, task: Task, attempt: u32) -> Option<Job> {
        let Input { observation, access, image, .. } = *self.on.input;
        if observation.cache.spec.suspend {
            return None;
        }
        let (kind, secret_version, bytes) = match task {
            Task::Fetch if !access.granted() => return None,
            Task::Fetch => (
                JobKind::Fetch(&self.fill.commit, access.endpoint.as_ref()?),
                observation.secret.version(),
                access.snapshot.as_ref().map(|snapshot| snapshot.bytes),
            ),
            Task::UpdateRefs => (
                JobKind::UpdateRefs(&self.fill.commit),
                None,
                self.snapshot().and_then(|snapshot| u64::try_from(snapshot.bytes?).ok()),
            ),
        };
        Some(job::build(job::JobParams {
            cache: &observation.cache,
            target: &self.fill.target,
            task: &self.hash(task),
            refs: &self.on.refs,
            claim_name: &self.on.claim.name_any(),
            attempt,
            secret_version,
            image,
            place: observation.place.as_ref(),
            kind,
            bytes,
        }))
    }
}
