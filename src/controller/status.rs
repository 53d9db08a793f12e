//! Assembles the status from what was seen, answered and done. Pure: the same state gives the same status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    checked::{Checked, Snapshot},
    patience::{self, Help},
    plan::{Pin, Plan},
    remarks,
    standstill::{Judged, judge},
};
use crate::{
    api::{Cached, Furthest, Latest, ModelCache, ModelCacheStatus, Resolved, condition},
    reason::{Answer, Reason, Topic, Verdict},
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
    let (mut verdicts, furthest) = verdicts(cache, &old, checked, plan, &remarks, now);
    verdicts.extend(update);
    ModelCacheStatus {
        observed_generation: Some(generation),
        conditions: condition::conditions(&old.conditions, &verdicts, generation, now),
        resolved,
        cached: plan.cached.clone(),
        latest,
        progress: None,
        furthest,
        last_handled_reconcile_at: cache.reconcile_at(),
    }
}

/// All verdicts, with those that are computed from the others.
fn verdicts(
    cache: &ModelCache,
    old: &ModelCacheStatus,
    checked: &Checked,
    plan: &Plan,
    remarks: &str,
    now: Timestamp,
) -> (Vec<Verdict>, Option<Furthest>) {
    let mut all = checked.verdicts.to_vec();
    all.push(plan.downloaded.clone());
    let Some((obstacle, help)) = obstacle(checked, plan) else {
        let message = format!("{}{remarks}", plan.downloaded.message);
        all.push(Verdict::yes(Topic::Ready, Reason::Ready, message));
        return (all, None);
    };
    let anew = plan.mended
        || old.observed_generation != cache.metadata.generation
        || old.last_handled_reconcile_at != cache.reconcile_at();
    let Judged { obstacle, stalled, furthest } = judge(old, anew, obstacle.clone(), help, &plan.point, now);
    // kstatus: `Stalled` where a person must act, so that pipelines fail at once; `Reconciling` where time helps.
    let topic = if stalled { Topic::Stalled } else { Topic::Reconciling };
    all.push(Verdict { topic, status: Answer::True, ..obstacle.clone() });
    // False and not Unknown even where the cause is an outage: without the data it is not ready, that much is known.
    all.push(Verdict { topic: Topic::Ready, status: Answer::False, ..obstacle });
    (all, Some(furthest))
}

/// What stands in the way, and who ends it. Ready follows the data: once they are complete, a revoked token or an outage
/// does not take them away.
#[must_use]
pub fn obstacle<'a>(checked: &'a Checked, plan: &'a Plan) -> Option<(&'a Verdict, Help)> {
    let downloaded = &plan.downloaded;
    if downloaded.holds() {
        return None;
    }
    // While it is suspended, nothing else has to be ended first.
    let first = if downloaded.reason == Reason::Suspended {
        downloaded
    } else {
        Verdict::obstacle(checked.verdicts.iter().chain([downloaded])).unwrap_or(downloaded)
    };
    let is_of_hub = checked.verdicts.contains(first);
    Some((first, if is_of_hub { patience::help(first.reason) } else { plan.help }))
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
        "{branch} is now at commit {}; this cache stays at {}. {remedy}",
        latest.commit, cached.short_commit
    );
    Some(Verdict::yes(Topic::UpdateAvailable, Reason::NewCommit, message))
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
