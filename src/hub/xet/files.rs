//! The files of a commit, to be read range by range.

use std::{ops::Range, path::Path, sync::Arc};

use super::{
    super::{Commit, Endpoint, Hub, HubError, Repo, Token},
    body::XetBody,
    failure,
    session::Session,
};

/// The files of one commit that are in Xet. Cheap to clone; the clones share a token of the store, connections and
/// the bound on memory. When the last one and all bodies are dropped, all of the work has ended.
#[derive(Clone)]
pub struct XetFiles(Arc<Session>);

impl XetFiles {
    /// Prepares the reads; nothing is sent yet. In `folder` the official client makes a few empty folders.
    ///
    /// None: the endpoint has a proxy or authorities of its own, which the official client cannot be given. It would
    /// bypass the proxy, so the files must come over plain HTTP.
    #[must_use]
    pub fn new(
        hub: &Hub,
        repo: &Repo,
        commit: &Commit,
        folder: impl AsRef<Path> + Send + Sync + 'static,
    ) -> Option<Self> {
        reaches(hub.endpoint()).then(|| {
            let session = Session::new(hub.clone(), repo.clone(), commit.clone(), Box::new(folder));
            Self(Arc::new(session))
        })
    }

    /// The bytes of a range of a file, by its Xet hash and its whole size. It returns the Hub's refusal, and waits until
    /// other bodies leave room in memory: the body itself then delivers as fast as the store does.
    pub async fn open(
        &self,
        hash: &str,
        size: u64,
        range: Range<u64>,
        token: Option<&Token>,
    ) -> Result<XetBody, HubError> {
        let session = &self.0;
        let grant = session.grant(token, None).await?;
        let slot = session.window(&grant.host).await?;
        let runtime = session.runtime().await.map_err(|error| failure::of(&error, &grant.host))?;
        Ok(XetBody::start(Arc::clone(session), runtime, hash.to_owned(), size, range, token.cloned(), slot))
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
