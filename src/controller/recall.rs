//! What is on a claim from an earlier life. A ModelCache that is made again, or that meets an operator which is installed
//! again, stays at the commit that it had, without the Hub and without a download. Only the volume knows that commit: a
//! Job asks it, before the Hub's answer may pin another one. Where no Hub can be reached, files are brought by hand, at
//! any time: there the volume is asked again after each interval. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::PersistentVolumeClaim},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt;

use super::{
    attempt::{self, Standing},
    checked::{self, Checked, Snapshot},
    claim, consent, decide,
    inputs::Inputs,
    job::{self, Errand},
    neighbour,
    observe::{Attempt, Observation},
    patience::Help,
    plan::{self, Pin, Plan},
    source::Wanted,
};
use crate::{
    api::{self, Cached},
    fetch::Report,
    hub::Commit,
    reason::Reason,
};

/// What follows while the volume is asked, and once it has answered. None where there is nothing to ask, or where it was
/// asked in vain: then the Hub's answer counts.
#[must_use]
pub fn recall(
    seen: &Observation,
    checked: &Checked,
    claim: &PersistentVolumeClaim,
    wanted: &Wanted,
    cached: Option<&Cached>,
    image: &str,
    now: Timestamp,
) -> Option<Plan> {
    let may_hold_something = is_of_an_earlier_life(seen, claim) || is_out_of_reach(checked);
    if seen.cache.spec.suspend || cached.is_some() || !is_open(seen, claim) || !may_hold_something {
        return None;
    }
    let inputs = question(seen, wanted, claim);
    let build = |attempt| {
        job::build(job::Order {
            cache: &seen.cache,
            inputs: &inputs,
            claim_name: &claim.name_any(),
            attempt,
            secret_version: None,
            image,
            place: seen.place.as_ref(),
            errand: Errand::Recall(&wanted.revision),
            bytes: None,
            as_main: neighbour::takes_main(&seen.cache, &seen.neighbours),
        })
    };
    let is_ours = |attempt: &&Attempt| {
        attempt.job.labels().get(api::LABEL_INPUTS).map(String::as_str) == Some(inputs.hash())
    };
    let (number, obsolete) = match seen.attempts.iter().rfind(is_ours) {
        None => (1, Vec::new()),
        Some(last) => {
            let (name, number) = (last.job.name_any(), attempt::number(&last.job));
            match attempt::standing(last) {
                Standing::Succeeded(report) => return found(seen, checked, claim, wanted, report),
                Standing::Failed { at, .. } if is_out_of_reach(checked) && is_due(seen, last, at, now) => {
                    (number + 1, vec![name])
                }
                // Nothing complete is there, or it cannot be told: a download finds what can be used.
                Standing::Failed { .. } => return None,
                Standing::Pending { .. } if attempt::is_outdated(&last.job, &build(number)) => {
                    (number + 1, vec![name])
                }
                Standing::Pending { reason, message, help } => {
                    return Some(open(reason, message).ended_by(help).at(attempt::point(last, None)));
                }
                Standing::Running => {
                    let message = format!(
                        "The Job {name} looks at what is on the claim {} from before.",
                        claim.name_any()
                    );
                    // To compare what is there takes as long as it takes; the Job has a deadline.
                    return Some(open(Reason::JobPending, message).ended_by(Help::Itself));
                }
            }
        }
    };
    if let Some(plan) = consent::missing(seen, claim, None) {
        return Some(Plan { pin: Pin::Open, ..plan });
    }
    if let Some(busy) = &seen.busy {
        let message = format!("The Job {busy} uses the same claim; this one comes next.");
        // No watch tells that another's Job has ended.
        let waits = open(Reason::JobPending, message).ended_by(Help::Itself);
        return Some(Plan { look_again: Some(decide::WHILE_BUSY), ..waits });
    }
    Some(Plan { obsolete, ..ask(build(number)) })
}

