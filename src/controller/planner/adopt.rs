//! What is on a claim from before this ModelCache, or from before this operator. Such a ModelCache stays at the commit that it had,
//! without the Hub and without a download. Only the volume knows that commit: a Job inspects it, before the Hub's answer may pin
//! another one. Where no Hub can be reached, files may be copied in by hand at any time: there the volume is inspected again after
//! each interval.

use std::ops::ControlFlow;

use jiff::Timestamp;
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::Time};
use kube::ResourceExt;

use crate::{
    controller::{
        access::{AccessReport, Snapshot},
        attempt::{Attempt, AttemptState},
        backoff, claim, consent,
        fill::Fill,
        job::{self, JobKind},
        messages::Blocked,
        patience::Help,
        pin::{self, Pin},
        plan::{Action, Plan},
        stages::{
            complete,
            input::{OnClaim, Stage, WHILE_BUSY},
        },
    },
    fetch::Report,
    hub::Commit,
    reason::Reason,
};

/// Ends the chain while the volume is inspected, and once it has answered. Goes on where there is nothing to find, or where nothing
/// was found: then the Hub's answer counts.
pub(super) fn stage(on: &OnClaim<'_>) -> Stage<()> {
    let task = on.target.inspection_hash(&on.source.revision);
    inspection(on, &task).map_break(|plan| {
        // Of another revision, or a download that came to nothing before the spec was changed.
        let others = on.input.observation.attempts.iter().filter(|other| !other.is_at(&task));
        plan.after_deleting(others.map(Attempt::obsolete))
    })
}

fn inspection(on: &OnClaim<'_>, task: &str) -> Stage<()> {
    let may_hold_something = is_older_than_us(on) || is_out_of_reach(on.input.access);
    let observation = on.input.observation;
    if observation.cache.spec.suspend || !on.known.is_empty() || !is_undecided(on) || !may_hold_something {
        return ControlFlow::Continue(());
    }
    let (number, replaces) = match on.last_attempt(task) {
        None => (1, None),
        Some(last) => match last_inspection(on, task, last)? {
            Some(number) => (number, Some(last.obsolete())),
            None => return ControlFlow::Continue(()),
        },
    };
    if let Some(plan) = consent::missing(observation, on.claim) {
        return undecided(plan);
    }
    if let Some(job) = &observation.busy {
        let busy = Plan::waits(&Blocked::ClaimBusy { job, only_reads: true });
        return undecided(busy.ended_by(Help::Itself).requeue_after(WHILE_BUSY));
    }
    let job = build(on, task, number);
    let created = Plan::waits(&Blocked::InspectionCreated { job: &job.name_any() });
    undecided(created.and(Action::CreateJob(Box::new(job))).after_deleting(replaces))
}

/// The number of the inspection that follows the last one; none where its answer is that there is nothing.
fn last_inspection(on: &OnClaim<'_>, task: &str, last: &Attempt) -> Stage<Option<u32>> {
    let next = ControlFlow::Continue(Some(last.number().saturating_add(1)));
    match last.state() {
        AttemptState::Succeeded(report) => match found(on, &last.job, report) {
            Some(plan) => ControlFlow::Break(plan),
            None => ControlFlow::Continue(None),
        },
        AttemptState::Failed { at, .. } if is_out_of_reach(on.input.access) && is_due(on, last, at) => next,
        // Nothing complete is there, or it is not known: a download finds what can be used.
        AttemptState::Failed { .. } => ControlFlow::Continue(None),
        AttemptState::Pending { .. } if last.is_outdated(&build(on, task, last.number())) => next,
        AttemptState::Pending { reason, message, help } => {
            undecided(Plan::waits_for_attempt(reason, message).ended_by(help).at(last.point(None)))
        }
        AttemptState::Running => {
            let (job, claim) = (last.job.name_any(), on.claim.name_any());
            let inspecting = Plan::waits(&Blocked::Inspecting { job: &job, claim: &claim });
            // To compare what is there takes as long as it takes; the Job has a deadline.
            undecided(inspecting.ended_by(Help::Itself))
        }
    }
}

/// No commit is pinned before the volume has answered.
fn undecided<T>(plan: Plan) -> Stage<T> {
    ControlFlow::Break(plan.pinned(Pin::Undecided))
}

fn build(on: &OnClaim<'_>, task: &str, attempt: u32) -> Job {
    let observation = on.input.observation;
    job::build(job::JobParams {
        cache: &observation.cache,
        target: &on.target,
        task,
        // Another ModelCache may have them.
        refs: &[],
        claim_name: &on.claim.name_any(),
        attempt,
        secret_version: None,
        image: on.input.image,
        place: observation.place.as_ref(),
        kind: JobKind::Inspect(&on.source.revision),
        bytes: None,
    })
}

