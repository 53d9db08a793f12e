//! The whole way of a file in Xet: into a cache, verified, and over plain HTTP where the store fails.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::symlink,
    process::Command,
    sync::Arc,
    time::Duration,
};

use modelcache::{
    cache::CacheDir,
    fetch::{FetchRequest, Limits, Progress, Report, fetch},
    hub::{CaBundle, Patterns, Repo, RepoType, TokenSource},
    reason::Reason,
};
use pretty_assertions::assert_eq;
use standin_hub::Class;

use crate::{FILE, SIZE, World, alice, proxy::ForwardProxy};

impl World {
    async fn fetch(&self, xet: bool) -> Report {
        self.fetch_with(xet, Duration::from_secs(2)).await
    }

    async fn fetch_with(&self, xet: bool, stall: Duration) -> Report {
        let limits = Limits { pause: Duration::from_millis(20), stall, ..Limits::default() };
        let request = FetchRequest {
            repo: Repo { kind: RepoType::Model, id: "acme/big".parse().unwrap() },
            revision: "main".parse().unwrap(),
            aliases: Vec::new(),
            patterns: Patterns::default(),
            cache: CacheDir::new(self.folder.path().join("cache")),
            endpoint: self.hub.url().parse().unwrap(),
            token: TokenSource::Fixed(alice()),
            offline: false,
            xet,
            links: None,
            limits,
        };
        let report = fetch(&request, &Arc::new(Progress::default()), std::future::pending()).await;
        assert_eq!(report.reason, Reason::Verified, "{}", report.message);
        let path = self.folder.path().join("cache").join(report.path.clone().unwrap()).join(FILE);
        assert!(fs::read(path).unwrap() == self.content);
        report
    }

    /// Bytes that came over plain HTTP.
    fn over_http(&self) -> u64 {
        let requests = self.hub.requests();
        requests.iter().filter(|request| request.class == Class::Cdn).map(|request| request.bytes).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_makes_its_folders_on_no_other_way_than_ours() {
    let world = World::new().await;
    let (own, outside) = (
        world.folder.path().join("cache/models--acme--big/.modelcache"),
        world.folder.path().join("outside"),
    );
    fs::create_dir_all(&own).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, own.join("xet")).unwrap();
    world.fetch(true).await;
    assert_eq!((world.over_http(), fs::read_dir(&outside).unwrap().count()), (0, 0));
    // Nor does anything of it stay behind.
    let left: Vec<_> = fs::read_dir(&own).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".snapshot")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_xet_comes_from_there() {
    let world = World::new().await;
    let report = world.fetch(true).await;
    assert_eq!((report.downloaded_bytes, world.over_http(), world.tokens_asked()), (SIZE, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_xet_gets_it_over_http() {
    let world = World::new().await;
    world.fetch(false).await;
    assert_eq!((world.over_http(), world.store.requests().len()), (SIZE, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_the_store_is_caught_and_never_shown() {
    let world = World::new().await;
    world.store.flip_a_byte().unwrap();
    let report = world.fetch(true).await;
    assert_eq!((report.downloaded_bytes, world.over_http()), (2 * SIZE, SIZE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_store_costs_only_what_it_did_not_give() {
    let world = World::new().await;
    // Whole answers: of bytes that are shared out among all, each connection may get too few to make anything of.
    world.store.stall_after(2);
    world.fetch(true).await;
    let over_http = world.over_http();
    assert!(over_http > 0 && over_http < SIZE, "{over_http}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_gone_is_done_without() {
    let world = World::new().await;
    world.store.die();
    world.fetch(true).await;
    assert_eq!(world.over_http(), SIZE);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_room_on_a_slow_line_has_not_stalled() {
    let world = World::new().await;
    // Three of the five parts have room at first. They take 8 s, and the others 5 s more.
    world.store.slow_down(3 << 20);
    let report = world.fetch_with(true, Duration::from_secs(5)).await;
    assert_eq!((report.downloaded_bytes, world.over_http()), (SIZE, 0));
}

/// The command with the variables that a Job has where its endpoint has a proxy.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_reaches_the_store_through_its_proxy_and_takes_plain_http_with_certificates() {
    let world = World::new().await;
    let proxy = ForwardProxy::start(IpAddr::from(Ipv4Addr::LOCALHOST), |host| host.parse().ok());
    let store = world.store.url().split("://").nth(1).unwrap().to_owned();
    let fetch = async |bundle: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelcache"));
        command
            .args(["fetch", "acme/big"])
            .env_clear()
            .env("HF_ENDPOINT", world.hub.url())
            .env("HF_HUB_CACHE", world.folder.path().join("cache"))
            .env("HF_TOKEN", "hf_alice")
            .envs(["HTTPS_PROXY", "HTTP_PROXY"].map(|name| (name, &proxy.url)))
            .envs(bundle.map(|bundle| (CaBundle::VARIABLE, bundle)));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::remove_dir_all(world.folder.path().join("cache")).unwrap();
    };

    fetch(None).await;
    assert!(proxy.asked().iter().any(|host| store.starts_with(host.as_str())), "{:?}", proxy.asked());
    assert_eq!(world.over_http(), 0);

    let asked = proxy.asked().len();
    fetch(Some(include_str!("../hub_client/tls/ca.pem"))).await;
    assert_eq!(world.over_http(), SIZE);
    assert!(!proxy.asked()[asked..].iter().any(|host| store.starts_with(host.as_str())));
}
