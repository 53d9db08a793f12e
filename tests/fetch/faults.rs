//! Network faults during a download. None may expose partial or corrupt data to a reader.

use std::{
    fs,
    time::{Duration, Instant},
};

use modelcache::{
    fetch::FetchRequest,
    hub::{Patterns, TokenSource},
    reason::Reason,
};
use pretty_assertions::assert_eq;
use standin_hub::{Class, Content, Fault, FaultKind, Gate, Repo, Request};

use crate::{
    relay::{Door, Fate, hub_behind},
    stage::{SMALL, Stage, WEIGHTS, run, tiny},
};

/// A size that is downloaded in four parts.
const LARGE: u64 = 32 << 20;

/// A stage with a faulty CDN.
async fn harmed(fault: Fault) -> Stage {
    let stage = Stage::new().await;
    stage.hub.fault(fault.on(Class::Cdn));
    stage
}

#[tokio::test]
async fn a_cut_download_resumes() {
    let stage = harmed(Fault::new(FaultKind::Cut(1 << 20)).times(2)).await;
    let report = run(&stage.request()).await;
    assert_eq!(report.reason, Reason::Verified, "{}", report.message);
    let ranges: Vec<_> = stage
        .hub
        .requests()
        .into_iter()
        .filter(|request| request.class == Class::Cdn)
        .map(|request| request.range)
        .collect();
    let from = |start: u64| Some(format!("bytes={start}-{}", WEIGHTS - 1));
    assert_eq!(ranges, [None, from(1 << 20), from(2 << 20)]);
    assert_eq!(report.downloaded_bytes, WEIGHTS + SMALL, "no byte comes twice");
    stage.assert_loads(|_| true);
}

#[tokio::test]
async fn a_download_that_is_always_cut_publishes_nothing() {
    let stage = harmed(Fault::new(FaultKind::Cut(1000))).await;
    let report = run(&stage.request()).await;
    assert_eq!(report.reason, Reason::HubUnreachable);
    assert!(report.message.starts_with("cannot download model.safetensors: "), "{}", report.message);
    assert_eq!((report.files, report.path), (5, None));
    stage.assert_nothing_visible();

    stage.hub.clear_faults();
    assert_eq!(run(&stage.request()).await.reason, Reason::Verified);
    stage.assert_loads(|_| true);
}

#[tokio::test]
async fn corrupt_data_is_retried_once_and_never_published() {
    let stage = harmed(Fault::new(FaultKind::WrongBytes).times(1)).await;
    assert_eq!(run(&stage.request()).await.reason, Reason::Verified);
    stage.assert_loads(|_| true);

    let stage = harmed(Fault::new(FaultKind::WrongBytes)).await;
    let report = run(&stage.request()).await;
    assert_eq!(report.reason, Reason::HashMismatch);
    stage.assert_nothing_visible();
    assert!(!stage.blob("model.safetensors").exists());
}

#[tokio::test]
async fn an_error_page_of_the_storage_is_not_a_file() {
    for (fault, expected) in [
        (Fault::new(FaultKind::Status(403)).times(1), Reason::Verified),
        (Fault::new(FaultKind::Status(503)).times(2), Reason::Verified),
        (Fault::new(FaultKind::ErrorPage).times(1), Reason::Verified),
        (Fault::new(FaultKind::Short(1000)).times(1), Reason::Verified),
        (Fault::new(FaultKind::Status(403)), Reason::HubUnreachable),
        (Fault::new(FaultKind::Status(503)), Reason::HubUnreachable),
        (Fault::new(FaultKind::ErrorPage), Reason::HashMismatch),
        (Fault::new(FaultKind::Short(1000)), Reason::HashMismatch),
    ] {
        let stage = harmed(fault.clone()).await;
        let report = run(&stage.request()).await;
        if expected == Reason::Verified {
            assert_eq!(report.reason, expected, "{fault:?}: {}", report.message);
            stage.assert_loads(|_| true);
        } else {
            assert_eq!(report.reason, expected, "{fault:?}: {}", report.message);
            assert!(!stage.blob("model.safetensors").exists());
            stage.assert_nothing_visible();
        }
    }
}

#[tokio::test]
async fn a_truncated_file_is_reported_with_both_sizes() {
    let stage = harmed(Fault::new(FaultKind::Short(1000))).await;
    let report = run(&stage.request()).await;
    let sizes = format!("has {} bytes, but the Hub lists {WEIGHTS}", WEIGHTS - 1000);
    assert!(report.message.contains(&sizes), "{}", report.message);
}