/// What the answer depends on. The revision is among the refs, also where it is a commit and no ref.
fn question(seen: &Observation, wanted: &Wanted, claim: &PersistentVolumeClaim) -> Inputs {
    let of_none = decide::inputs(seen, wanted, None, claim);
    let refs = of_none.refs.into_iter().chain([wanted.revision.clone()]).collect();
    Inputs::new(of_none.repo, None, refs, of_none.patterns, of_none.claim_uid, of_none.sub_path)
}

/// No commit is pinned before the volume has answered.
fn open(reason: Reason, message: String) -> Plan {
    Plan { pin: Pin::Open, ..Plan::waits(reason, message, None) }
}

fn ask(job: Job) -> Plan {
    let message = format!("The Job {} is being made, to look at what is on the claim.", job.name_any());
    Plan { job: Some(job), ..open(Reason::JobPending, message) }
}

fn found(
    seen: &Observation,
    checked: &Checked,
    claim: &PersistentVolumeClaim,
    wanted: &Wanted,
    report: Report,
) -> Option<Plan> {
    let commit: Commit = report.commit.as_deref()?.parse().ok()?;
    let (files, bytes) = (report.files, report.bytes);
    let repo = checked.snapshot.as_ref().and_then(|told| told.repo.clone());
    let latest = checked.snapshot.as_ref().map_or_else(|| Some(commit.clone()), |told| told.latest.clone());
    let inputs = decide::inputs(seen, wanted, Some(commit.clone()), claim);
    let plan = plan::record(claim, &commit, &seen.cache.spec.source, &inputs, report);
    Some(Plan { pin: Pin::Found(Snapshot { repo, commit, files, bytes, latest }), ..plan })
}

/// No commit is known yet, and a pod can mount the claim. A volume that no pod has used is empty.
fn is_open(seen: &Observation, claim: &PersistentVolumeClaim) -> bool {
    claim::phase(claim) == "Bound" && checked::pinned(&seen.cache).is_none()
}

/// A claim that was there before the ModelCache.
fn is_of_an_earlier_life(seen: &Observation, claim: &PersistentVolumeClaim) -> bool {
    let made = |time: Option<Time>| time.map(|time| time.0);
    let (theirs, ours) = (made(claim.creation_timestamp()), made(seen.cache.creation_timestamp()));
    theirs.zip(ours).is_some_and(|(theirs, ours)| theirs < ours)
}

/// Nothing can come from the Hub.
fn is_out_of_reach(checked: &Checked) -> bool {
    let unavailable = |reason| matches!(reason, Reason::HubUnreachable | Reason::InvalidResponse);
    checked.first_unmet().is_some_and(|verdict| unavailable(verdict.reason))
}

