//! The stages, as the stories that users live through.

mod refs;

use std::{sync::Arc, time::Duration};

use pretty_assertions::assert_eq;

use crate::{
    api::{self, condition},
    controller::{
        access,
        attempt::Attempt,
        complaint::Complaint,
        fixtures::{self, *},
        neighbour::Neighbour,
        observation, patience,
        placement::Place,
        source,
    },
    reason::{Answer, ConditionType, Reason},
};
use k8s_openapi::api::core::v1::{PodSpec, Toleration};
use kube::ResourceExt;

const IMAGE: &str = "image";

fn reason(seen: &observation::Observation, checked: &access::AccessReport, now: i64) -> Reason {
    planned(seen, checked, IMAGE, at(now)).downloaded.reason
}

#[test]
fn nothing_is_made_before_the_hub_has_said_yes() {
    let seen = seen(cache());
    let plan = planned(&seen, &refused(&seen.cache, Reason::TermsNotAccepted), IMAGE, at(0));
    assert_eq!((plan.claim, plan.job), (None, None));
    assert_eq!(plan.downloaded.reason, Reason::NotChecked);
    assert_eq!(plan.downloaded.message, "Waits for Authorized to be True.");
}

#[test]
fn a_claim_of_the_size_that_the_hub_told_comes_first() {
    let seen = seen(cache());
    let plan = planned(&seen, &granted(&seen.cache), IMAGE, at(0));
    let claim = plan.claim.unwrap();
    let size = claim.spec.unwrap().resources.unwrap().requests.unwrap()["storage"].0.clone();
    assert_eq!(size, "164Mi");
    assert_eq!(claim.metadata.owner_references, None, "the garbage collector must not take the data");
    assert_eq!(plan.job, None);
}

#[test]
fn a_claim_that_would_be_too_small_is_not_made() {
    let mut cache = cache();
    let size = k8s_openapi::apimachinery::pkg::api::resource::Quantity("50Mi".to_owned());
    cache.spec.storage.claim = Some(api::ClaimTemplate { size: Some(size), ..Default::default() });
    let seen = seen(cache);
    let plan = planned(&seen, &granted(&seen.cache), IMAGE, at(0));
    assert_eq!(plan.claim, None);
    assert_eq!(plan.downloaded.reason, Reason::VolumeFull);
    assert_eq!(
        plan.downloaded.message,
        "The claim tiny of 50 MiB is too small: the files take 100 MiB. Raise spec.storage.claim.size."
    );
}

#[test]
fn a_claim_of_somebody_else_is_never_touched() {
    let mut seen = seen(cache());
    let mut claim = bound_claim(&seen.cache);
    claim.metadata.labels = None;
    seen.claim = Some(claim);
    let plan = planned(&seen, &granted(&seen.cache), IMAGE, at(0));
    assert_eq!((plan.claim, plan.job), (None, None));
    assert_eq!(plan.downloaded.reason, Reason::ClaimConflict);
}

#[test]
fn what_is_wrong_with_a_claim_is_said() {
    let mut seen = seen(cache());
    let checked = granted(&seen.cache);
    let mut terminating = bound_claim(&seen.cache);
    terminating.metadata.deletion_timestamp = seen.cache.metadata.creation_timestamp.clone();
    let mut lost = bound_claim(&seen.cache);
    lost.status.as_mut().unwrap().phase = Some("Lost".to_owned());
    for (claim, want) in [(terminating, Reason::ClaimTerminating), (lost, Reason::ClaimLost)] {
        seen.claim = Some(claim);
        assert_eq!(reason(&seen, &checked, 0), want);
    }
    let mut theirs = cache();
    theirs.spec.storage.existing_claim = Some("models".to_owned());
    let seen = fixtures::seen(theirs);
    assert_eq!(reason(&seen, &checked, 0), Reason::ClaimNotFound);
}

#[test]
fn a_bound_claim_gets_its_job() {
    let (seen, checked) = bound(with_token(cache()));
    let job = next_job(&seen, &checked, at(0));
    assert_eq!(job.labels()[api::LABEL_ATTEMPT], "1");
    assert_eq!(job.metadata.owner_references.as_ref().unwrap()[0].uid, "cache-uid");
    let spec = job.spec.unwrap();
    assert_eq!(spec.backoff_limit, Some(0));
    let pod = spec.template.spec.unwrap();
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(
        pod.containers[0].args.as_deref().unwrap(),
        [
            "fetch",
            "acme/tiny",
            "--type=model",
            &format!("--revision={COMMIT}"),
            "--endpoint=https://huggingface.co",
            "--report=/dev/termination-log",
            "--output=json",
            "--cache-dir=/cache",
            "--alias=main",
            "--token-file=/var/run/secrets/modelcache.internal/token",
        ]
    );
}

