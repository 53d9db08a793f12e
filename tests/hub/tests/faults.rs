//! Each fault does what its name says, seen from the outside.
#![allow(clippy::unwrap_used, reason = "tests fail by it")]

use std::time::{Duration, Instant};

use standin_hub::{Class, Content, Fault, FaultKind, Repo, StandinHub, client};
use test_support::client::Client;

const SIZE: u64 = 300_000;

async fn hub() -> StandinHub {
    let hub = StandinHub::start().await;
    hub.add(
        Repo::model("acme/tiny").file("config.json", "{}").lfs("model.safetensors", Content::random(7, SIZE)),
    );
    hub
}

fn weights() -> Vec<u8> {
    Content::random(7, SIZE).to_vec().unwrap()
}

/// The address at the CDN where the weights are.
fn signed_address(hub: &StandinHub) -> String {
    let reply = client::get(&format!("{}/acme/tiny/resolve/main/model.safetensors", hub.url()), &[]).unwrap();
    assert_eq!((reply.status, reply.is_complete()), (302, true));
    reply.header("location").unwrap().to_owned()
}

fn from_cdn(hub: &StandinHub) -> client::Reply {
    client::get(&signed_address(hub), &[]).unwrap()
}

#[tokio::test]
async fn without_faults_ranges_and_whole_files_are_right() {
    let hub = hub().await;
    assert_eq!(from_cdn(&hub).body, weights());
    let part = client::get(&signed_address(&hub), &[("Range", "bytes=1000-1999")]).unwrap();
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 1000-1999/300000")));
    assert_eq!(part.body, weights()[1000..2000]);
    let small = format!("{}/acme/tiny/resolve/main/config.json", hub.url());
    let part = client::get(&small, &[("Range", "bytes=1-")]).unwrap();
    assert_eq!((part.status, part.text().as_str()), (206, "}"));

    let logged = &hub.requests()[3];
    assert_eq!(
        (logged.class, logged.range.as_deref(), logged.bytes),
        (Class::Cdn, Some("bytes=1000-1999"), 1000)
    );
    assert_eq!(
        hub.requests().iter().filter(|request| request.class == Class::Cdn).map(|r| r.bytes).sum::<u64>(),
        SIZE + 1000
    );
}

#[tokio::test]
async fn a_cut_ends_the_connection_in_the_middle_as_often_as_wanted() {
    let hub = hub().await;
    hub.fault(Fault::new(FaultKind::Cut(100_000)).on(Class::Cdn).times(2));
    for _ in 0..2 {
        let reply = from_cdn(&hub);
        assert_eq!((reply.status, reply.is_complete(), reply.body.len()), (200, false, 100_000));
        assert_eq!(reply.body, weights()[..100_000]);
    }
    assert!(from_cdn(&hub).is_complete());
}

#[tokio::test]
async fn bodies_can_be_wrong_or_short() {
    let hub = hub().await;
    hub.fault(Fault::new(FaultKind::WrongBytes).path("safetensors").on(Class::Cdn).times(1));
    let reply = from_cdn(&hub);
    assert!(reply.is_complete());
    assert_ne!(reply.body[0], weights()[0]);
    assert_eq!(reply.body[1..], weights()[1..]);

    hub.fault(Fault::new(FaultKind::Short(10)).on(Class::Cdn).times(1));
    let reply = from_cdn(&hub);
    assert_eq!((reply.is_complete(), reply.body), (true, weights()[..weights().len() - 10].to_vec()));
}

#[tokio::test]
async fn answers_can_be_replaced() {
    let hub = hub().await;
    let api = format!("{}/api/models/acme/tiny", hub.url());
    for (harm, status, header) in [
        (FaultKind::Status(503), 503, ("content-type", "text/html; charset=utf-8")),
        (FaultKind::ErrorPage, 200, ("content-type", "text/html; charset=utf-8")),
        (FaultKind::RateLimit(55), 429, ("ratelimit", "\"api\";r=0;t=55")),
        (FaultKind::RetryAfter(5), 429, ("retry-after", "5")),
    ] {
        hub.fault(Fault::new(harm).on(Class::Api).times(1));
        let reply = client::get(&api, &[]).unwrap();
        assert_eq!((reply.status, reply.header(header.0)), (status, Some(header.1)), "{harm}");
    }
    hub.fault(Fault::new(FaultKind::Status(403)).on(Class::Cdn).times(1));
    let reply = from_cdn(&hub);
    assert!(reply.status == 403 && reply.text().contains("<Code>AccessDenied</Code>"));
    assert_eq!(client::get(&api, &[]).unwrap().status, 200);
}

