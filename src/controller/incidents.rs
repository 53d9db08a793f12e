//! Incidents, played in time: what the status says at every moment, and the series that Prometheus has of it. The rules of the alerts
//! are judged by the same series, in `tests/chart/incidents.yaml`.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};
use kube::ResourceExt;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::{
    access::AccessReport,
    attempt::Attempt,
    complaint::Complaint,
    fixtures::{self, MIB, at, bound, cache, ended, planned, refused, report, running},
    observation::Observation,
    status,
};
use crate::{
    api::{Progress, condition},
    reason::{ConditionType, Reason},
    telemetry::metrics::labels,
};

/// Seconds between two reconciles.
const TICK: i64 = 10;
const MINUTES: i64 = 100;

/// All that is there, and when the last Job was made.
struct World {
    seen: Observation,
    checked: AccessReport,
    made: i64,
}

/// What happens: changes the world before each reconcile, at so many seconds.
type Events = fn(&mut World, i64);

/// What was reported: at each reconcile the reason and whether it was Stalled, and at each minute the labels of the metric.
struct Observed {
    reconciles: Vec<(i64, String, bool)>,
    minutes: Vec<(&'static str, &'static str, &'static str)>,
}

impl World {
    fn age(&self, now: i64) -> i64 {
        now - self.made
    }

    fn number(&self) -> u32 {
        self.seen.attempts.last().map_or(0, Attempt::number)
    }

    /// Changes the last attempt, if there is one.
    fn attempt(&mut self, change: impl FnOnce(Attempt) -> Attempt) {
        if let Some(last) = self.seen.attempts.pop() {
            self.seen.attempts.push(change(last));
        }
    }

    /// The pod of the last attempt runs, and its log reports so many bytes.
    fn runs(&mut self, bytes: i64, now: i64) {
        let since = self.made;
        self.attempt(|last| {
            let mut attempt = running(last.job);
            let status = json!({ "phase": "Running", "containerStatuses": [{
                "name": "fetch", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "state": { "running": { "startedAt": at(since + TICK).to_string() } },
            }] });
            attempt.pod.as_mut().unwrap().status = serde_json::from_value(status).unwrap();
            attempt
        });
        assert!(now >= since);
        let total = i64::try_from(100 * MIB).unwrap();
        self.seen.progress =
            Some(Progress { downloaded_bytes: bytes, total_bytes: total, ..Progress::default() });
    }

    fn fails(&mut self, reason: &str, now: i64) {
        self.seen.progress = None;
        self.attempt(|last| match last.ended_at() {
            None => ended(last.job, "Failed", Some(&report(reason)), at(now)),
            Some(_) => last,
        });
    }

    fn pod(&mut self, status: &Value) {
        self.attempt(|last| Attempt { pod: Some(pod(status)), ..last });
    }

    /// The node ends the pod before it has started the container.
    fn is_evicted(&mut self, now: i64) {
        let status =
            json!({ "phase": "Failed", "reason": "Evicted", "message": "The node was low on memory." });
        self.attempt(|last| match last.ended_at() {
            None => Attempt { pod: Some(pod(&status)), ..ended(last.job, "Failed", None, at(now)) },
            Some(_) => last,
        });
    }

    fn pod_is_refused(&mut self, words: &str) {
        let said = Complaint { reason: "FailedCreate".to_owned(), message: words.to_owned() };
        self.attempt(|last| Attempt { said: Some(said), ..last });
    }