#[test]
fn the_name_of_a_job_depends_on_what_it_downloads_and_on_nothing_else() {
    let (mut seen, checked) = bound(cache());
    let name = |seen: &observation::Observation, image: &str| {
        let checked = granted(&seen.cache);
        planned(seen, &checked, image, at(0)).job.unwrap().name_any()
    };
    let first = name(&seen, "one");
    assert_eq!(first, name(&seen, "two"), "an upgrade of the operator downloads nothing again");
    let mut filtered = (*seen.cache).clone();
    filtered.spec.source.include = vec!["*.json".to_owned()];
    seen.cache = Arc::new(filtered);
    assert_ne!(first, name(&seen, "one"));
    let mut long = (*seen.cache).clone();
    long.metadata.name = Some(format!("{}.x", "a".repeat(61)));
    let inputs = next_job(&seen, &checked, at(0)).labels()[api::LABEL_TASK].clone();
    assert_eq!(inputs.len(), 10);
    seen.claim = Some(bound_claim(&long));
    seen.cache = Arc::new(long);
    let name = name(&seen, "one");
    assert!(name.len() <= 63 && !name.contains('.'), "{name}");
}

#[test]
fn a_download_ends_ready_and_then_nothing_is_left_to_do() {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    seen.attempts = vec![running(job.clone())];
    assert_eq!(reason(&seen, &checked, 1), Reason::Downloading);

    seen.attempts = vec![ended(job, "Complete", Some(&report("Verified")), at(10))];
    let seen = reconciled(seen, &checked, at(10));
    let status = seen.cache.status.clone().unwrap();
    assert!(condition::holds(&status.conditions, ConditionType::Ready));
    let current = status.current().unwrap();
    assert_eq!(current.path, format!("models--acme--tiny/snapshots/{COMMIT}"));
    assert_eq!(current.claim_uid, "claim-uid");
    assert_eq!((current.refs.as_slice(), current.files), (&["main".to_owned()][..], Some(3)));

    let again = reconciled(seen.clone(), &checked, at(500));
    assert_eq!(again.cache.status, Some(status), "a second reconcile of the same state writes nothing");
    let plan = planned(&again, &checked, IMAGE, at(500));
    assert_eq!((plan.claim, plan.job, plan.obsolete), (None, None, vec![]));

    let later = planned(&again, &checked, IMAGE, at(4000));
    assert_eq!(later.obsolete.len(), 1, "the finished Job goes after an hour");
}

#[test]
fn ready_follows_the_data_and_not_the_token() {
    let (mut seen, _) = downloaded();
    seen.attempts.clear();
    let revoked = refused(&seen.cache, Reason::RepoNotFoundOrPrivate);
    let status = reconciled(seen.clone(), &revoked, at(60)).cache.status.clone().unwrap();
    assert!(condition::holds(&status.conditions, ConditionType::Ready));
    assert_eq!(condition::find(&status.conditions, ConditionType::Authorized).unwrap().status, "False");
    assert!(
        condition::find(&status.conditions, ConditionType::Stalled).is_none(),
        "once Ready, never stalled"
    );

    let mut other = bound_claim(&seen.cache);
    other.metadata.uid = Some("another-uid".to_owned());
    seen.claim = Some(other);
    let status = reconciled(seen, &revoked, at(70)).cache.status.clone().unwrap();
    assert!(!condition::holds(&status.conditions, ConditionType::Ready), "a claim made again holds nothing");
    assert_eq!(status.snapshots, []);
}

#[test]
fn what_is_there_stays_available_until_the_claim_is_another_one() {
    let available = |seen: &observation::Observation| {
        let found = condition::verdict(seen.cache.conditions(), ConditionType::Available).unwrap();
        (found.status, found.reason)
    };
    let (mut seen, checked) = downloaded();
    assert_eq!(available(&seen), (Answer::True, Reason::Available));
    // Another revision, which the Hub does not have.
    let cache = Arc::make_mut(&mut seen.cache);
    cache.spec.source.revision = "v2".to_owned();
    cache.metadata.generation = Some(2);
    let missing = refused(&seen.cache, Reason::RevisionNotFound);
    let mut seen = reconciled(seen, &missing, at(20));
    assert_eq!(available(&seen), (Answer::True, Reason::Available));
    assert!(!condition::holds(seen.cache.conditions(), ConditionType::Ready));

    seen.claim.as_mut().unwrap().metadata.uid = Some("another-uid".to_owned());
    let seen = reconciled(seen, &checked, at(30));
    assert_eq!(available(&seen), (Answer::False, Reason::NoSnapshot));
}