fn found(on: &OnClaim<'_>, job: &Job, report: Report) -> Option<Plan> {
    let commit: Commit = report.commit.as_deref()?.parse().ok()?;
    let (files, bytes) = (report.files, report.bytes);
    let from_hub = on.input.access.snapshot.as_ref();
    let repo = from_hub.and_then(|snapshot| snapshot.repo.clone());
    let latest = from_hub.map_or_else(|| Some(commit.clone()), |snapshot| snapshot.latest.clone());
    let plan = complete::record(on, &Fill::new(on.target.clone(), commit.clone()), job, report);
    Some(plan.pinned(Pin::FromVolume(Snapshot { repo, commit, files, bytes, latest })))
}

/// No commit is known yet, and a pod can mount the claim. A volume that no pod has used is empty.
fn is_undecided(on: &OnClaim<'_>) -> bool {
    claim::phase(on.claim) == "Bound" && pin::pinned(&on.input.observation.cache).is_none()
}

fn is_older_than_us(on: &OnClaim<'_>) -> bool {
    let created = |time: Option<Time>| time.map(|time| time.0);
    let claim = created(on.claim.creation_timestamp());
    let cache = created(on.input.observation.cache.creation_timestamp());
    claim.zip(cache).is_some_and(|(claim, cache)| claim < cache)
}

/// Nothing can come from the Hub.
fn is_out_of_reach(access: &AccessReport) -> bool {
    let unavailable = |reason| matches!(reason, Reason::HubUnreachable | Reason::InvalidResponse);
    access.first_unmet().is_some_and(|verdict| unavailable(verdict.reason))
}

