//! The context shared by all downloads of a fetch.

use std::sync::Arc;

use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit, mpsc},
    task::{JoinHandle, spawn_blocking},
};

use super::{FetchError, Limits, progress::Progress, retry::RateLimitBudget};
use crate::{
    cache::RepoDir,
    hub::{
        Commit, ConnectFailure, Hub, HubError, RemoteFile, RepoFile, Revision, Token, TokenError,
        TokenSource, messages,
    },
};

/// Held by every task that must finish before a fetch returns, so that its files are in place, kept or removed by then.
pub(super) type CompletionGuard = mpsc::Sender<()>;

/// The context shared by all downloads of a fetch.
pub(super) struct Context<'a> {
    pub(super) hub: &'a Hub,
    pub(super) dir: &'a RepoDir,
    pub(super) revision: &'a Revision,
    pub(super) commit: &'a Commit,
    pub(super) tokens: TokenProvider<'a>,
    pub(super) limits: &'a Limits,
    pub(super) progress: &'a Arc<Progress>,
    pub(super) rate_limit: &'a RateLimitBudget,
    pub(super) guard: &'a CompletionGuard,
    /// Access to files in Xet.
    #[cfg(feature = "xet")]
    pub(super) xet: Option<crate::hub::XetFiles>,
    /// One permit per connection.
    pub(super) connections: Semaphore,
}

/// The token that all downloads send. May change during a fetch, when a mounted Secret is updated.
pub(super) struct TokenProvider<'a> {
    source: &'a TokenSource,
    current: Mutex<Option<Token>>,
}

impl<'a> TokenProvider<'a> {
    /// Starts with a token already read from `source`.
    pub(super) fn new(source: &'a TokenSource, token: Option<Token>) -> Self {
        Self { source, current: Mutex::new(token) }
    }

    /// The token read last.
    pub(super) async fn current(&self) -> Option<Token> {
        self.current.lock().await.clone()
    }

    /// Rereads the token for all subsequent requests.
    pub(super) async fn renew(&self) -> Result<Option<Token>, TokenError> {
        let token = self.source.read()?;
        self.current.lock().await.clone_from(&token);
        Ok(token)
    }
}

impl Context<'_> {
    /// A file on the Hub. `plain`: over HTTP, even if it is in Xet.
    #[cfg_attr(not(feature = "xet"), expect(unused_variables, reason = "there is no other way without Xet"))]
    pub(super) fn remote(&self, file: &RepoFile, plain: bool) -> RemoteFile {
        let remote = self.hub.file(self.dir.repo(), self.commit, &file.path, file.size);
        #[cfg(feature = "xet")]
        if let (Some(xet), Some(hash)) = (&self.xet, &file.xet_hash)
            && !plain
        {
            return remote.in_xet(xet, hash);
        }
        remote
    }

    /// Waits for a free connection.
    pub(super) async fn permit(&self) -> Result<SemaphorePermit<'_>, FetchError> {
        self.connections.acquire().await.map_err(|_| FetchError::Stopped)
    }

    /// Runs work on the volume on a blocking thread. The fetch does not return before it has finished.
    pub(super) fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let guard = self.guard.clone();
        spawn_blocking(move || {
            let _guard = guard;
            work()
        })
    }

    /// A failure without a response from the Hub.
    pub(super) fn interrupted(&self, detail: &str, kind: ConnectFailure) -> HubError {
        let host = self.hub.endpoint().host().to_owned();
        HubError::Unreachable { host, kind, detail: detail.to_owned() }
    }

    /// The error of a file after its last attempt. `reading`: the response body had started.
    pub(super) fn gave_up(&self, file: &RepoFile, error: HubError, reading: bool) -> FetchError {
        if reading && matches!(error, HubError::Unreachable { kind: ConnectFailure::Timeout, .. }) {
            return FetchError::Stalled { path: file.path.clone(), timeout: self.limits.stall };
        }
        let subject = messages::Subject {
            repo: self.dir.repo(),
            revision: self.revision,
            endpoint: self.hub.endpoint(),
        };
        FetchError::of_file(&file.path, error, &subject)
    }
}
