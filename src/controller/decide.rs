//! From what was observed to what shall happen: the claim, the Jobs, and the verdict on the download. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::PersistentVolumeClaim};
use kube::ResourceExt;

use super::{
    attempt::{self, Standing},
    backoff,
    checked::Checked,
    claim, consent,
    inputs::Inputs,
    job::{self, Errand},
    neighbour,
    observe::{Attempt, Observation},
    patience::Help,
    plan::{Plan, record, verified},
    recall::recall,
    source::Wanted,
    standstill::{Point, Step},
};
use crate::{
    api::{self, Cached},
    fetch::Report,
    hub::Commit,
    reason::{Reason, Topic, Verdict},
    units,
};

/// How often a running download's progress is looked at.
const WHILE_RUNNING: Duration = Duration::from_secs(3);
/// How often a claim that another fills is looked at.
pub const WHILE_BUSY: Duration = Duration::from_secs(5);
/// How long a finished Job stays after its result was recorded, so that its log can be read.
const KEEP_FINISHED: Duration = Duration::from_secs(3600);

/// Decides for one resource. `image` is the controller's own.
#[must_use]
pub fn decide(seen: &Observation, checked: &Checked, image: &str, now: Timestamp) -> Plan {
    let mut plan = claim_or_plan(seen, checked)
        .map_or_else(|plan| *plan, |claim| decide_on_claim(seen, checked, claim, image, now));
    let keep = plan.job.as_ref().map(ResourceExt::name_any);
    plan.obsolete.retain(|name| Some(name) != keep.as_ref());
    plan
}

/// The claim, where it can be used; otherwise the plan that makes it, or says why not.
fn claim_or_plan<'a>(
    seen: &'a Observation,
    checked: &Checked,
) -> Result<&'a PersistentVolumeClaim, Box<Plan>> {
    let cache = &seen.cache;
    let (name, namespace) = (cache.claim_name(), cache.namespace().unwrap_or_default());
    let own = cache.spec.storage.existing_claim.is_none();
    let stop = |reason, message: String| Err(Box::new(Plan::waits(reason, message, None)));
    // A pod that has ended still counts as one that uses the claim: ours must not keep it from going.
    let let_go = |reason, message: String| {
        let mut plan = Plan::waits(reason, message, None);
        plan.obsolete = seen.attempts.iter().map(|attempt| attempt.job.name_any()).collect();
        Err(Box::new(plan))
    };
    let Some(found) = &seen.claim else {
        if !own {
            return stop(
                Reason::ClaimNotFound,
                format!(
                    "There is no claim {name} in this namespace. Make it, and the cache continues by itself. Or make another \
                     ModelCache: spec.storage.existingClaim cannot be changed."
                ),
            );
        }
        return Err(Box::new(make_claim(seen, checked)));
    };
    if found.metadata.deletion_timestamp.is_some() {
        return let_go(
            Reason::ClaimTerminating,
            format!(
                "The claim {name} is being deleted. Pods that still use it keep it from going: kubectl describe pvc {name} -n \
                 {namespace} lists them."
            ),
        );
    }
    if own && !claim::is_ours(found, cache) {
        return stop(
            Reason::ClaimConflict,
            format!(
                "A claim {name} exists that was not made for this ModelCache. It is left alone. Use it with \
                 spec.storage.existingClaim in a ModelCache of another name, or delete it: kubectl delete pvc {name} -n {namespace}"
            ),
        );
    }
    if claim::phase(found) == "Lost" {
        return let_go(
            Reason::ClaimLost,
            format!(
                "The claim {name} has lost its volume. Delete the claim (kubectl delete pvc {name} -n {namespace}){}; the data are \
                 downloaded again.",
                if own { "" } else { " and make it again" }
            ),
        );
    }
    Ok(found)
}

fn make_claim(seen: &Observation, checked: &Checked) -> Plan {
    let cache = &seen.cache;
    let Some(snapshot) = checked.snapshot.as_ref().filter(|_| checked.granted()) else {
        return Plan::new(not_checked(seen, checked), None);
    };
    let claim = claim::build(cache, snapshot.bytes);
    let name = claim.name_any();
    if cache.spec.suspend {
        return Plan::new(suspended(), None);
    }
    if let Some(size) = claim::capacity(&claim).filter(|size| *size < snapshot.bytes) {
        return Plan::new(too_small(&name, size, snapshot.bytes, "Raise spec.storage.claim.size."), None);
    }
    let size = claim::capacity(&claim).map(units::size).unwrap_or_default();
    let mut plan =
        Plan::waits(Reason::ClaimPending, format!("The claim {name} of {size} is being made."), None);
    plan.claim = Some(claim);
    plan
}

