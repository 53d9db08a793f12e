//! What is remembered of the answers, and when they are believed.

use futures::future::join_all;
use standin_hub::{Fault, Harm, Repo, StandinHub};

use super::*;
use crate::{
    api,
    controller::fixtures::*,
    reason::{Reason, Topic},
};

const HOUR: Duration = Duration::from_secs(3600);

fn next(before: Option<Memory>, answer: Checked, now: i64) -> Memory {
    let asked = Asked::by(&seen(cache()));
    remember(before, asked, answer, HOUR, "tiny", at(now))
}

fn pause(memory: &Memory, now: i64) -> u64 {
    until(memory.next, at(now)).as_secs()
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
    assert_eq!((healed.checked.granted(), healed.doubted), (true, false));
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
    let earlier = |cache: &ModelCache| Memory::earlier(cache, &Asked::by(&seen.clone()), &endpoint(), at(5));
    let good = told(&granted);
    let memory = earlier(&good).unwrap();
    assert_eq!(memory.checked, Checked { snapshot: None, ..granted.clone() });
    assert_eq!(pause(&memory, 5), 0, "the Hub is asked at once");
    let doubted = next(Some(memory), refused(&cache(), Reason::TokenInvalid), 10);
    assert_eq!((doubted.checked.granted(), doubted.doubted, pause(&doubted, 10)), (true, true, 15));

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
    let connect = || Preflights::new(&[hub.url().parse().unwrap()]).unwrap();
    let mut seen = seen(with_token(cache()));
    seen.secret = SecretState::Present("hf_alice".parse().unwrap(), "1".to_owned());
    let preflights = connect();
    let (good, interval) = preflights.check(&seen, Timestamp::now()).await;
    assert!(good.granted() && interval >= HOUR);
    assert_eq!(requests(&hub, "/whoami-v2"), 1);
    let seen = looked(seen, &good, Timestamp::now());

    hub.fault(Fault::new(Harm::Status(401)));
    for (preflights, asked) in [(preflights, 1), (connect(), 2)] {
        let later = Timestamp::now() + 2 * HOUR;
        let (doubted, pause) = preflights.check(&seen, later).await;
        assert!(doubted.granted() && pause <= SECOND_OPINION, "{doubted:?}");
        let (refused, _) = preflights.check(&seen, later + SECOND_OPINION).await;
        assert_eq!(refused.first_unmet().unwrap().reason, Reason::TokenInvalid);
        assert_eq!(requests(&hub, "/whoami-v2"), asked);
    }
}

#[tokio::test]
async fn a_job_that_is_refused_makes_the_operator_ask_too() {
    let hub = StandinHub::start().await;
    hub.user("alice").token("hf_alice");
    hub.add(Repo::model("acme/tiny").file("config.json", "{}").branch("main"));
    let preflights = Preflights::new(&[hub.url().parse().unwrap()]).unwrap();
    let (mut seen, _) = bound(with_token(cache()));
    seen.secret = SecretState::Present("hf_alice".parse().unwrap(), "1".to_owned());
    let (good, _) = preflights.check(&seen, Timestamp::now()).await;
    let job = next_job(&seen, &good, Timestamp::now());
    let commit = good.snapshot.as_ref().unwrap().commit.as_str();
    let message = report("TokenInvalid").replace(COMMIT, commit);

    hub.remove_token("hf_alice");
    seen.attempts = vec![running(job.clone())];
    assert_eq!(preflights.check(&seen, Timestamp::now()).await.0, good, "nothing tells that it changed");
    seen.attempts = vec![ended(job, "Failed", Some(&message), Timestamp::now())];
    let (refused, _) = preflights.check(&seen, Timestamp::now()).await;
    assert_eq!(refused.first_unmet().unwrap().reason, Reason::TokenInvalid);
    let asked = hub.requests().len();
    preflights.check(&seen, Timestamp::now()).await;
    assert_eq!(hub.requests().len(), asked, "once for each Job");
}

/// So many resources of one public repo, and what each is told when all are looked at together.
async fn looks(preflights: &Preflights, names: &[String]) -> Vec<Checked> {
    let look = async |name: &String| {
        let mut cache = cache();
        cache.metadata.name = Some(name.clone());
        preflights.check(&seen(cache), Timestamp::now()).await.0
    };
    join_all(names.iter().map(look)).await
}

#[tokio::test]
async fn all_resources_wait_together_for_a_hub_that_asks_for_it_or_is_down() {
    let names: Vec<_> = (0..60).map(|n| format!("cache-{n}")).collect();
    for (harm, reason) in
        [(Harm::RateLimit(1), Reason::RateLimited), (Harm::Status(500), Reason::HubUnreachable)]
    {
        let hub = StandinHub::start().await;
        hub.add(Repo::model("acme/tiny").file("config.json", "{}").branch("main"));
        hub.fault(Fault::new(harm));
        let preflights = Preflights::new(&[hub.url().parse().unwrap()]).unwrap();
        let told = looks(&preflights, &names).await;
        for checked in &told {
            let first = checked.first_unmet().unwrap();
            assert_eq!((first.topic, first.reason), (Topic::Authorized, reason));
            assert!(first.message.contains("The next attempt is at"), "{}", first.message);
        }
        let asked = |hub: &StandinHub| hub.requests().len();
        let first = asked(&hub);
        assert!(first <= 4 * LISTINGS, "{first} requests");
        looks(&preflights, &names).await;
        assert!(asked(&hub) <= first + 4, "{} requests more", asked(&hub) - first);

        hub.clear_faults();
        let begun = std::time::Instant::now();
        while !looks(&preflights, &names[50..51]).await[0].granted() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it never asks again");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
