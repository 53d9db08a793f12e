//! What is kept of the answers, when they are believed, and who waits for whom.

use std::time::Instant;

use futures::{StreamExt as _, future::join_all};
use pretty_assertions::assert_eq;
use standin_hub::{Fault, Harm, Repo, StandinHub};

use super::{report::SECOND_OPINION, *};
use crate::{
    api,
    controller::fixtures::*,
    reason::{Reason, Topic},
};

const HOUR: Duration = Duration::from_secs(3600);

fn next(before: Option<CachedReport>, answer: AccessReport, now: i64) -> CachedReport {
    let inputs = Inputs::of(&seen(cache()));
    CachedReport::next(before, inputs, answer, at(now), at(now), &cache())
}

fn pause(report: &CachedReport, now: i64) -> u64 {
    until(report.next, at(now)).as_secs()
}

/// Reports as often as a reconcile would, until there is an answer that is not asked for again.
async fn settled(prober: &Prober, seen: &Observation, now: Timestamp) -> (AccessReport, Duration) {
    let mut answered = Box::pin(prober.answered(None));
    loop {
        if let Report::Known(checked, pause) = prober.report(seen, now) {
            return (checked, pause);
        }
        let concerns = (seen.cache.namespace().unwrap_or_default(), seen.cache.name_any());
        let about = async { while answered.next().await.is_some_and(|key| key != concerns) {} };
        tokio::time::timeout(Duration::from_secs(120), about).await.expect("there is an answer");
    }
}

/// What is observed of a ModelCache of a namespace, by name and repo, without a token.
fn of(namespace: &str, name: &str, repo: &str) -> Observation {
    let mut cache = cache();
    cache.metadata.namespace = Some(namespace.to_owned());
    cache.metadata.name = Some(name.to_owned());
    repo.clone_into(&mut cache.spec.source.repo);
    seen(cache)
}

#[test]
fn one_refusal_after_a_good_answer_is_not_believed() {
    let good = next(None, granted(&cache()), 0);
    assert!(pause(&good, 0) >= 3600);
    let doubted = next(Some(good), refused(&cache(), Reason::TokenInvalid), 10);
    assert!(doubted.checked.granted(), "the good answer stands");
    assert_eq!(pause(&doubted, 10), 15);
    let believed = next(Some(doubted.clone()), refused(&cache(), Reason::TokenInvalid), 30);
    assert!(!believed.checked.granted());
    let healed = next(Some(doubted), granted(&cache()), 30);
    assert_eq!((healed.checked.granted(), healed.is_doubted), (true, false));
}

#[test]
fn an_outage_shows_at_once_and_is_asked_about_with_growing_pauses() {
    let good = next(None, granted(&cache()), 0);
    let first = next(Some(good), refused(&cache(), Reason::HubUnreachable), 10);
    assert!(!first.checked.granted());
    let second = next(Some(first.clone()), refused(&cache(), Reason::HubUnreachable), 20);
    assert!(pause(&first, 10) < pause(&second, 20));
}

#[test]
fn an_outage_in_between_does_not_make_one_refusal_believable() {
    let good = next(None, granted(&cache()), 0);
    let outage = next(Some(good), refused(&cache(), Reason::HubUnreachable), 10);
    let first = next(Some(outage), refused(&cache(), Reason::TokenInvalid), 20);
    assert_eq!(first.checked.verdicts[1].reason, Reason::HubUnreachable);
    let second = next(Some(first), refused(&cache(), Reason::TokenInvalid), 40);
    assert_eq!(second.checked.verdicts[1].reason, Reason::TokenInvalid);
}

