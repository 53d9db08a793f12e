//! Files that the Hub stores in Xet, through its official client. Knows neither caches nor conditions, and verifies
//! nothing: the official client looks at sizes only, so whoever takes these bytes hashes them.

mod access;
mod body;
mod failure;
mod machine;
mod settings;

use std::{ops::Range, path::Path, sync::Arc};

use tokio::sync::{Mutex, OnceCell, Semaphore};
use xet::XetError;

pub(super) use access::XetAccess;
pub use body::XetBody;

use super::{Commit, Endpoint, Hub, HubError, Repo, Token};
use access::Grant;
use machine::Machine;

/// The files of one commit that are in Xet. Cheap to clone; the clones share a token of the store, connections and
/// the bound on memory. When the last one and all bodies are gone, nothing of the work is left.
#[derive(Clone)]
pub struct XetFiles {
    inner: Arc<Inner>,
}

/// What leads to a folder, for as long as that is needed.
type Folder = Box<dyn AsRef<Path> + Send + Sync>;

struct Inner {
    hub: Hub,
    repo: Repo,
    commit: Commit,
    folder: Folder,
    machine: OnceCell<Machine>,
    grant: Mutex<Option<Arc<Grant>>>,
    /// One for each window of a file that may be in memory.
    windows: Arc<Semaphore>,
}

impl XetFiles {
    /// Gets ready; nothing is sent yet. In `folder` the official client makes a few empty folders.
    ///
    /// None: the endpoint has a proxy or authorities of its own, which the official client cannot be given. It would go
    /// past the proxy, so the files must come over plain HTTP.
    #[must_use]
    pub fn new(
        hub: &Hub,
        repo: &Repo,
        commit: &Commit,
        folder: impl AsRef<Path> + Send + Sync + 'static,
    ) -> Option<Self> {
        reaches(hub.endpoint()).then(|| {
            let (hub, repo, commit) = (hub.clone(), repo.clone(), commit.clone());
            let windows = Arc::new(Semaphore::new(settings::WINDOWS));
            let folder = Box::new(folder);
            let (machine, grant) = (OnceCell::new(), Mutex::default());
            Self { inner: Arc::new(Inner { hub, repo, commit, folder, machine, grant, windows }) }
        })
    }

    /// The bytes of a range of a file, by its Xet hash and its whole size. A refusal of the Hub is told here, and here is
    /// where it waits until other bodies leave room in memory: from a body itself, something comes as fast as the store gives it.
    pub async fn open(
        &self,
        hash: &str,
        size: u64,
        range: Range<u64>,
        token: Option<&Token>,
    ) -> Result<XetBody, HubError> {
        let grant = self.grant(token, None).await?;
        let slot = self.inner.windows.clone().acquire_owned().await;
        // It is never closed, so waiting for it does not fail.
        let slot = slot.map_err(|_| body::cut(grant.host.clone()))?;
        let machine = self.machine().await.map_err(|error| failure::of(&error, &grant.host))?;
        Ok(XetBody::start(self.clone(), machine, hash.to_owned(), size, range, token.cloned(), slot))
    }

    /// What lets us read from the store: what is at hand, unless it is old or is the one that was just refused.
    async fn grant(
        &self,
        token: Option<&Token>,
        refused: Option<&Arc<Grant>>,
    ) -> Result<Arc<Grant>, HubError> {
        let mut held = self.inner.grant.lock().await;
        let usable = |grant: &&Arc<Grant>| {
            grant.is_fresh() && refused.is_none_or(|refused| !Arc::ptr_eq(grant, refused))
        };
        if let Some(grant) = held.as_ref().filter(usable) {
            return Ok(grant.clone());
        }
        *held = None;
        let Inner { hub, repo, commit, .. } = &*self.inner;
        let access = hub.xet_access(repo, commit, token).await?;
        tracing::debug!(host = access.host(), "the hub lets us read from xet");
        let failed = |error: XetError| failure::of(&error, access.host());
        let machine = self.machine().await.map_err(failed)?;
        let grant = Arc::new(Grant::new(machine, &access).await.map_err(failed)?);
        *held = Some(grant.clone());
        Ok(grant)
    }

    async fn machine(&self) -> Result<&Machine, XetError> {
        self.inner.machine.get_or_try_init(async || Machine::start((*self.inner.folder).as_ref())).await
    }
}

/// Whether the official client goes the same way to the Hub's store as we go to the Hub.
fn reaches(endpoint: &Endpoint) -> bool {
    endpoint.proxy().is_none() && endpoint.ca_bundle().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_with_a_way_of_its_own_is_left_to_plain_http() {
        let proxy = "http://proxy:3128".parse().unwrap();
        let bundle = include_str!("../../../tests/hub_client/tls/ca.pem").parse().unwrap();
        assert!(reaches(&Endpoint::default()));
        assert!(!reaches(&Endpoint::default().with_proxy(proxy)));
        assert!(!reaches(&Endpoint::default().with_ca_bundle(bundle)));
    }
}
