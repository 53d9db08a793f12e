//! What is kept of the answers, and when they are believed.

mod fairness;
mod sharing;

use futures::{StreamExt as _, future::join_all};
use pretty_assertions::assert_eq;
use standin_hub::{Fault, FaultKind, Repo, StandinHub};

use super::{report::SECOND_OPINION, *};
use crate::{
    api,
    controller::fixtures::*,
    reason::{ConditionType, Reason},
};

const HOUR: Duration = Duration::from_secs(3600);

fn next(before: Option<CachedReport>, answer: AccessReport, now: i64) -> CachedReport {
    CachedReport::next(before, answer, at(now), &cache())
}

fn pause(report: &CachedReport, now: i64) -> u64 {
    backoff::elapsed(at(now), report.next).as_secs()
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

fn start(hubs: &[&StandinHub]) -> Prober {
    let endpoints: Vec<_> = hubs.iter().map(|hub| hub.url().parse().unwrap()).collect();
    Prober::start(&endpoints).unwrap()
}

/// What is observed of a ModelCache with a token.
fn with(token: &str, cache: ModelCache) -> Observation {
    Observation {
        secret: SecretState::Present(token.parse().unwrap(), "1".to_owned()),
        ..seen(with_token(cache))
    }
}

fn tiny(id: &str) -> Repo {
    Repo::model(id).file("config.json", "{}").branch("main")
}

/// Reports for each, all at one time.
async fn all(prober: &Prober, crowd: &[Observation], now: Timestamp) -> Vec<AccessReport> {
    join_all(crowd.iter().map(async |seen| settled(prober, seen, now).await.0)).await
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
    assert_eq!(first.checked.authorized.reason, Reason::HubUnreachable);
    let second = next(Some(first), refused(&cache(), Reason::TokenInvalid), 40);
    assert_eq!(second.checked.authorized.reason, Reason::TokenInvalid);
}

#[test]
fn a_new_process_reads_from_the_resource_that_the_answer_was_good() {
    let (seen, granted) = bound(cache());
    let reported = |checked| (*reconciled(seen.clone(), checked, at(0)).cache).clone();
    let earlier = |cache: &ModelCache| CachedReport::earlier(cache, &endpoint(), at(5));
    let good = reported(&granted);
    let report = earlier(&good).unwrap();
    assert_eq!(report.checked, AccessReport { snapshot: None, ..granted.clone() });
    assert_eq!(pause(&report, 5), 0, "the Hub is asked at once");
    let doubted = next(Some(report), refused(&cache(), Reason::TokenInvalid), 10);
    assert_eq!((doubted.checked.granted(), doubted.is_doubted, pause(&doubted, 10)), (true, true, 15));

    assert!(earlier(&cache()).is_none(), "it was never checked");
    assert!(earlier(&reported(&refused(&cache(), Reason::TermsNotAccepted))).is_none());
    let mut changed = good.clone();
    changed.metadata.generation = Some(2);
    assert!(earlier(&changed).is_none(), "the answer was to another spec");
    let mut urged = good;
    urged.annotations_mut().insert(api::ANNOTATION_RECONCILE_AT.to_owned(), "1".to_owned());
    assert!(earlier(&urged).is_none(), "who asks for it wants the new answer");
}

#[test]
fn terms_that_are_accepted_on_a_web_page_are_noticed_within_seconds() {
    let refused = next(None, refused(&cache(), Reason::TermsNotAccepted), 0);
    assert!((15..=17).contains(&pause(&refused, 0)));
}

/// However many Secrets come and go.
#[tokio::test]
async fn tokens_are_forgotten_with_the_last_modelcache_that_refers_to_them() {
    let hub = StandinHub::start().await;
    hub.user("alice").token("hf_alice");
    hub.add(tiny("acme/tiny"));
    let prober = start(&[&hub]);
    let with_secret = |name: &str, secret: &str| {
        let mut seen = with("hf_alice", cache());
        let cache = Arc::make_mut(&mut seen.cache);
        cache.metadata.name = Some(name.to_owned());
        secret.clone_into(&mut cache.spec.token_secret_ref.as_mut().unwrap().name);
        seen
    };
    let crowd = [with_secret("a", "one"), with_secret("b", "one"), with_secret("c", "two")];
    all(&prober, &crowd, Timestamp::now()).await;
    assert_eq!(requests(&hub, "/whoami-v2"), 1, "one question serves the three");
    let namespace = crowd[0].cache.namespace().unwrap();
    let secrets = || locked(&prober.tokens).len();
    assert_eq!(secrets(), 2);
    for (name, left) in [("a", 2), ("b", 1), ("c", 0)] {
        prober.forget(&namespace, name);
        assert_eq!(secrets(), left, "{name}");
    }
}

fn requests(hub: &StandinHub, path: &str) -> usize {
    hub.requests().iter().filter(|request| request.path.ends_with(path)).count()
}

/// `whoami-v2` has known the token of a public repo, and is not asked again.
#[tokio::test]
async fn a_good_token_that_is_refused_without_words_is_bad_after_two_refusals_in_two_processes_too() {
    let hub = StandinHub::start().await;
    hub.user("alice").token("hf_alice");
    hub.add(tiny("acme/tiny"));
    let seen = with("hf_alice", cache());
    let prober = start(&[&hub]);
    let (good, interval) = settled(&prober, &seen, Timestamp::now()).await;
    assert!(good.granted() && interval >= HOUR);
    assert_eq!(requests(&hub, "/whoami-v2"), 1);
    let seen = reconciled(seen, &good, Timestamp::now());

    hub.fault(Fault::new(FaultKind::Status(401)));
    for (prober, asked) in [(prober, 1), (start(&[&hub]), 2)] {
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
    hub.add(tiny("acme/tiny"));
    let prober = start(&[&hub]);
    let (mut seen, _) = bound(with_token(cache()));
    seen.secret = SecretState::Present("hf_alice".parse().unwrap(), "1".to_owned());
    let (good, _) = settled(&prober, &seen, Timestamp::now()).await;
    let job = next_job(&seen, &good, Timestamp::now());
    let commit = good.snapshot.as_ref().unwrap().commit.as_str();
    let message = report("TokenInvalid").replace(COMMIT, commit);

    hub.remove_token("hf_alice");
    seen.attempts = vec![running(job.clone())];
    assert_eq!(settled(&prober, &seen, Timestamp::now()).await.0, good, "nothing shows that it changed");
    seen.attempts = vec![ended(job, "Failed", Some(&message), Timestamp::now())];
    let (refused, _) = settled(&prober, &seen, Timestamp::now()).await;
    assert_eq!(refused.first_unmet().unwrap().reason, Reason::TokenInvalid);
    let asked = hub.requests().len();
    settled(&prober, &seen, Timestamp::now()).await;
    assert_eq!(hub.requests().len(), asked, "once for each Job");
}

/// The spec changes, and time passes until the answer to the new one is used.
#[tokio::test]
async fn an_answer_to_a_changed_spec_is_taken_when_it_has_come() {
    let hub = StandinHub::start().await;
    hub.add(tiny("acme/tiny"));
    hub.add(tiny("acme/other"));
    let prober = start(&[&hub]);
    let before = of("team", "tiny", "acme/tiny");
    settled(&prober, &before, Timestamp::now()).await;

    let mut answered = Box::pin(prober.answered(None));
    let changed = of("team", "tiny", "acme/other");
    assert!(matches!(prober.report(&changed, Timestamp::now()), Report::Pending(_)));
    answered.next().await.unwrap();
    assert!(
        matches!(prober.report(&changed, Timestamp::now()), Report::Known(checked, _) if checked.granted())
    );
}
