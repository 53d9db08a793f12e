//! The client for the Hub's API, one function per call. Knows neither caches nor conditions.

use std::{sync::Arc, time::Duration};

use reqwest::{Certificate, Client, redirect::Policy};
use tokio::sync::Semaphore;

use super::{
    Endpoint, Identity, Repo, Revision, RevisionInfo, Timeout, Token,
    coding::{self, CodingError},
    error::{ConnectFailure, HubError},
    request::{Answer, Get, with_retries},
    response,
    siblings::Siblings,
    transport,
};

/// The largest JSON response that is read, in bytes; a page of a listing has some 300 KiB.
pub(super) const MAX_JSON: usize = 64 * 1024 * 1024;
/// The minimum limit for a whole JSON response, so that a trickling one is aborted.
const JSON_LIMIT: Duration = Duration::from_secs(60);

/// The maximum timeout of [`Hub::connect`]: an operator asks about many repos.
const MAX_METADATA_TIMEOUT: Duration = Duration::from_secs(300);

/// Bytes of a response that are in memory for each question at one time.
const SMALL_JSON: usize = 1024 * 1024;
/// Held by whoever reads a response beyond that, such as a page of very long paths.
static LARGE: Semaphore = Semaphore::const_new(1);

/// The timeouts of requests to the Hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTimeouts {
    /// To connect.
    pub connect: Duration,
    /// Until the response about a repo begins. The whole response may take a minute, or this if it is longer.
    pub metadata: Duration,
    /// Until a file begins: a mirror may have to fetch it first.
    pub first_byte: Duration,
    /// Between two chunks of a file.
    pub idle: Duration,
}

impl Default for RequestTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            metadata: Duration::from_secs(30),
            first_byte: Duration::from_secs(300),
            idle: Duration::from_secs(30),
        }
    }
}

/// A client for the Hub at one endpoint. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Hub {
    client: Client,
    endpoint: Arc<Endpoint>,
    timeouts: RequestTimeouts,
}

impl Hub {
    /// Sets up the client without sending anything. Reads the system certificates (or `SSL_CERT_FILE`) and, unless the
    /// endpoint has a proxy, the proxy of the environment (`HTTPS_PROXY`, `NO_PROXY`).
    pub fn connect(endpoint: &Endpoint) -> Result<Self, HubError> {
        let usual = RequestTimeouts::default();
        let metadata =
            endpoint.timeouts().metadata.map_or(usual.metadata, Timeout::duration).min(MAX_METADATA_TIMEOUT);
        Self::with_timeouts(endpoint, RequestTimeouts { metadata, ..usual })
    }

    /// The same with other timeouts.
    pub fn with_timeouts(endpoint: &Endpoint, timeouts: RequestTimeouts) -> Result<Self, HubError> {
        let host = || endpoint.host().to_owned();
        let unusable = |what: &str| HubError::Unreachable {
            host: host(),
            kind: ConnectFailure::Setup,
            detail: format!("{what} is not usable"),
        };
        // Without a provider, building the client panics. A second install fails harmlessly.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let mut builder = Client::builder()
            .user_agent(concat!("modelcache/", env!("CARGO_PKG_VERSION")))
            // Redirects are followed in `request`, which decides where the token may be sent.
            .redirect(Policy::none())
            .referer(false)
            // One connection per transfer saturates a fast link; HTTP/2 would multiplex them over one.
            .http1_only()
            .connect_timeout(timeouts.connect)
            // For reads without a timeout of their own, such as an error body.
            .read_timeout(timeouts.metadata.max(timeouts.first_byte).max(timeouts.idle))
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
        Ok(Self { client, endpoint: Arc::new(endpoint.clone()), timeouts })
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn timeouts(&self) -> RequestTimeouts {
        self.timeouts
    }

    /// Whether the endpoint responds, checked by a call without repo and token. Any response counts: mirrors do not offer the
    /// call.
    pub async fn is_up(&self) -> bool {
        !matches!(self.json(&self.endpoint.models(), None).await, Err(HubError::Unreachable { .. }))
    }

    /// The identity of a token. The Hub rate-limits this call strictly: use it only in doubt, and once per token.
    pub async fn whoami(&self, token: &Token) -> Result<Identity, HubError> {
        let (body, answer) = self.json(&self.endpoint.whoami(), Some(token)).await?;
        response::identity(&body).map_err(|error| error.at(answer.host, true))
    }

    /// Whether the repo's files may be read: the only probe that is reliable for gated repos.
    pub async fn auth_check(&self, repo: &Repo, token: Option<&Token>) -> Result<(), HubError> {
        let (body, answer) = self.json(&self.endpoint.auth_check(repo), token).await?;
        response::access(&body).map_err(|error| error.at(answer.host, token.is_some()))
    }

    /// Resolves a revision. Gated repos answer anyone.
    pub async fn revision(
        &self,
        repo: &Repo,
        revision: &Revision,
        token: Option<&Token>,
    ) -> Result<RevisionInfo, HubError> {
        let address = self.endpoint.revision(repo, revision);
        let (body, answer) = self.read_json(MAX_JSON, &address, token, true).await?;
        response::revision(&body).map_err(|error| error.at(answer.host, token.is_some()))
    }

    /// The body of a JSON response of bounded size, with its head. The bound applies after decompression.
    pub(super) async fn json(
        &self,
        address: &str,
        token: Option<&Token>,
    ) -> Result<(Vec<u8>, Answer), HubError> {
        self.json_within(MAX_JSON, address, token).await
    }

    /// The same, of at most `most` bytes.
    pub(super) async fn json_within(
        &self,
        most: usize,
        address: &str,
        token: Option<&Token>,
    ) -> Result<(Vec<u8>, Answer), HubError> {
        self.read_json(most, address, token, false).await
    }

    /// The same; `shortened` is for the response about a revision. A compressed one is read as it is.
    async fn read_json(
        &self,
        most: usize,
        address: &str,
        token: Option<&Token>,
        shortened: bool,
    ) -> Result<(Vec<u8>, Answer), HubError> {
        let wait = self.timeouts.metadata;
        let limit = Some(JSON_LIMIT.max(wait));
        let get = Get { address, token, part: None, same_origin: true, http_storage: false, wait, limit };
        let unusable = |answer: &Answer, error: &CodingError| HubError::BadAnswer {
            host: answer.host.clone(),
            what: error.to_string(),
        };
        with_retries(|| async {
            let mut answer = get.send(&self.client).await?;
            let (mut body, mut turn) = (Vec::new(), None);
            let shortened = shortened && coding::is_plain(answer.response.headers());
            let mut siblings = shortened.then(Siblings::default);
            loop {
                let chunk = answer.response.chunk().await;
                let Some(chunk) = chunk.map_err(|error| transport::failed(error, answer.host.clone()))?
                else {
                    break;
                };
                match &mut siblings {
                    Some(siblings) => siblings.shorten(&chunk, &mut body),
                    None => body.extend_from_slice(&chunk),
                }
                if body.len() > most {
                    return Err(unusable(&answer, &CodingError::TooLarge(most)));
                }
                if body.len() > SMALL_JSON && turn.is_none() {
                    turn = LARGE.acquire().await.ok();
                }
            }
            let body = coding::decode(answer.response.headers(), body, most);
            Ok((body.map_err(|error| unusable(&answer, &error))?, answer))
        })
        .await
    }
}
