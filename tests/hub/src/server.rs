//! The stand-in Hub as used by tests.
#![allow(
    clippy::panic,
    reason = "a test that names what does not exist, or cannot listen, has to fail at that line and say why"
)]

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, MutexGuard},
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};

use crate::{
    account::Token,
    content::Content,
    fault::Fault,
    listener::Port,
    log::{Request, locked},
    middleware::{Addresses, Host, World},
    name::RepoName,
    repo::{Access, Repo},
    state::{BadTokens, State, XetStore},
};

/// How long tests wait for requests.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A running stand-in Hub with its CDN. It stops when dropped, and then panics if a token has leaked.
#[derive(Debug)]
pub struct StandinHub {
    world: Arc<World>,
    hub: Port,
    cdn: Port,
    runtime: Option<Runtime>,
}

/// Listen and public addresses.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Address of the Hub; by default, a free port of 127.0.0.1.
    pub listen: Option<SocketAddr>,
    /// Address of the CDN; by default, a free port of 127.0.0.1.
    pub cdn_listen: Option<SocketAddr>,
    /// Public address of the Hub, if it differs.
    pub public_url: Option<String>,
    /// Public address of the CDN, if it differs.
    pub public_cdn_url: Option<String>,
}

/// A file as expected in a cache.
#[derive(Clone, Debug)]
pub struct ServedFile {
    /// Path in the repo.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Name of its blob in a cache: SHA-256 for LFS, otherwise git SHA-1.
    pub etag: String,
    /// What is in it.
    pub content: Content,
}

impl StandinHub {
    /// Starts an empty Hub on free ports of 127.0.0.1.
    ///
    /// It runs on separate threads, since a test may block its own runtime, such as with a client in another process.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    #[allow(clippy::unused_async, reason = "so that starting may become slow without a change to each test")]
    pub async fn start() -> Self {
        Self::start_with(Options::default()).unwrap_or_else(|error| panic!("start the stand-in Hub: {error}"))
    }