/// An interval after the last answer, or because the user asks.
fn is_due(on: &OnClaim<'_>, last: &Attempt, at: Timestamp) -> bool {
    let cache = &on.input.observation.cache;
    let interval = cache.spec.interval.duration();
    last.reconcile_requested_since(cache) || backoff::elapsed(at, on.input.now) >= interval
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{
        api,
        controller::fixtures::{
            self, Planned, at, bound, cache, ended, next_job, planned, reconciled, refused, report, running,
        },
        controller::observation::Observation,
    };
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;

    const OLD: &str = "89abcdef0123456789abcdef0123456789abcdef";

    /// A claim that was filled an hour before the ModelCache was made, and a Hub that says yes to another commit.
    fn again() -> (Observation, AccessReport) {
        let (mut seen, checked) = bound(cache());
        seen.claim.as_mut().unwrap().metadata.creation_timestamp = Some(Time(at(-3600)));
        (seen, checked)
    }

    fn plan(seen: &Observation, checked: &AccessReport) -> Planned {
        planned(seen, checked, "image", at(20))
    }

    /// What the Job leaves that found the old commit.
    fn reported() -> String {
        let asked = format!(r#""revision":"{OLD}""#);
        report("Verified").replace(fixtures::COMMIT, OLD).replace(&asked, r#""revision":"main""#)
    }

    /// What the Job leaves that found nothing.
    fn in_vain() -> String {
        let (asked, found) =
            (format!(r#""revision":"{}""#, fixtures::COMMIT), format!(r#""commit":"{}","#, fixtures::COMMIT));
        report("HubUnreachable").replace(&asked, r#""revision":"main""#).replace(&found, "")
    }

    fn arguments(job: &Job) -> Vec<String> {
        let spec = job.spec.clone().unwrap().template.spec.unwrap();
        spec.containers[0].args.clone().unwrap()
    }

    #[test]
    fn the_volume_is_asked_before_the_hubs_commit_is_pinned() {
        let (seen, checked) = again();
        let asked = plan(&seen, &checked);
        let job = asked.job.clone().unwrap();
        assert!(arguments(&job).contains(&"--revision=main".to_owned()), "{:?}", arguments(&job));
        assert!(!arguments(&job).iter().any(|it| it.starts_with("--alias")), "another one may have the refs");
        let container = &job.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0];
        assert_eq!(container.env.as_ref().unwrap()[0].name, "HF_HUB_OFFLINE");
        let after = reconciled(seen, &checked, at(20));
        let status = after.cache.status.clone().unwrap();
        assert_eq!((pin::pinned(&after.cache), status.latest), (None, None), "nothing is pinned yet");
        let resolved = status.resolved.unwrap();
        let reported = (resolved.commit.as_str(), resolved.short_commit.as_str(), resolved.size.as_str());
        assert_eq!(reported, ("", &fixtures::COMMIT[..7], "100Mi"), "what the Hub says is in the table");
    }

    #[test]
    fn what_is_complete_there_is_ready_at_its_old_commit_with_and_without_the_hub() {
        let (mut seen, checked) = again();
        let job = next_job(&seen, &checked, at(0));
        seen.attempts = vec![ended(job, "Complete", Some(&reported()), at(10))];
        let away = refused(&seen.cache, Reason::HubUnreachable);
        for (checked, newest) in [(checked, fixtures::COMMIT), (away, OLD)] {
            let seen = reconciled(seen.clone(), &checked, at(20));
            let status = seen.cache.status.clone().unwrap();
            assert_eq!(status.resolved.unwrap().commit, OLD);
            assert_eq!(status.latest.unwrap().commit, newest);
            let found = status.snapshots;
            assert_eq!((found[0].commit.as_str(), found[0].claim_uid.as_str()), (OLD, "claim-uid"));
            assert_eq!(found[0].refs, ["main"]);
            // It stays so, and the Job that found it is not needed any more.
            let after = plan(&seen, &checked);
            assert_eq!((after.snapshots, after.downloaded.reason), (found, Reason::Verified));
            assert_eq!((after.job, after.obsolete.len()), (None, 1));
        }
    }

    #[test]
    fn an_answer_in_vain_leaves_it_to_the_hub() {
        let (mut seen, checked) = again();
        let job = next_job(&seen, &checked, at(0));
        seen.attempts = vec![ended(job, "Failed", Some(&in_vain()), at(10))];
        let fetch = plan(&seen, &checked);
        let job = fetch.job.unwrap();
        assert!(arguments(&job).contains(&format!("--revision={}", fixtures::COMMIT)));
        assert_eq!(fetch.obsolete.len(), 1);
        let away = plan(&seen, &refused(&seen.cache, Reason::HubUnreachable));
        assert_eq!((away.job, away.downloaded.reason), (None, Reason::NotChecked));
    }

    #[test]
    fn it_is_asked_once_and_not_where_there_is_nothing_to_find() {
        let (mut seen, checked) = again();
        let job = next_job(&seen, &checked, at(0));
        seen.attempts = vec![running(job)];
        let waits = plan(&seen, &checked);
        assert_eq!((waits.job, waits.downloaded.reason), (None, Reason::JobPending));

        let claim_of = |change: fn(&mut PersistentVolumeClaim)| {
            let (mut seen, checked) = again();
            change(seen.claim.as_mut().unwrap());
            arguments(&plan(&seen, &checked).job.unwrap())[3].clone()
        };
        let fetches = format!("--revision={}", fixtures::COMMIT);
        assert_eq!(claim_of(|_| {}), "--revision=main");
        assert_eq!(claim_of(|claim| claim.metadata.creation_timestamp = Some(Time(at(5)))), fetches);
        assert_eq!(
            claim_of(|claim| claim.status.as_mut().unwrap().phase = Some("Pending".to_owned())),
            fetches
        );
    }

    #[test]
    fn where_no_hub_can_be_reached_the_volume_is_asked_again() {
        let (mut seen, _) = again();
        // The claim is younger: the files are copied in later.
        seen.claim.as_mut().unwrap().metadata.creation_timestamp = Some(Time(at(5)));
        let away = refused(&seen.cache, Reason::HubUnreachable);
        assert_eq!(plan(&seen, &refused(&seen.cache, Reason::TermsNotAccepted)).job, None);
        let first = planned(&seen, &away, "image", at(20)).job.unwrap();
        seen.attempts = vec![ended(first.clone(), "Failed", Some(&in_vain()), at(30))];

        let within = planned(&seen, &away, "image", at(30 + 3599));
        assert_eq!((within.job, within.obsolete.len()), (None, 0));
        let after = planned(&seen, &away, "image", at(30 + 3600));
        let second = after.job.unwrap();
        assert_eq!(after.obsolete, [first.name_any()]);
        assert_eq!(
            (second.labels()[api::LABEL_ATTEMPT].as_str(), arguments(&second)),
            ("2", arguments(&first))
        );

        // And at once where the user requests a reconcile, but only once for each request.
        let cache = Arc::make_mut(&mut seen.cache);
        cache.annotations_mut().insert(api::ANNOTATION_RECONCILE_AT.to_owned(), "now".to_owned());
        let asked = planned(&seen, &away, "image", at(40)).job.unwrap();
        seen.attempts = vec![ended(asked, "Failed", Some(&in_vain()), at(50))];
        assert_eq!(planned(&seen, &away, "image", at(51)).job, None);
        // One Job at a time on the claim, also here.
        Arc::make_mut(&mut seen.cache).annotations_mut().clear();
        seen.busy = Some("other-job".to_owned());
        let waits = planned(&seen, &away, "image", at(50 + 3600));
        assert_eq!((waits.job, waits.obsolete.len(), waits.downloaded.reason), (None, 0, Reason::JobPending));
    }
}
