//! Builders of what the pure steps are given, for tests.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobStatus},
        core::v1::{
            ContainerState, ContainerStateTerminated, ContainerStatus, PersistentVolumeClaim,
            PersistentVolumeClaimStatus, Pod, PodStatus,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
};
use kube::ResourceExt;

use super::{
    access::{AccessReport, Snapshot},
    attempt::Attempt,
    claim,
    observation::{Observation, SecretState},
    patience::Help,
    plan::{Action, Outcome, Plan},
    planner,
    source::Wanted,
    stages::input::Input,
    status,
};
use crate::{
    api::{CachedSnapshot, ModelCache, ModelCacheSpec, Source, TokenSecretRef},
    fetch::Report,
    hub::Endpoint,
    reason::{ConditionType, Reason, Verdict},
};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const MIB: u64 = 1 << 20;

/// Noon of the first day, and so many seconds.
pub fn at(seconds: i64) -> Timestamp {
    "2026-01-01T12:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(seconds)
}

pub fn endpoint() -> Endpoint {
    "https://huggingface.co".parse().unwrap()
}

/// A resource that asks for `acme/tiny`.
pub fn cache() -> ModelCache {
    let source = Source { repo: "acme/tiny".to_owned(), ..Source::default() };
    let mut cache = ModelCache::new("tiny", ModelCacheSpec { source, ..ModelCacheSpec::default() });
    cache.metadata.namespace = Some("team".to_owned());
    cache.metadata.uid = Some("cache-uid".to_owned());
    cache.metadata.generation = Some(1);
    cache.metadata.creation_timestamp = Some(Time(at(0)));
    cache
}

pub fn with_token(mut cache: ModelCache) -> ModelCache {
    cache.spec.token_secret_ref = Some(TokenSecretRef { name: "hf".to_owned(), key: "token".to_owned() });
    cache
}

/// A world with nothing in it but the resource.
pub fn seen(cache: ModelCache) -> Observation {
    Observation {
        cache: Arc::new(cache),
        secret: SecretState::NotAsked,
        claim: None,
        claim_said: None,
        attempts: Vec::new(),
        busy: None,
        place: None,
        writer: None,
        neighbours: Vec::new(),
        progress: None,
    }
}

/// The Hub says yes: three files of 100 MiB.
pub fn granted(cache: &ModelCache) -> AccessReport {
    let commit = COMMIT.parse().unwrap();
    let latest = COMMIT.parse().unwrap();
    AccessReport {
        authenticated: Verdict::yes(
            ConditionType::Authenticated,
            Reason::Anonymous,
            "No token is asked for.",
        ),
        authorized: Verdict::yes(ConditionType::Authorized, Reason::AccessGranted, "The repo can be read."),
        resolved: Verdict::yes(ConditionType::Resolved, Reason::Resolved, "main is 0123456."),
        wanted: Some(Wanted::parse(&cache.spec).unwrap()),
        endpoint: Some(endpoint()),
        snapshot: Some(Snapshot { repo: None, commit, files: 3, bytes: 100 * MIB, latest: Some(latest) }),
        retry_after: None,
    }
}

/// The Hub says no to the access.
pub fn refused(cache: &ModelCache, reason: Reason) -> AccessReport {
    let mut checked = granted(cache);
    checked.authorized = Verdict::no(ConditionType::Authorized, reason, "No.");
    checked.resolved = Verdict::no(ConditionType::Resolved, Reason::NotChecked, "Waits.");
    checked.snapshot = None;
    checked
}

/// The claim that we would make, as the API server has it, bound.
pub fn bound_claim(cache: &ModelCache) -> PersistentVolumeClaim {
    let mut claim = claim::build(cache, 100 * MIB);
    claim.metadata.uid = Some("claim-uid".to_owned());
    let size = Quantity("200Mi".to_owned());
    claim.status = Some(PersistentVolumeClaimStatus {
        phase: Some("Bound".to_owned()),
        capacity: Some([("storage".to_owned(), size)].into()),
        ..Default::default()
    });
    claim
}

/// What is planned for what is observed.
pub fn plan(observation: &Observation, access: &AccessReport, now: Timestamp) -> Plan {
    planner::plan(&Input { observation, access, image: "image", now })
}