    /// Starts an empty Hub with options.
    pub fn start_with(options: Options) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let world = Arc::new(World::new());
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (hub, cdn) = {
            let _inside = runtime.enter();
            let hub = Port::open(options.listen.unwrap_or(anywhere), Host::Hub, world.clone())?;
            (hub, Port::open(options.cdn_listen.unwrap_or(anywhere), Host::Cdn, world.clone())?)
        };
        let or_own =
            |url: Option<String>, port: &Port| url.unwrap_or_else(|| format!("http://{}", port.address()));
        let addresses =
            Addresses { hub: or_own(options.public_url, &hub), cdn: or_own(options.public_cdn_url, &cdn) };
        world.addresses.get_or_init(|| addresses);
        Ok(Self { world, hub, cdn, runtime: Some(runtime) })
    }

    /// The Hub's address, as for `HF_ENDPOINT`.
    #[must_use]
    pub fn url(&self) -> &str {
        self.world.addresses.get().map_or("", |addresses| &addresses.hub)
    }

    /// The CDN's address.
    #[must_use]
    pub fn cdn_url(&self) -> &str {
        self.world.addresses.get().map_or("", |addresses| &addresses.cdn)
    }

    /// The listen addresses of the Hub and its CDN.
    #[must_use]
    pub fn listeners(&self) -> (SocketAddr, SocketAddr) {
        (self.hub.address(), self.cdn.address())
    }

    /// Adds a repo, or replaces the one with its name.
    #[track_caller]
    pub fn add(&self, repo: Repo) {
        or_panic(self.state().add(repo));
    }

    /// Changes a repo, such as its commits or its gate.
    #[track_caller]
    pub fn update(&self, repo: impl Into<RepoName>, change: impl FnOnce(Repo) -> Repo) {
        or_panic(self.state().update(&repo.into(), change));
    }

    /// Removes a repo.
    #[track_caller]
    pub fn remove(&self, repo: impl Into<RepoName>) {
        or_panic(self.state().remove(&repo.into()));
    }

    /// Gives a repo another name; the old one redirects.
    #[track_caller]
    pub fn rename(&self, old: impl Into<RepoName>, new: impl Into<RepoName>) {
        or_panic(self.state().rename(&old.into(), &new.into()));
    }

    /// An account, created if it does not exist.
    pub fn user(&self, name: &str) -> Account<'_> {
        self.state().user(name);
        Account { hub: self, name: name.to_owned() }
    }

    /// Removes a token, so that it becomes unknown.
    #[track_caller]
    pub fn remove_token(&self, secret: &str) {
        or_panic(self.state().remove_token(secret));
    }

    /// The user may read the gated repo.
    #[track_caller]
    pub fn accept_terms(&self, user: &str, repo: impl Into<RepoName>) {
        self.set_access(user, repo, Access::Accepted);
    }

    /// Sets the access of a user to a gated repo.
    #[track_caller]
    pub fn set_access(&self, user: &str, repo: impl Into<RepoName>, access: Access) {
        self.update(repo, |repo| repo.access(user, access));
    }

    /// Sets how invalid tokens are treated on public repos.
    pub fn bad_tokens(&self, treatment: BadTokens) {
        self.state().bad_tokens = treatment;
    }

    /// Sets the number of entries per listing page.
    pub fn page_size(&self, entries: usize) {
        self.state().page_size = Some(entries);
    }

    /// Whether small files are first redirected to another address of the same host, as on the real Hub.
    pub fn resolve_cache(&self, on: bool) {
        self.state().resolve_cache = on;
    }

    /// The store of files in Xet ([`Repo::xet`]), and the lifetime of its tokens, which are `xet_token_1`, `xet_token_2` and so on.
    pub fn xet_store(&self, url: &str, token_lifetime: Duration) {
        self.state().xet_store = Some(XetStore::new(url.to_owned(), token_lifetime));
    }

    /// Sets the lifetime of CDN addresses.
    pub fn signature_lifetime(&self, lifetime: Duration) {
        *locked(&self.world.signature_lifetime) = lifetime;
    }

    /// Adds a fault. The first that matches a request is applied.
    pub fn fault(&self, fault: impl Into<Fault>) {
        self.world.faults.set(fault.into());
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.world.faults.clear();
    }

    /// Removes the faults for this part of a path.
    pub fn clear_faults_on(&self, path: &str) {
        self.world.faults.clear_on(path);
    }

    /// Makes Hub and CDN refuse connections, and closes open ones.
    ///
    /// # Panics
    ///
    /// If the ports cannot be reserved.
    pub async fn off(&self) {
        for port in [&self.hub, &self.cdn] {
            port.off().await.unwrap_or_else(|error| panic!("switch the stand-in Hub off: {error}"));
        }
    }

    /// Makes Hub and CDN listen again, on the same ports.
    ///
    /// # Panics
    ///
    /// If it cannot listen on the ports.
    pub fn on(&self) {
        for port in [&self.hub, &self.cdn] {
            port.on().unwrap_or_else(|error| panic!("switch the stand-in Hub on: {error}"));
        }
    }

    /// All requests so far, in the order of their responses.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.world.log.requests()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.world.log.clear();
    }

    /// Bytes of all bodies that were sent.
    #[must_use]
    pub fn served_bytes(&self) -> u64 {
        self.requests().iter().map(|request| request.bytes).sum()
    }

    /// Requests that leaked a token.
    #[must_use]
    pub fn token_leaks(&self) -> Vec<String> {
        self.world.log.leaks()
    }

    /// Forgets the leaks: for a test that leaks on purpose.
    pub fn clear_token_leaks(&self) {
        self.world.log.clear_leaks();
    }

    /// Waits until the requests so far meet a condition.
    ///
    /// # Panics
    ///
    /// If they are not within a minute.
    pub async fn until(&self, wanted: impl Fn(&[Request]) -> bool) {
        let mut changes = self.world.log.changes();
        let waiting = async { while !wanted(&self.requests()) && changes.changed().await.is_ok() {} };
        let outcome = tokio::time::timeout(TIMEOUT, waiting).await;
        assert!(
            outcome.is_ok(),
            "the stand-in Hub waited in vain; the requests so far: {:#?}",
            self.requests()
        );
    }

    /// The commit of a revision.
    #[must_use]
    #[track_caller]
    pub fn commit(&self, repo: impl Into<RepoName>, revision: &str) -> String {
        let name = repo.into();
        let state = self.state();
        let commit = or_panic(state.repo(&name)).resolve(revision);
        or_panic(commit.map(str::to_owned).ok_or_else(|| format!("{name} has no revision {revision}")))
    }

    /// The files of a revision as expected in a cache.
    #[must_use]
    #[track_caller]
    pub fn files(&self, repo: impl Into<RepoName>, revision: &str) -> Vec<ServedFile> {
        let name = repo.into();
        let commit = self.commit(&name, revision);
        let state = self.state();
        let tree = or_panic(state.repo(&name)).tree(&commit).into_iter().flatten();
        tree.map(|(path, file)| ServedFile {
            path: path.clone(),
            size: file.content.size(),
            etag: file.etag().to_owned(),
            content: file.content.clone(),
        })
        .collect()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.world.state)
    }
}

#[track_caller]
fn or_panic<T>(result: Result<T, String>) -> T {
    result.unwrap_or_else(|error| panic!("stand-in Hub: {error}"))
}

impl Drop for StandinHub {
    fn drop(&mut self) {
        // Without blocking, which is not allowed if this is dropped inside another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let leaks = self.token_leaks();
        assert!(leaks.is_empty() || std::thread::panicking(), "a token has leaked: {leaks:?}");
    }
}

/// An account of a Hub.
#[derive(Debug)]
pub struct Account<'a> {
    hub: &'a StandinHub,
    name: String,
}

impl Account<'_> {
    /// Adds a token.
    pub fn token(&self, token: impl Into<Token>) -> &Self {
        self.hub.state().add_token(&self.name, token.into());
        self
    }

    /// Adds it to an organisation.
    #[allow(
        clippy::must_use_candidate,
        reason = "the account is handed back for more, which is rarely wanted"
    )]
    pub fn org(&self, org: &str) -> &Self {
        self.hub.state().user(&self.name).orgs.insert(org.to_owned());
        self
    }
}
