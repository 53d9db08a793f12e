//! Builds the status from what was observed, answered and applied. Pure: the same state gives the same status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    access::{AccessReport, Snapshot},
    patience::{self, Help},
    plan::Applied,
    remarks,
    standstill::{Judged, judge},
};
use crate::{
    api::{
        CachedSnapshot, CurrentPatterns, Furthest, Latest, ModelCache, ModelCacheStatus, Resolved, condition,
    },
    reason::{Answer, ConditionType, Reason, Verdict},
};

/// The status for a resource. Progress is another field manager's and not in it.
#[must_use]
pub fn build_status(
    cache: &ModelCache,
    access: &AccessReport,
    applied: &Applied,
    now: Timestamp,
) -> ModelCacheStatus {
    let old = cache.status.clone().unwrap_or_default();
    let generation = cache.metadata.generation.unwrap_or_default();
    let from_hub = access.snapshot.as_ref();
    let snapshot = applied.pin.snapshot(from_hub);
    let resolved = applied.pin.resolved(cache, &old, from_hub);
    let latest = latest(cache, &old, snapshot, now);
    let update = update(cache, applied.current(), latest.as_ref(), resolved.as_ref());
    let remarks = remarks::all(cache, access, applied, resolved.as_ref(), update.as_ref());
    let (mut verdicts, furthest) = verdicts(cache, &old, access, applied, &remarks, now);
    verdicts.extend(update);
    ModelCacheStatus {
        observed_generation: Some(generation),
        conditions: condition::conditions(&old.conditions, &verdicts, generation, now),
        resolved,
        snapshots: applied.snapshots.clone(),
        current_patterns: current_patterns(cache, &old, applied),
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
    access: &AccessReport,
    applied: &Applied,
    remarks: &str,
    now: Timestamp,
) -> (Vec<Verdict>, Option<Furthest>) {
    let mut all = access.conditions().map(Clone::clone).to_vec();
    all.push(applied.downloaded.clone());
    all.push(available(applied.current()));
    let Some((obstacle, help)) = obstacle(access, applied) else {
        let message = format!("{}{remarks}", applied.downloaded.message);
        all.push(Verdict::yes(ConditionType::Ready, Reason::Ready, message));
        return (all, None);
    };
    let anew = applied.corrected
        || old.observed_generation != cache.metadata.generation
        || old.last_handled_reconcile_at != cache.reconcile_at();
    let Judged { obstacle, stalled, furthest } =
        judge(old, anew, obstacle.clone(), help, &applied.point, now);
    // kstatus: `Stalled` where user action is required, so that pipelines fail at once; `Reconciling` where time helps.
    let topic = if stalled { ConditionType::Stalled } else { ConditionType::Reconciling };
    all.push(Verdict { topic, status: Answer::True, ..obstacle.clone() });
    // False and not Unknown even where the cause is an outage: without the data it is not ready, that much is known.
    all.push(Verdict { topic: ConditionType::Ready, status: Answer::False, ..obstacle });
    (all, Some(furthest))
}

/// Whether pods can start: by what is on the volume alone. An earlier snapshot serves them while the next one is on its way.
fn available(current: Option<&CachedSnapshot>) -> Verdict {
    let Some(current) = current else {
        let message = "No complete snapshot is on the volume. Ready says why.";
        return Verdict::no(ConditionType::Available, Reason::NoSnapshot, message);
    };
    let CachedSnapshot { short_commit, revision, claim_name, .. } = current;
    let message = format!("Commit {short_commit} ({revision}) can be loaded from the claim {claim_name}.");
    Verdict::yes(ConditionType::Available, Reason::Available, message)
}

/// What stands in the way, and who ends it. Ready follows the data: once they are complete, a revoked token or an outage
/// does not take them away.
#[must_use]
pub fn obstacle<'a>(access: &'a AccessReport, applied: &'a Applied) -> Option<(&'a Verdict, Help)> {
    let downloaded = &applied.downloaded;
    if downloaded.holds() {
        return None;
    }
    // While it is suspended, nothing else has to be ended first.
    let first = if downloaded.reason == Reason::Suspended {
        downloaded
    } else {
        Verdict::obstacle(access.conditions().into_iter().chain([downloaded])).unwrap_or(downloaded)
    };
    let is_of_hub = access.conditions().contains(&first);
    Some((first, if is_of_hub { patience::help(first.reason) } else { applied.help }))
}

/// They change with the snapshot, and when the spec asks for less than it has.
fn current_patterns(
    cache: &ModelCache,
    old: &ModelCacheStatus,
    applied: &Applied,
) -> Option<CurrentPatterns> {
    applied.current()?;
    if applied.downloaded.holds() {
        return Some(CurrentPatterns::from(&cache.spec.source));
    }
    old.current_patterns.clone()
}

/// A branch that has moved on since it was pinned. Reported, never followed: all replicas run the same bytes until the spec changes.
fn update(
    cache: &ModelCache,
    current: Option<&CachedSnapshot>,
    latest: Option<&Latest>,
    resolved: Option<&Resolved>,
) -> Option<Verdict> {
    let (current, latest) = (current?, latest?);
    let is_on_its_way = resolved.is_some_and(|resolved| resolved.commit == latest.commit);
    if current.commit == latest.commit || is_on_its_way {
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
        latest.commit, current.short_commit
    );
    Some(Verdict::yes(ConditionType::UpdateAvailable, Reason::NewCommit, message))
}

/// The time stays while the commit does: it says since when an update waits, and an unchanged status is not written.
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