fn too_small(name: &str, size: u64, wanted: u64, remedy: &str) -> Verdict {
    Verdict::no(
        Topic::Downloaded,
        Reason::VolumeFull,
        format!(
            "The claim {name} of {} is too small: the files take {}. {remedy}",
            units::size(size),
            units::size(wanted)
        ),
    )
}

/// The bytes on the volume, as the log of the last attempt tells them, or told them as long as it ran.
fn bytes(seen: &Observation) -> Option<i64> {
    let last = || seen.cache.status.as_ref()?.progress.as_ref();
    seen.progress.as_ref().or_else(last).map(|progress| progress.downloaded_bytes)
}

fn suspended() -> Verdict {
    let message = "Nothing is made while spec.suspend is true.";
    Verdict::no(Topic::Downloaded, Reason::Suspended, message)
}

/// The first of the earlier answers that is missing says what the download waits for, unless it is to wait at all.
fn not_checked(seen: &Observation, checked: &Checked) -> Verdict {
    if seen.cache.spec.suspend {
        return suspended();
    }
    let topic = checked.first_unmet().map_or(Topic::Resolved, |verdict| verdict.topic);
    Verdict::no(Topic::Downloaded, Reason::NotChecked, format!("Waits for {} to be True.", topic.as_str()))
}

/// Whether the data are there is asked of the status and the Jobs, never of the Hub: an outage changes nothing.
fn decide_on_claim(
    seen: &Observation,
    checked: &Checked,
    claim: &PersistentVolumeClaim,
    image: &str,
    now: Timestamp,
) -> Plan {
    let cache = &seen.cache;
    let uid = claim.metadata.uid.clone().unwrap_or_default();
    let cached =
        cache.status.as_ref().and_then(|status| status.cached.clone()).filter(|it| it.claim_uid == uid);
    let Some(wanted) = &checked.wanted else {
        return Plan::new(not_checked(seen, checked), cached);
    };
    if let Some(why) = claim::trouble::unusable(claim).filter(|_| cached.is_none() && !cache.spec.suspend) {
        return Plan::waits(Reason::VolumeNotWritable, why, None);
    }
    if let Some(plan) = recall(seen, checked, claim, wanted, cached.as_ref(), image, now) {
        return plan;
    }
    let Some(commit) = commit(seen, checked) else {
        return Plan::new(not_checked(seen, checked), cached);
    };
    let inputs = inputs(seen, wanted, Some(commit.clone()), claim);
    let (mine, others): (Vec<_>, Vec<_>) = seen.attempts.iter().partition(|attempt| {
        attempt.job.labels().get(api::LABEL_INPUTS).map(String::as_str) == Some(inputs.hash())
    });
    let last = mine.last().copied();
    let mut plan = match &cached {
        Some(it) if it.inputs_hash == inputs.hash() => verified(it.clone().of(&cache.spec.source), &inputs),
        _ => Download { seen, checked, claim, commit: &commit, inputs: &inputs, cached, image, now }
            .decide(last),
    };
    plan.obsolete.extend(others.iter().map(|attempt| attempt.job.name_any()));
    plan.obsolete.extend(mine.iter().rev().skip(1).map(|attempt| attempt.job.name_any()));
    if let Some((last, left)) = last.and_then(|last| Some((last, left_to_live(last, &inputs, seen, now)?))) {
        if left.is_zero() {
            plan.obsolete.push(last.job.name_any());
        } else {
            plan.look_again = Some(plan.look_again.map_or(left, |pause| pause.min(left)));
        }
    }
    plan
}

/// A branch stays at the commit that it was first seen at; only the spec moves it.
fn commit(seen: &Observation, checked: &Checked) -> Option<Commit> {
    super::checked::pinned(&seen.cache).or_else(|| Some(checked.snapshot.as_ref()?.commit.clone()))
}

