//! Refs that name what is there: aliases, the way back, and what becomes of them while Jobs come and go.

use pretty_assertions::assert_eq;

use super::*;

/// The download of `v2`, at another commit, after that of `main`.
fn moved_on() -> (observation::Observation, access::AccessReport) {
    let (mut seen, mut checked) = downloaded();
    asks_for(&mut seen, "v2");
    checked.wanted = Some(source::Wanted::parse(&seen.cache.spec).unwrap());
    checked.snapshot.as_mut().unwrap().commit = OTHER.parse().unwrap();
    let job = next_job(&seen, &checked, at(20));
    seen.attempts = vec![ended(job, "Complete", Some(&report("Verified").replace(COMMIT, OTHER)), at(30))];
    (reconciled(seen, &checked, at(30)), checked)
}

const OTHER: &str = "89abcdef0123456789abcdef0123456789abcdef";

fn asks_for(seen: &mut observation::Observation, revision: &str) {
    let cache = Arc::make_mut(&mut seen.cache);
    cache.spec.source.revision = revision.to_owned();
    cache.metadata.generation = cache.metadata.generation.map(|generation| generation + 1);
}

/// The commits on the volume, with the refs that name them.
fn listed(seen: &observation::Observation) -> Vec<(String, api::Kept, Vec<String>)> {
    let all = &seen.cache.status.as_ref().unwrap().snapshots;
    all.iter().map(|it| (it.commit.clone(), it.kept, it.refs.clone())).collect()
}

