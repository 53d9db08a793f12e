//! The calls to the Hub that modelcache makes, one function each. Knows neither caches nor conditions.

use std::{sync::Arc, time::Duration};

use reqwest::{Certificate, Client, header::LINK, redirect::Policy};
use url::Url;

use super::{
    Commit, Endpoint, Identity, RemoteFile, Repo, RepoFile, RepoPath, Revision, RevisionInfo, Token,
    answer::{self, Entry, Unusable},
    error::{HubError, Trouble},
    request::{Answer, Get, patiently},
    transport,
};

/// The largest JSON answer that is read; a page of a listing has some 300 KiB.
const MAX_JSON: usize = 64 * 1024 * 1024;
/// The same where several are read at one time, by an operator: a page of 1,000 files with the longest paths has 5 MiB.
const MAX_PAGE: usize = 16 * 1024 * 1024;
/// The most bytes of all pages of a listing.
const MAX_LISTING: usize = 1 << 30;
/// The most pages of a listing, of 1,000 files each at the Hub.
const MAX_PAGES: usize = 1000;
/// The most files of a commit, twice what the Hub recommends for one repo: all of them are in memory at once.
const MAX_FILES: usize = 200_000;
/// A limit for a whole JSON answer, so that one that comes byte by byte ends.
const JSON_LIMIT: Duration = Duration::from_secs(60);

/// How long to wait for the Hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the next bytes.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_secs(30) }
    }
}

/// The Hub at one endpoint. Cheap to clone; the clones share their connections.
#[derive(Clone, Debug)]
pub struct Hub {
    client: Client,
    endpoint: Arc<Endpoint>,
}

impl Hub {
    /// Gets ready to call; nothing is sent yet. System certificates (`SSL_CERT_FILE` counts) and, unless the endpoint
    /// names one, the proxy of the environment (`HTTPS_PROXY`, `NO_PROXY`) are read here.
    pub fn connect(endpoint: &Endpoint) -> Result<Self, HubError> {
        Self::with_patience(endpoint, Patience::default())
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
            .read_timeout(patience.idle)
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
        Ok(Self { client, endpoint: Arc::new(endpoint.clone()) })
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
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

    /// The wanted files of a commit, in order of path. `wanted` sees each path as the Hub has it, and only what it wants must be
    /// fit for a volume. What is wanted and cannot be trusted as a whole is refused as a whole.
    pub async fn list(
        &self,
        repo: &Repo,
        commit: &Commit,
        token: Option<&Token>,
        mut wanted: impl FnMut(&str) -> bool + Send,
    ) -> Result<Vec<RepoFile>, HubError> {
        let mut files = Vec::new();
        self.pages(repo, commit, token, MAX_JSON, |entry| {
            if wanted(entry.path()) {
                files.push(entry.file()?);
            }
            Ok(())
        })
        .await?;
        answer::tree(files).map_err(|error| error.at(self.endpoint.host().to_owned(), token.is_some()))
    }

    /// Hands each wanted file of a commit over, in the order of the pages. No more than a page is held in memory, and a number for
    /// each path: what is wanted and cannot be trusted as a whole ends with an error.
    pub async fn each_file(
        &self,
        repo: &Repo,
        commit: &Commit,
        token: Option<&Token>,
        mut wanted: impl FnMut(&str) -> bool + Send,
        mut see: impl FnMut(RepoFile) + Send,
    ) -> Result<(), HubError> {
        let mut paths = answer::Paths::default();
        self.pages(repo, commit, token, MAX_PAGE, |entry| {
            if wanted(entry.path()) {
                let file = entry.file()?;
                paths.add(file.path.as_str())?;
                see(file);
            }
            Ok(())
        })
        .await
    }

    /// Reads the pages of a listing, each of at most `most` bytes.
    async fn pages(
        &self,
        repo: &Repo,
        commit: &Commit,
        token: Option<&Token>,
        most: usize,
        mut see: impl FnMut(Entry) -> Result<(), Unusable> + Send,
    ) -> Result<(), HubError> {
        let mut address = self.endpoint.tree(repo, commit);
        let (mut files, mut bytes) = (0, 0);
        for _ in 0..MAX_PAGES {
            let (body, answer) = self.json_within(most, &address, token).await?;
            let failed = |error: Unusable| error.at(answer.host.clone(), token.is_some());
            let too_many =
                |what: String| failed(Unusable::Wrong(format!("the listing has more than {what}")));
            bytes += body.len();
            if bytes > MAX_LISTING {
                return Err(too_many(format!("{} MiB", MAX_LISTING >> 20)));
            }
            answer::tree_page(&body, &mut |entry| {
                files += 1;
                if files > MAX_FILES {
                    return Err(Unusable::Wrong(format!("the listing has more than {MAX_FILES} files")));
                }
                see(entry)
            })
            .map_err(failed)?;
            let Some(next) = next_page(&answer).map_err(failed)? else { return Ok(()) };
            address = next.into();
        }
        let what = format!("the listing has more than {MAX_PAGES} pages");
        Err(HubError::BadAnswer { host: self.endpoint.host().to_owned(), what })
    }

    /// A file of a commit and of this size, to be read. Nothing is sent yet.
    #[must_use]
    pub fn file(&self, repo: &Repo, commit: &Commit, path: &RepoPath, size: u64) -> RemoteFile {
        RemoteFile::new(self.client.clone(), self.endpoint.resolve(repo, commit, path), size)
    }

    /// An answer of bounded size, with its head.
    pub(super) async fn json(
        &self,
        address: &str,
        token: Option<&Token>,
    ) -> Result<(Vec<u8>, Answer), HubError> {
        self.json_within(MAX_JSON, address, token).await
    }

    async fn json_within(
        &self,
        most: usize,
        address: &str,
        token: Option<&Token>,
    ) -> Result<(Vec<u8>, Answer), HubError> {
        let get = Get { address, token, part: None, at_home: true, limit: Some(JSON_LIMIT) };
        patiently(|| async {
            let mut answer = get.send(&self.client).await?;
            let mut body = Vec::new();
            loop {
                let chunk = answer.response.chunk().await;
                let Some(chunk) = chunk.map_err(|error| transport::failed(error, answer.host.clone()))?
                else {
                    return Ok((body, answer));
                };
                if body.len() + chunk.len() > most {
                    let what = format!("it is larger than {} MiB", most >> 20);
                    return Err(HubError::BadAnswer { host: answer.host, what });
                }
                body.extend_from_slice(&chunk);
            }
        })
        .await
    }
}

/// The address of the next page, which must be where this one is: the token goes there.
fn next_page(answer: &Answer) -> Result<Option<Url>, Unusable> {
    let here = answer.response.url();
    let links = answer.response.headers().get_all(LINK).iter();
    let next = links.map(|link| answer::next_link(link.as_bytes())).find_map(Result::transpose);
    let Some(next) = next.transpose()? else { return Ok(None) };
    match here.join(next) {
        Ok(url) if url.origin() == here.origin() => Ok(Some(url)),
        _ => Err(Unusable::Wrong("the next page of the listing is at another host".to_owned())),
    }
}