/// What decides which bytes shall lie on the claim.
#[must_use]
pub fn inputs(
    seen: &Observation,
    wanted: &Wanted,
    commit: Option<Commit>,
    claim: &PersistentVolumeClaim,
) -> Inputs {
    let folder = seen.cache.folder().map(ToOwned::to_owned);
    let uid = claim.metadata.uid.clone().unwrap_or_default();
    Inputs::new(wanted.repo.clone(), commit, wanted.refs(), wanted.patterns.clone(), uid, folder)
}

/// How long a Job is kept whose result is recorded in the status that the API server has: for its log. None while it
/// is still needed.
fn left_to_live(last: &Attempt, inputs: &Inputs, seen: &Observation, now: Timestamp) -> Option<Duration> {
    let recorded = seen.cache.status.as_ref()?.cached.as_ref()?;
    if recorded.inputs_hash != inputs.hash() {
        return None;
    }
    Some(KEEP_FINISHED.saturating_sub(elapsed(attempt::ended_at(&last.job)?, now)))
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// What a download is decided from, once the claim, the commit and the files are known.
struct Download<'a> {
    seen: &'a Observation,
    checked: &'a Checked,
    claim: &'a PersistentVolumeClaim,
    commit: &'a Commit,
    inputs: &'a Inputs,
    cached: Option<Cached>,
    image: &'a str,
    now: Timestamp,
}

