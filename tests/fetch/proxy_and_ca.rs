//! Endpoints behind a mandatory proxy and with a private authority. The preflight is configured by the operator, the fetch of
//! a Job by its environment.

use std::net::{IpAddr, Ipv4Addr};

use modelcache::{
    hub::{CaBundle, Endpoint, Hub, Patterns, Preflight, PreflightRequest, TokenStatusCache, preflight},
    reason::Reason,
};

use crate::{
    network::with_company_tls,
    outside::{assert_unseen, assert_whole, end, fetch},
    proxy::ForwardProxy,
    tls::AUTHORITY,
};

/// The host of an address, with its port.
fn host(url: &str) -> String {
    url.split("://").nth(1).unwrap().to_owned()
}

/// A proxy that allows loopback addresses.
fn proxy() -> ForwardProxy {
    ForwardProxy::start(IpAddr::from(Ipv4Addr::LOCALHOST), |host| {
        let port = host.strip_prefix("localhost:")?.parse().ok()?;
        Some((Ipv4Addr::LOCALHOST, port).into())
    })
}

async fn ask(endpoint: &Endpoint) -> Preflight {
    let question = PreflightRequest {
        repo: &modelcache::hub::Repo {
            kind: modelcache::hub::RepoType::Model,
            id: "acme/tiny".parse().unwrap(),
        },
        revision: &"main".parse().unwrap(),
        patterns: &Patterns::default(),
        pinned: None,
        followed: None,
        token: None,
        record: &TokenStatusCache::default(),
        known: None,
        files: true,
        confirm: true,
    };
    preflight(&Hub::connect(endpoint).unwrap(), &question).await
}

#[tokio::test]
async fn the_preflight_uses_the_endpoints_proxy_and_authority() {
    let (_stage, relays) = with_company_tls();
    let proxy = proxy();
    let url = &relays[0].url;
    let through = url.parse::<Endpoint>().unwrap().with_proxy(proxy.url.parse().unwrap());

    let [_, refused, _] = ask(&through).await.verdicts().map(Clone::clone);
    assert_eq!(refused.reason, Reason::HubUnreachable);
    assert!(refused.message.contains("CA bundle"), "no remedy: {}", refused.message);
    assert!(relays[0].heads().is_empty());

    let trusting = through.with_ca_bundle(AUTHORITY.parse().unwrap());
    let answers = ask(&trusting).await;
    assert!(answers.verdicts().iter().all(|verdict| verdict.holds()), "{answers:?}");
    // The Hub, and finally its storage.
    let hosts = [host(url), host(&relays[1].url)];
    assert!(proxy.asked().iter().all(|asked| hosts.contains(asked)), "{:?}", proxy.asked());
    assert!(relays.iter().all(|relay| !relay.heads().is_empty()));
}

#[tokio::test]
async fn the_fetch_of_a_job_uses_proxy_and_authority_for_the_storage_too() {
    let (stage, relays) = with_company_tls();
    let proxy = proxy();
    // The variables of a Job, as `controller::job` sets them.
    let job = |bundle: Option<&str>| {
        let mut command = fetch(&stage);
        command.envs(["HTTPS_PROXY", "HTTP_PROXY"].map(|name| (name, &proxy.url)));
        command.envs(bundle.map(|bundle| (CaBundle::VARIABLE, bundle)));
        command
    };
    let distrusting = end(job(None)).await;
    assert_eq!((distrusting.code, distrusting.report.reason), (Some(69), Reason::HubUnreachable));
    assert!(distrusting.report.message.contains("CA bundle"), "{}", distrusting.report.message);
    assert_unseen(&stage);

    end(job(Some(AUTHORITY))).await.assert_done();
    assert_whole(&stage);
    for relay in &relays {
        assert!(proxy.asked().contains(&host(&relay.url)), "{} was reached another way", relay.url);
        assert!(!relay.heads().is_empty());
    }
}

#[tokio::test]
async fn unreadable_certificates_are_reported_first() {
    let (stage, relays) = with_company_tls();
    let mut command = fetch(&stage);
    command.env(CaBundle::VARIABLE, "/etc/ssl/ca.pem");
    let end = end(command).await;
    assert_eq!((end.code, end.report.reason), (Some(2), Reason::InvalidEndpoint));
    let message = &end.report.message;
    assert!(
        message.starts_with("MODELCACHE_CA_BUNDLE is not usable: it contains no certificate"),
        "{message}"
    );
    assert!(relays[0].heads().is_empty());
}
