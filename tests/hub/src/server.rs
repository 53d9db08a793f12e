//! The Hub as tests hold it.
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
    door::{Addresses, Host, World},
    fault::Fault,
    listener::Port,
    log::{Request, locked},
    name::RepoName,
    repo::{Access, Repo},
    state::{BadTokens, State, XetStore},
};

/// After this time a test waits in vain.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running stand-in Hub with its CDN. It stops when dropped, and then panics if a token has leaked.
#[derive(Debug)]
pub struct StandinHub {
    world: Arc<World>,
    hub: Port,
    cdn: Port,
    runtime: Option<Runtime>,
}

/// Where to listen, and how others reach it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Address of the Hub; a free port of 127.0.0.1 by default.
    pub listen: Option<SocketAddr>,
    /// Address of the CDN; a free port of 127.0.0.1 by default.
    pub cdn_listen: Option<SocketAddr>,
    /// How clients reach the Hub, if not at that address.
    pub public_url: Option<String>,
    /// How clients reach the CDN, if not at that address.
    pub public_cdn_url: Option<String>,
}

/// A file as a client should find it in a cache.
#[derive(Clone, Debug)]
pub struct ServedFile {
    /// Path in the repo.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Name of its blob in a cache: SHA-256 for LFS, git SHA-1 else.
    pub etag: String,
    /// What is in it.
    pub content: Content,
}

impl StandinHub {
    /// Starts an empty Hub on free ports of 127.0.0.1.
    ///
    /// It runs on threads of its own: a test may block its own runtime, as with a client in another process.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    #[allow(clippy::unused_async, reason = "so that starting may become slow without a change to each test")]
    pub async fn start() -> Self {
        Self::start_with(Options::default()).unwrap_or_else(|error| panic!("start the stand-in Hub: {error}"))
    }

    /// Starts an empty Hub where the options say.
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

    /// Where the Hub and its CDN listen, under whatever names clients reach them.
    #[must_use]
    pub fn listeners(&self) -> (SocketAddr, SocketAddr) {
        (self.hub.address(), self.cdn.address())
    }

    /// Adds a repo, or puts it in the place of the one with its name.
    #[track_caller]
    pub fn add(&self, repo: Repo) {
        or_panic(self.state().add(repo));
    }

    /// Changes a repo: new commits, another gate.
    #[track_caller]
    pub fn update(&self, repo: impl Into<RepoName>, change: impl FnOnce(Repo) -> Repo) {
        or_panic(self.state().update(&repo.into(), change));
    }

    /// Takes a repo away.
    #[track_caller]
    pub fn remove(&self, repo: impl Into<RepoName>) {
        or_panic(self.state().remove(&repo.into()));
    }

    /// Gives a repo another name; the old one redirects.
    #[track_caller]
    pub fn rename(&self, old: impl Into<RepoName>, new: impl Into<RepoName>) {
        or_panic(self.state().rename(&old.into(), &new.into()));
    }

    /// An account, made where it is not there yet.
    pub fn user(&self, name: &str) -> Account<'_> {
        self.state().user(name);
        Account { hub: self, name: name.to_owned() }
    }

    /// Takes a token away: from now on it is unknown.
    #[track_caller]
    pub fn remove_token(&self, secret: &str) {
        or_panic(self.state().remove_token(secret));
    }

    /// The user may read the gated repo.
    #[track_caller]
    pub fn accept_terms(&self, user: &str, repo: impl Into<RepoName>) {
        self.set_access(user, repo, Access::Accepted);
    }

    /// Where a user stands with a gated repo.
    #[track_caller]
    pub fn set_access(&self, user: &str, repo: impl Into<RepoName>, access: Access) {
        self.update(repo, |repo| repo.access(user, access));
    }

    /// What happens to bad tokens on public repos.
    pub fn bad_tokens(&self, treatment: BadTokens) {
        self.state().bad_tokens = treatment;
    }

    /// How many entries a page of a listing has.
    pub fn page_size(&self, entries: usize) {
        self.state().page_size = Some(entries);
    }

    /// Small files are redirected to another address of the same host first, as on the real Hub.
    pub fn resolve_cache(&self, on: bool) {
        self.state().resolve_cache = on;
    }

    /// Where the files are that repos have in Xet ([`Repo::xet`]), and how long the tokens for it last. They are
    /// `xet_token_1`, `xet_token_2` and so on.
    pub fn xet_store(&self, url: &str, token_lifetime: Duration) {
        self.state().xet_store = Some(XetStore::new(url.to_owned(), token_lifetime));
    }

    /// How long addresses of the CDN work.
    pub fn signature_lifetime(&self, lifetime: Duration) {
        *locked(&self.world.signature_lifetime) = lifetime;
    }

    /// Sets a fault. The first that matches a request is done.
    pub fn fault(&self, fault: impl Into<Fault>) {
        self.world.faults.set(fault.into());
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        self.world.faults.clear();
    }

    /// Takes those faults away that were set for this part of a path.
    pub fn clear_faults_on(&self, path: &str) {
        self.world.faults.clear_on(path);
    }

    /// Hub and CDN refuse connections, and end those that are open.
    ///
    /// # Panics
    ///
    /// If the ports cannot be held.
    pub async fn off(&self) {
        for port in [&self.hub, &self.cdn] {
            port.off().await.unwrap_or_else(|error| panic!("switch the stand-in Hub off: {error}"));
        }
    }

    /// Hub and CDN listen again, at the same ports.
    ///
    /// # Panics
    ///
    /// If the ports cannot be had.
    pub fn on(&self) {
        for port in [&self.hub, &self.cdn] {
            port.on().unwrap_or_else(|error| panic!("switch the stand-in Hub on: {error}"));
        }
    }

    /// All requests so far, in the order in which they were answered.
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

    /// Requests in which a token went where none belongs.
    #[must_use]
    pub fn token_leaks(&self) -> Vec<String> {
        self.world.log.leaks()
    }

    /// Forgets the leaks: for a test that leaks on purpose.
    pub fn clear_token_leaks(&self) {
        self.world.log.clear_leaks();
    }

    /// Waits until the requests so far are as wanted.
    ///
    /// # Panics
    ///
    /// If they are not within a minute.
    pub async fn until(&self, wanted: impl Fn(&[Request]) -> bool) {
        let mut changes = self.world.log.changes();
        let waiting = async { while !wanted(&self.requests()) && changes.changed().await.is_ok() {} };
        let outcome = tokio::time::timeout(PATIENCE, waiting).await;
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

    /// The files of a revision as a client should find them.
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
        // Without waiting: a drop may happen inside another runtime, where waiting is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let leaks = self.token_leaks();
        assert!(leaks.is_empty() || std::thread::panicking(), "a token has leaked: {leaks:?}");
    }
}

/// An account of a Hub, to give it more.
#[derive(Debug)]
pub struct Account<'a> {
    hub: &'a StandinHub,
    name: String,
}

impl Account<'_> {
    /// Gives it a token.
    pub fn token(&self, token: impl Into<Token>) -> &Self {
        self.hub.state().add_token(&self.name, token.into());
        self
    }

    /// Makes it a member of an organisation.
    #[allow(
        clippy::must_use_candidate,
        reason = "the account is handed back for more, which is rarely wanted"
    )]
    pub fn org(&self, org: &str) -> &Self {
        self.hub.state().user(&self.name).orgs.insert(org.to_owned());
        self
    }
}
