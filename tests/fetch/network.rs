//! Network faults, transient and permanent, and what the command logs.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use futures::future::join_all;
use modelcache::reason::Reason;
use pretty_assertions::assert_eq;
use standin_hub::{Class, Content, Fault, FaultKind, StandinHub};

use crate::{
    outside::{assert_unseen, assert_whole, end, fetch},
    relay::{Door, Fate, hub_behind, hub_reached_at},
    stage::{Stage, run, tiny},
    tls::AUTHORITY,
};

const WEIGHTS: &str = "model.safetensors";

/// A stage with this Hub.
fn stage(hub: StandinHub) -> Stage {
    hub.add(tiny());
    Stage { hub, root: tempfile::tempdir().unwrap() }
}

async fn harmed(fault: &Fault) -> Stage {
    let stage = Stage::new().await;
    stage.hub.fault(fault.clone());
    stage
}

fn cdn(harm: FaultKind) -> Fault {
    Fault::new(harm).on(Class::Cdn)
}

#[tokio::test]
async fn transient_faults_are_survived_and_logged() {
    let small = |harm| Fault::new(harm).on(Class::Resolve).path("/config.json");
    let listing = |harm| Fault::new(harm).on(Class::Api).path("/tree/");
    let faults = [
        cdn(FaultKind::Cut(1 << 20)).times(2),
        cdn(FaultKind::Short(1000)).times(1),
        cdn(FaultKind::WrongBytes).times(1),
        cdn(FaultKind::ErrorPage).times(1),
        cdn(FaultKind::Status(403)).times(1),
        cdn(FaultKind::Status(500)).times(1),
        cdn(FaultKind::Status(502)).times(2),
        cdn(FaultKind::Status(503)).times(2),
        small(FaultKind::Cut(1)).times(1),
        small(FaultKind::Short(1)).times(1),
        small(FaultKind::WrongBytes).times(1),
        small(FaultKind::ErrorPage).times(1),
        small(FaultKind::Status(500)).times(1),
        listing(FaultKind::Status(500)).times(1),
        listing(FaultKind::ErrorPage).times(1),
        Fault::new(FaultKind::ExpiredSignature).times(1),
    ];
    join_all(faults.map(|fault| async move {
        let stage = harmed(&fault).await;
        let end = end(fetch(&stage)).await;
        end.assert_done();
        assert_whole(&stage);
        let told = end.warnings().iter().any(|line| {
            let text = line.to_string();
            text.contains("again") || text.contains("retrying")
        });
        // Faults that last a second or two are not logged: responses of a busy server, an expired address.
        let brief = [
            cdn(FaultKind::Status(502)).times(2),
            cdn(FaultKind::Status(503)).times(2),
            Fault::new(FaultKind::ExpiredSignature).times(1),
        ]
        .contains(&fault);
        assert!(told || brief, "{fault:?}: it was not logged\n{}", end.log);
    }))
    .await;
}

#[tokio::test]
async fn permanent_faults_fail_with_their_reason_after_few_attempts() {
    let cases = [
        (cdn(FaultKind::Cut(1000)), 69, "HubUnreachable"),
        (cdn(FaultKind::Short(1000)), 65, "HashMismatch"),
        (cdn(FaultKind::WrongBytes), 65, "HashMismatch"),
        (cdn(FaultKind::ErrorPage), 65, "HashMismatch"),
        (cdn(FaultKind::Status(403)), 69, "HubUnreachable"),
        (cdn(FaultKind::Status(503)), 69, "HubUnreachable"),
        (Fault::new(FaultKind::ExpiredSignature), 69, "HubUnreachable"),
        (Fault::new(FaultKind::Status(500)).on(Class::Api), 69, "HubUnreachable"),
        (Fault::new(FaultKind::ErrorPage).on(Class::Api), 69, "InvalidResponse"),
    ];
    join_all(cases.map(|(fault, code, reason)| async move {
        let stage = harmed(&fault).await;
        let failed = end(fetch(&stage)).await;
        assert_eq!(failed.report.reason.as_str(), reason, "{fault:?}: {failed:#?}");
        assert_eq!(failed.code, Some(code), "{fault:?}: {failed:#?}");
        assert!(failed.report.message.len() > 40, "{fault:?}: {}", failed.report.message);
        assert_unseen(&stage);
        let tries = stage.hub.requests().iter().filter(|request| request.path.contains(WEIGHTS)).count();
        assert!(tries <= 40, "{fault:?}: {tries} requests for one file");
        // Each pause is logged with its cause.
        if matches!(reason, "HubUnreachable" | "InvalidResponse") {
            let pauses = failed.warnings().iter().filter(|line| line["pause_seconds"].is_number()).count();
            assert!((1..20).contains(&pauses), "{fault:?}: {}", failed.log);
        }
        stage.hub.clear_faults();
        end(fetch(&stage)).await.assert_done();
        assert_whole(&stage);
    }))
    .await;
}