#[test]
fn a_failed_attempt_says_why_waits_and_is_followed_by_the_next() {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    seen.attempts = vec![ended(job, "Failed", Some(&report("HashMismatch")), at(10))];
    let plan = planned(&seen, &checked, IMAGE, at(12));
    assert_eq!(plan.downloaded.reason, Reason::HashMismatch);
    assert_eq!(plan.downloaded.message, "Because.");
    let pause = plan.requeue.unwrap();
    assert!(pause >= Duration::from_secs(8) && pause <= Duration::from_secs(9), "{pause:?}");

    let next = next_job(&seen, &checked, at(25));
    assert_eq!(next.labels()[api::LABEL_ATTEMPT], "2");
    seen.attempts.push(running(next));
    let plan = planned(&seen, &checked, IMAGE, at(26));
    assert_eq!(plan.obsolete.len(), 1, "the earlier attempt goes");
}

#[test]
fn a_corrected_secret_starts_the_next_attempt_at_once() {
    let (mut seen, checked) = bound(with_token(cache()));
    let token = |version: &str| {
        let token = crate::hub::Token::parse("hf_x").unwrap();
        observation::SecretState::Present(token, version.to_owned())
    };
    seen.secret = token("1");
    let job = next_job(&seen, &checked, at(0));
    seen.attempts = vec![ended(job, "Failed", Some(&report("TokenInvalid")), at(10))];
    assert_eq!(reason(&seen, &checked, 11), Reason::TokenInvalid);
    seen.secret = token("2");
    assert_eq!(next_job(&seen, &checked, at(11)).labels()[api::LABEL_ATTEMPT], "2");
}

