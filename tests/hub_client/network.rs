//! Network failures: DNS, connection, certificates, timeouts, truncated and wrong responses.

use std::{
    env,
    io::{Read as _, Write as _},
    net::TcpListener,
    process::Command,
    time::Duration,
};

use modelcache::{
    hub::{Body, ConnectFailure, Endpoint, Hub, HubError, RepoFile, RequestTimeouts, RevisionInfo},
    reason::Reason,
};

use crate::{
    SHA1, commit, model, path,
    tls::AUTHORITY,
    token,
    wire::{Reply, Wire, answer, ok},
};

fn good() -> Option<Vec<u8>> {
    ok(&format!(r#"{{"sha":"{SHA1}"}}"#))
}

async fn revision(endpoint: &Endpoint) -> Result<RevisionInfo, HubError> {
    Hub::connect(endpoint)?.revision(&model(), &"main".parse().unwrap(), None).await
}

async fn list(wire: &Wire) -> Result<Vec<RepoFile>, HubError> {
    Hub::connect(&wire.endpoint())?.list(&model(), &commit(), None, None, |_| true).await
}

async fn open(wire: &Wire, from: u64) -> Result<Body, HubError> {
    let hub = Hub::connect(&wire.endpoint())?;
    hub.file(&model(), &commit(), &path("a.bin"), 10).open(None, from..10).await
}

#[track_caller]
fn failure(error: &HubError) -> (ConnectFailure, &str) {
    assert_eq!(error.reason(), Reason::HubUnreachable);
    match error {
        HubError::Unreachable { kind, detail, .. } => (*kind, detail),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn bad_answer(error: &HubError) -> &str {
    assert_eq!(error.reason(), Reason::InvalidResponse);
    match error {
        HubError::BadAnswer { what, .. } => what,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve() {
    let error = revision(&"http://hub.invalid".parse().unwrap()).await.unwrap_err();
    assert_eq!(failure(&error).0, ConnectFailure::Dns, "{error}");
    assert!(error.to_string().starts_with("request to hub.invalid failed: its name does not resolve"));
}

#[tokio::test]
async fn a_refused_connection() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = revision(&format!("http://127.0.0.1:{port}").parse().unwrap()).await.unwrap_err();
    let (kind, detail) = failure(&error);
    assert_eq!(kind, ConnectFailure::Connect);
    assert!(detail.to_lowercase().contains("refused"), "{detail}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn silence() {
    let wire = Wire::start(|_| None);
    let timeouts = RequestTimeouts { metadata: Duration::from_millis(100), ..RequestTimeouts::default() };
    let hub = Hub::with_timeouts(&wire.endpoint(), timeouts).unwrap();
    let error = hub.auth_check(&model(), None).await.unwrap_err();
    assert_eq!(failure(&error).0, ConnectFailure::Timeout);
    assert_eq!(wire.heads().len(), 1, "a timeout is not repeated quickly");
}

#[tokio::test]
async fn an_authority_is_trusted_once_configured() {
    let wire = Wire::tls(|_| good());
    let error = revision(&wire.url().parse().unwrap()).await.unwrap_err();
    let (kind, detail) = failure(&error);
    assert_eq!(kind, ConnectFailure::Tls);
    assert!(detail.contains("UnknownIssuer"), "{detail}");
    assert!(!error.is_transient());

    revision(&wire.endpoint()).await.unwrap();
}

#[tokio::test]
async fn a_failed_handshake_is_transient_unless_a_certificate_is_wrong() {
    // Record of a fatal alert: `internal_error`, as an overloaded server sends it.
    const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 80];
    for (bytes, told) in [(ALERT, "InternalError"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "corrupt")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // Read everything first: closing would reset the connection otherwise.
                let _ = stream.read(&mut [0; 16 * 1024]);
                let _ = stream.write_all(bytes);
            }
        });
        let error = revision(&format!("https://{address}").parse().unwrap()).await.unwrap_err();
        let (kind, detail) = failure(&error);
        assert_eq!(kind, ConnectFailure::Handshake, "{detail}");
        assert!(detail.contains(told) && error.is_transient(), "{detail}");
    }
}

#[tokio::test]
async fn a_cut_connection_is_retried() {
    let mut calls = 0;
    let wire = Wire::start(move |_| {
        calls += 1;
        if calls < 3 {
            Some(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"sha\"".to_vec())
        } else {
            good()
        }
    });
    revision(&wire.endpoint()).await.unwrap();
    assert_eq!(wire.heads().len(), 3);

    let wire = Wire::start(|_| Some(Vec::new()));
    let error = revision(&wire.endpoint()).await.unwrap_err();
    assert_eq!(failure(&error).0, ConnectFailure::Cut);
    assert_eq!(wire.heads().len(), 3);
}

#[tokio::test]
async fn a_momentary_server_error_is_retried() {
    for (status, tries) in [(502, 3), (503, 3), (504, 3), (500, 1), (408, 1)] {
        let wire = Wire::start(move |_| answer(status, "", "<html>down</html>"));
        let error = revision(&wire.endpoint()).await.unwrap_err();
        assert_eq!(failure(&error), (ConnectFailure::Server(status), ""));
        assert_eq!(wire.heads().len(), tries, "{status}");
    }
}

#[tokio::test]
async fn a_rate_limit_is_never_retried_quickly() {
    for (status, headers, seconds) in [
        (
            429,
            "RateLimit: \"api\";r=0;t=55\r\nRateLimit-Policy: \"fixed window\";\"api\";q=500;w=300\r\n",
            56,
        ),
        (429, "Retry-After: 7\r\n", 7),
        (429, "Retry-After: 0\r\n", 1),
        (429, "", 60),
        (503, "Retry-After: 7\r\n", 7),
    ] {
        let wire = Wire::start(move |_| answer(status, headers, ""));
        let error = revision(&wire.endpoint()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::RateLimited);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds)));
        assert_eq!(wire.heads().len(), 1);
    }
}