impl Download<'_> {
    fn decide(self, last: Option<&Attempt>) -> Plan {
        let Some(last) = last else { return self.start(1) };
        let number = attempt::number(&last.job);
        let name = last.job.name_any();
        let point = attempt::point(last, bytes(self.seen));
        match attempt::standing(last) {
            // What keeps a pod from running is often mended in the spec or by another image.
            Standing::Pending { .. } if self.is_outdated(last) || self.is_elsewhere(last) => {
                let mut plan = self.start(number + 1);
                plan.obsolete.push(name);
                plan
            }
            Standing::Pending { reason: Reason::JobPending, message, .. }
                if claim::phase(self.claim) == "Pending" && last.pod.is_some() =>
            {
                let said = self.seen.claim_said.as_ref();
                let (message, help) = claim::trouble::pending(&self.seen.cache, said, &message);
                // The pod has got as far as its Job, and no further before there is a volume.
                let point = Point { step: Step::Job, ..point };
                Plan::waits(Reason::ClaimPending, message, self.cached).ended_by(help).at(point)
            }
            Standing::Pending { reason, message, help } => {
                Plan::waits(reason, message, self.cached).ended_by(help).at(point)
            }
            Standing::Running => {
                let what = self.checked.snapshot.as_ref().map_or_else(String::new, |snapshot| {
                    format!(" {} files, {},", snapshot.files, units::size(snapshot.bytes))
                });
                let message =
                    format!("The Job {name} downloads{what} to the claim {}.", self.claim.name_any());
                let mut plan = Plan::waits(Reason::Downloading, message, self.cached).at(point);
                plan.look_again = Some(WHILE_RUNNING);
                plan
            }
            Standing::Succeeded(report) => self.record(report),
            Standing::Failed { reason, message, at, retry_after } => {
                let pause = backoff::attempt(reason, number, retry_after, &name);
                let waited = elapsed(at, self.now);
                // What a person has done may have mended it. The Hub's own wish to wait is kept all the same.
                let mended = self.token_changed(last)
                    || (retry_after.is_none()
                        && (self.is_outdated(last) || attempt::is_asked_since(&self.seen.cache, &last.job)));
                if waited >= pause || mended || self.seen.cache.spec.suspend {
                    let mut plan = self.start(number + 1);
                    plan.mended = mended && plan.job.is_some();
                    return plan;
                }
                let left = pause.saturating_sub(waited);
                let next = at.checked_add(pause).unwrap_or(Timestamp::MAX);
                let message = claim::trouble::of_attempt(self.claim, reason, message);
                let message = backoff::with_time(message, reason, next);
                let mut plan = Plan::waits(reason, message, self.cached).at(point);
                plan.look_again = Some(left);
                plan
            }
        }
    }

    /// A refused token need not wait for the timer once the Secret has another one.
    fn token_changed(&self, last: &Attempt) -> bool {
        let then = last.job.annotations().get(api::ANNOTATION_SECRET_VERSION).map(String::as_str);
        attempt::is_refused(last) && self.seen.secret.version() != then
    }

    /// Whether the Job would be made otherwise today. A spec that is suspended, or that may not be read now, makes none.
    fn is_outdated(&self, last: &Attempt) -> bool {
        self.job(attempt::number(&last.job)).is_some_and(|today| attempt::is_outdated(&last.job, &today))
    }

    /// Whether the Job waits for another node than the one where the claim is in use now.
    fn is_elsewhere(&self, last: &Attempt) -> bool {
        let node = last.pod.as_ref().and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
        let moved = match (&self.seen.place, node) {
            (Some(place), Some(node)) => place.node != node,
            (_, None) => true,
            // Who used the claim has gone meanwhile: the pod is about to start.
            (None, Some(_)) => false,
        };
        let bound =
            |job: &Job| job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()?.affinity.clone());
        moved && self.job(attempt::number(&last.job)).is_some_and(|today| bound(&today) != bound(&last.job))
    }

    fn job(&self, attempt: u32) -> Option<Job> {
        if self.seen.cache.spec.suspend || !self.checked.granted() {
            return None;
        }
        Some(job::build(job::Order {
            cache: &self.seen.cache,
            inputs: self.inputs,
            claim_name: &self.claim.name_any(),
            attempt,
            secret_version: self.seen.secret.version(),
            image: self.image,
            place: self.seen.place.as_ref(),
            errand: Errand::Fetch(self.commit, self.checked.endpoint.as_ref()?),
            bytes: self.checked.snapshot.as_ref().map(|snapshot| snapshot.bytes),
            as_main: neighbour::takes_main(&self.seen.cache, &self.seen.neighbours),
        }))
    }

    fn start(self, number: u32) -> Plan {
        if self.seen.cache.spec.suspend {
            return Plan::new(suspended(), self.cached);
        }
        let Some(job) = self.job(number) else {
            return Plan::new(not_checked(self.seen, self.checked), self.cached);
        };
        if let Some(plan) = consent::missing(self.seen, self.claim, self.cached.as_ref()) {
            return plan;
        }
        let name = self.claim.name_any();
        if let Some(snapshot) = &self.checked.snapshot
            && let Some(size) = claim::capacity(self.claim).filter(|size| *size < snapshot.bytes)
        {
            let remedy = format!(
                "Grow it ({}), or choose fewer files with spec.source.include.",
                claim::trouble::grow(self.claim)
            );
            return Plan::new(too_small(&name, size, snapshot.bytes, &remedy), self.cached);
        }
        let conflict = neighbour::conflict(&self.seen.cache, self.commit.as_str(), &self.seen.neighbours);
        if let Some((other, name)) = conflict {
            let way = if self.seen.cache.spec.source.aliases.contains(&name) {
                format!("Take {name} out of spec.source.aliases")
            } else {
                "Give this one the same revision".to_owned()
            };
            let message = format!(
                "The ModelCache {} {} the ref {name} of this repo on this claim at commit {}. {way}, or make another \
                 ModelCache with another claim or spec.storage.subPath: neither can be changed.",
                other.name,
                if other.holds { "holds" } else { "is older and about to write" },
                other.commit.as_deref().unwrap_or_default()
            );
            return Plan::waits(Reason::RefConflict, message, self.cached);
        }
        if let Some(busy) = &self.seen.busy {
            let message = format!("The Job {busy} fills the same claim; this one comes next.");
            // The other one has its own bounds.
            let mut plan = Plan::waits(Reason::JobPending, message, self.cached).ended_by(Help::Itself);
            // No watch tells that another's Job has ended.
            plan.look_again = Some(WHILE_BUSY);
            return plan;
        }
        let message = format!("The Job {} is being made.", job.name_any());
        let begins = Point { since: Some(self.now), ..Point::of(Reason::JobPending) };
        let mut plan = Plan::waits(Reason::JobPending, message, self.cached).at(begins);
        plan.job = Some(job);
        plan
    }

    fn record(self, report: Report) -> Plan {
        record(self.claim, self.commit, &self.seen.cache.spec.source, self.inputs, report)
    }
}

#[cfg(test)]
mod tests;