#[tokio::test]
async fn a_failing_listing_page_does_not_truncate_the_listing() {
    let stage = Stage::new().await;
    stage.hub.page_size(2);
    stage.hub.fault(Fault::new(FaultKind::Status(500)).on(Class::Api).path("/tree/").after(1).times(1));
    end(fetch(&stage)).await.assert_done();
    assert_whole(&stage);
}

#[tokio::test]
async fn the_requested_delay_is_respected() {
    let (config, weights) = ("/config.json", WEIGHTS);
    let cases = [
        (Fault::new(FaultKind::RetryAfter(2)).on(Class::Api), "/tree/", 2),
        (Fault::new(FaultKind::RateLimit(2)).on(Class::Api), "/tree/", 3),
        (Fault::new(FaultKind::RetryAfter(2)).on(Class::Resolve), config, 2),
        (Fault::new(FaultKind::RateLimit(2)).on(Class::Resolve), weights, 3),
        (cdn(FaultKind::RetryAfter(2)), weights, 2),
        (cdn(FaultKind::RateLimit(2)), weights, 3),
    ];
    join_all(cases.map(|(fault, path, seconds)| async move {
        let stage = harmed(&fault.clone().path(path).times(1)).await;
        let end = end(fetch(&stage)).await;
        end.assert_done();
        assert_whole(&stage);
        // The refused request is repeated, for the weights with a new address.
        let requests = stage.hub.requests();
        let mut same = requests.iter().filter(|it| it.path.contains(path)).skip_while(|it| it.status != 429);
        let (refused, again) = (same.next().unwrap(), same.next().unwrap());
        let waited = again.millis - refused.millis;
        let least = seconds * 1000;
        // Jitter spreads many clients.
        assert!((least..least + 2500).contains(&waited), "{fault:?}: repeated after {waited} ms");
        let told = end.warnings().iter().any(|line| {
            line["pause_seconds"]
                .as_f64()
                .is_some_and(|pause| pause >= Duration::from_millis(least).as_secs_f64())
                && line["error"]
                    .as_str()
                    .is_some_and(|error| error.contains("asks to wait") || error.contains("rate limited"))
        });
        assert!(told, "{fault:?}: {}", end.log);
    }))
    .await;
}

#[tokio::test]
async fn too_long_a_delay_fails_the_fetch() {
    for class in [Class::Api, Class::Resolve, Class::Cdn] {
        let stage = harmed(&Fault::new(FaultKind::RetryAfter(1800)).on(class)).await;
        let end = end(fetch(&stage)).await;
        assert_eq!((end.code, end.report.retry_after_seconds), (Some(75), Some(1800)), "{class:?}");
        assert_unseen(&stage);
    }
}

#[tokio::test]
async fn unresolvable_hosts_are_named() {
    let stage = Stage::new().await;
    let mut command = fetch(&stage);
    command.env("HF_ENDPOINT", "http://hub.invalid");
    let nowhere = end(command).await;
    assert_eq!((nowhere.code, nowhere.report.reason), (Some(69), Reason::HubUnreachable), "{nowhere:#?}");
    assert!(nowhere.report.message.contains("hub.invalid"), "{}", nowhere.report.message);
    assert!(nowhere.report.message.contains("does not resolve"), "{}", nowhere.report.message);
    assert!(!stage.cache().exists());

    let stage = self::stage(hub_reached_at(None, Some("http://storage.invalid".to_owned())));
    let report = run(&stage.request()).await;
    assert_eq!(report.reason, Reason::HubUnreachable);
    assert!(report.message.contains("storage.invalid"), "{}", report.message);
    assert_unseen(&stage);
}

/// A Hub and a CDN with TLS, and a file with these certificates.
pub fn with_company_tls() -> (Stage, Vec<crate::relay::Relay>) {
    let (hub, cdn) = (Door::tls(), Door::tls());
    let stage = stage(hub_behind(Some(&hub), Some(&cdn)));
    let listeners = stage.hub.listeners();
    (stage, vec![hub.before(listeners.0), cdn.before(listeners.1)])
}

