//! Where the token is sent, and which redirects are followed.

use modelcache::{
    hub::{Body, Hub, HubError, Token},
    reason::Reason,
};

use crate::{
    commit, model, path, token,
    wire::{Wire, answer, ok, redirect},
};

async fn open(hub: &Wire) -> Result<Body, HubError> {
    let hub = Hub::connect(&hub.endpoint()).unwrap();
    hub.file(&model(), &commit(), &path("a.bin"), 7).open(Some(&token()), 0..7).await
}

async fn auth_check(hub: &Wire) -> Result<(), HubError> {
    Hub::connect(&hub.endpoint()).unwrap().auth_check(&model(), Some(&token())).await
}

fn saw_token(head: &str) -> bool {
    head.contains("authorization: bearer hf_good")
}

#[tokio::test]
async fn a_renamed_repo_is_followed_with_the_token() {
    let hub = Wire::start(|head| {
        if head.contains("/api/models/org/x/") {
            redirect(307, "/api/models/org/y/auth-check")
        } else {
            ok("OK")
        }
    });
    auth_check(&hub).await.unwrap();
    assert_eq!(hub.heads().len(), 2);
    assert!(hub.heads().iter().all(|head| saw_token(head)));
}

/// A user name and password for a mirror are sent like a token, and only there.
#[tokio::test]
async fn a_login_is_sent_as_basic_auth() {
    let storage = Wire::start(|_| answer(200, "", "content"));
    let to = storage.url();
    let hub = Wire::start(move |head| {
        if head.contains("/api/") {
            answer(403, "X-Error-Message: no s3cr:et-word here\r\n", "")
        } else {
            redirect(302, &to)
        }
    });
    let client = Hub::connect(&hub.endpoint()).unwrap();
    let login = Token::parse("ann:s3cr:et-word").unwrap();
    client.file(&model(), &commit(), &path("a.bin"), 7).open(Some(&login), 0..7).await.unwrap();
    let refused = client.auth_check(&model(), Some(&login)).await.unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("s3cr"), "{refused}");
    // The recorded heads are in lower case.
    let expected = "authorization: basic YW5uOnMzY3I6ZXQtd29yZA==".to_lowercase();
    assert!(
        hub.heads().len() == 2 && hub.heads().iter().all(|head| head.contains(&expected)),
        "{:?}",
        hub.heads()
    );
    assert!(!storage.heads()[0].contains("authorization"));
}

#[tokio::test]
async fn the_storage_never_receives_the_token() {
    let storage = Wire::start(|_| answer(200, "", "content"));
    let to = format!("{}/bucket/a.bin?Signature=secret", storage.url());
    let hub = Wire::start(move |_| redirect(302, &to));
    let mut body = open(&hub).await.unwrap();
    assert_eq!(body.next_chunk().await.unwrap().as_deref(), Some(&b"content"[..]));
    assert!(saw_token(&hub.heads()[0]));
    assert!(!storage.heads()[0].contains("authorization"), "{}", storage.heads()[0]);
}

#[tokio::test]
async fn a_redirect_back_from_elsewhere_gets_no_token() {
    let back = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let address = back.clone();
    let storage = Wire::start(move |_| redirect(302, &format!("{}/stolen", address.get().unwrap())));
    let to = storage.url();
    let hub =
        Wire::start(
            move |head| {
                if head.contains("/stolen") { answer(200, "", "content") } else { redirect(302, &to) }
            },
        );
    back.set(hub.url()).unwrap();
    open(&hub).await.unwrap();
    assert!(saw_token(&hub.heads()[0]) && !saw_token(&hub.heads()[1]));
}

#[tokio::test]
async fn an_expired_signature_is_a_storage_error() {
    for status in [400, 403, 404, 500, 503] {
        let storage = Wire::start(move |_| answer(status, "", "<Error><Code>AccessDenied</Code></Error>"));
        let to = format!("{}/a?Signature=topsecret", storage.url());
        let hub = Wire::start(move |_| redirect(302, &to));
        let error = open(&hub).await.unwrap_err();
        assert!(matches!(error, HubError::Storage { status: found, .. } if found == status), "{error:?}");
        assert_eq!(error.reason(), Reason::HubUnreachable);
        assert!(error.is_transient());
        assert!(!format!("{error} {error:?}").contains("topsecret"));
    }
    let storage = Wire::start(|_| answer(429, "Retry-After: 3\r\n", ""));
    let to = storage.url();
    let hub = Wire::start(move |_| redirect(302, &to));
    assert_eq!(open(&hub).await.unwrap_err().reason(), Reason::RateLimited);
}