/// A plan, with its actions by their kind.
#[derive(Debug, PartialEq)]
pub struct Planned {
    pub claim: Option<PersistentVolumeClaim>,
    pub job: Option<Job>,
    pub obsolete: Vec<String>,
    pub downloaded: Verdict,
    pub help: Help,
    pub snapshots: Vec<CachedSnapshot>,
    pub requeue: Option<Duration>,
}

/// What an operator of this image plans for what is observed.
pub fn planned(observation: &Observation, access: &AccessReport, image: &str, now: Timestamp) -> Planned {
    let Plan { actions, outcome, requeue } = planner::plan(&Input { observation, access, image, now });
    let Outcome { downloaded, help, snapshots, .. } = outcome;
    let (mut claim, mut job, mut obsolete) = (None, None, Vec::new());
    for action in actions {
        match action {
            Action::CreateClaim(it) => claim = Some(*it),
            Action::CreateJob(it) => job = Some(*it),
            Action::DeleteJob(job) => obsolete.push(job.name),
        }
    }
    Planned { claim, job, obsolete, downloaded, help, snapshots, requeue }
}

/// The Job that would be made for what is seen.
pub fn next_job(seen: &Observation, checked: &AccessReport, now: Timestamp) -> Job {
    let mut job = plan(seen, checked, now).job().cloned().expect("a Job is wanted");
    job.metadata.uid = Some(format!("{}-uid", job.name_any()));
    job
}

pub fn running(job: Job) -> Attempt {
    let pod = Pod {
        status: Some(PodStatus { phase: Some("Running".to_owned()), ..Default::default() }),
        ..Default::default()
    };
    Attempt { job, pod: Some(pod), said: None }
}

/// An attempt that ended, with the message that its container left.
pub fn ended(mut job: Job, condition: &str, message: Option<&str>, when: Timestamp) -> Attempt {
    job.status = Some(JobStatus {
        conditions: Some(vec![JobCondition {
            type_: condition.to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(Time(when)),
            ..Default::default()
        }]),
        ..Default::default()
    });
    let reported = message.and_then(Report::parse).map(|report| i32::from(report.reason.exit_code()));
    let terminated = ContainerStateTerminated {
        exit_code: if condition == "Complete" { 0 } else { reported.filter(|&code| code > 0).unwrap_or(1) },
        message: message.map(ToOwned::to_owned),
        ..Default::default()
    };
    let container = ContainerStatus {
        name: super::job::CONTAINER.to_owned(),
        state: Some(ContainerState { terminated: Some(terminated), ..Default::default() }),
        ..Default::default()
    };
    let status = PodStatus {
        phase: Some(if condition == "Complete" { "Succeeded" } else { "Failed" }.to_owned()),
        container_statuses: Some(vec![container]),
        ..Default::default()
    };
    Attempt { job, pod: Some(Pod { status: Some(status), ..Default::default() }), said: None }
}

/// The resource after the status of this reconcile was written.
pub fn reconciled(mut seen: Observation, checked: &AccessReport, now: Timestamp) -> Observation {
    let applied = plan(&seen, checked, now).applied(None);
    let mut cache = (*seen.cache).clone();
    cache.status = Some(status::build_status(&cache, checked, &applied, now));
    seen.cache = Arc::new(cache);
    seen
}

/// A world with the bound claim, and a Hub that says yes.
pub fn bound(cache: ModelCache) -> (Observation, AccessReport) {
    let mut seen = seen(cache);
    seen.claim = Some(bound_claim(&seen.cache));
    let checked = granted(&seen.cache);
    (seen, checked)
}

/// The same after a download that ended well, ten seconds after noon, with its status written.
pub fn downloaded() -> (Observation, AccessReport) {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    seen.attempts = vec![ended(job, "Complete", Some(&report("Verified")), at(10))];
    (reconciled(seen, &checked, at(10)), checked)
}

/// A report as the fetcher leaves it.
pub fn report(reason: &str) -> String {
    format!(
        r#"{{"version":1,"repo":"acme/tiny","type":"model","revision":"{COMMIT}","commit":"{COMMIT}","reason":"{reason}","message":"Because.","files":3,"bytes":104857600,"downloadedBytes":104857600,"path":"models--acme--tiny/snapshots/{COMMIT}","verifiedAt":"2026-01-01T12:00:09Z","seconds":9}}"#
    )
}