#[test]
fn what_a_person_does_starts_the_next_attempt_at_once() {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    let failed = |report: &str| vec![ended(job.clone(), "Failed", Some(report), at(10))];
    let attempt = |seen: &observation::Observation| {
        planned(seen, &checked, IMAGE, at(11)).job.map(|job| job.labels()[api::LABEL_ATTEMPT].clone())
    };
    seen.attempts = failed(&report("OutOfMemory"));
    assert_eq!(attempt(&seen), None);

    let mut corrected = seen.clone();
    let job = &mut Arc::make_mut(&mut corrected.cache).spec.job;
    job.node_selector = [("pool".to_owned(), "large".to_owned())].into();
    assert_eq!(attempt(&corrected).as_deref(), Some("2"));

    let ask = |seen: &mut observation::Observation| {
        let annotations = Arc::make_mut(&mut seen.cache).annotations_mut();
        annotations.insert(api::ANNOTATION_RECONCILE_AT.to_owned(), "now".to_owned());
    };
    ask(&mut seen);
    assert_eq!(attempt(&seen).as_deref(), Some("2"));
    let second = next_job(&seen, &checked, at(11));
    let mut again = seen.clone();
    again.attempts = vec![ended(second, "Failed", Some(&report("OutOfMemory")), at(11))];
    assert_eq!(attempt(&again), None, "once for each time that it is asked");
    // The Hub has asked to wait: nothing else counts.
    let limited = report("RateLimited").replace(r#""files""#, r#""retryAfterSeconds":60,"files""#);
    for mut seen in [seen, corrected] {
        seen.attempts = failed(&limited);
        assert_eq!(attempt(&seen), None);
    }
}

#[test]
fn a_job_that_waits_follows_the_claim_and_a_failed_one_keeps_its_pause() {
    let (mut seen, checked) = bound(cache());
    let place = |node: &str| {
        let tolerations = vec![Toleration { key: Some("gpu".to_owned()), ..Toleration::default() }];
        Some(Place { node: node.to_owned(), tolerations })
    };
    seen.place = place("a");
    let job = next_job(&seen, &checked, at(0));
    let template = job.spec.clone().unwrap().template.spec.unwrap();
    assert_eq!(template.affinity, Some(seen.place.as_ref().unwrap().affinity()));
    assert_eq!(template.tolerations, Some(seen.place.as_ref().unwrap().tolerations.clone()));
    let attempt = |seen: &observation::Observation| {
        planned(seen, &checked, IMAGE, at(11)).job.map(|job| job.labels()[api::LABEL_ATTEMPT].clone())
    };

    let waits = |node: Option<&str>| {
        let mut attempt = running(job.clone());
        let pod = attempt.pod.as_mut().unwrap();
        pod.status.as_mut().unwrap().phase = Some("Pending".to_owned());
        pod.spec = Some(PodSpec { node_name: node.map(ToOwned::to_owned), ..PodSpec::default() });
        vec![attempt]
    };
    for (place, node, followed) in [
        (place("a"), None, None),
        (place("a"), Some("a"), None),
        (place("b"), None, Some("2")),
        (place("b"), Some("a"), Some("2")),
        (None, None, Some("2")),
        (None, Some("a"), None),
    ] {
        seen.place = place;
        seen.attempts = waits(node);
        assert_eq!(attempt(&seen).as_deref(), followed, "{:?} {node:?}", seen.place);
    }

    // Nor is one taken away where none can be made in its place.
    seen.place = place("b");
    seen.attempts = waits(None);
    let pinned = reconciled(seen.clone(), &checked, at(11));
    let away = planned(&pinned, &refused(&pinned.cache, Reason::HubUnreachable), IMAGE, at(12));
    assert_eq!((away.job, away.obsolete.len(), away.downloaded.reason), (None, 0, Reason::JobPending));

    seen.attempts = vec![ended(job.clone(), "Failed", Some(&report("HashMismatch")), at(10))];
    for other in [None, place("b")] {
        seen.place = other;
        assert_eq!(attempt(&seen), None, "who uses the claim has corrected nothing");
    }

    // A user's own rules are the only ones.
    Arc::make_mut(&mut seen.cache).spec.job.node_selector = [("pool".to_owned(), "large".to_owned())].into();
    seen.attempts = Vec::new();
    let job = next_job(&seen, &checked, at(11));
    assert_eq!(job.spec.unwrap().template.spec.unwrap().affinity, None);
}

#[test]
fn a_pod_without_a_report_is_told_by_what_kubernetes_knows() {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    let mut killed = ended(job.clone(), "Failed", None, at(10));
    let status = killed.pod.as_mut().unwrap().status.as_mut().unwrap();
    status.container_statuses.as_mut().unwrap()[0]
        .state
        .as_mut()
        .unwrap()
        .terminated
        .as_mut()
        .unwrap()
        .reason = Some("OOMKilled".to_owned());
    seen.attempts = vec![killed];
    assert_eq!(reason(&seen, &checked, 11), Reason::OutOfMemory);

    let mut evicted = ended(job.clone(), "Failed", None, at(10));
    evicted.pod.as_mut().unwrap().status.as_mut().unwrap().reason = Some("Evicted".to_owned());
    seen.attempts = vec![evicted];
    assert_eq!(reason(&seen, &checked, 11), Reason::Evicted);

    let mut gone = ended(job.clone(), "Failed", None, at(10));
    gone.pod = None;
    seen.attempts = vec![gone];
    assert_eq!(reason(&seen, &checked, 11), Reason::DownloadFailed);

    let quota = "Error creating: pods \"tiny-x2k8p\" is forbidden: exceeded quota: few";
    seen.attempts = vec![Attempt {
        job,
        pod: None,
        said: Some(Complaint { reason: "FailedCreate".to_owned(), message: quota.to_owned() }),
    }];
    let plan = planned(&seen, &checked, IMAGE, at(11));
    assert_eq!(plan.downloaded.reason, Reason::JobRejected);
    let reported =
        "The Job's pod is refused: exceeded quota: few. It goes on by itself where others make room.";
    assert_eq!(plan.downloaded.message, reported);
}

#[test]
fn a_shared_claim_is_filled_by_one_job_at_a_time() {
    let mut seen = seen(cache());
    seen.claim = Some(bound_claim(&seen.cache));
    seen.busy = Some("other-job".to_owned());
    let plan = planned(&seen, &granted(&seen.cache), IMAGE, at(0));
    assert_eq!(plan.job, None);
    assert_eq!(plan.downloaded.message, "The Job other-job fills the same claim; this one comes next.");
}

#[test]
fn two_that_want_one_ref_at_two_commits_conflict_and_the_older_wins() {
    let (mut seen, checked) = bound(cache());
    let neighbour = |created, commit: &str| Neighbour {
        name: "older".to_owned(),
        created: Some(at(created)),
        refs: ["main".to_owned()].into(),
        commit: Some(commit.to_owned()),
        holds: false,
        is_coming: true,
    };
    let other = "f".repeat(40);
    seen.neighbours = vec![neighbour(-10, &other)];
    assert_eq!(reason(&seen, &checked, 0), Reason::RefConflict);
    seen.neighbours = vec![neighbour(10, &other)];
    assert_eq!(reason(&seen, &checked, 0), Reason::JobPending, "the younger one gives way");
    seen.neighbours[0].holds = true;
    assert_eq!(reason(&seen, &checked, 0), Reason::RefConflict, "unless its data are there already");
    seen.neighbours = vec![neighbour(-10, COMMIT)];
    assert_eq!(reason(&seen, &checked, 0), Reason::JobPending, "the same commit is no conflict");
    seen.neighbours = vec![Neighbour { is_coming: false, ..neighbour(-10, &other) }];
    assert_eq!(
        reason(&seen, &checked, 0),
        Reason::JobPending,
        "one that requires user action blocks no other"
    );
    seen.neighbours = vec![neighbour(-10, &other)];
    let message = |seen: &observation::Observation| planned(seen, &checked, IMAGE, at(0)).downloaded.message;
    assert!(message(&seen).contains(&format!("at commit {other}. Give this one the same revision, or")));
    let source = &mut std::sync::Arc::make_mut(&mut seen.cache).spec.source;
    (source.revision, source.aliases) = ("v2".to_owned(), vec!["main".to_owned()]);
    assert!(message(&seen).contains(&format!("at commit {other}. Take main out of spec.source.aliases, or")));
}

#[test]
fn a_commit_without_a_name_is_found_as_main_unless_another_one_is() {
    let mut cache = cache();
    cache.spec.source.revision = COMMIT.to_owned();
    let (mut seen, checked) = bound(cache);
    let neighbour = |created, revision: &str| Neighbour {
        name: "other".to_owned(),
        created: Some(at(created)),
        refs: [revision.to_owned()].into(),
        commit: None,
        holds: false,
        is_coming: true,
    };
    let is_main = |seen: &observation::Observation| {
        let job = next_job(seen, &checked, at(0));
        let pod = job.spec.unwrap().template.spec.unwrap();
        pod.containers[0].args.as_ref().unwrap().contains(&"--alias=main".to_owned())
    };
    let other = "f".repeat(40);
    for (neighbours, expected) in [
        (vec![], true),
        (vec![neighbour(10, "main")], false),
        (vec![neighbour(-10, "v1")], true),
        (vec![neighbour(10, &other)], true),
        (vec![neighbour(-10, &other)], false),
        (vec![Neighbour { is_coming: false, ..neighbour(-10, &other) }], true),
        (vec![Neighbour { holds: true, ..neighbour(10, &other) }], false),
    ] {
        seen.neighbours = neighbours;
        assert_eq!(is_main(&seen), expected, "{:?}", seen.neighbours);
    }
    // One that has a name keeps to it.
    seen.neighbours = vec![];
    std::sync::Arc::make_mut(&mut seen.cache).spec.source.aliases = vec!["v1".to_owned()];
    assert!(!is_main(&seen));
}

#[test]
fn a_branch_stays_where_it_was_pinned() {
    let (seen, checked) = bound(cache());
    let seen = reconciled(seen, &checked, at(0));
    let mut moved = checked.clone();
    let snapshot = moved.snapshot.as_mut().unwrap();
    snapshot.latest = "f".repeat(40).parse().ok();
    let before = next_job(&seen, &checked, at(0)).name_any();
    assert_eq!(next_job(&seen, &moved, at(1)).name_any(), before);
}

#[test]
fn what_a_person_must_mend_stalls_and_what_time_mends_reconciles() {
    let seen = seen(cache());
    let conditions = |reason| {
        let checked = refused(&seen.cache, reason);
        reconciled(seen.clone(), &checked, at(0)).cache.status.clone().unwrap().conditions
    };
    let stalled = conditions(Reason::TermsNotAccepted);
    assert_eq!(condition::find(&stalled, ConditionType::Stalled).unwrap().reason, "TermsNotAccepted");
    assert!(condition::find(&stalled, ConditionType::Reconciling).is_none());
    let ready = condition::find(&stalled, ConditionType::Ready).unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), (Answer::False.as_str(), "TermsNotAccepted"));

    let waiting = conditions(Reason::HubUnreachable);
    assert!(condition::find(&waiting, ConditionType::Stalled).is_none());
    assert_eq!(condition::find(&waiting, ConditionType::Reconciling).unwrap().reason, "HubUnreachable");
}