/// Without any failure.
#[tokio::test]
async fn a_short_range_response_counts_as_progress() {
    let stage =
        Stage::with(Repo::model("acme/tiny").lfs("model.bin", Content::random(7, LARGE)).branch("main"));
    let stage = stage.await;
    stage.hub.fault(Fault::new(FaultKind::Short(7 << 20)).on(Class::Cdn).times(1));
    let mut request = stage.request();
    (request.limits.attempts, request.limits.stall) = (1, Duration::from_secs(60));
    let report = run(&request).await;
    assert_eq!((report.reason, report.downloaded_bytes), (Reason::Verified, LARGE), "{}", report.message);
    stage.assert_loads(|_| true);
}

/// Once one connection has found that the endpoint itself serves the file, none waits for another's first byte.
#[tokio::test]
async fn parts_are_requested_concurrently_if_the_endpoint_serves_files() {
    let stage =
        Stage::with(Repo::model("acme/tiny").file("model.bin", Content::random(7, LARGE)).branch("main"));
    let stage = stage.await;
    stage.hub.resolve_cache(false);
    stage.hub.fault(Fault::new(FaultKind::Hang).on(Class::Resolve).after(1));
    let mut request = stage.request();
    request.limits.first_byte = Duration::from_secs(600);
    let waiting = |requests: &[Request]| requests.iter().filter(|request| request.status == 0).count();
    tokio::select! {
        report = run(&request) => panic!("{}", report.message),
        () = stage.hub.until(|requests| waiting(requests) == 3) => {}
    }
}

/// A mirror that has to fetch a file first: the timeout for the first byte differs from that between two chunks.
#[tokio::test]
async fn the_first_byte_may_take_longer_than_the_next_ones() {
    let stage = harmed(Fault::new(FaultKind::Late(2000)).times(1)).await;
    let mut request = stage.request();
    (request.limits.attempts, request.limits.first_byte) = (1, Duration::from_secs(60));
    let report = run(&request).await;
    assert_eq!(report.reason, Reason::Verified, "{}", report.message);

    let stage = harmed(Fault::new(FaultKind::Late(2000)).times(1)).await;
    request.limits.first_byte = Duration::from_millis(500);
    let report = run(&FetchRequest { limits: request.limits, ..stage.request() }).await;
    assert_eq!(report.reason, Reason::HubUnreachable, "{}", report.message);
}