    /// Looks, and does what is decided.
    fn reconcile(&mut self, now: i64) {
        let applied = fixtures::plan(&self.seen, &self.checked, at(now)).applied(None);
        let plan = planned(&self.seen, &self.checked, "image", at(now));
        let cache = Arc::make_mut(&mut self.seen.cache);
        let mut status = status::build_status(cache, &self.checked, &applied, at(now));
        if plan.downloaded.reason == Reason::Downloading {
            status.progress = self.seen.progress.clone();
        }
        cache.status = Some(status);
        self.seen.attempts.retain(|attempt| !plan.obsolete.contains(&attempt.job.name_any()));
        if let Some(mut job) = plan.job {
            job.metadata.creation_timestamp = Some(Time(at(now)));
            self.made = now;
            self.seen.attempts.push(Attempt { job, pod: None, said: None });
        }
    }
}

fn play(events: Events) -> Observed {
    let (seen, checked) = bound(cache());
    let mut world = World { seen, checked, made: 0 };
    let mut reported = Observed { reconciles: Vec::new(), minutes: Vec::new() };
    for now in (0..MINUTES * 60).step_by(usize::try_from(TICK).unwrap()) {
        events(&mut world, now);
        world.reconcile(now);
        let conditions = world.seen.cache.conditions();
        let ready = condition::find(conditions, ConditionType::Ready).unwrap();
        reported.reconciles.push((
            now,
            ready.reason.clone(),
            condition::holds(conditions, ConditionType::Stalled),
        ));
        if now % 60 == 0 {
            reported.minutes.push(labels(conditions));
        }
    }
    reported
}

impl Observed {
    /// When it was Stalled first, from when on it must have been so to the end, with one reason.
    fn stalled_from(&self) -> Option<(i64, &str)> {
        let first = self.reconciles.iter().position(|(.., stalled)| *stalled)?;
        let (since, reason, _) = &self.reconciles[first];
        for (now, other, stalled) in &self.reconciles[first..] {
            assert!(*stalled, "Stalled goes away after {now} s");
            assert_eq!(other, reason, "after {now} s");
        }
        Some((*since, reason))
    }

