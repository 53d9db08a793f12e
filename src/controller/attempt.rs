//! Reads how an attempt at a download stands, from its Job, its pod and the report it left. Pure.

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStateTerminated, Pod},
};
use kube::ResourceExt;

use super::job;
use crate::{api, fetch::Report, reason::Reason};

/// How an attempt stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Its pod does not run yet; the message says what it waits for.
    Pending(String),
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

/// The number of the attempt that a Job is, from its label.
#[must_use]
pub fn number(job: &Job) -> u32 {
    job.labels().get(api::LABEL_ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Whether the Job has neither succeeded nor failed for good. Kubernetes announces an end (`FailureTarget`) before
/// the last pod is gone; only the terminal conditions count.
#[must_use]
pub fn is_active(job: &Job) -> bool {
    ended(job, "Complete").is_none() && ended(job, "Failed").is_none()
}

/// How the attempt stands. `refusal` is what the API server said when the Job's pod could not be made.
#[must_use]
pub fn standing(job: &Job, pod: Option<&Pod>, refusal: Option<&str>) -> Standing {
    let report = pod.and_then(terminated).and_then(|end| Report::parse(end.message.as_deref()?));
    if let Some((at, message)) = ended(job, "Failed") {
        return failed(pod, report, at, message.as_deref());
    }
    if let Some((at, _)) = ended(job, "Complete") {
        return match report {
            Some(report) => Standing::Succeeded(report),
            None => Standing::Failed {
                reason: Reason::DownloadFailed,
                message: "The Job completed, but its report is gone. It is run again to check the volume."
                    .to_owned(),
                at,
                retry_after: None,
            },
        };
    }
    match pod {
        None => Standing::Pending(match refusal {
            Some(words) => format!("The Job's pod is refused: {words}"),
            None => "The Job's pod is not made yet.".to_owned(),
        }),
        Some(pod) if phase(pod) == "Pending" => Standing::Pending(waits_for(pod)),
        Some(_) => Standing::Running,
    }
}

/// When the Job was done, if it is.
#[must_use]
pub fn completed_at(job: &Job) -> Option<Timestamp> {
    ended(job, "Complete").map(|(at, _)| at)
}

fn ended(job: &Job, type_: &str) -> Option<(Timestamp, Option<String>)> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let end = conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True")?;
    let at = end.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    Some((at, end.message.clone()))
}

fn failed(pod: Option<&Pod>, report: Option<Report>, at: Timestamp, words: Option<&str>) -> Standing {
    if let Some(report) = report {
        let Report { reason, message, retry_after_seconds: retry_after, .. } = report;
        return Standing::Failed { reason, message, at, retry_after };
    }
    let status = pod.and_then(|pod| pod.status.as_ref());
    let evicted = status.and_then(|status| status.reason.as_deref()) == Some("Evicted");
    let end = pod.and_then(terminated);
    let (reason, message) = match end {
        _ if evicted => {
            let why = status.and_then(|status| status.message.clone()).unwrap_or_default();
            (Reason::Evicted, format!("The node evicted the Job's pod: {why}"))
        }
        Some(end) if end.reason.as_deref() == Some("OOMKilled") => (
            Reason::OutOfMemory,
            "The download ran out of memory. Raise spec.job.resources.limits.memory.".to_owned(),
        ),
        Some(end) => (
            Reason::DownloadFailed,
            format!(
                "The download ended with exit code {} and no report. Its log may tell more.",
                end.exit_code
            ),
        ),
        None => (
            Reason::DownloadFailed,
            format!("The Job failed without a pod: {}", words.unwrap_or("no reason is given")),
        ),
    };
    Standing::Failed { reason, message, at, retry_after: None }
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let ours = statuses.iter().find(|status| status.name == job::CONTAINER)?;
    ours.state.as_ref()?.terminated.as_ref()
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// What a pending pod waits for, in the words of the scheduler or the kubelet.
fn waits_for(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let unscheduled =
        status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        let words = condition.message.as_deref().unwrap_or("no reason is given");
        return format!("The Job's pod is not scheduled: {words}");
    }
    let waiting = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
        .find(|waiting| waiting.reason.as_deref().is_some_and(|reason| reason != "ContainerCreating"));
    if let Some(waiting) = waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        return match waiting.message.as_deref() {
            Some(words) => format!("The Job's container does not start: {reason}: {words}"),
            None => format!("The Job's container does not start: {reason}"),
        };
    }
    match pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
        Some(node) => format!("The Job's pod is starting on node {node}."),
        None => "The Job's pod waits to be scheduled.".to_owned(),
    }
}