fn refs(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn arguments(job: &k8s_openapi::api::batch::v1::Job) -> Vec<String> {
    job.spec.clone().unwrap().template.spec.unwrap().containers[0].args.clone().unwrap()
}

#[test]
fn the_way_back_takes_no_download_and_no_hub() {
    let (mut seen, _) = moved_on();
    let (first, second) = (COMMIT.to_owned(), OTHER.to_owned());
    let expected = [
        (second.clone(), api::Kept::Current, refs(&["v2"])),
        (first.clone(), api::Kept::Previous, refs(&["main"])),
    ];
    assert_eq!(listed(&seen), expected);

    asks_for(&mut seen, COMMIT);
    let away = refused(&seen.cache, Reason::HubUnreachable);
    let job = next_job(&seen, &away, at(40));
    let asked = arguments(&job);
    assert!(asked.contains(&format!("--revision={COMMIT}")) && asked.contains(&"--alias=main".to_owned()));
    assert!(!asked.iter().any(|it| it.starts_with("--endpoint") || it.starts_with("--token")), "{asked:?}");
    seen.attempts = vec![running(job.clone())];
    let waits = planned(&seen, &away, IMAGE, at(41)).downloaded;
    assert!(waits.message.ends_with("makes commit 0123456 on the claim tiny the current one."), "{waits:?}");
    let reported = reconciled(seen.clone(), &away, at(41));
    assert!(
        condition::holds(reported.cache.conditions(), ConditionType::Available),
        "pods start with what is there"
    );

    seen.attempts = vec![ended(job, "Complete", Some(&report("Verified")), at(42))];
    let seen = reconciled(seen, &away, at(42));
    assert!(condition::holds(seen.cache.conditions(), ConditionType::Ready));
    let expected =
        [(first, api::Kept::Current, refs(&["main"])), (second, api::Kept::Previous, refs(&["v2"]))];
    assert_eq!(listed(&seen), expected);
    assert_eq!(seen.cache.status.as_ref().unwrap().resolved.as_ref().unwrap().files, 3);
}

#[test]
fn an_alias_that_is_added_downloads_nothing() {
    let (mut seen, mut checked) = downloaded();
    Arc::make_mut(&mut seen.cache).spec.source.aliases = vec!["stable".to_owned()];
    checked.wanted = Some(source::Wanted::parse(&seen.cache.spec).unwrap());
    let job = next_job(&seen, &refused(&seen.cache, Reason::TermsNotAccepted), at(20));
    assert!(arguments(&job).contains(&"--alias=stable".to_owned()));
    seen.attempts.push(ended(job, "Complete", Some(&report("Verified")), at(21)));
    let seen = reconciled(seen, &checked, at(21));
    assert_eq!(listed(&seen), [(COMMIT.to_owned(), api::Kept::Current, refs(&["main", "stable"]))]);
    let plan = planned(&seen, &checked, IMAGE, at(22));
    assert_eq!((plan.job, plan.obsolete), (None, vec![]), "both Jobs stay for an hour");
    assert_eq!(planned(&seen, &checked, IMAGE, at(4000)).obsolete.len(), 2);
}

#[test]
fn what_has_gone_from_the_volume_meanwhile_is_downloaded_again() {
    let (mut seen, mut checked) = moved_on();
    asks_for(&mut seen, COMMIT);
    checked.wanted = Some(source::Wanted::parse(&seen.cache.spec).unwrap());
    checked.snapshot.as_mut().unwrap().commit = COMMIT.parse().unwrap();
    let job = next_job(&seen, &checked, at(40));
    let gone = report("HubUnreachable").replace(&format!(r#""commit":"{COMMIT}","#), "");
    seen.attempts = vec![ended(job, "Failed", Some(&gone), at(41))];
    let fetch = next_job(&seen, &checked, at(41));
    assert!(arguments(&fetch).contains(&"--endpoint=https://huggingface.co".to_owned()));
    let mut seen = reconciled(seen, &checked, at(41));
    assert_eq!(listed(&seen), [(OTHER.to_owned(), api::Kept::Current, refs(&["v2"]))]);

    let mut fetch = ended(fetch, "Complete", Some(&report("Verified")), at(50));
    fetch.job.metadata.creation_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(41)));
    seen.attempts.push(fetch);
    let seen = reconciled(seen, &checked, at(50));
    assert!(condition::holds(seen.cache.conditions(), ConditionType::Ready));
    assert_eq!(planned(&seen, &checked, IMAGE, at(51)).job, None);
}

#[test]
fn an_alias_that_comes_during_the_download_is_not_reported_as_there() {
    let (mut seen, mut checked) = bound(cache());
    let job = next_job(&seen, &checked, at(0));
    Arc::make_mut(&mut seen.cache).spec.source.aliases = vec!["stable".to_owned()];
    checked.wanted = Some(source::Wanted::parse(&seen.cache.spec).unwrap());
    seen.attempts = vec![ended(job, "Complete", Some(&report("Verified")), at(10))];
    let seen = reconciled(seen, &checked, at(10));
    assert!(!condition::holds(seen.cache.conditions(), ConditionType::Ready));
    assert!(condition::holds(seen.cache.conditions(), ConditionType::Available));
    assert_eq!(listed(&seen), [(COMMIT.to_owned(), api::Kept::Current, refs(&["main"]))]);
    let job = next_job(&seen, &checked, at(11));
    assert!(arguments(&job).contains(&"--alias=stable".to_owned()));
    assert!(!arguments(&job).iter().any(|it| it.starts_with("--endpoint")), "it only updates refs");
}

/// The operator was away while the Job ended, and so was its report when the spec went back.
#[test]
fn refs_that_a_job_may_have_moved_are_written_again() {
    let (mut seen, checked) = downloaded();
    asks_for(&mut seen, OTHER);
    let cache = Arc::make_mut(&mut seen.cache);
    cache.spec.source.aliases = vec!["main".to_owned()];
    let mut other = granted(&seen.cache);
    other.snapshot.as_mut().unwrap().commit = OTHER.parse().unwrap();
    let job = next_job(&seen, &other, at(20));
    assert!(arguments(&job).contains(&"--alias=main".to_owned()));
    let mut back = seen.clone();
    let cache = Arc::make_mut(&mut back.cache);
    cache.spec.source = downloaded().0.cache.spec.source.clone();
    back.attempts = vec![ended(job, "Complete", Some(&report("Verified").replace(COMMIT, OTHER)), at(30))];
    let again = next_job(&back, &checked, at(31));
    assert!(arguments(&again).contains(&format!("--revision={COMMIT}")));
    assert!(arguments(&again).contains(&"--alias=main".to_owned()));
}

/// A failure of an hour ago, or one that somebody has made up.
#[test]
fn a_failed_update_of_refs_says_nothing_of_a_snapshot_that_is_current() {
    let (mut seen, _) = downloaded();
    Arc::make_mut(&mut seen.cache).spec.source.aliases = vec!["stable".to_owned()];
    let wanted = granted(&seen.cache);
    let update = next_job(&seen, &wanted, at(20));
    let gone = report("HubUnreachable").replace(&format!(r#""commit":"{COMMIT}","#), "");
    let failed = ended(update, "Failed", Some(&gone), at(21));
    // The current snapshot has that alias: the same task, which no one needs.
    let mut current = seen.clone();
    let status = Arc::make_mut(&mut current.cache).status.as_mut().unwrap();
    status.snapshots[0].refs.push("stable".to_owned());
    current.attempts.push(failed);
    let plan = planned(&current, &wanted, IMAGE, at(22));
    assert_eq!((plan.downloaded.reason, plan.job), (Reason::Verified, None));
}

#[test]
fn a_ref_of_a_forged_job_does_not_come_into_the_status() {
    let (mut seen, checked) = bound(cache());
    let mut job = next_job(&seen, &checked, at(0));
    let pod = job.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
    pod.containers[0].args.as_mut().unwrap().push(format!("--alias={}", "x".repeat(5_000)));
    seen.attempts = vec![ended(job, "Complete", Some(&report("Verified")), at(10))];
    let seen = reconciled(seen, &checked, at(10));
    assert_eq!(listed(&seen), [(COMMIT.to_owned(), api::Kept::Current, refs(&["main"]))]);
}
