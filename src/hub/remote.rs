//! One file of a commit on the Hub, readable in parts over any number of connections. Does not know where it is written to.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use reqwest::StatusCode;
use tokio::sync::Mutex;

use super::{
    Body, Commit, Hub, Repo, RepoPath, Token,
    error::HubError,
    request::{Answer, Get, with_retries},
};

/// The Hub serves larger files only over Xet (`MAX_HTTP_DOWNLOAD_SIZE` of `huggingface_hub`).
#[cfg(feature = "xet")]
const MAX_HTTP: u64 = 50_000_000_000;

/// A file on the Hub. Clones share its resolved location.
#[derive(Clone)]
pub struct RemoteFile {
    hub: Hub,
    address: String,
    size: u64,
    /// `None` until one connection has asked the Hub, while the others wait for its result.
    location: Arc<Mutex<Option<Location>>>,
    /// Whether a range request has succeeded: later refusals are not about ranges.
    supports_ranges: Arc<AtomicBool>,
    #[cfg(feature = "xet")]
    xet: Option<InXet>,
}

/// Where a file is served.
#[derive(Clone, PartialEq, Eq)]
enum Location {
    /// By the Hub itself, as with many mirrors.
    Hub,
    /// At a signed address of the Hub's storage, valid for some minutes.
    Storage(String),
}

/// How to download a file from Xet.
#[cfg(feature = "xet")]
#[derive(Clone)]
struct InXet {
    files: super::XetFiles,
    hash: String,
    disabled: Arc<AtomicBool>,
}

impl Hub {
    /// A file of a commit, of `size` bytes. Sends nothing yet.
    #[must_use]
    pub fn file(&self, repo: &Repo, commit: &Commit, path: &RepoPath, size: u64) -> RemoteFile {
        RemoteFile {
            hub: self.clone(),
            address: self.endpoint().resolve(repo, commit, path),
            size,
            location: Arc::default(),
            supports_ranges: Arc::default(),
            #[cfg(feature = "xet")]
            xet: None,
        }
    }
}

impl RemoteFile {
    /// The same file, downloaded from Xet as long as that works.
    #[cfg(feature = "xet")]
    #[must_use]
    pub fn in_xet(mut self, files: &super::XetFiles, hash: &str) -> Self {
        self.xet = Some(InXet { files: files.clone(), hash: hash.to_owned(), disabled: Arc::default() });
        self
    }

    /// The content of a range. Check the body's `start`: a server without support for ranges starts at 0.
    pub async fn open(&self, token: Option<&Token>, part: Range<u64>) -> Result<Body, HubError> {
        #[cfg(feature = "xet")]
        if let Some(body) = self.open_in_xet(token, &part).await? {
            return Ok(body);
        }
        let hub = Get {
            address: &self.address,
            token,
            part: None,
            same_origin: true,
            http_storage: self.hub.endpoint().http_storage(),
            wait: self.hub.timeouts().first_byte,
            limit: None,
        };
        let mut expired = None;
        loop {
            let mut location = self.location.lock().await;
            match location.clone().filter(|known| expired.as_ref() != Some(known)) {
                None => {
                    let (body, found) = self.get(hub, &part).await?;
                    *location = Some(found);
                    return Ok(body);
                }
                Some(Location::Hub) => {
                    drop(location);
                    return self.get(hub, &part).await.map(|(body, _)| body);
                }
                Some(Location::Storage(address)) => {
                    drop(location);
                    let get = Get { address: &address, token: None, same_origin: false, ..hub };
                    match self.get(get, &part).await {
                        Err(HubError::Storage { .. }) if expired.is_none() => {
                            expired = Some(Location::Storage(address));
                        }
                        other => return other.map(|(body, _)| body),
                    }
                }
            }
        }
    }

    /// `None` if the file must be downloaded over plain HTTP, which also decides on refusals.
    #[cfg(feature = "xet")]
    async fn open_in_xet(&self, token: Option<&Token>, part: &Range<u64>) -> Result<Option<Body>, HubError> {
        let Some(xet) = self.xet.as_ref().filter(|xet| !xet.disabled.load(Relaxed)) else { return Ok(None) };
        match xet.files.open(&xet.hash, self.size, part.clone(), token).await {
            // Another connection may have found meanwhile that Xet does not work.
            Ok(body) => Ok((!xet.disabled.load(Relaxed)).then(|| body.into())),
            Err(error) if self.size > MAX_HTTP => Err(error),
            Err(error) => {
                tracing::info!(%error, "cannot read from Xet: continuing with ordinary HTTPS requests");
                xet.disabled.store(true, Relaxed);
                Ok(None)
            }
        }
    }

    /// Forgets the location, and disables Xet if it was used. After a failure, the Hub may redirect to another storage location,
    /// and a token revoked meanwhile is noticed.
    pub async fn invalidate(&self) {
        *self.location.lock().await = None;
        #[cfg(feature = "xet")]
        if let Some(xet) = self.xet.as_ref().filter(|_| self.size <= MAX_HTTP) {
            xet.disabled.store(true, Relaxed);
        }
    }

    /// The content, and where it is served.
    async fn get(&self, get: Get<'_>, part: &Range<u64>) -> Result<(Body, Location), HubError> {
        let all = *part == (0..self.size);
        let asked = Get { part: (!all).then_some((part.start, part.end)), ..get };
        let answered = match with_retries(|| asked.send(self.hub.client())).await {
            Ok(answer) => self.read(answer, part.start)?,
            Err(error) if !all && error.may_reject_range() && !self.supports_ranges.load(Relaxed) => None,
            Err(error) => return Err(error),
        };
        if let Some(found) = answered {
            return Ok(found);
        }
        let whole = Get { part: None, ..get };
        let answer = with_retries(|| whole.send(self.hub.client())).await?;
        let host = answer.host.clone();
        let found = self.read(answer, 0)?;
        found.ok_or_else(|| HubError::BadAnswer { host, what: "it sends no content".to_owned() })
    }

    /// `None` if the server does not support the requested range.
    fn read(&self, answer: Answer, from: u64) -> Result<Option<(Body, Location)>, HubError> {
        let is_part = answer.response.status() == StatusCode::PARTIAL_CONTENT;
        let location = if answer.same_origin {
            Location::Hub
        } else {
            Location::Storage(answer.response.url().as_str().to_owned())
        };
        let body = Body::new(answer, from, self.size, self.hub.timeouts().idle)?;
        if is_part && body.is_some() {
            self.supports_ranges.store(true, Relaxed);
        }
        Ok(body.map(|body| (body, location)))
    }
}