/// An interval after the last answer, or because a person asks.
fn is_due(seen: &Observation, last: &Attempt, at: Timestamp, now: Timestamp) -> bool {
    let pause = Duration::try_from(now.duration_since(at)).unwrap_or_default();
    attempt::is_asked_since(&seen.cache, &last.job) || pause >= seen.cache.spec.interval.duration()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{
        controller::fixtures::{self, at, bound, cache, ended, looked, next_job, refused, report, running},
        hub::Patterns,
    };

    const OLD: &str = "89abcdef0123456789abcdef0123456789abcdef";

    /// A claim that was filled an hour before the ModelCache was made, and a Hub that says yes to another commit.
    fn again() -> (Observation, Checked) {
        let (mut seen, checked) = bound(cache());
        seen.claim.as_mut().unwrap().metadata.creation_timestamp = Some(Time(at(-3600)));
        (seen, checked)
    }

    fn plan(seen: &Observation, checked: &Checked) -> Plan {
        decide::decide(seen, checked, "image", at(20))
    }

    /// What the Job leaves that found the old commit.
    fn told() -> String {
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
        let container = &job.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0];
        assert_eq!(container.env.as_ref().unwrap()[0].name, "HF_HUB_OFFLINE");
        let after = looked(seen, &checked, at(20));
        let status = after.cache.status.clone().unwrap();
        assert_eq!((checked::pinned(&after.cache), status.latest), (None, None), "nothing is pinned yet");
        let resolved = status.resolved.unwrap();
        let told = (resolved.commit.as_str(), resolved.short_commit.as_str(), resolved.size.as_str());
        assert_eq!(told, ("", &fixtures::COMMIT[..7], "100Mi"), "what the Hub says is in the table");
    }

    #[test]
    fn what_is_complete_there_is_ready_at_its_old_commit_with_and_without_the_hub() {
        let (mut seen, checked) = again();
        let job = next_job(&seen, &checked, at(0));
        seen.attempts = vec![ended(job, "Complete", Some(&told()), at(10))];
        let away = refused(&seen.cache, Reason::HubUnreachable);
        for (checked, newest) in [(checked, fixtures::COMMIT), (away, OLD)] {
            let seen = looked(seen.clone(), &checked, at(20));
            let status = seen.cache.status.clone().unwrap();
            assert_eq!(status.resolved.unwrap().commit, OLD);
            assert_eq!(status.latest.unwrap().commit, newest);
            let cached = status.cached.unwrap();
            assert_eq!((cached.commit.as_str(), cached.claim_uid.as_str()), (OLD, "claim-uid"));
            // It stays so, and the Job that told it is needed no more.
            let after = plan(&seen, &checked);
            assert_eq!((after.cached, after.downloaded.reason), (Some(cached), Reason::Verified));
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
        // The claim is younger: somebody brings the files later.
        seen.claim.as_mut().unwrap().metadata.creation_timestamp = Some(Time(at(5)));
        let away = refused(&seen.cache, Reason::HubUnreachable);
        assert_eq!(plan(&seen, &refused(&seen.cache, Reason::TermsNotAccepted)).job, None);
        let first = decide::decide(&seen, &away, "image", at(20)).job.unwrap();
        seen.attempts = vec![ended(first.clone(), "Failed", Some(&in_vain()), at(30))];

        let within = decide::decide(&seen, &away, "image", at(30 + 3599));
        assert_eq!((within.job, within.obsolete.len()), (None, 0));
        let after = decide::decide(&seen, &away, "image", at(30 + 3600));
        let second = after.job.unwrap();
        assert_eq!(after.obsolete, [first.name_any()]);
        assert_eq!((attempt::number(&second), arguments(&second)), (2, arguments(&first)));

        // And at once where a person asks for a look, but only once for each.
        let cache = Arc::make_mut(&mut seen.cache);
        cache.annotations_mut().insert(api::ANNOTATION_RECONCILE_AT.to_owned(), "now".to_owned());
        let asked = decide::decide(&seen, &away, "image", at(40)).job.unwrap();
        seen.attempts = vec![ended(asked, "Failed", Some(&in_vain()), at(50))];
        assert_eq!(decide::decide(&seen, &away, "image", at(51)).job, None);
        // One Job at a time on the claim, also here.
        Arc::make_mut(&mut seen.cache).annotations_mut().clear();
        seen.busy = Some("other-job".to_owned());
        let waits = decide::decide(&seen, &away, "image", at(50 + 3600));
        assert_eq!((waits.job, waits.obsolete.len(), waits.downloaded.reason), (None, 0, Reason::JobPending));
    }

    #[test]
    fn the_question_depends_on_all_that_its_answer_does() {
        let (seen, checked) = again();
        let wanted = checked.wanted.unwrap();
        let claim = seen.claim.clone().unwrap();
        let hash = |wanted: &Wanted| question(&seen, wanted, &claim).hash().to_owned();
        let other =
            Wanted { patterns: Patterns::parse(["*.json"], [] as [&str; 0]).unwrap(), ..wanted.clone() };
        assert_ne!(hash(&wanted), hash(&other));
        for revision in ["v2", OLD, fixtures::COMMIT] {
            let other = Wanted { revision: revision.parse().unwrap(), ..wanted.clone() };
            assert_ne!(hash(&wanted), hash(&other));
            let commit = other.revision.as_commit().unwrap_or_else(|| fixtures::COMMIT.parse().unwrap());
            let fetch = decide::inputs(&seen, &other, Some(commit), &claim);
            assert_ne!(fetch.hash(), hash(&other), "a download is another question");
        }
    }
}
