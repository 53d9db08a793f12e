//! What all downloads of a fetch share.

use std::sync::Arc;

use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit, mpsc},
    task::{JoinHandle, spawn_blocking},
};

use super::{FetchError, Limits, progress::Progress, retry::RateLimitBudget};
use crate::{
    cache::RepoDir,
    hub::{
        Commit, Hub, HubError, RemoteFile, RepoFile, Revision, Token, TokenError, TokenSource, Trouble,
        advice,
    },
};

/// Held by everything that must end before a fetch does: its files are then in place, kept or removed.
pub(super) type CompletionGuard = mpsc::Sender<()>;

/// What all downloads of a fetch share.
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
    /// A permit for each connection.
    pub(super) connections: Semaphore,
}

/// The token that all downloads send. It may be renewed on the way: a mounted Secret changes.
pub(super) struct TokenProvider<'a> {
    source: &'a TokenSource,
    current: Mutex<Option<Token>>,
}

impl<'a> TokenProvider<'a> {
    /// Starts with a token that was read from `source`.
    pub(super) fn new(source: &'a TokenSource, token: Option<Token>) -> Self {
        Self { source, current: Mutex::new(token) }
    }

    /// The token that was read last.
    pub(super) async fn current(&self) -> Option<Token> {
        self.current.lock().await.clone()
    }

    /// Reads the token again, for all that follow.
    pub(super) async fn renew(&self) -> Result<Option<Token>, TokenError> {
        let token = self.source.read()?;
        self.current.lock().await.clone_from(&token);
        Ok(token)
    }
}

impl Context<'_> {
    /// A file at the Hub. `plain`: over HTTP, even where it is in Xet.
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

    /// Work on the volume, on a thread for it. The fetch does not end before it.
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

    /// A failure that the Hub has sent no answer for.
    pub(super) fn interrupted(&self, detail: &str, kind: Trouble) -> HubError {
        let host = self.hub.endpoint().host().to_owned();
        HubError::Unreachable { host, kind, detail: detail.to_owned() }
    }

    /// The error of a file after its last attempt. `reading`: its bytes had begun to come.
    pub(super) fn gave_up(&self, file: &RepoFile, error: HubError, reading: bool) -> FetchError {
        if reading && matches!(error, HubError::Unreachable { kind: Trouble::Timeout, .. }) {
            return FetchError::Stalled { path: file.path.clone(), quiet: self.limits.stall };
        }
        let subject =
            advice::Subject { repo: self.dir.repo(), revision: self.revision, endpoint: self.hub.endpoint() };
        FetchError::of_file(&file.path, error, &subject)
    }
}