    /// The series as `promtool` has them: a series that ends is marked as such, as a scrape does.
    fn series(&self) -> Value {
        let mut all = BTreeMap::<String, Vec<bool>>::new();
        for (minute, (ready, reason, remedy)) in self.minutes.iter().enumerate() {
            let name =
                format!(r#"modelcache_resources{{ready="{ready}", reason="{reason}", remedy="{remedy}"}}"#);
            let there = all.entry(name).or_insert_with(|| vec![false; self.minutes.len()]);
            there[minute] = true;
        }
        all.into_iter().map(|(name, there)| json!({ "series": name, "values": values(&there) })).collect()
    }
}

fn values(there: &[bool]) -> String {
    let mut words = Vec::new();
    let mut was = false;
    for run in there.chunk_by(|one, next| one == next) {
        let mut length = run.len();
        if run[0] {
            words.push(if length == 1 { "1".to_owned() } else { format!("1x{}", length - 1) });
        } else {
            if was {
                words.push("stale".to_owned());
                length -= 1;
            }
            if length > 0 {
                words.push(format!("_x{length}"));
            }
        }
        was = run[0];
    }
    words.join(" ")
}

const QUOTA: &str =
    r#"pods "tiny-x" is forbidden: exceeded quota: few, requested: pods=1, used: pods=4, limited: pods=4"#;
const NO_QUOTA: &str =
    r#"pods "tiny-x" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0"#;
const NO_ACCOUNT: &str = r#"pods "tiny-x" is forbidden: error looking up service account team/none: serviceaccount "none" not found"#;

fn pod(status: &Value) -> Pod {
    Pod { status: serde_json::from_value(status.clone()).unwrap(), ..Pod::default() }
}

fn unscheduled() -> Value {
    json!({ "phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    }] })
}

fn claim_waits(world: &mut World, said: Option<(&str, &str)>) {
    let claim = world.seen.claim.as_mut().unwrap();
    claim.status.as_mut().unwrap().phase = Some("Pending".to_owned());
    world.seen.claim_said =
        said.map(|(reason, message)| Complaint { reason: reason.to_owned(), message: message.to_owned() });
    world.pod(&unscheduled());
}

/// Each attempt downloads as many bytes as the first, and finds no room again.
fn volume_full(world: &mut World, now: i64) {
    match world.age(now) {
        TICK..30 => world.runs(50 << 20, now),
        30.. => world.fails("VolumeFull", now),
        _ => {}
    }
}

/// Some bytes come in each attempt.
fn slow(world: &mut World, now: i64) {
    let done = i64::from(world.number()) << 20;
    match world.age(now) {
        TICK..600 => world.runs(done, now),
        600.. => world.fails("TransferStalled", now),
        _ => {}
    }
}

/// No attempt gets anywhere.
fn corrupt(world: &mut World, now: i64) {
    match world.age(now) {
        TICK..60 => world.runs(world.age(now) << 20, now),
        60.. => world.fails("HashMismatch", now),
        _ => {}
    }
}

/// The first attempt ran. Each later one is ended before it does.
fn evicted(world: &mut World, now: i64) {
    match world.age(now) {
        TICK..30 if world.number() == 1 => world.runs(50 << 20, now),
        30.. if world.number() == 1 => world.fails("TransferStalled", now),
        TICK..30 => world.pod(&json!({ "phase": "Pending" })),
        30.. => world.is_evicted(now),
        _ => {}
    }
}

/// A name, what happens, and when it is Stalled for which reason.
type Incident = (&'static str, Events, Option<(i64, &'static str)>);

const INCIDENTS: [Incident; 13] = [
    (
        "a storage class that is missing",
        |world, _| {
            claim_waits(
                world,
                Some(("ProvisioningFailed", r#"storageclass.storage.k8s.io "fast" not found"#)),
            );
        },
        Some((TICK, "ClaimPending")),
    ),
    (
        "no default class",
        |world, _| {
            let words = "no persistent volumes available for this claim and no storage class is set";
            claim_waits(world, Some(("FailedBinding", words)));
        },
        Some((TICK, "ClaimPending")),
    ),
    (
        "a provisioner that does not answer",
        |world, _| {
            claim_waits(world, Some(("ExternalProvisioning", "Waiting for a volume to be created")));
        },
        Some((600, "ClaimPending")),
    ),
    ("a node that is not there", |world, _| world.pod(&unscheduled()), Some((600 + TICK, "JobPending"))),
    ("a quota that others fill", |world, _| world.pod_is_refused(QUOTA), Some((600, "JobRejected"))),
    ("a quota of nothing", |world, _| world.pod_is_refused(NO_QUOTA), Some((TICK, "JobRejected"))),
    (
        "a service account that is missing",
        |world, _| world.pod_is_refused(NO_ACCOUNT),
        Some((TICK, "JobRejected")),
    ),
    ("a volume that is full", volume_full, Some((30, "VolumeFull"))),
    (
        "a download without memory",
        |world, now| {
            if world.age(now) >= 10 {
                world.fails("OutOfMemory", now);
            }
        },
        Some((10, "OutOfMemory")),
    ),
    ("bytes that change on the way", corrupt, Some((1860, "HashMismatch"))),
    ("a slow network", slow, None),
    (
        "a Hub that is away",
        |world, _| world.checked = refused(&world.seen.cache, Reason::HubUnreachable),
        Some((3600, "HubUnreachable")),
    ),
    (
        "a Hub that is away for half an hour",
        |world, now| {
            world.checked = if (600..2400).contains(&now) {
                refused(&world.seen.cache, Reason::HubUnreachable)
            } else {
                fixtures::granted(&world.seen.cache)
            };
            if world.age(now) >= TICK {
                world.runs(now, now);
            }
        },
        None,
    ),
];

/// An attempt that is on its way has its own time for that, and loses it with its end: else each would begin anew.
#[test]
fn attempts_that_end_before_they_run_are_stalled_in_the_end() {
    assert_eq!(play(evicted).stalled_from(), Some((1830, "Evicted")));
}

#[test]
fn what_a_person_must_end_is_stalled_and_stays_so_and_the_alerts_are_judged_by_it() {
    let reported: Vec<_> =
        INCIDENTS.into_iter().map(|(name, events, stalled)| (name, play(events), stalled)).collect();
    for (name, reported, stalled) in &reported {
        assert_eq!(reported.stalled_from(), *stalled, "{name}");
    }
    let file: Value = serde_saphyr::from_str(include_str!("../../tests/chart/incidents.yaml")).unwrap();
    let tests = file["tests"].as_array().unwrap().iter();
    let written: BTreeMap<_, _> =
        tests.map(|test| (test["name"].as_str().unwrap(), test["input_series"].clone())).collect();
    let reported: BTreeMap<_, _> =
        reported.iter().map(|(name, reported, _)| (*name, reported.series())).collect();
    assert_eq!(written, reported, "{}", json!(reported));
}
