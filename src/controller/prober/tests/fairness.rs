//! Which tenants and endpoints may delay each other, and by how much.

use std::time::Instant;

use pretty_assertions::assert_eq;

use super::{super::endpoint::IN_FLIGHT_OF_ONE, *};

/// Another tenant's first answer comes within this time.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// So many new ModelCaches of as many namespaces, each of a repo of its own.
fn crowd(number: usize) -> Vec<Observation> {
    let of_number = |n| of(&format!("team-{n}"), &format!("cache-{n}"), &format!("acme/tiny-{n}"));
    (0..number).map(of_number).collect()
}

/// Whatever others do, the first answer comes in time.
async fn assert_heard(prober: &Prober, seen: &Observation, limit: Duration) {
    let heard = tokio::time::timeout(limit, settled(prober, seen, Timestamp::now())).await;
    let (checked, _) = heard.expect("another one is in the way");
    assert!(checked.granted(), "{checked:?}");
}

fn ask(prober: &Prober, seen: &Observation) {
    assert!(matches!(prober.report(seen, Timestamp::now()), Report::Pending(_)), "it has an answer already");
}

/// As many questions are in flight as one namespace may have, and no answer has come.
async fn until_busy(hub: &StandinHub) {
    let busy = async {
        while hub.requests().len() < IN_FLIGHT_OF_ONE {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), busy).await.expect("it asks");
}

fn states(prober: &Prober) -> Vec<Circuit> {
    prober.circuits().map(|(_, state)| state).collect()
}

#[tokio::test]
async fn all_wait_together_for_a_hub_that_is_down_or_asks_those_without_a_token_to_wait() {
    let crowd = crowd(60);
    for (harm, reason, circuit) in [
        (FaultKind::RateLimit(1), Reason::RateLimited, Circuit::Closed),
        (FaultKind::Status(500), Reason::HubUnreachable, Circuit::Open),
    ] {
        let hub = StandinHub::start().await;
        for seen in &crowd {
            hub.add(tiny(&seen.cache.spec.source.repo));
        }
        hub.fault(Fault::new(harm));
        let prober = start(&[&hub]);
        for checked in &all(&prober, &crowd, Timestamp::now()).await {
            let first = checked.first_unmet().unwrap();
            assert_eq!((first.topic, first.reason), (ConditionType::Authorized, reason));
            assert!(first.message.contains("The next attempt is at"), "{}", first.message);
        }
        assert_eq!(states(&prober), [circuit]);
        let asked = |hub: &StandinHub| hub.requests().len();
        let first = asked(&hub);
        assert!(first <= 4 * 16, "{first} requests");
        all(&prober, &crowd, Timestamp::now()).await;
        assert!(asked(&hub) <= first + 4, "{} requests more", asked(&hub) - first);

        hub.clear_faults();
        let begun = Instant::now();
        while !settled(&prober, &crowd[50], Timestamp::now()).await.0.granted() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it never asks again");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(states(&prober), [Circuit::Closed]);
    }
}

#[tokio::test]
async fn one_token_that_is_asked_to_wait_keeps_no_other_waiting() {
    for harm in [FaultKind::RateLimit(3600), FaultKind::RetryAfter(3600)] {
        let hub = StandinHub::start().await;
        hub.user("alice").token("hf_alice");
        hub.user("bob").token("hf_bob");
        hub.add(tiny("acme/tiny"));
        let prober = start(&[&hub]);
        let alice = with("hf_alice", cache());
        let mut bob = cache();
        bob.metadata.namespace = Some("other".to_owned());
        let bob = with("hf_bob", bob);
        hub.fault(Fault::new(harm));
        let (limited, pause) = settled(&prober, &alice, Timestamp::now()).await;
        assert_eq!(limited.first_unmet().unwrap().reason, Reason::RateLimited, "{harm}");
        assert!(pause > HOUR * 9 / 10, "{harm}: {pause:?}");
        hub.clear_faults();
        assert_heard(&prober, &bob, FIRST_ANSWER).await;
        assert_heard(&prober, &of("nobody", "tiny", "acme/tiny"), FIRST_ANSWER).await;
        let asked = hub.requests().len();
        let mut second = (*alice.cache).clone();
        second.metadata.name = Some("second".to_owned());
        let (limited, _) = settled(&prober, &with("hf_alice", second), Timestamp::now()).await;
        assert_eq!(limited.first_unmet().unwrap().reason, Reason::RateLimited, "{harm}");
        assert_eq!(hub.requests().len(), asked, "{harm}: all with that token wait");
    }
}

