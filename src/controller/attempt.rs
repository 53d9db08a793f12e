//! An attempt at a fill, and its state as its Job, its pod and the report it left show it. Pure.

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerState, ContainerStateTerminated, Pod},
};
use kube::ResourceExt;

use super::{
    complaint::Complaint,
    job,
    patience::{self, Help},
    standstill::{Point, Step},
    verdict::{self, ReportError},
};
use crate::{
    api::{self, ModelCache},
    fetch::Report,
    reason::{Reason, exit},
};

/// The word of Kubernetes for a Job that took longer than its deadline.
const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
/// Its word for one of which a pod failed or is gone: ours allow none.
const BACKOFF_LIMIT_EXCEEDED: &str = "BackoffLimitExceeded";

/// An attempt at a fill: its Job with what is known of the pod.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The Job.
    pub job: Job,
    /// Its newest pod.
    pub pod: Option<Pod>,
    /// What others say of the pod that does not start, or of the Job whose pod cannot be made.
    pub said: Option<Complaint>,
}

/// A Job that is to be deleted. Another one of its name stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obsolete {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: Option<String>,
}

/// The state of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptState {
    /// Its pod does not run.
    Pending {
        /// Why: `JobPending`, or a word that says more.
        reason: Reason,
        /// What it waits for.
        message: String,
        /// Who ends that.
        help: Help,
    },
    /// Its pod runs.
    Running,
    /// It is done, and left a report.
    Succeeded(Report),
    /// It ended without the data.
    Failed {
        /// Why.
        reason: Reason,
        /// In a sentence.
        message: String,
        /// When: the next attempt counts from here.
        at: Timestamp,
        /// Not before so many seconds later, if the Hub said so.
        retry_after: Option<u64>,
    },
}

impl Attempt {
    /// The number of the attempt, from the label of its Job.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.job.labels().get(api::LABEL_ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(1)
    }

    /// Its Job, to delete it.
    #[must_use]
    pub fn obsolete(&self) -> Obsolete {
        Obsolete { name: self.job.name_any(), uid: self.job.uid() }
    }

    /// Whether it is an attempt at what this hash stands for.
    #[must_use]
    pub fn is_at(&self, task: &str) -> bool {
        self.job.labels().get(api::LABEL_TASK).is_some_and(|label| label == task)
    }

    /// Whether its Job would be created differently today.
    #[must_use]
    pub fn is_outdated(&self, today: &Job) -> bool {
        let template = |job: &Job| job.annotations().get(api::ANNOTATION_TEMPLATE).cloned();
        template(&self.job) != template(today)
    }

    /// Whether the user has asked for a reconcile since the Job was created, by the annotation.
    #[must_use]
    pub fn reconcile_requested_since(&self, cache: &ModelCache) -> bool {
        let requested = cache.reconcile_at();
        requested.is_some() && requested.as_ref() != self.job.annotations().get(api::ANNOTATION_RECONCILE_AT)
    }

    /// Whether the Hub refused the token or the access to its Job.
    #[must_use]
    pub fn was_denied(&self) -> bool {
        matches!(self.state(), AttemptState::Failed { reason, .. } if reason.exit_code() == exit::NO_ACCESS)
    }

    /// When it ended, if it has.
    #[must_use]
    pub fn ended_at(&self) -> Option<Timestamp> {
        ended_at(&self.job)
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> AttemptState {
        let Self { job, pod, said } = self;
        let pod = pod.as_ref();
        let report =
            pod.and_then(terminated).ok_or(ReportError::Missing).and_then(|end| verdict::report(job, end));
        if let Some(end) = ended(job, "Failed") {
            return match report {
                // A container that somebody's policy put beside ours may fail the Job after the work is done.
                Ok(report) if report.reason == Reason::Verified => succeeded(report, end.at),
                report => failed(pod, report, &end),
            };
        }
        if let Some(End { at, .. }) = ended(job, "Complete") {
            return match report {
                // Another reason does not count with an exit code of 0.
                Ok(report) => succeeded(report, at),
                Err(error) => AttemptState::Failed {
                    reason: Reason::DownloadFailed,
                    message: format!("The Job completed with {error}. It is run again to check the volume."),
                    at,
                    retry_after: None,
                },
            };
        }
        match pod {
            None => said.as_ref().map_or_else(
                || pending(Reason::JobPending, "The Job's pod is not made yet.".to_owned()),
                |said| rejected(&said.message),
            ),
            // A pod whose node does not answer stays so until the node is back or its object is deleted.
            Some(pod) if pod.metadata.deletion_timestamp.is_some() => {
                let node = node(pod).unwrap_or("its node");
                pending(
                    Reason::JobPending,
                    format!("The Job's pod is ending on {node}; another one is made after it."),
                )
            }
            Some(pod) if phase(pod) == "Pending" => waits_for(pod, said.as_ref()),
            // The Job records a moment later what its pod has ended for; a stop from outside is another matter.
            Some(pod) if phase(pod) == "Failed" => match report {
                Ok(report) if report.reason != Reason::Stopped && !is_evicted(pod) => {
                    pending(report.reason, report.message)
                }
                _ => disrupted(pod),
            },
            Some(_) => AttemptState::Running,
        }
    }
    /// How far it has got. `bytes` is what its log reports.
    #[must_use]
    pub fn point(&self, bytes: Option<i64>) -> Point {
        let Self { job, pod, .. } = self;
        let pod = pod.as_ref();
        let made = job.creation_timestamp().map(|time| time.0);
        let waits = |step| Point { step, runs: false, since: made, bytes: None, bare: false };
        if !is_active(job) {
            // One that was ended before its container ran has got nowhere, and waits for nothing any more.
            let ran = bytes.is_some() || pod.and_then(terminated).is_some();
            let ended = if ran { waits(Step::Download) } else { Point { since: None, ..waits(Step::Claim) } };
            return Point { bytes, ..ended };
        }
        match pod {
            Some(pod) if phase(pod) == "Running" => {
                Point { runs: true, since: started_at(pod), bytes, ..waits(Step::Download) }
            }
            Some(_) => waits(Step::Pod),
            None => waits(Step::Job),
        }
    }
}