#[test]
fn a_claim_that_is_to_go_is_not_held_by_a_finished_job() {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    let name = job.name_any();
    seen.attempts = vec![ended(job, "Complete", Some(&report("Verified")), at(10))];
    let mut seen = reconciled(seen, &checked, at(10));
    seen.claim.as_mut().unwrap().metadata.deletion_timestamp = seen.cache.metadata.creation_timestamp.clone();
    let plan = planned(&seen, &checked, IMAGE, at(20));
    assert_eq!((plan.downloaded.reason, plan.obsolete), (Reason::ClaimTerminating, vec![name]));
}

#[test]
fn a_job_that_cannot_start_is_made_again_when_what_it_is_made_from_changes() {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    let name = job.name_any();
    seen.attempts = vec![Attempt { job: job.clone(), pod: None, said: None }];
    assert_eq!(planned(&seen, &checked, IMAGE, at(1)).job, None);

    let plan = planned(&seen, &checked, "corrected", at(1));
    assert_eq!(plan.job.unwrap().labels()[api::LABEL_ATTEMPT], "2");
    assert_eq!(plan.obsolete, [name]);

    seen.attempts = vec![running(job)];
    assert_eq!(planned(&seen, &checked, "corrected", at(1)).job, None, "a running download is left alone");
}

#[test]
fn a_disrupted_pod_does_not_count_as_a_download() {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    let mut evicted = running(job.clone());
    let status = evicted.pod.as_mut().unwrap().status.as_mut().unwrap();
    status.phase = Some("Failed".to_owned());
    status.reason = Some("Evicted".to_owned());
    seen.attempts = vec![evicted];
    assert_eq!(reason(&seen, &checked, 1), Reason::Evicted);

    let mut ending = running(job);
    ending.pod.as_mut().unwrap().metadata.deletion_timestamp = seen.cache.metadata.creation_timestamp.clone();
    seen.attempts = vec![ending];
    assert_eq!(reason(&seen, &checked, 1), Reason::JobPending);
}

