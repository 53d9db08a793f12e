//! The calls to the Hub that modelcache makes, one function each. Knows neither caches nor conditions.

use std::{sync::Arc, time::Duration};

use reqwest::{Certificate, Client, redirect::Policy};

use super::{
    Endpoint, Identity, Repo, Revision, RevisionInfo, Timeout, Token, answer,
    coding::{self, CodingError},
    error::{HubError, Trouble},
    request::{Answer, Get, with_retries},
    transport,
};

/// The largest JSON answer that is read; a page of a listing has some 300 KiB.
pub(super) const MAX_JSON: usize = 64 * 1024 * 1024;
/// A limit for a whole JSON answer, so that one that comes byte by byte ends.
const JSON_LIMIT: Duration = Duration::from_secs(60);

/// Who asks about many repos, as an operator does, waits no longer for one, whatever is set.
const LONGEST_ANSWER: Duration = Duration::from_secs(300);

/// How long to wait for the Hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For an answer about a repo to begin; all of it may take a minute, or as long as this.
    pub metadata: Duration,
    /// For a file to begin: a mirror may have to fetch it first.
    pub first_byte: Duration,
    /// For the next bytes of a file.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            metadata: Duration::from_secs(30),
            first_byte: Duration::from_secs(300),
            idle: Duration::from_secs(30),
        }
    }
}

/// The Hub at one endpoint. Cheap to clone; the clones share their connections.
#[derive(Clone, Debug)]
pub struct Hub {
    client: Client,
    endpoint: Arc<Endpoint>,
    patience: Patience,
}

impl Hub {
    /// Gets ready to call; nothing is sent yet. System certificates (`SSL_CERT_FILE` counts) and, unless the endpoint
    /// names one, the proxy of the environment (`HTTPS_PROXY`, `NO_PROXY`) are read here.
    pub fn connect(endpoint: &Endpoint) -> Result<Self, HubError> {
        let usual = Patience::default();
        let metadata =
            endpoint.timeouts().metadata.map_or(usual.metadata, Timeout::duration).min(LONGEST_ANSWER);
        Self::with_patience(endpoint, Patience { metadata, ..usual })
    }

    /// The same with other limits of time.
    pub fn with_patience(endpoint: &Endpoint, patience: Patience) -> Result<Self, HubError> {
        let host = || endpoint.host().to_owned();
        let unusable = |what: &str| HubError::Unreachable {
            host: host(),
            kind: Trouble::Setup,
            detail: format!("{what} is not usable"),
        };
        // The client is built without a provider of its own and would panic. A second install fails and does no harm.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let mut builder = Client::builder()
            .user_agent(concat!("modelcache/", env!("CARGO_PKG_VERSION")))
            // Ours are followed in `request`, where it is known who may see the token.
            .redirect(Policy::none())
            .referer(false)
            // One connection for each transfer is what fills a fat link; HTTP/2 would put them all into one.
            .http1_only()
            .connect_timeout(patience.connect)
            // For what has no time of its own, such as the page with an error.
            .read_timeout(patience.metadata.max(patience.first_byte).max(patience.idle))
            .tcp_keepalive(Duration::from_secs(60));
        if let Some(proxy) = endpoint.proxy() {
            let proxy = reqwest::Proxy::all(proxy.url().clone());
            builder = builder.proxy(proxy.map_err(|_| unusable("the proxy's address"))?);
        }
        if let Some(bundle) = endpoint.ca_bundle() {
            let certificates = Certificate::from_pem_bundle(bundle.as_pem().as_bytes());
            builder = builder.tls_certs_merge(certificates.map_err(|_| unusable("the CA bundle"))?);
        }
        let client = builder.build().map_err(|error| transport::failed(error, host()))?;
        Ok(Self { client, endpoint: Arc::new(endpoint.clone()), patience })
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// Whether anything answers there, by a call that is about no repo and no token. What it answers is no matter: mirrors do not
    /// offer the call.
    pub async fn is_up(&self) -> bool {
        !matches!(self.json(&self.endpoint.models(), None).await, Err(HubError::Unreachable { .. }))
    }

    /// Whose token it is. The Hub limits this call strictly: only to settle a doubt, and once for a token.
    pub async fn whoami(&self, token: &Token) -> Result<Identity, HubError> {
        let (body, answer) = self.json(&self.endpoint.whoami(), Some(token)).await?;
        answer::identity(&body).map_err(|error| error.at(answer.host, true))
    }

    /// Whether the repo's files may be read: the only probe that a gated repo answers truthfully.
    pub async fn auth_check(&self, repo: &Repo, token: Option<&Token>) -> Result<(), HubError> {
        let (body, answer) = self.json(&self.endpoint.auth_check(repo), token).await?;
        answer::access(&body).map_err(|error| error.at(answer.host, token.is_some()))
    }

    /// The commit that a revision stands for. Gated repos answer anybody.
    pub async fn revision(
        &self,
        repo: &Repo,
        revision: &Revision,
        token: Option<&Token>,
    ) -> Result<RevisionInfo, HubError> {
        let (body, answer) = self.json(&self.endpoint.revision(repo, revision), token).await?;
        answer::revision(&body).map_err(|error| error.at(answer.host, token.is_some()))
    }

    /// An answer of bounded size, with its head. Compressed ones count as long as they become.
    pub(super) async fn json(
        &self,
        address: &str,
        token: Option<&Token>,
    ) -> Result<(Vec<u8>, Answer), HubError> {
        self.json_within(MAX_JSON, address, token).await
    }

    /// The same, of at most so many bytes.
    pub(super) async fn json_within(
        &self,
        most: usize,
        address: &str,
        token: Option<&Token>,
    ) -> Result<(Vec<u8>, Answer), HubError> {
        let wait = self.patience.metadata;
        let limit = Some(JSON_LIMIT.max(wait));
        let get = Get { address, token, part: None, at_home: true, http_storage: false, wait, limit };
        let unusable = |answer: &Answer, error: &CodingError| HubError::BadAnswer {
            host: answer.host.clone(),
            what: error.to_string(),
        };
        with_retries(|| async {
            let mut answer = get.send(&self.client).await?;
            let mut body = Vec::new();
            loop {
                let chunk = answer.response.chunk().await;
                let Some(chunk) = chunk.map_err(|error| transport::failed(error, answer.host.clone()))?
                else {
                    break;
                };
                if body.len() + chunk.len() > most {
                    return Err(unusable(&answer, &CodingError::TooLarge(most)));
                }
                body.extend_from_slice(&chunk);
            }
            let body = coding::decode(answer.response.headers(), body, most);
            Ok((body.map_err(|error| unusable(&answer, &error))?, answer))
        })
        .await
    }
}
