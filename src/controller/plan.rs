//! What a reconcile decides on: actions, what is so once they are done, and when to reconcile again. Pure.

use std::time::Duration;

use k8s_openapi::api::{batch::v1::Job, core::v1::PersistentVolumeClaim};

use super::{
    attempt::Obsolete,
    backoff,
    messages::Blocked,
    patience::{self, Help},
    pin::Pin,
    standstill::Point,
};
use crate::{
    api::{CachedSnapshot, Kept},
    reason::{ConditionType, Reason, Verdict},
};

/// A change in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Deletes a Job of another task, of an earlier attempt, or one that was finished and recorded long ago.
    DeleteJob(Obsolete),
    /// Creates the claim.
    CreateClaim(Box<PersistentVolumeClaim>),
    /// Creates the Job of an attempt.
    CreateJob(Box<Job>),
}

/// Actions, in their order, and what is so once they are done.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What changes in the cluster.
    pub actions: Vec<Action>,
    /// What the status says then.
    pub outcome: Outcome,
    /// When to reconcile again, if no event comes before.
    pub requeue: Option<Duration>,
}

/// What the status is built from.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The condition Downloaded.
    pub downloaded: Verdict,
    /// Who ends what it reports.
    pub help: Help,
    /// How far the fill has got.
    pub point: Point,
    /// Whether the user has corrected what the last attempt ended for.
    pub corrected: bool,
    /// What is complete on the volume, the current snapshot first.
    pub snapshots: Vec<CachedSnapshot>,
    /// Where the commit comes from.
    pub pin: Pin,
}

/// The outcome of a plan that was carried out. The status is built from nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied(Outcome);

/// What the API server said instead of doing an action.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The reason code.
    pub reason: Reason,
    /// In a sentence, with its remedy.
    pub message: String,
    /// Who ends it.
    pub help: Help,
}

impl Plan {
    /// Does nothing; the condition Downloaded is this.
    #[must_use]
    pub const fn report(downloaded: Verdict) -> Self {
        let outcome = Outcome {
            help: patience::help(downloaded.reason),
            point: Point::of(downloaded.reason),
            corrected: false,
            downloaded,
            snapshots: Vec::new(),
            pin: Pin::FromHub,
        };
        Self { actions: Vec::new(), outcome, requeue: None }
    }

    /// Does nothing before something else has happened; watches see that.
    #[must_use]
    pub fn blocked(by: &Blocked<'_>) -> Self {
        Self::report(Verdict::no(ConditionType::Downloaded, by.reason(), by.to_string()))
    }

    /// Does nothing before something else has happened; checked again without an event, too.
    #[must_use]
    pub fn waits(by: &Blocked<'_>) -> Self {
        Self::blocked(by).requeue_after(backoff::WAITING)
    }

    /// Waits for an attempt, which is at this state.
    #[must_use]
    pub fn waits_for_attempt(reason: Reason, message: impl Into<String>) -> Self {
        let downloaded = Verdict::no(ConditionType::Downloaded, reason, message);
        Self::report(downloaded).requeue_after(backoff::WAITING)
    }

    /// The same, reconciled again after this time.
    #[must_use]
    pub const fn requeue_after(mut self, pause: Duration) -> Self {
        self.requeue = Some(pause);
        self
    }

    /// The same, where it is known better who ends it.
    #[must_use]
    pub const fn ended_by(mut self, help: Help) -> Self {
        self.outcome.help = help;
        self
    }

    /// The same, where an attempt shows how far the fill has got.
    #[must_use]
    pub const fn at(mut self, point: Point) -> Self {
        self.outcome.point = point;
        self
    }

    /// The same, with these snapshots on the volume, unless the plan has recorded others.
    #[must_use]
    pub fn keeping(mut self, snapshots: Vec<CachedSnapshot>) -> Self {
        if self.outcome.snapshots.is_empty() {
            self.outcome.snapshots = snapshots;
        }
        self
    }

    /// The same, with the commit from there.
    #[must_use]
    pub fn pinned(mut self, pin: Pin) -> Self {
        self.outcome.pin = pin;
        self
    }

    /// The same, with one action more.
    #[must_use]
    pub fn and(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }

    /// The same, after Jobs were deleted. One that this plan creates is not deleted.
    #[must_use]
    pub fn after_deleting(mut self, jobs: impl IntoIterator<Item = Obsolete>) -> Self {
        let created = self.job().and_then(|job| job.metadata.name.clone());
        let deletions =
            jobs.into_iter().filter(|job| Some(&job.name) != created.as_ref()).map(Action::DeleteJob);
        self.actions = deletions.chain(self.actions).collect();
        self
    }

    /// The Job that it creates.
    #[must_use]
    pub fn job(&self) -> Option<&Job> {
        self.actions.iter().find_map(|action| match action {
            Action::CreateJob(job) => Some(&**job),
            _ => None,
        })
    }

    /// What is so after its actions, of which the API server may have refused one.
    #[must_use]
    pub fn applied(self, refusal: Option<Refusal>) -> Applied {
        let mut outcome = self.outcome;
        if let Some(Refusal { reason, message, help }) = refusal {
            outcome.downloaded = Verdict::no(ConditionType::Downloaded, reason, message);
            outcome.point = Point::of(reason);
            outcome.help = help;
        }
        Applied(outcome)
    }
}

impl Outcome {
    /// The snapshot that pods load, if there is one.
    #[must_use]
    pub fn current(&self) -> Option<&CachedSnapshot> {
        self.snapshots.first().filter(|first| first.kept == Kept::Current)
    }
}

impl std::ops::Deref for Applied {
    type Target = Outcome;

    fn deref(&self) -> &Outcome {
        &self.0
    }
}