#[tokio::test]
async fn foreign_responses_are_reported() {
    let wire = Wire::start(|_| ok("<!DOCTYPE html><title>Please sign in</title>"));
    assert!(bad_answer(&revision(&wire.endpoint()).await.unwrap_err()).contains("HTML"));
    let wire = Wire::start(|_| ok(&format!(r#"{{"sha":"{SHA1}""#)));
    assert!(bad_answer(&revision(&wire.endpoint()).await.unwrap_err()).contains("JSON"));
    let wire = Wire::start(|_| answer(204, "", ""));
    assert!(bad_answer(&revision(&wire.endpoint()).await.unwrap_err()).contains("204"));
}

#[tokio::test]
async fn an_endless_response_is_aborted() {
    let wire = Wire::start(|_| {
        let mut endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n[".to_vec();
        endless.resize((64 << 20) + 1000, b' ');
        Some(endless)
    });
    assert!(bad_answer(&list(&wire).await.unwrap_err()).contains("64 MiB"));
}

#[tokio::test]
async fn compressed_json_is_decoded() {
    use flate2::{Compression, read::GzEncoder};
    let gzip = |status: u16, body: &str| {
        let mut packed = Vec::new();
        GzEncoder::new(body.as_bytes(), Compression::fast()).read_to_end(&mut packed).unwrap();
        let length = packed.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Encoding: gzip\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        Some([head.into_bytes(), packed].concat())
    };
    let wire = Wire::start(move |_| gzip(200, &format!(r#"{{"sha":"{SHA1}"}}"#)));
    assert_eq!(revision(&wire.endpoint()).await.unwrap().commit, commit());

    let wire = Wire::start(move |_| gzip(403, r#"{"error":"not from here"}"#));
    let error = revision(&wire.endpoint()).await.unwrap_err();
    assert!(matches!(&error, HubError::Refused(refusal) if refusal.words == "not from here"), "{error:?}");

    let bomb = gzip(200, &" ".repeat((64 << 20) + 1));
    let wire = Wire::start(move |_| bomb.clone());
    assert!(bad_answer(&list(&wire).await.unwrap_err()).contains("larger than 64 MiB"));
    let wire = Wire::start(|_| answer(200, "Content-Encoding: compress\r\n", "x"));
    assert!(bad_answer(&list(&wire).await.unwrap_err()).contains("encoded as `compress`"));
}

/// Two listing pages that name each other as the next.
fn endless(head: &str, page: &str) -> Reply {
    let next = if head.starts_with("get /one ") { "two" } else { "one" };
    answer(200, &format!("Link: </{next}>; rel=\"next\"\r\n"), page)
}

#[tokio::test]
async fn endless_listings_are_aborted() {
    let wire = Wire::start(|_| answer(200, "Link: <mailto:hub@example.org>; rel=\"next\"\r\n", "[]"));
    assert!(bad_answer(&list(&wire).await.unwrap_err()).contains("next page is not an address"));
    let wire = Wire::start(|_| answer(200, "Link: /again; rel=\"next\"\r\n", "[]"));
    assert!(bad_answer(&list(&wire).await.unwrap_err()).contains("next page cannot be parsed"));
    let wire = Wire::start(|_| answer(200, "Link: </again>; rel=\"next\"\r\n", "[]"));
    assert!(bad_answer(&list(&wire).await.unwrap_err()).contains("same page again"));
    let wire = Wire::start(|head| endless(head, "[]"));
    assert!(bad_answer(&list(&wire).await.unwrap_err()).contains("pages"));
}

#[tokio::test]
async fn a_listing_with_too_many_files_is_aborted() {
    let entry = format!(r#"{{"type":"file","path":"a","size":5,"oid":"{SHA1}"}}"#);
    let page = format!("[{}]", vec![entry; 50_000].join(","));
    let wire = Wire::start(move |head| endless(head, &page));
    assert!(bad_answer(&list(&wire).await.unwrap_err()).contains("more than 200000 files"));
    assert_eq!(wire.heads().len(), 5);
}

#[tokio::test]
async fn unexpected_ranges_are_handled() {
    let wire = Wire::start(|_| answer(200, "", "0123456789"));
    let body = open(&wire, 4).await.unwrap();
    assert_eq!((body.start, body.length), (0, Some(10)), "a server without ranges");
    assert!(wire.heads()[0].contains("range: bytes=4-9\r\n"));
    assert!(wire.heads()[0].contains("accept-encoding: identity\r\n"));

    let wire = Wire::start(|_| answer(206, "Content-Range: bytes 4-9/10\r\n", "456789"));
    let body = open(&wire, 4).await.unwrap();
    assert_eq!((body.start, body.length), (4, Some(6)));

    for range in ["Content-Range: bytes 3-9/10\r\n", "Content-Range: nonsense\r\n", ""] {
        let wire = Wire::start(move |_| answer(206, range, "3456789"));
        assert!(bad_answer(&open(&wire, 4).await.unwrap_err()).contains("another part"));
    }

    let wire = Wire::start(|head| {
        if head.contains("range:") {
            answer(206, "Content-Range: bytes 3-9/10\r\n", "3456789")
        } else {
            answer(200, "", "0123456789")
        }
    });
    let body = open(&wire, 4).await.unwrap();
    assert_eq!((body.start, body.length), (0, Some(10)), "another range: all of it again");

    let wire = Wire::start(|head| {
        if head.contains("range:") { answer(416, "", "") } else { answer(200, "", "0123456789") }
    });
    let mut body = open(&wire, 9).await.unwrap();
    assert_eq!(body.start, 0, "more than there is: all of it again");
    assert_eq!(body.next_chunk().await.unwrap().as_deref(), Some(&b"0123456789"[..]));

    let wire = Wire::start(|_| answer(200, "Content-Encoding: gzip\r\n", "x"));
    assert!(bad_answer(&open(&wire, 0).await.unwrap_err()).contains("compressed"));
}

#[tokio::test]
async fn a_file_of_another_size_is_reported_with_both_sizes() {
    let whole = || answer(200, "", "0123456");
    let part = |head: &str| {
        if head.contains("range:") {
            answer(206, "Content-Range: bytes 4-6/7\r\n", "456")
        } else {
            answer(200, "", "0123456")
        }
    };
    let beyond =
        |head: &str| if head.contains("range:") { answer(416, "", "") } else { answer(200, "", "0123456") };
    for wire in [Wire::start(move |_| whole()), Wire::start(part), Wire::start(beyond)] {
        let error = open(&wire, 4).await.unwrap_err();
        let host = format!("localhost:{}", wire.address.port());
        assert_eq!(error, HubError::WrongSize { host, expected: 10, found: 7 });
        assert!(error.reason() == Reason::HashMismatch && error.is_transient());
    }
}

#[tokio::test]
async fn a_server_that_rejects_ranges_is_asked_for_the_whole_file_once() {
    for status in [400, 403, 501] {
        for refusing in [true, false] {
            let wire = Wire::start(move |head| {
                if refusing || head.contains("range:") {
                    answer(status, "", "<html>no ranges here</html>")
                } else {
                    answer(200, "", "0123456789")
                }
            });
            let body = open(&wire, 4).await;
            assert_eq!(body.map(|body| body.start).map_err(drop), if refusing { Err(()) } else { Ok(0) });
            assert_eq!(wire.heads().len(), 2, "{status}");
        }
    }
    // A refusal with the Hub's error code is about the repo.
    let wire = Wire::start(|_| answer(403, "X-Error-Code: GatedRepo\r\n", ""));
    open(&wire, 4).await.unwrap_err();
    assert_eq!(wire.heads().len(), 1);
    // A server that has served a range supports ranges.
    let mut parts = 0;
    let wire = Wire::start(move |_| {
        parts += 1;
        if parts == 1 {
            answer(206, "Content-Range: bytes 4-9/10\r\n", "456789")
        } else {
            answer(403, "", "")
        }
    });
    let hub = Hub::connect(&wire.endpoint()).unwrap();
    let file = hub.file(&model(), &commit(), &path("a.bin"), 10);
    file.open(None, 4..10).await.unwrap();
    file.open(None, 4..10).await.unwrap_err();
    assert_eq!(wire.heads().len(), 2);
}

#[tokio::test]
async fn a_truncated_body_is_an_error() {
    let wire = Wire::start(|_| Some(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234".to_vec()));
    let mut body = open(&wire, 0).await.unwrap();
    let mut taken = Vec::new();
    let error = loop {
        match body.next_chunk().await {
            Ok(Some(chunk)) => taken.extend_from_slice(&chunk),
            Ok(None) => panic!("an early end was taken for the end"),
            Err(error) => break error,
        }
    };
    assert_eq!(taken, b"01234");
    assert_eq!(failure(&error).0, ConnectFailure::Cut);
}

#[tokio::test]
async fn the_endpoints_proxy_is_used_and_its_refusal_reported() {
    let proxy = Wire::start(|head| if head.starts_with("connect") { answer(407, "", "") } else { good() });
    let at = |url: &str| url.parse::<Endpoint>().unwrap().with_proxy(proxy.url().parse().unwrap());
    revision(&at("http://hub.invalid")).await.unwrap();
    assert!(proxy.heads()[0].starts_with("get http://hub.invalid/api/models/org/x/revision/main "));
    let error = revision(&at("https://hub.invalid")).await.unwrap_err();
    let (kind, detail) = failure(&error);
    assert_eq!(kind, ConnectFailure::Proxy);
    assert!(detail.contains("authorization required"), "{detail}");

    let proxy = Wire::start(|_| answer(403, "", "not from here"));
    let endpoint = "https://hub.invalid".parse::<Endpoint>().unwrap();
    let error = revision(&endpoint.with_proxy(proxy.url().parse().unwrap())).await.unwrap_err();
    assert_eq!(failure(&error).0, ConnectFailure::Proxy);
}

/// The environment is read once per process, so this test starts itself again for each case.
#[tokio::test]
async fn the_environment_configures_proxies_and_authorities() {
    const WHERE: &str = "MODELCACHE_TEST_ENDPOINT";
    const NAME: &str = "network::the_environment_configures_proxies_and_authorities";
    if let Ok(endpoint) = env::var(WHERE) {
        let hub = Hub::connect(&endpoint.parse().unwrap()).unwrap();
        hub.auth_check(&model(), Some(&token())).await.unwrap();
        return;
    }
    let succeeds = |endpoint: &str, variables: &[(&str, &str)]| {
        let mut again = Command::new(env::current_exe().unwrap());
        again.args([NAME, "--exact", "--nocapture"]);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"] {
            again.env_remove(name).env_remove(name.to_lowercase());
        }
        again.env(WHERE, endpoint).envs(variables.iter().copied());
        again.output().unwrap().status.success()
    };

    let proxy = Wire::start(|_| good());
    let hub = Wire::start(|_| good());
    assert!(succeeds("http://hub.invalid", &[("HTTP_PROXY", &proxy.url())]));
    assert_eq!(proxy.heads().len(), 1);
    assert!(succeeds(&hub.url(), &[("HTTP_PROXY", &proxy.url()), ("NO_PROXY", "example.com,localhost")]));
    assert_eq!((proxy.heads().len(), hub.heads().len()), (1, 1), "NO_PROXY goes around the proxy");

    let secure = Wire::tls(|_| good());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, AUTHORITY).unwrap();
    assert!(!succeeds(&secure.url(), &[]));
    assert!(succeeds(&secure.url(), &[("SSL_CERT_FILE", file.to_str().unwrap())]));
}
