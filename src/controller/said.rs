//! What others say in events of an object that does not get on: the provisioner of a claim, the kubelet of a pod, the API server of a
//! Job whose pod it refuses. Without the right to list events only these words are missing.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Event, PersistentVolumeClaim, Pod},
};
use kube::{Client, api::ListParams};
use tracing::debug;

use super::{attempt, claim, complaint::Complaint, listing};

/// Events of one object that are read. Kubernetes counts repeated ones, so that nothing has as many; but whoever may make events
/// may make them of any object.
const EVENTS: u32 = 500;
/// A pod that a node has had for so long without starting it is asked about.
const START: SignedDuration = SignedDuration::from_secs(10);

/// What is said of an attempt that is stuck. Others are not asked about: most have a pod at once, and it starts within seconds.
pub async fn about_attempt(
    client: &Client,
    namespace: &str,
    job: &Job,
    pod: Option<&Pod>,
) -> Option<Complaint> {
    let is_late = |since| Timestamp::now().duration_since(since) >= START;
    match pod {
        None if attempt::is_active(job) => of(client, namespace, job.metadata.uid.as_deref(), of_job).await,
        Some(pod) if attempt::starts_since(pod).is_some_and(is_late) => {
            of(client, namespace, pod.metadata.uid.as_deref(), of_pod).await
        }
        _ => None,
    }
}

/// What is said of a claim that has no volume while a pod of ours waits for it.
pub async fn about_claim(
    client: &Client,
    namespace: &str,
    claim: Option<&PersistentVolumeClaim>,
    pod: Option<&Pod>,
) -> Option<Complaint> {
    let claim = claim.filter(|claim| pod.is_some() && claim::phase(claim) == "Pending")?;
    of(client, namespace, claim.metadata.uid.as_deref(), of_claim).await
}

/// How much an event matters; none where it says nothing that helps.
type Weight = fn(&Event) -> Option<u8>;

/// What is said of the object with this UID. Of many events one is kept.
async fn of(client: &Client, namespace: &str, uid: Option<&str>, weight: Weight) -> Option<Complaint> {
    let query = ListParams::default().fields(&format!("involvedObject.uid={}", uid?)).limit(EVENTS);
    let mut best: Option<((u8, Option<Timestamp>), Event)> = None;
    let read = listing::each(client, Some(namespace), query, |event: Event| {
        if let Some(weight) = weight(&event) {
            let rank = (weight, last_seen(&event));
            if best.as_ref().is_none_or(|(other, _)| *other <= rank) {
                best = Some((rank, event));
            }
        }
    });
    if let Err(error) = read.await {
        debug!(uid, %error, "no word on what is stuck: events cannot be read");
    }
    best.map(|(_, event)| Complaint::by(event))
}

/// Quota, limits and pod security act on the pod, after the Job was taken: the Job controller reports that in an event only.
fn of_job(event: &Event) -> Option<u8> {
    (event.reason.as_deref() == Some("FailedCreate")).then_some(0)
}

/// What the scheduler says is in the pod's conditions as well, and newer there.
fn of_pod(event: &Event) -> Option<u8> {
    (is_warning(event) && event.reason.as_deref() != Some("FailedScheduling")).then_some(0)
}

/// That a claim has no class is no warning for Kubernetes, and that nobody answers for its class is none either.
fn of_claim(event: &Event) -> Option<u8> {
    match event.reason.as_deref() {
        _ if is_warning(event) => Some(2),
        Some("FailedBinding") => Some(1),
        Some("ExternalProvisioning") => Some(0),
        _ => None,
    }
}

fn is_warning(event: &Event) -> bool {
    event.type_.as_deref() == Some("Warning")
}