/// Whether the Job has neither succeeded nor failed for good. Kubernetes announces an end (`FailureTarget`) before
/// the last pod is gone; only the terminal conditions count.
#[must_use]
pub fn is_active(job: &Job) -> bool {
    ended_at(job).is_none()
}

/// Whether all containers of a pod have ended, whatever for.
#[must_use]
pub fn is_over(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// When the Job ended, if it has.
#[must_use]
pub fn ended_at(job: &Job) -> Option<Timestamp> {
    ["Complete", "Failed"].into_iter().find_map(|end| ended(job, end)).map(|end| end.at)
}

/// How Kubernetes says that a Job ended.
struct End<'a> {
    at: Timestamp,
    reason: Option<&'a str>,
    message: Option<&'a str>,
}

fn ended<'a>(job: &'a Job, type_: &str) -> Option<End<'a>> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let end = conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True")?;
    let at = end.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    Some(End { at, reason: end.reason.as_deref(), message: end.message.as_deref() })
}

/// A time of the pod's own clock that lies after the end of the Job is not believed; nor is one that Kubernetes has no word for.
fn succeeded(mut report: Report, at: Timestamp) -> AttemptState {
    report.verified_at = report.verified_at.map(|time| time.max(Timestamp::UNIX_EPOCH).min(at));
    AttemptState::Succeeded(report)
}

fn failed(pod: Option<&Pod>, report: Result<Report, ReportError>, end: &End<'_>) -> AttemptState {
    let at = end.at;
    // Its container was stopped by it, and says no more than that.
    if end.reason == Some(DEADLINE_EXCEEDED) {
        let message = "The Job did not end within its deadline, and was ended. Its pod may have waited for a node, an image or \
                       the volume all the time, or the volume or the network does not answer. Another one is made."
            .to_owned();
        return AttemptState::Failed { reason: Reason::TransferStalled, message, at, retry_after: None };
    }
    let error = match report {
        Err(error) => error,
        Ok(report) => {
            let Report { reason, message, retry_after_seconds: retry_after, .. } = report;
            return AttemptState::Failed { reason, message, at, retry_after };
        }
    };
    let status = pod.and_then(|pod| pod.status.as_ref());
    let evicted = pod.is_some_and(is_evicted);
    let deleted = pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some());
    let (reason, message) = match pod.and_then(terminated) {
        _ if evicted => {
            let why = status.and_then(|status| status.message.clone()).unwrap_or_default();
            (Reason::Evicted, format!("The node evicted the Job's pod: {why}"))
        }
        // A pod of a node that was taken away has another end, which is no failure of the Job.
        _ if deleted && end.reason == Some(BACKOFF_LIMIT_EXCEEDED) => (
            Reason::Stopped,
            "The Job's pod was deleted before it was done. Another one is made, and continues with what is there.".to_owned(),
        ),
        Some(container) if container.reason.as_deref() == Some("OOMKilled") => (
            Reason::OutOfMemory,
            "The download ran out of memory. Raise spec.job.resources.limits.memory.".to_owned(),
        ),
        Some(container) => (
            Reason::DownloadFailed,
            format!(
                "The download ended with exit code {} and {error}. Its log may tell more.",
                container.exit_code
            ),
        ),
        None => (
            Reason::DownloadFailed,
            format!("The Job failed without a pod: {}", end.message.unwrap_or("no reason is given")),
        ),
    };
    AttemptState::Failed { reason, message, at, retry_after: None }
}

