//! Reads ranges of a commit's files from Xet.

use std::{ops::Range, path::Path, sync::Arc};

use super::{
    super::{Commit, Endpoint, Hub, HubError, Repo, Token},
    body::XetBody,
    failure,
    session::Session,
};

/// The files of one commit in Xet. Cheap to clone; clones share the store's token, connections and the memory limit. Dropping
/// the last one and all bodies ends all work.
#[derive(Clone)]
pub struct XetFiles(Arc<Session>);

impl XetFiles {
    /// Prepares for reading without sending anything. The official client creates a few empty folders in `folder`.
    ///
    /// `None` if the endpoint has a proxy or CA bundle, which the official client does not support: it would bypass the proxy,
    /// so the files must be downloaded over plain HTTP.
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

    /// Opens a range of a file by its Xet hash and total size. Fails if the Hub refuses access. Waits until other bodies leave
    /// enough memory; the body itself then never waits for others.
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

/// Whether the official client can connect to the store the way we connect to the Hub.
fn reaches(endpoint: &Endpoint) -> bool {
    endpoint.proxy().is_none() && endpoint.ca_bundle().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_with_a_proxy_or_ca_bundle_use_plain_http() {
        let proxy = "http://proxy:3128".parse().unwrap();
        let bundle = include_str!("../../../tests/hub_client/tls/ca.pem").parse().unwrap();
        assert!(reaches(&Endpoint::default()));
        assert!(!reaches(&Endpoint::default().with_proxy(proxy)));
        assert!(!reaches(&Endpoint::default().with_ca_bundle(bundle)));
    }
}