#[test]
fn a_new_process_reads_from_the_resource_that_the_answer_was_good() {
    let (seen, granted) = bound(cache());
    let told = |checked| (*looked(seen.clone(), checked, at(0)).cache).clone();
    let earlier =
        |cache: &ModelCache| CachedReport::earlier(cache, &Inputs::of(&seen.clone()), &endpoint(), at(5));
    let good = told(&granted);
    let report = earlier(&good).unwrap();
    assert_eq!(report.checked, AccessReport { snapshot: None, ..granted.clone() });
    assert_eq!(pause(&report, 5), 0, "the Hub is asked at once");
    let doubted = next(Some(report), refused(&cache(), Reason::TokenInvalid), 10);
    assert_eq!((doubted.checked.granted(), doubted.is_doubted, pause(&doubted, 10)), (true, true, 15));

    assert!(earlier(&cache()).is_none(), "nobody has looked yet");
    assert!(earlier(&told(&refused(&cache(), Reason::TermsNotAccepted))).is_none());
    let mut changed = good.clone();
    changed.metadata.generation = Some(2);
    assert!(earlier(&changed).is_none(), "the answer was to another spec");
    let mut urged = good;
    urged.annotations_mut().insert(api::ANNOTATION_RECONCILE_AT.to_owned(), "1".to_owned());
    assert!(earlier(&urged).is_none(), "who asks for a look wants its answer");
}

#[test]
fn terms_that_are_accepted_on_a_web_page_are_noticed_within_seconds() {
    let refused = next(None, refused(&cache(), Reason::TermsNotAccepted), 0);
    assert!((15..=17).contains(&pause(&refused, 0)));
}

fn requests(hub: &StandinHub, path: &str) -> usize {
    hub.requests().iter().filter(|request| request.path.ends_with(path)).count()
}

/// `whoami-v2` has known the token of a public repo, and is not asked again.
#[tokio::test]
async fn a_good_token_that_is_refused_without_words_is_bad_after_two_refusals_in_two_processes_too() {
    let hub = StandinHub::start().await;
    hub.user("alice").token("hf_alice");
    hub.add(Repo::model("acme/tiny").file("config.json", "{}").branch("main"));
    let connect = || Prober::start(&[hub.url().parse().unwrap()]).unwrap();
    let mut seen = seen(with_token(cache()));
    seen.secret = SecretState::Present("hf_alice".parse().unwrap(), "1".to_owned());
    let prober = connect();
    let (good, interval) = settled(&prober, &seen, Timestamp::now()).await;
    assert!(good.granted() && interval >= HOUR);
    assert_eq!(requests(&hub, "/whoami-v2"), 1);
    let seen = looked(seen, &good, Timestamp::now());

    hub.fault(Fault::new(Harm::Status(401)));
    for (prober, asked) in [(prober, 1), (connect(), 2)] {
        let later = Timestamp::now() + 2 * HOUR;
        let (doubted, pause) = settled(&prober, &seen, later).await;
        assert!(doubted.granted() && pause <= SECOND_OPINION, "{doubted:?}");
        let (refused, _) = settled(&prober, &seen, later + SECOND_OPINION).await;
        assert_eq!(refused.first_unmet().unwrap().reason, Reason::TokenInvalid);
        assert_eq!(requests(&hub, "/whoami-v2"), asked);
    }
}

#[tokio::test]
async fn a_job_that_is_refused_makes_the_operator_ask_too() {
    let hub = StandinHub::start().await;
    hub.user("alice").token("hf_alice");
    hub.add(Repo::model("acme/tiny").file("config.json", "{}").branch("main"));
    let prober = Prober::start(&[hub.url().parse().unwrap()]).unwrap();
    let (mut seen, _) = bound(with_token(cache()));
    seen.secret = SecretState::Present("hf_alice".parse().unwrap(), "1".to_owned());
    let (good, _) = settled(&prober, &seen, Timestamp::now()).await;
    let job = next_job(&seen, &good, Timestamp::now());
    let commit = good.snapshot.as_ref().unwrap().commit.as_str();
    let message = report("TokenInvalid").replace(COMMIT, commit);

    hub.remove_token("hf_alice");
    seen.attempts = vec![running(job.clone())];
    assert_eq!(settled(&prober, &seen, Timestamp::now()).await.0, good, "nothing tells that it changed");
    seen.attempts = vec![ended(job, "Failed", Some(&message), Timestamp::now())];
    let (refused, _) = settled(&prober, &seen, Timestamp::now()).await;
    assert_eq!(refused.first_unmet().unwrap().reason, Reason::TokenInvalid);
    let asked = hub.requests().len();
    settled(&prober, &seen, Timestamp::now()).await;
    assert_eq!(hub.requests().len(), asked, "once for each Job");
}