#[tokio::test]
async fn a_limit_of_whoami_is_no_limit_of_the_repos() {
    let hub = StandinHub::start().await;
    hub.user("alice").token("hf_alice");
    hub.add(tiny("acme/tiny"));
    hub.fault(Fault::new(FaultKind::RateLimit(3600)).path("whoami-v2"));
    let prober = start(&[&hub]);
    let seen = with("hf_alice", cache());
    let (checked, pause) = settled(&prober, &seen, Timestamp::now()).await;
    assert_eq!(checked.authenticated.reason, Reason::TokenUnconfirmed);
    assert!(checked.authorized.holds() && checked.resolved.holds(), "{checked:?}");
    assert!(pause >= HOUR, "{pause:?}");
    assert_eq!(requests(&hub, "/whoami-v2"), 1);
    settled(&prober, &seen, Timestamp::now() + 2 * HOUR).await;
    assert_eq!(requests(&hub, "/whoami-v2"), 1, "not before the time that it has named");
}

#[tokio::test]
async fn repos_with_unusable_answers_are_no_outage() {
    let hub = StandinHub::start().await;
    let crowd = crowd(3);
    for seen in &crowd {
        hub.add(tiny(&seen.cache.spec.source.repo));
    }
    hub.add(tiny("other/tiny"));
    hub.fault(Fault::new(FaultKind::ErrorPage).path("/models/acme/"));
    let prober = start(&[&hub]);
    for checked in all(&prober, &crowd, Timestamp::now()).await {
        assert_eq!(checked.first_unmet().unwrap().reason, Reason::InvalidResponse);
    }
    assert_eq!(states(&prober), [Circuit::Closed]);
    assert_heard(&prober, &of("other", "tiny", "other/tiny"), FIRST_ANSWER).await;
}

#[tokio::test]
async fn a_flood_of_one_namespace_keeps_no_other_waiting() {
    let hub = StandinHub::start().await;
    hub.add(tiny("acme/tiny"));
    hub.fault(Fault::new(FaultKind::Late(100)));
    let prober = start(&[&hub]);
    for n in 0..1000 {
        ask(&prober, &of("flood", &format!("cache-{n}"), &format!("flood/repo-{n}")));
    }
    // One asks what the flood will ask in the end.
    ask(&prober, &of("flood", "last", "acme/tiny"));
    until_busy(&hub).await;
    assert_heard(&prober, &of("other", "tiny", "acme/tiny"), FIRST_ANSWER).await;
}

#[tokio::test]
async fn slow_listings_of_one_namespace_keep_no_other_waiting() {
    let hub = StandinHub::start().await;
    hub.add(tiny("acme/tiny"));
    for n in 0..12 {
        hub.add(tiny(&format!("slow/repo-{n}")));
    }
    hub.fault(Fault::new(FaultKind::Late(20_000)).path("slow/"));
    let prober = start(&[&hub]);
    for n in 0..20 {
        ask(&prober, &of("slow", &format!("slow-{n}"), &format!("slow/repo-{n}")));
    }
    until_busy(&hub).await;
    assert_heard(&prober, &of("other", "tiny", "acme/tiny"), FIRST_ANSWER).await;
}

#[tokio::test]
async fn an_endpoint_that_hangs_keeps_nobody_of_another_waiting() {
    let hub = StandinHub::start().await;
    let hung = StandinHub::start().await;
    hub.add(tiny("acme/tiny"));
    hung.fault(Fault::new(FaultKind::Hang));
    let prober = start(&[&hung, &hub]);
    for n in 0..50 {
        let mut cache = (*of(&format!("team-{n}"), "tiny", &format!("acme/tiny-{n}")).cache).clone();
        cache.spec.source.endpoint = Some(hung.url().to_owned());
        ask(&prober, &seen(cache));
    }
    until_busy(&hung).await;
    let mut cache = (*of("team-0", "other", "acme/tiny").cache).clone();
    cache.spec.source.endpoint = Some(hub.url().to_owned());
    assert_heard(&prober, &seen(cache), Duration::from_secs(1)).await;
}