#[tokio::test]
async fn an_unreachable_storage_reveals_no_signature() {
    let hub = Wire::start(|_| redirect(302, "http://storage.invalid/a?Signature=topsecret"));
    let error = open(&hub).await.unwrap_err();
    assert!(error.to_string().contains("storage.invalid"));
    assert!(!format!("{error} {error:?}").contains("topsecret"), "{error:?}");
}

#[tokio::test]
async fn api_calls_are_not_redirected_elsewhere() {
    let login = Wire::start(|_| ok("OK"));
    let to = login.url();
    let hub = Wire::start(move |_| redirect(302, &format!("{to}/login?next=1")));
    let error = auth_check(&hub).await.unwrap_err();
    assert!(matches!(&error, HubError::BadAnswer { what, .. } if what.contains("use it as the endpoint")));
    assert!(login.heads().is_empty());
}

/// A mirror behind a proxy that terminates TLS redirects to itself with `http://`.
#[tokio::test]
async fn a_redirect_to_the_mirror_without_tls_is_upgraded() {
    for (renamed, port) in [("/api/models/org/y/auth-check", false), ("/api/models/org/y/auth-check", true)] {
        let own_port = std::sync::Arc::new(std::sync::OnceLock::<u16>::new());
        let known = own_port.clone();
        let hub = Wire::tls(move |head| {
            let port = if port { format!(":{}", known.get().unwrap()) } else { String::new() };
            if head.contains("/org/x/") {
                redirect(301, &format!("http://localhost{port}{renamed}"))
            } else {
                ok("OK")
            }
        });
        own_port.set(hub.address.port()).unwrap();
        auth_check(&hub).await.unwrap();
        assert_eq!(hub.heads().len(), 2);
        assert!(hub.heads().iter().all(|head| saw_token(head)));
    }
    let small = Wire::tls(|head| {
        if head.contains("/resolve/") {
            redirect(307, "http://localhost/api/resolve-cache/a.bin?x=%2f")
        } else {
            answer(200, "", "content")
        }
    });
    let mut body = open(&small).await.unwrap();
    assert_eq!(body.next_chunk().await.unwrap().as_deref(), Some(&b"content"[..]));
    assert!(small.heads()[1].starts_with("get /api/resolve-cache/a.bin?x=%2f "), "{}", small.heads()[1]);
}

#[tokio::test]
async fn a_redirect_loop_between_schemes_is_reported() {
    let hub = Wire::start(|_| redirect(301, "https://localhost/api/models/org/x/auth-check"));
    let error = auth_check(&hub).await.unwrap_err();
    assert!(matches!(&error, HubError::BadAnswer { what, .. } if what.contains("use it as the endpoint")));
    let hub = Wire::tls(|_| redirect(301, "http://localhost/api/models/org/x/auth-check"));
    let error = auth_check(&hub).await.unwrap_err();
    assert!(matches!(&error, HubError::BadAnswer { what, .. } if what.contains("without TLS")), "{error:?}");
    assert_eq!(hub.heads().len(), 1);
}

#[tokio::test]
async fn a_redirect_never_downgrades_tls() {
    let storage = Wire::start(|_| answer(200, "", "content"));
    let to = storage.url();
    let hub = Wire::tls(move |_| redirect(302, &to));
    let error = open(&hub).await.unwrap_err();
    assert!(matches!(&error, HubError::BadAnswer { what, .. } if what.contains("without TLS")), "{error:?}");
    assert!(storage.heads().is_empty());

    // Unless it is allowed, and then only for files.
    let client = Hub::connect(&hub.endpoint().with_http_storage(true)).unwrap();
    client.file(&model(), &commit(), &path("a.bin"), 7).open(Some(&token()), 0..7).await.unwrap();
    assert!(storage.heads().len() == 1 && !saw_token(&storage.heads()[0]));
    client.auth_check(&model(), Some(&token())).await.unwrap_err();
    assert_eq!(storage.heads().len(), 1);
}

#[tokio::test]
async fn endless_redirects_are_aborted() {
    for location in ["/round", "file:///etc/passwd", ""] {
        let hub = Wire::start(move |_| redirect(302, location));
        let error = open(&hub).await.unwrap_err();
        assert!(matches!(error, HubError::BadAnswer { .. }), "{location}: {error:?}");
        assert!(hub.heads().len() <= 9);
    }
}