/// So many new ModelCaches of as many namespaces, each of a repo of its own.
fn crowd(number: usize) -> Vec<Observation> {
    let of_number = |n| of(&format!("team-{n}"), &format!("cache-{n}"), &format!("acme/tiny-{n}"));
    (0..number).map(of_number).collect()
}

async fn all(prober: &Prober, crowd: &[Observation]) -> Vec<AccessReport> {
    let look = async |seen: &Observation| settled(prober, seen, Timestamp::now()).await.0;
    join_all(crowd.iter().map(look)).await
}

fn tiny(id: &str) -> Repo {
    Repo::model(id).file("config.json", "{}").branch("main")
}

#[tokio::test]
async fn all_wait_together_for_a_hub_that_is_down_or_asks_those_without_a_token_to_wait() {
    let crowd = crowd(60);
    for (harm, reason) in
        [(Harm::RateLimit(1), Reason::RateLimited), (Harm::Status(500), Reason::HubUnreachable)]
    {
        let hub = StandinHub::start().await;
        for seen in &crowd {
            hub.add(tiny(&seen.cache.spec.source.repo));
        }
        hub.fault(Fault::new(harm));
        let prober = Prober::start(&[hub.url().parse().unwrap()]).unwrap();
        for checked in &all(&prober, &crowd).await {
            let first = checked.first_unmet().unwrap();
            assert_eq!((first.topic, first.reason), (Topic::Authorized, reason));
            assert!(first.message.contains("The next attempt is at"), "{}", first.message);
        }
        let asked = |hub: &StandinHub| hub.requests().len();
        let first = asked(&hub);
        assert!(first <= 4 * 16, "{first} requests");
        all(&prober, &crowd).await;
        assert!(asked(&hub) <= first + 4, "{} requests more", asked(&hub) - first);

        hub.clear_faults();
        let begun = Instant::now();
        while !settled(&prober, &crowd[50], Timestamp::now()).await.0.granted() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it never asks again");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test]
async fn one_answer_serves_all_who_ask_the_same() {
    /// Access, revision, listing, and a byte of a file, to which the Hub redirects.
    const EACH: usize = 5;
    let hub = StandinHub::start().await;
    hub.add(tiny("acme/tiny"));
    hub.add(tiny("acme/other"));
    let prober = Prober::start(&[hub.url().parse().unwrap()]).unwrap();
    let same: Vec<_> =
        (0..50).map(|n| of(&format!("team-{}", n % 5), &format!("cache-{n}"), "acme/tiny")).collect();
    for checked in all(&prober, &same).await {
        assert!(checked.granted(), "{checked:?}");
    }
    assert_eq!(hub.requests().len(), EACH);

    // At the next interval the first one asks for all again; what a person asks for is asked for at once.
    let later = Timestamp::now() + 2 * HOUR;
    for seen in &same {
        assert!(settled(&prober, seen, later).await.0.granted());
    }
    assert_eq!(hub.requests().len(), 2 * EACH);
    let mut urged = (*same[0].cache).clone();
    urged.annotations_mut().insert(api::ANNOTATION_RECONCILE_AT.to_owned(), "1".to_owned());
    let urged = Observation { cache: Arc::new(urged), ..same[0].clone() };
    settled(&prober, &urged, later + Duration::from_secs(1)).await;
    assert_eq!(hub.requests().len(), 3 * EACH);
    settled(&prober, &of("team-0", "other", "acme/other"), later).await;
    assert_eq!(hub.requests().len(), 4 * EACH);
}

#[tokio::test]
async fn one_who_is_asked_to_wait_keeps_no_other_waiting() {
    let hub = StandinHub::start().await;
    hub.user("alice").token("hf_alice");
    hub.add(tiny("acme/tiny"));
    let prober = Prober::start(&[hub.url().parse().unwrap()]).unwrap();
    hub.fault(Fault::new(Harm::RateLimit(3600)));
    let (limited, _) = settled(&prober, &of("team", "tiny", "acme/tiny"), Timestamp::now()).await;
    assert_eq!(limited.first_unmet().unwrap().reason, Reason::RateLimited);
    hub.clear_faults();
    let mut seen = seen(with_token(cache()));
    seen.secret = SecretState::Present("hf_alice".parse().unwrap(), "1".to_owned());
    let (granted, _) = settled(&prober, &seen, Timestamp::now()).await;
    assert!(granted.granted(), "{granted:?}");
}

#[tokio::test]
async fn a_limit_of_whoami_is_no_limit_of_the_repos() {
    let hub = StandinHub::start().await;
    hub.user("alice").token("hf_alice");
    hub.add(tiny("acme/tiny"));
    hub.fault(Fault::new(Harm::RateLimit(3600)).path("whoami-v2"));
    let prober = Prober::start(&[hub.url().parse().unwrap()]).unwrap();
    let mut seen = seen(with_token(cache()));
    seen.secret = SecretState::Present("hf_alice".parse().unwrap(), "1".to_owned());
    let (checked, pause) = settled(&prober, &seen, Timestamp::now()).await;
    assert_eq!(checked.verdicts[0].reason, Reason::TokenUnconfirmed);
    assert!(checked.verdicts[1].holds() && checked.verdicts[2].holds(), "{checked:?}");
    assert!(pause >= HOUR, "{pause:?}");
    assert_eq!(requests(&hub, "/whoami-v2"), 1);
    settled(&prober, &seen, Timestamp::now() + 2 * HOUR).await;
    assert_eq!(requests(&hub, "/whoami-v2"), 1, "not before the time that it has named");
}

/// A thousand new ones of one tenant, or some whose answers do not come, are not in the way of another's first answer.
#[tokio::test]
async fn one_tenant_keeps_no_other_waiting() {
    let hub = StandinHub::start().await;
    let slow = StandinHub::start().await;
    hub.add(tiny("acme/tiny"));
    hub.fault(Fault::new(Harm::Late(100)));
    for n in 0..1000 {
        hub.add(tiny(&format!("flood/repo-{n}")));
    }
    for n in 0..12 {
        hub.add(tiny(&format!("slow/repo-{n}")));
    }
    hub.fault(Fault::new(Harm::Late(20_000)).path("slow/"));
    slow.fault(Fault::new(Harm::Hang));
    let endpoints = [hub.url().parse().unwrap(), slow.url().parse().unwrap()];
    let prober = Prober::start(&endpoints).unwrap();
    for n in 0..12 {
        assert!(matches!(
            prober.report(&of("slow", &format!("slow-{n}"), &format!("slow/repo-{n}")), Timestamp::now()),
            Report::Pending(_)
        ));
    }
    for n in 0..1000 {
        prober.report(&of("flood", &format!("cache-{n}"), &format!("flood/repo-{n}")), Timestamp::now());
    }
    for n in 0..50 {
        let mut hung = (*of("hung", &format!("cache-{n}"), "acme/hung").cache).clone();
        hung.spec.source.endpoint = Some(slow.url().to_owned());
        prober.report(&seen(hung), Timestamp::now());
    }
    let begun = Instant::now();
    let (granted, _) = settled(&prober, &of("other", "tiny", "acme/tiny"), Timestamp::now()).await;
    assert!(granted.granted(), "{granted:?}");
    let before = |request: &standin_hub::Request| request.path.contains("flood/");
    let asked = hub.requests().iter().filter(|request| before(request)).count();
    assert!(asked < 200, "{asked} requests of the flood came before it, in {:?}", begun.elapsed());
}
