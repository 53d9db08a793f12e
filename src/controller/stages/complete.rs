//! Are the data there, and do the refs name them? What was recorded as complete stays so, whatever the Hub says.

use std::{ops::ControlFlow, time::Duration};

use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::Time};
use kube::ResourceExt;

use super::input::{OnClaim, Stage, Work};
use crate::{
    api::{CachedSnapshot, Kept},
    controller::{fill::Fill, job, messages::Blocked, plan::Plan, snapshots},
    fetch::Report,
    reason::{ConditionType, Reason, Verdict},
    units,
};

/// Refs that came while the Job was at work have one of their own next.
const AT_ONCE: Duration = Duration::from_millis(100);

pub(super) fn stage(work: &Work<'_>) -> Stage<()> {
    match work.current() {
        Some(current) => ControlFlow::Break(verified(&work.on, &work.fill, current.clone())),
        None => ControlFlow::Continue(()),
    }
}

/// What a Job reported as complete, which its refs name now.
pub fn record(on: &OnClaim<'_>, fill: &Fill, job: &Job, report: Report) -> Plan {
    let path = report.path.unwrap_or_default();
    let path =
        fill.target.sub_path.as_ref().map_or_else(|| path.clone(), |folder| format!("{folder}/{path}"));
    // Whoever may make Jobs can write anything there.
    let mut refs: Vec<_> = job::refs_of(job).into_iter().filter(|name| on.wants_ref(name)).collect();
    let before = on.known.iter().find(|other| other.path == path);
    let others = before.iter().flat_map(|before| &before.refs).filter(|name| !refs.contains(name));
    refs.extend(others.cloned().collect::<Vec<_>>());
    refs.truncate(job::MOST_REFS);
    let snapshot = CachedSnapshot {
        commit: fill.commit.to_string(),
        short_commit: fill.commit.short().to_owned(),
        kept: Kept::Current,
        refs,
        claim_name: on.claim.name_any(),
        claim_uid: fill.target.claim_uid.clone(),
        volume_name: on.claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()),
        path,
        names: report.names,
        fill_hash: fill.hash().to_owned(),
        files: i64::try_from(report.files).ok(),
        bytes: i64::try_from(report.bytes).ok(),
        verified_at: report.verified_at.map(Time),
        ..CachedSnapshot::default()
    };
    verified(on, fill, snapshot)
}

fn verified(on: &OnClaim<'_>, fill: &Fill, mut snapshot: CachedSnapshot) -> Plan {
    let observation = on.input.observation;
    let is_taken = |name: &String| {
        let mut others =
            observation.neighbours.iter().filter(|other| other.holds && other.refs.contains(name));
        others.any(|other| other.commit.as_ref() != Some(&snapshot.commit))
    };
    // One that it does not ask for goes to whoever does.
    let refs = snapshot.refs.iter().filter(|name| on.wants_ref(name) || !is_taken(name)).cloned();
    snapshot.refs = refs.collect();
    observation.cache.spec.source.revision.clone_into(&mut snapshot.revision);
    let plan = if on.is_named(&snapshot) {
        let size = snapshot.bytes.and_then(|bytes| u64::try_from(bytes).ok()).map(units::size);
        let message = format!(
            "Commit {} of {} ({}) is complete and verified on the claim {}.",
            snapshot.short_commit,
            fill.target.repo.id,
            size.unwrap_or_default(),
            snapshot.claim_name
        );
        Plan::report(Verdict::yes(ConditionType::Downloaded, Reason::Verified, message))
    } else {
        Plan::waits(&Blocked::RefsPending { commit: &snapshot.short_commit }).requeue_after(AT_ONCE)
    };
    plan.keeping(snapshots::with_current(on.known.clone(), snapshot))
}