#[tokio::test]
async fn signatures_expire_and_cannot_be_made_up() {
    let hub = hub().await;
    hub.fault(Fault::new(FaultKind::ExpiredSignature).times(1));
    let reply = from_cdn(&hub);
    assert!(reply.status == 403 && reply.text().contains("Request has expired"), "{}", reply.text());
    assert_eq!(
        client::get(&signed_address(&hub).replace("Signature=", "Signature=0"), &[]).unwrap().status,
        403
    );
    assert_eq!(from_cdn(&hub).status, 200);
    hub.signature_lifetime(Duration::ZERO);
    assert_eq!(from_cdn(&hub).status, 403);
}

#[tokio::test]
async fn faults_can_wait_and_choose() {
    let hub = hub().await;
    hub.fault(Fault::new(FaultKind::Status(500)).path("/tree/").after(1).times(1));
    let tree = format!("{}/api/models/acme/tiny/tree/main", hub.url());
    let statuses: Vec<u16> = (0..3).map(|_| client::get(&tree, &[]).unwrap().status).collect();
    assert_eq!(statuses, [200, 500, 200]);
    hub.fault(FaultKind::Status(500));
    hub.clear_faults();
    assert_eq!(client::get(&tree, &[]).unwrap().status, 200);
}

#[tokio::test]
async fn a_transfer_can_be_slow_or_stand_still() {
    let hub = hub().await;
    hub.fault(Fault::new(FaultKind::Slow(1_000_000)).on(Class::Cdn).times(1));
    let start = Instant::now();
    assert_eq!(from_cdn(&hub).body, weights());
    assert!(start.elapsed() > Duration::from_millis(200), "{:?}", start.elapsed());

    for (harm, bytes, status) in [(FaultKind::Stall(1000), 1000, 200), (FaultKind::Hang, 0, 0)] {
        hub.clear_requests();
        hub.fault(Fault::new(harm).on(Class::Cdn).times(1));
        let address = signed_address(&hub);
        let waiting = std::thread::spawn(move || client::get(&address, &[]));
        hub.until(|requests| {
            requests.iter().any(|r| r.class == Class::Cdn && r.bytes == bytes && r.status == status)
        })
        .await;
        assert!(!waiting.is_finished());
        hub.off().await;
        assert!(waiting.join().unwrap().is_ok_and(|reply| reply.body.len() as u64 == bytes) == (bytes > 0));
        hub.on();
    }
}

#[tokio::test]
async fn a_hub_that_is_off_refuses_connections_and_comes_back_at_its_port() {
    let hub = hub().await;
    let api = format!("{}/api/models/acme/tiny", hub.url());
    for _ in 0..3 {
        hub.off().await;
        hub.off().await;
        assert_eq!(client::get(&api, &[]).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        hub.on();
        hub.on();
        assert_eq!(client::get(&api, &[]).unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_token_that_leaks_is_noticed() {
    let hub = hub().await;
    hub.user("alice").token("hf_alice");
    assert_eq!(
        client::get(&signed_address(&hub), &[("Authorization", "Bearer hf_alice")]).unwrap().status,
        400
    );
    client::get(&format!("{}/api/models/acme/tiny?token=hf_alice", hub.url()), &[]).unwrap();
    let leaks = hub.token_leaks();
    assert!(leaks[0].starts_with("Authorization header to the CDN: GET /models/acme/tiny/"), "{leaks:?}");
    assert_eq!(leaks[1], "token in an address: GET /api/models/acme/tiny");
    assert!(!format!("{leaks:?}").contains("hf_alice"));
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(hub)));
    assert!(dropped.is_err(), "a test that does not look fails too");
}

#[tokio::test]
async fn the_official_client_gets_through_passing_faults_and_verify_sees_wrong_bytes() {
    let hub = hub().await;
    hub.fault(Fault::new(FaultKind::Cut(100_000)).on(Class::Cdn).times(1));
    hub.fault(Fault::new(FaultKind::Status(503)).on(Class::Resolve).path("config.json").times(1));
    let client = Client::of(&hub);
    client.hf(&["download", "acme/tiny"]).unwrap();
    client.hf(&["cache", "verify", "acme/tiny"]).unwrap();
    let gets = hub.requests().iter().filter(|request| request.class == Class::Cdn).count();
    assert_eq!(gets, 2, "the cut one and another");

    let hub = self::hub().await;
    hub.fault(Fault::new(FaultKind::WrongBytes).on(Class::Cdn).times(1));
    let client = Client::of(&hub);
    client.hf(&["download", "acme/tiny"]).unwrap();
    let out = client.hf(&["cache", "verify", "acme/tiny"]).unwrap_err();
    assert!(out.contains("model.safetensors"), "{out}");
}
