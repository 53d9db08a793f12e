//! The state shared by all reads of one commit: the official client, the store's token, and the memory limit.

use std::{path::Path, sync::Arc};

use tokio::sync::{Mutex, OnceCell, OwnedSemaphorePermit, Semaphore};
use xet::XetError;

use super::{
    super::{Commit, Hub, HubError, Repo, Token, error::ConnectFailure},
    access::ReadGrant,
    failure,
    runtime::XetRuntime,
    settings,
};

/// A path that remains valid while this is held.
type Folder = Box<dyn AsRef<Path> + Send + Sync>;

/// The shared state of all reads of one commit.
pub(super) struct Session {
    hub: Hub,
    repo: Repo,
    commit: Commit,
    folder: Folder,
    runtime: OnceCell<XetRuntime>,
    grant: Mutex<Option<Arc<ReadGrant>>>,
    /// One permit per window that may be in memory.
    windows: Arc<Semaphore>,
}

impl Session {
    /// Sends and starts nothing yet.
    pub(super) fn new(hub: Hub, repo: Repo, commit: Commit, folder: Folder) -> Self {
        let windows = Arc::new(Semaphore::new(settings::WINDOWS));
        Self { hub, repo, commit, folder, runtime: OnceCell::new(), grant: Mutex::default(), windows }
    }

    /// Access to the store: the current grant, unless it is about to expire or is the `refused` one.
    pub(super) async fn grant(
        &self,
        token: Option<&Token>,
        refused: Option<&Arc<ReadGrant>>,
    ) -> Result<Arc<ReadGrant>, HubError> {
        let mut held = self.grant.lock().await;
        let usable = |grant: &&Arc<ReadGrant>| {
            grant.is_fresh() && refused.is_none_or(|refused| !Arc::ptr_eq(grant, refused))
        };
        if let Some(grant) = held.as_ref().filter(usable) {
            return Ok(grant.clone());
        }
        *held = None;
        let access = self.hub.xet_access(&self.repo, &self.commit, token).await?;
        tracing::debug!(host = access.host(), "the hub grants access to xet");
        let failed = |error: XetError| failure::of(&error, access.host());
        let runtime = self.runtime().await.map_err(failed)?;
        let grant = Arc::new(ReadGrant::new(runtime, &access).await.map_err(failed)?);
        *held = Some(grant.clone());
        Ok(grant)
    }

    /// The official client, started on the first call.
    pub(super) async fn runtime(&self) -> Result<&XetRuntime, XetError> {
        self.runtime.get_or_try_init(async || XetRuntime::start((*self.folder).as_ref())).await
    }

    /// Waits for a permit for one more window of a file at `host`.
    pub(super) async fn window(&self, host: &str) -> Result<OwnedSemaphorePermit, HubError> {
        // The semaphore is never closed, so this does not fail.
        self.windows.clone().acquire_owned().await.map_err(|_| cut(host.to_owned()))
    }

    /// A permit for one more window, if one is free.
    pub(super) fn try_window(&self) -> Option<OwnedSemaphorePermit> {
        self.windows.clone().try_acquire_owned().ok()
    }
}

/// The error for a file that ended early.
pub(super) fn cut(host: String) -> HubError {
    HubError::Unreachable { host, kind: ConnectFailure::Cut, detail: "the file is not complete".to_owned() }
}