#[test]
fn what_a_pod_ended_for_is_said_before_its_job_has_recorded_it() {
    let (mut seen, checked) = bound(cache());
    let mut failed = ended(next_job(&seen, &checked, at(0)), "Failed", Some(&report("TokenInvalid")), at(10));
    failed.job.status = None;
    seen.attempts = vec![failed];
    let plan = planned(&seen, &checked, IMAGE, at(11));
    assert_eq!((plan.downloaded.reason, &*plan.downloaded.message), (Reason::TokenInvalid, "Because."));
    assert_eq!((plan.job, plan.obsolete), (None, vec![]));
}

#[test]
fn a_container_beside_ours_cannot_undo_a_good_report() {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    let mut failed = ended(job, "Failed", Some(&report("Verified")), at(10));
    let statuses = failed.pod.as_mut().unwrap().status.as_mut().unwrap().container_statuses.as_mut().unwrap();
    statuses[0].state.as_mut().unwrap().terminated.as_mut().unwrap().exit_code = 0;
    seen.attempts = vec![failed];
    assert_eq!(reason(&seen, &checked, 11), Reason::Verified);
}

#[test]
fn a_finished_job_is_looked_at_when_its_hour_is_over() {
    let (seen, checked) = downloaded();
    assert_eq!(planned(&seen, &checked, IMAGE, at(610)).requeue, Some(Duration::from_secs(3000)));
}

#[test]
fn an_endpoint_that_is_taken_away_leaves_the_data_ready() {
    let (seen, checked) = downloaded();
    let refused = source::endpoint(&seen.cache.spec, &[]).unwrap_err();
    let checked = access::AccessReport::stopped(checked.wanted.unwrap(), refused);
    let conditions = reconciled(seen, &checked, at(20)).cache.status.clone().unwrap().conditions;
    assert!(condition::holds(&conditions, ConditionType::Ready));
    assert_eq!(condition::find(&conditions, ConditionType::Authorized).unwrap().reason, "EndpointNotAllowed");
}

#[test]
fn nothing_is_made_while_suspended_and_what_is_there_is_told() {
    let mut paused = cache();
    paused.spec.suspend = true;
    let mut seen = seen(paused);
    let plan = planned(&seen, &granted(&seen.cache), IMAGE, at(0));
    assert_eq!((plan.claim, plan.downloaded.reason), (None, Reason::Suspended));
    seen.claim = Some(bound_claim(&seen.cache));
    let plan = planned(&seen, &granted(&seen.cache), IMAGE, at(0));
    assert_eq!((plan.job, plan.downloaded.reason), (None, Reason::Suspended));

    let nothing_known = access::AccessReport::suspended(&seen.cache);
    let status = reconciled(seen, &nothing_known, at(0)).cache.status.clone().unwrap();
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(
        condition::find(&status.conditions, ConditionType::Authenticated).unwrap().reason,
        "NotChecked"
    );
    assert_eq!(condition::find(&status.conditions, ConditionType::Ready).unwrap().reason, "Suspended");
}

#[test]
fn a_branch_that_moved_on_is_told_and_not_followed() {
    let (seen, mut checked) = downloaded();
    let before = seen.cache.status.clone().unwrap();
    assert!(condition::find(&before.conditions, ConditionType::UpdateAvailable).is_none());
    checked.snapshot.as_mut().unwrap().latest = "f".repeat(40).parse().ok();
    let after = reconciled(seen, &checked, at(20)).cache.status.clone().unwrap();
    assert!(condition::holds(&after.conditions, ConditionType::UpdateAvailable));
    assert!(condition::holds(&after.conditions, ConditionType::Ready));
    assert_eq!(after.snapshots, before.snapshots);
}

#[test]
fn a_report_that_is_not_the_jobs_own_counts_for_nothing() {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    let forged = report("Verified").replace(COMMIT, "89abcdef0123456789abcdef0123456789abcdef");
    let mut lying = ended(job.clone(), "Failed", Some(&report("Verified")), at(10));
    let statuses = lying.pod.as_mut().unwrap().status.as_mut().unwrap().container_statuses.as_mut().unwrap();
    statuses[0].state.as_mut().unwrap().terminated.as_mut().unwrap().exit_code = 137;
    let (hash, ready) = (report("HashMismatch"), report("Ready"));
    let mut attempts = vec![(lying, "exit code 137 and a report that does not count")];
    for (condition, message, said) in [
        ("Complete", Some(&forged), "it is about another revision"),
        ("Complete", Some(&hash), "the container ended well"),
        ("Complete", None, "no report"),
        ("Failed", Some(&ready), "its reason is none of a download"),
    ] {
        attempts.push((ended(job.clone(), condition, message.map(String::as_str), at(10)), said));
    }
    for (attempt, said) in attempts {
        seen.attempts = vec![attempt];
        let plan = planned(&seen, &checked, IMAGE, at(11));
        assert_eq!(plan.downloaded.reason, Reason::DownloadFailed, "{}", plan.downloaded.message);
        assert!(plan.downloaded.message.contains(said), "{}", plan.downloaded.message);
        assert_eq!(plan.snapshots, []);
        assert!(plan.requeue.is_some(), "it is run again");
        assert_eq!(next_job(&seen, &checked, at(100)).labels()[api::LABEL_ATTEMPT], "2");
    }
}