/// Events have their time in one place or another.
fn last_seen(event: &Event) -> Option<Timestamp> {
    let series =
        event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    series.or(last).or(first).or_else(|| event.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
    };

    use axum::http::Response;
    use kube::client::Body;
    use pretty_assertions::assert_eq;
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::complaint::LONGEST;
    use crate::{
        controller::fixtures::{bound_claim, cache},
        text::testing::{assert_safe, nasty},
    };

    fn event(type_: &str, reason: &str, message: &str, minute: u8) -> Value {
        json!({
            "metadata": { "name": reason }, "involvedObject": {}, "type": type_, "reason": reason, "message": message,
            "lastTimestamp": format!("2026-01-01T12:{minute:02}:00Z"),
        })
    }

    /// What is said, where the API server has these events.
    async fn said(events: &[Value], weight: Weight) -> Option<Complaint> {
        let answer = json!({ "items": events }).to_string();
        let server = tower::service_fn(move |request: axum::http::Request<Body>| {
            assert!(request.uri().query().unwrap().contains("involvedObject.uid%3Duid"), "{}", request.uri());
            let answer = answer.clone();
            async move { Ok::<_, Infallible>(Response::new(Body::from(answer.into_bytes()))) }
        });
        of(&Client::new(server, "default"), "default", Some("uid"), weight).await
    }

    #[tokio::test]
    async fn the_newest_word_that_matters_counts() {
        let mount = |minute, why: &str| event("Warning", "FailedMount", why, minute);
        let scheduling = event("Warning", "FailedScheduling", "0/1 nodes", 9);
        let pulled = event("Normal", "Pulled", "Container image", 9);
        let pod = [mount(1, "first"), mount(3, "last."), mount(2, "second"), scheduling, pulled];
        assert_eq!(said(&pod, of_pod).await.unwrap().to_string(), "FailedMount: last");
        let waits = event("Normal", "ExternalProvisioning", "Waiting for a volume", 9);
        let failed = event("Warning", "ProvisioningFailed", "not found", 1);
        let provisioning = event("Normal", "Provisioning", "External provisioner", 9);
        let all = [failed, waits.clone(), provisioning.clone()];
        assert_eq!(said(&all, of_claim).await.unwrap().to_string(), "ProvisioningFailed: not found");
        assert_eq!(
            said(&[waits, provisioning.clone()], of_claim).await.unwrap().reason,
            "ExternalProvisioning"
        );
        assert_eq!(said(&[provisioning], of_claim).await, None);
        assert_eq!(said(&[], of_job).await, None);
    }

    #[tokio::test]
    async fn only_what_is_stuck_is_asked_about() {
        let asked = Arc::new(AtomicUsize::new(0));
        let server = tower::service_fn({
            let asked = Arc::clone(&asked);
            move |_| {
                asked.fetch_add(1, SeqCst);
                async { Ok::<_, Infallible>(Response::new(Body::from(br#"{"items":[]}"#.to_vec()))) }
            }
        });
        let client = Client::new(server, "default");
        let pod = |phase: &str, since: i64| -> Pod {
            let since = Timestamp::now() - SignedDuration::from_secs(since);
            let scheduled =
                json!({ "type": "PodScheduled", "status": "True", "lastTransitionTime": since.to_string() });
            let status = json!({ "phase": phase, "conditions": [scheduled] });
            serde_json::from_value(json!({ "metadata": { "uid": "pod" }, "status": status })).unwrap()
        };
        let mut job = Job::default();
        job.metadata.uid = Some("job".to_owned());
        for (pod, requests) in [
            (Some(pod("Pending", 0)), 0),
            (Some(pod("Running", 60)), 0),
            (Some(pod("Pending", 60)), 1),
            (None, 1),
        ] {
            asked.store(0, SeqCst);
            about_attempt(&client, "default", &job, pod.as_ref()).await;
            assert_eq!(asked.load(SeqCst), requests, "{pod:?}");
        }
        let mut claim = bound_claim(&cache());
        asked.store(0, SeqCst);
        about_claim(&client, "default", Some(&claim), Some(&pod("Pending", 60))).await;
        claim.status.as_mut().unwrap().phase = Some("Pending".to_owned());
        about_claim(&client, "default", Some(&claim), None).await;
        assert_eq!(asked.load(SeqCst), 0);
        about_claim(&client, "default", Some(&claim), Some(&pod("Pending", 60))).await;
        assert_eq!(asked.load(SeqCst), 1);
    }

    #[tokio::test]
    async fn words_of_others_are_clean_and_bounded() {
        for (case, words) in nasty(50) {
            let said = said(&[event("Warning", &words, &words.repeat(200), 1)], of_pod).await.unwrap();
            assert_safe(&said.message, LONGEST, case);
            assert_safe(&said.reason, LONGEST, case);
        }
    }
}