#[tokio::test]
async fn storage_without_ranges_sends_the_whole_file() {
    for status in ["400 Bad Request", "403 Forbidden", "501 Not Implemented"] {
        let door = Door::plain();
        let hub = hub_behind(None, Some(&door));
        let storage = hub.listeners().1;
        let _relay = door.open(move |head| {
            if head.to_ascii_lowercase().contains("\nrange:") {
                Fate::Answer(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
            } else {
                Fate::To(storage)
            }
        });
        hub.add(Repo::model("acme/tiny").lfs("model.bin", Content::random(7, LARGE)).branch("main"));
        let stage = Stage { hub, root: tempfile::tempdir().unwrap() };
        let report = run(&stage.request()).await;
        assert_eq!(report.reason, Reason::Verified, "{status}: {}", report.message);
    }
}

#[tokio::test]
async fn an_expired_address_is_renewed() {
    let stage = Stage::new().await;
    stage.hub.fault(Fault::new(FaultKind::ExpiredSignature).times(1));
    assert_eq!(run(&stage.request()).await.reason, Reason::Verified);
    stage.assert_loads(|_| true);
}

#[tokio::test]
async fn short_rate_limits_are_waited_for() {
    let stage = harmed(Fault::new(FaultKind::RetryAfter(1)).times(1)).await;
    let began = Instant::now();
    assert_eq!(run(&stage.request()).await.reason, Reason::Verified);
    assert!(began.elapsed() >= Duration::from_secs(1));

    for class in [Class::Cdn, Class::Resolve, Class::Api] {
        let stage = Stage::new().await;
        stage.hub.fault(Fault::new(FaultKind::RetryAfter(1800)).on(class));
        let report = run(&stage.request()).await;
        assert_eq!(
            (report.reason, report.retry_after_seconds),
            (Reason::RateLimited, Some(1800)),
            "{class:?}"
        );
        stage.assert_nothing_visible();
    }
}

#[tokio::test]
async fn a_complete_cache_does_not_wait_for_the_hub() {
    let stage = Stage::new().await;
    assert_eq!(run(&stage.request()).await.reason, Reason::Verified);
    stage.hub.fault(Fault::new(FaultKind::RetryAfter(200)).on(Class::Api));
    let report = run(&stage.request()).await;
    assert_eq!(report.reason, Reason::Verified);
    assert!(report.message.contains("The Hub did not confirm it"), "{}", report.message);
    assert!(report.seconds < 100);
}

#[tokio::test]
async fn a_stalled_connection_is_abandoned() {
    let stage = harmed(Fault::new(FaultKind::Stall(1 << 20)).times(1)).await;
    let report = run(&stage.request()).await;
    assert_eq!((report.reason, report.downloaded_bytes), (Reason::Verified, WEIGHTS + SMALL));

    let stage = harmed(Fault::new(FaultKind::Stall(1000))).await;
    let report = run(&stage.request()).await;
    assert_eq!(report.reason, Reason::TransferStalled, "{}", report.message);
    stage.assert_nothing_visible();
}

#[tokio::test]
async fn a_token_replaced_meanwhile_is_reread() {
    let stage = Stage::with(tiny().gated(Gate::Manual)).await;
    stage.hub.user("alice").token("hf_old").token("hf_new");
    stage.hub.accept_terms("alice", "acme/tiny");
    stage.hub.fault(Fault::new(FaultKind::Stall(1000)).on(Class::Cdn).times(1));
    let file = stage.root.path().join("token");
    fs::write(&file, "hf_old").unwrap();
    let mut request = stage.request();
    request.token = TokenSource::File(file.clone());
    let renewed = async {
        stage.hub.until(|requests| requests.iter().any(|request| request.class == Class::Cdn)).await;
        fs::write(&file, "hf_new\n").unwrap();
        stage.hub.remove_token("hf_old");
    };
    let (report, ()) = tokio::join!(run(&request), renewed);
    assert_eq!(report.reason, Reason::Verified, "{}", report.message);
    assert!(stage.hub.requests().iter().any(|request| request.status == 401));
}

#[tokio::test]
async fn a_token_revoked_meanwhile_fails_the_fetch() {
    let stage = Stage::with(tiny().gated(Gate::Manual)).await;
    stage.hub.user("alice").token("hf_old");
    stage.hub.accept_terms("alice", "acme/tiny");
    stage.hub.fault(Fault::new(FaultKind::Stall(1000)).on(Class::Cdn).times(1));
    let mut request = stage.request();
    request.token = TokenSource::Fixed("hf_old".parse().unwrap());
    let revoked = async {
        stage.hub.until(|requests| requests.iter().any(|request| request.class == Class::Cdn)).await;
        stage.hub.remove_token("hf_old");
    };
    let (report, ()) = tokio::join!(run(&request), revoked);
    assert_eq!(report.reason, Reason::TokenInvalid, "{}", report.message);
    stage.assert_nothing_visible();
}

#[tokio::test]
async fn a_path_that_leaves_the_folder_is_rejected() {
    for path in ["../outside.txt", "/etc/modelcache-test", "a/../../b"] {
        let stage = Stage::with(Repo::model("acme/tiny").file("config.json", "{}").file(path, "x")).await;
        let report = run(&stage.request()).await;
        assert_eq!(report.reason, Reason::UnsafeFileName, "{path}");
        assert!(!stage.cache().exists());
    }
}

#[tokio::test]
async fn an_unsafe_name_fails_only_selections_that_include_it() {
    let long = format!("{}.txt", "x".repeat(256));
    for path in ["Icon\r", "a\\b", &long] {
        let repo = Repo::model("acme/tiny").file("config.json", "{}").file(path, "x").branch("main");
        let stage = Stage::with(repo).await;
        let mut request = stage.request();
        let refused = run(&request).await;
        assert_eq!(refused.reason, Reason::UnsafeFileName, "{path:?}");
        // The pattern in the message helps.
        let (_, told) = refused.message.split_once("that file with the pattern `").unwrap();
        request.patterns = Patterns::parse([""; 0], [told.split_once('`').unwrap().0]).unwrap();
        let report = run(&request).await;
        assert_eq!((report.reason, report.files), (Reason::Verified, 1), "{path:?}: {}", report.message);
        request.patterns = Patterns::parse(["*.json"], [""; 0]).unwrap();
        assert_eq!(run(&request).await.reason, Reason::Verified, "{path:?}");
    }
}

/// The watchdog's limit is shorter than all timeouts of a connection, so that nothing else can end this.
#[tokio::test]
async fn a_fetch_without_progress_exits_with_a_report() {
    let stage = harmed(Fault::new(FaultKind::Stall(1 << 20))).await;
    let path = stage.root.path().join("report");
    let report_to = format!("--report={}", path.display());
    let mut command = stage.modelcache(&["fetch", "acme/tiny", "--watchdog=2s", &report_to]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let report = crate::stage::report(&path);
    assert_eq!(report.reason, Reason::TransferStalled, "{output:?}");
    assert!(
        report.message.starts_with("Nothing was downloaded, hashed or written for 2 s"),
        "{}",
        report.message
    );
    assert_eq!(output.status.code(), Some(i32::from(Reason::TransferStalled.exit_code())));
    stage.assert_nothing_visible();

    stage.hub.clear_faults();
    let mut again = stage.modelcache(&["fetch", "acme/tiny"]);
    assert!(tokio::task::spawn_blocking(move || again.status().unwrap()).await.unwrap().success());
    stage.assert_loads(|_| true);
}