#[test]
fn a_time_that_cannot_be_is_not_believed() {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    // The API server refuses a status with a year before the first.
    for (time, believed) in
        [("2999-01-01T00:00:00Z", at(10)), ("-000042-01-01T00:00:00Z", jiff::Timestamp::UNIX_EPOCH)]
    {
        let reported = report("Verified").replace("2026-01-01T12:00:09Z", time);
        seen.attempts = vec![ended(job.clone(), "Complete", Some(&reported), at(10))];
        let plan = planned(&seen, &checked, IMAGE, at(11));
        assert_eq!(plan.snapshots[0].verified_at.as_ref().unwrap().0, believed);
    }
}

#[test]
fn a_job_that_hangs_is_ended_and_made_again() {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    let deadline = job.spec.as_ref().unwrap().active_deadline_seconds;
    assert_eq!(deadline, Some(6 * 3600 + 100), "six hours and a second for each MiB");
    // With a report of the stopped container, and without a pod.
    let stopped = ended(job.clone(), "Failed", Some(&report("Stopped")), at(10));
    let mut gone = ended(job, "Failed", None, at(10));
    gone.pod = None;
    for mut attempt in [stopped, gone] {
        let status = attempt.job.status.as_mut().unwrap();
        status.conditions.as_mut().unwrap()[0].reason = Some("DeadlineExceeded".to_owned());
        seen.attempts = vec![attempt];
        let plan = planned(&seen, &checked, IMAGE, at(11));
        assert_eq!(plan.downloaded.reason, Reason::TransferStalled);
        assert!(plan.downloaded.message.contains("deadline"), "{}", plan.downloaded.message);
        assert_eq!(next_job(&seen, &checked, at(100)).labels()[api::LABEL_ATTEMPT], "2");
    }
}

#[test]
fn a_folder_that_the_node_cannot_mount_is_a_condition_with_a_remedy() {
    let (mut seen, checked) = bound(cache());
    let mut attempt = running(next_job(&seen, &checked, at(0)));
    let words = "failed to create subPath directory for volumeMount \"cache\" of container \"fetch\"";
    let waiting = serde_json::json!({
        "phase": "Pending",
        "containerStatuses": [{
            "name": "fetch", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "CreateContainerConfigError", "message": words } },
        }],
    });
    attempt.pod.as_mut().unwrap().status = Some(serde_json::from_value(waiting).unwrap());
    seen.attempts = vec![attempt];
    let plan = planned(&seen, &checked, IMAGE, at(11));
    assert_eq!(plan.downloaded.reason, Reason::VolumeNotWritable);
    for part in [words, "Make spec.storage.subPath a folder"] {
        assert!(plan.downloaded.message.contains(part), "{}", plan.downloaded.message);
    }
    assert!(plan.requeue.is_some());
}

#[test]
fn a_deleted_pod_is_told_as_such() {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    let limit = |mut attempt: Attempt| {
        let status = attempt.job.status.as_mut().unwrap();
        status.conditions.as_mut().unwrap()[0].reason = Some("BackoffLimitExceeded".to_owned());
        attempt
    };
    let mut gone = limit(ended(job.clone(), "Failed", None, at(10)));
    gone.pod = None;
    let mut going = limit(ended(job.clone(), "Failed", None, at(10)));
    going.pod.as_mut().unwrap().metadata.deletion_timestamp = seen.cache.metadata.creation_timestamp.clone();
    for attempt in [gone, going] {
        seen.attempts = vec![attempt];
        let reported = planned(&seen, &checked, IMAGE, at(11)).downloaded;
        assert_eq!(reported.reason, Reason::Stopped);
        assert!(reported.message.starts_with("The Job's pod was deleted"), "{}", reported.message);
    }
    seen.attempts = vec![limit(ended(job, "Failed", None, at(10)))];
    assert_eq!(
        reason(&seen, &checked, 11),
        Reason::DownloadFailed,
        "a container that failed is no deleted pod"
    );
}

