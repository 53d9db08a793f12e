//! Assembles the status from what was seen, answered and done. Pure: the same state gives the same status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    checked::{Checked, Snapshot},
    plan::{Pin, Plan},
    remarks,
};
use crate::{
    api::{Cached, Latest, ModelCache, ModelCacheStatus, Resolved, condition},
    reason::{Answer, Reason, Remedy, Topic, Verdict},
    units,
};

/// The status for a resource. Progress is another field manager's and not in it.
#[must_use]
pub fn assemble(cache: &ModelCache, checked: &Checked, plan: &Plan, now: Timestamp) -> ModelCacheStatus {
    let old = cache.status.clone().unwrap_or_default();
    let generation = cache.metadata.generation.unwrap_or_default();
    let snapshot = match &plan.pin {
        Pin::AsTold => checked.snapshot.as_ref(),
        Pin::Open => None,
        Pin::Found(snapshot) => Some(snapshot),
    };
    let resolved = match (&plan.pin, &checked.snapshot) {
        // What the Hub says is known all the same. Without a commit, nothing is pinned.
        (Pin::Open, Some(told)) => {
            resolved(cache, &old, Some(told)).map(|told| Resolved { commit: String::new(), ..told })
        }
        _ => resolved(cache, &old, snapshot),
    };
    let latest = latest(cache, &old, snapshot, now);
    let update = update(cache, plan.cached.as_ref(), latest.as_ref());
    let remarks = remarks::all(cache, checked, plan, resolved.as_ref(), update.as_ref());
    let mut verdicts = verdicts(checked, plan, &remarks);
    verdicts.extend(update);
    ModelCacheStatus {
        observed_generation: Some(generation),
        conditions: condition::conditions(&old.conditions, &verdicts, generation, now),
        resolved,
        cached: plan.cached.clone(),
        latest,
        progress: None,
        last_handled_reconcile_at: cache.reconcile_at(),
    }
}

/// All verdicts, with those that are computed from the others.
fn verdicts(checked: &Checked, plan: &Plan, remarks: &str) -> Vec<Verdict> {
    let mut all = checked.verdicts.to_vec();
    all.push(plan.downloaded.clone());
    let ready = ready(checked, plan, remarks);
    if !ready.holds() {
        all.push(unfinished(&ready));
    }
    all.push(ready);
    all
}

/// Ready follows the data: once they are complete, a revoked token or an outage does not take them away.
fn ready(checked: &Checked, plan: &Plan, remarks: &str) -> Verdict {
    if plan.downloaded.holds() {
        return Verdict::yes(Topic::Ready, Reason::Ready, format!("{}{remarks}", plan.downloaded.message));
    }
    let all = checked.verdicts.iter().chain([&plan.downloaded]);
    let first = Verdict::obstacle(all).unwrap_or(&plan.downloaded);
    // False and not Unknown even where the cause is an outage: without the data it is not ready, that much is known.
    Verdict { topic: Topic::Ready, status: Answer::False, ..first.clone() }
}

/// A branch that has moved on since it was pinned. Told, never followed: all replicas run the same bytes until a person says so.
fn update(cache: &ModelCache, cached: Option<&Cached>, latest: Option<&Latest>) -> Option<Verdict> {
    let (cached, latest) = (cached?, latest?);
    if cached.commit == latest.commit {
        return None;
    }
    let source = &cache.spec.source;
    let is_commit = source.hub_revision().is_ok_and(|revision| revision.as_commit().is_some());
    let (branch, remedy) = match source.aliases.first().filter(|_| is_commit) {
        Some(alias) => (alias, "Set spec.source.revision to the new commit to move on."),
        None => (
            &source.revision,
            "Set spec.source.revision to the new commit to move on, with the branch among spec.source.aliases.",
        ),
    };
    let message = format!(
        "{branch} is at commit {} by now; this cache stays at {}. {remedy}",
        latest.commit, cached.short_commit
    );
    Some(Verdict::yes(Topic::UpdateAvailable, Reason::NewCommit, message))
}

/// kstatus: `Stalled` where a person must act, so that pipelines fail at once; `Reconciling` where time helps.
fn unfinished(ready: &Verdict) -> Verdict {
    let topic = match ready.reason.remedy() {
        Remedy::Person => Topic::Stalled,
        Remedy::None | Remedy::Wait | Remedy::Retry => Topic::Reconciling,
    };
    Verdict { topic, status: Answer::True, ..ready.clone() }
}

fn resolved(cache: &ModelCache, old: &ModelCacheStatus, snapshot: Option<&Snapshot>) -> Option<Resolved> {
    let Some(snapshot) = snapshot else {
        return old.resolved.clone().filter(|it| it.revision == cache.spec.source.revision);
    };
    let told = snapshot.repo.as_ref().map(ToString::to_string);
    let before = || old.resolved.as_ref().map(|it| it.repo.clone()).filter(|repo| !repo.is_empty());
    Some(Resolved {
        repo: told.or_else(before).unwrap_or_else(|| cache.spec.source.repo.clone()),
        revision: cache.spec.source.revision.clone(),
        commit: snapshot.commit.to_string(),
        short_commit: snapshot.commit.short().to_owned(),
        files: i64::try_from(snapshot.files).unwrap_or(i64::MAX),
        bytes: i64::try_from(snapshot.bytes).unwrap_or(i64::MAX),
        size: units::quantity(snapshot.bytes),
    })
}

/// The time stays while the commit does: it tells since when an update waits, and an unchanged status is not written.
fn latest(
    cache: &ModelCache,
    old: &ModelCacheStatus,
    snapshot: Option<&Snapshot>,
    now: Timestamp,
) -> Option<Latest> {
    let Some(newest) = snapshot.and_then(|snapshot| snapshot.latest.as_ref()) else {
        let same =
            old.resolved.as_ref().is_some_and(|resolved| resolved.revision == cache.spec.source.revision);
        return old.latest.clone().filter(|_| same);
    };
    let commit = newest.to_string();
    match &old.latest {
        Some(before) if before.commit == commit => Some(before.clone()),
        _ => Some(Latest { commit, observed_at: Time(condition::whole_seconds(now)) }),
    }
}