#[tokio::test]
async fn a_private_authority_is_trusted_once_configured() {
    let (stage, relays) = with_company_tls();
    let distrusting = end(fetch(&stage)).await;
    assert_eq!((distrusting.code, distrusting.report.reason), (Some(69), Reason::HubUnreachable));
    let message = &distrusting.report.message;
    assert!(message.contains("CA bundle"), "no remedy: {message}");
    assert!(relays[0].heads().is_empty());

    let file = stage.root.path().join("authority.pem");
    std::fs::write(&file, AUTHORITY).unwrap();
    let trusting = |file: &std::path::Path| {
        let mut command = fetch(&stage);
        command.env("SSL_CERT_FILE", file);
        command
    };
    end(trusting(&file)).await.assert_done();
    assert_whole(&stage);
    assert!(relays.iter().all(|relay| !relay.heads().is_empty()));

    // A typical company bundle: its own authority among the usual ones.
    let bundle = stage.root.path().join("bundle.pem");
    let usual = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
    std::fs::write(&bundle, format!("{usual}\n# the company's\n{AUTHORITY}")).unwrap();
    std::fs::remove_dir_all(stage.cache()).unwrap();
    end(trusting(&bundle)).await.assert_done();
    assert_whole(&stage);
}

#[tokio::test]
async fn a_proxy_is_used_and_bypassed() {
    // Names that only the proxy knows.
    let (hub, cdn) = ("http://hub.invalid".to_owned(), "http://cdn.invalid".to_owned());
    let stage = stage(hub_reached_at(Some(hub), Some(cdn)));
    let (hub, cdn) = stage.hub.listeners();
    let proxy = Door::plain().open(move |head| {
        let to = head.split(' ').nth(1).unwrap_or_default();
        if to.starts_with("http://hub.invalid/") {
            Fate::To(hub)
        } else if to.starts_with("http://cdn.invalid/") {
            Fate::To(cdn)
        } else {
            Fate::Answer(
                "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
            )
        }
    });
    let with_password = proxy.url.replace("http://", "http://me:proxypassword@");
    let through = |url: &str, none: &str| {
        let mut command = fetch(&stage);
        command.env("HTTP_PROXY", url).env("http_proxy", url).env("NO_PROXY", none).env("no_proxy", none);
        command
    };
    let used = end(through(&with_password, "")).await;
    used.assert_done();
    assert_whole(&stage);
    assert!(!format!("{used:?}").contains("proxypassword"));
    let authorized = |head: &String| head.to_ascii_lowercase().contains("proxy-authorization: basic ");
    assert!(!proxy.heads().is_empty() && proxy.heads().iter().all(authorized));

    // Without the proxy, these names do not resolve.
    std::fs::remove_dir_all(stage.cache()).unwrap();
    let before = proxy.heads().len();
    let around = end(through(&with_password, "example.com,.invalid")).await;
    assert_eq!((around.code, around.report.reason), (Some(69), Reason::HubUnreachable));
    assert_eq!(proxy.heads().len(), before);

    // A loopback address is reached without the proxy, which would refuse it.
    let near = Stage::new().await;
    let around = |none: &str| {
        let mut command: Command = fetch(&near);
        command.env("HTTP_PROXY", &proxy.url).env("NO_PROXY", none);
        command
    };
    assert_eq!(end(around("")).await.code, Some(69));
    end(around("127.0.0.1")).await.assert_done();
    assert_whole(&near);
}

#[tokio::test]
async fn a_stalled_or_trickling_connection_is_abandoned() {
    for harm in [FaultKind::Stall(1 << 20), FaultKind::Stall(0), FaultKind::Hang, FaultKind::Slow(3)] {
        let stage = harmed(&cdn(harm).times(1)).await;
        let began = Instant::now();
        let request = stage.request();
        let fetched = tokio::time::timeout(Duration::from_secs(30), run(&request)).await;
        let report = fetched.unwrap_or_else(|_| panic!("{harm}: still waiting after {:?}", began.elapsed()));
        assert_eq!(report.reason, Reason::Verified, "{harm}: {}", report.message);
        assert!(began.elapsed() >= request.limits.stall, "{harm}: the fault was not met");
        assert_whole(&stage);
    }
}

#[tokio::test]
async fn addresses_that_expire_during_a_download_are_renewed() {
    let stage = Stage::with(tiny().lfs(WEIGHTS, Content::random(7, 24 << 20)).branch("main")).await;
    // Every connection is cut before it is complete, and every address expires after a second.
    stage.hub.signature_lifetime(Duration::from_secs(1));
    stage.hub.fault(cdn(FaultKind::Cut(5 << 20)).times(3));
    stage.hub.fault(cdn(FaultKind::Slow(12 << 20)));
    end(fetch(&stage)).await.assert_done();
    assert_whole(&stage);
    let addresses =
        |request: &&standin_hub::Request| request.class == Class::Resolve && request.path.contains(WEIGHTS);
    assert!(stage.hub.requests().iter().filter(addresses).count() > 1, "one address was enough");
}