#[test]
fn what_others_say_of_claim_and_pod_is_in_the_message() {
    let (mut seen, checked) = bound(cache());
    let mut attempt = running(next_job(&seen, &checked, at(0)));
    let pod = attempt.pod.as_mut().unwrap();
    pod.status.as_mut().unwrap().phase = Some("Pending".to_owned());
    pod.spec = Some(PodSpec { node_name: Some("a".to_owned()), ..PodSpec::default() });
    let said =
        |reason: &str, message: &str| Complaint { reason: reason.to_owned(), message: message.to_owned() };
    attempt.said = Some(said("FailedMount", "MountVolume.SetUp failed for volume \"pv\": no such driver."));
    seen.attempts = vec![attempt];
    let reported = planned(&seen, &checked, IMAGE, at(30));
    assert_eq!(
        (reported.downloaded.reason, reported.help),
        (Reason::JobPending, patience::help(Reason::JobPending))
    );
    assert_eq!(
        reported.downloaded.message,
        "The Job's pod does not start on node a: FailedMount: MountVolume.SetUp failed for volume \"pv\": no such driver."
    );
    seen.claim.as_mut().unwrap().status.as_mut().unwrap().phase = Some("Pending".to_owned());
    seen.claim_said = Some(said("ProvisioningFailed", "storageclass.storage.k8s.io \"fast\" not found"));
    let reported = planned(&seen, &checked, IMAGE, at(30));
    assert_eq!(
        (reported.downloaded.reason, reported.help),
        (Reason::ClaimPending, patience::Help::UserAction)
    );
    assert!(
        reported.downloaded.message.contains("cannot be changed later"),
        "{}",
        reported.downloaded.message
    );
}

#[test]
fn a_claim_without_files_is_refused_before_anything_is_made_and_what_is_there_stays() {
    let (mut seen, checked) = bound(cache());
    let block = |claim: &mut k8s_openapi::api::core::v1::PersistentVolumeClaim| {
        claim.spec.as_mut().unwrap().volume_mode = Some("Block".to_owned());
    };
    block(seen.claim.as_mut().unwrap());
    // Whatever the Hub says.
    for checked in [checked, refused(&seen.cache, Reason::HubUnreachable)] {
        let plan = planned(&seen, &checked, IMAGE, at(0));
        assert_eq!((plan.downloaded.reason, plan.job), (Reason::VolumeNotWritable, None));
        assert!(plan.downloaded.message.contains("volumeMode Block"), "{}", plan.downloaded.message);
    }
    let (mut there, checked) = downloaded();
    block(there.claim.as_mut().unwrap());
    assert_eq!(reason(&there, &checked, 20), Reason::Verified);
}

#[test]
fn a_pause_shows_whatever_was_before_and_on_what_is_ready() {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    Arc::make_mut(&mut seen.cache).spec.suspend = true;
    seen.attempts = vec![ended(job, "Failed", Some(&report("VolumeFull")), at(10))];
    let terms = refused(&seen.cache, Reason::TermsNotAccepted);
    for checked in [&checked, &terms] {
        let reported = reconciled(seen.clone(), checked, at(11));
        let ready =
            condition::find(reported.cache.conditions(), ConditionType::Ready).unwrap().reason.clone();
        assert_eq!(ready, "Suspended");
        assert!(condition::find(reported.cache.conditions(), ConditionType::Stalled).is_none());
    }
    let (mut there, checked) = downloaded();
    Arc::make_mut(&mut there.cache).spec.suspend = true;
    let reported = reconciled(there, &checked, at(20));
    let ready = condition::find(reported.cache.conditions(), ConditionType::Ready).unwrap();
    assert_eq!(ready.status, "True");
    assert!(ready.message.contains("while spec.suspend is true"), "{}", ready.message);
}

#[test]
fn who_waits_for_the_hub_is_told_until_when_and_a_full_volume_has_its_name() {
    let (mut seen, checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    let mut said = |word: &str| {
        seen.attempts = vec![ended(job.clone(), "Failed", Some(&report(word)), at(10))];
        planned(&seen, &checked, IMAGE, at(11)).downloaded.message
    };
    let away = said("HubUnreachable");
    assert!(away.starts_with("Because. The next attempt is at 2026-01-01T12:00:2"), "{away}");
    assert_eq!(said("VolumeFull"), "Because. To grow the claim: kubectl edit pvc tiny -n team");
}

#[test]
fn the_first_progress_comes_soon_and_the_rest_costs_little() {
    let (mut seen, checked) = bound(cache());
    let mut attempt = running(next_job(&seen, &checked, at(0)));
    let status = serde_json::json!({
        "name": "fetch", "state": { "running": { "startedAt": "2026-01-01T12:00:00Z" } },
        "image": "", "imageID": "", "ready": true, "restartCount": 0,
    });
    let pod = attempt.pod.as_mut().unwrap().status.as_mut().unwrap();
    pod.container_statuses = Some(vec![serde_json::from_value(status).unwrap()]);
    seen.attempts = vec![attempt];
    let pause = |now| planned(&seen, &checked, IMAGE, at(now)).requeue.unwrap().as_secs();
    assert_eq!([0, 9, 10, 3600].map(pause), [4, 4, 12, 12]);
}