fn state(pod: &Pod) -> Option<&ContainerState> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let ours = statuses.iter().find(|status| status.name == job::CONTAINER)?;
    ours.state.as_ref()
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    state(pod)?.terminated.as_ref()
}

fn started_at(pod: &Pod) -> Option<Timestamp> {
    Some(state(pod)?.running.as_ref()?.started_at.as_ref()?.0)
}

/// Who ends it is as the reason has it.
const fn pending(reason: Reason, message: String) -> AttemptState {
    AttemptState::Pending { reason, message, help: patience::help(reason) }
}

/// What a quota, limits, pod security or a missing object that the spec names keep the API server from.
fn rejected(words: &str) -> AttemptState {
    // Each try has another name, and is no other cause.
    let why = words.split_once(" is forbidden: ").map_or(words, |(_, why)| why);
    let (message, help) = patience::refusal("The Job's pod is refused", why, "spec.job");
    AttemptState::Pending { reason: Reason::JobRejected, message, help }
}

/// The failure policy ignores a disruption: the Job continues with another pod.
fn disrupted(pod: &Pod) -> AttemptState {
    let reason = if is_evicted(pod) { Reason::Evicted } else { Reason::JobPending };
    let why =
        pod.status.as_ref().and_then(|status| status.message.as_deref()).unwrap_or("its node was taken away");
    pending(reason, format!("The Job's pod was ended from outside: {why} Another one is made."))
}

fn is_evicted(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted")
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Since when a node has the pod and has not started it: that is when the kubelet may have said why.
#[must_use]
pub fn starts_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|it| it.type_ == "PodScheduled" && it.status == "True")?;
    (phase(pod) == "Pending").then_some(scheduled.last_transition_time.as_ref()?.0)
}

/// What a pending pod waits for, in the words of the scheduler or the kubelet.
fn waits_for(pod: &Pod, kubelet: Option<&Complaint>) -> AttemptState {
    let status = pod.status.clone().unwrap_or_default();
    let unscheduled =
        status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        let words = condition.message.as_deref().unwrap_or("no reason is given");
        return pending(Reason::JobPending, format!("The Job's pod is not scheduled: {words}"));
    }
    let waiting = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
        .find(|waiting| waiting.reason.as_deref().is_some_and(|reason| reason != "ContainerCreating"));
    if let Some(waiting) = waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let said = match waiting.message.as_deref() {
            Some(words) => format!("The Job's container does not start: {reason}: {words}"),
            None => format!("The Job's container does not start: {reason}"),
        };
        // The node makes the folder where there is none, and refuses what is no folder.
        if waiting.message.as_deref().is_some_and(|words| words.contains("subPath")) {
            let remedy = "Make spec.storage.subPath a folder on the volume that the Job's user can write.";
            return pending(Reason::VolumeNotWritable, format!("{said}. {remedy}"));
        }
        let help = patience::of_container(reason, waiting.message.as_deref().unwrap_or_default());
        return AttemptState::Pending { reason: Reason::JobPending, message: said, help };
    }
    pending(
        Reason::JobPending,
        match (node(pod), kubelet) {
            (Some(node), Some(said)) => format!("The Job's pod does not start on node {node}: {said}."),
            (Some(node), None) => format!("The Job's pod is starting on node {node}."),
            (None, _) => "The Job's pod waits to be scheduled.".to_owned(),
        },
    )
}
