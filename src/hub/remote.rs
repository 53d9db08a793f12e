//! One file of a commit at the Hub, read in parts over as many connections as the caller likes. Does not know where it
//! is written to.

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

/// The Hub gives larger files only over Xet (`MAX_HTTP_DOWNLOAD_SIZE` of `huggingface_hub`).
#[cfg(feature = "xet")]
const MAX_HTTP: u64 = 50_000_000_000;

/// A file at the Hub. The clones share what is known of it.
#[derive(Clone)]
pub struct RemoteFile {
    hub: Hub,
    address: String,
    size: u64,
    /// None: one connection asks the Hub, and the others wait for what it learns instead of asking too.
    place: Arc<Mutex<Option<Place>>>,
    /// Whether a part has come: what is refused then is not refused for being a part.
    gives_parts: Arc<AtomicBool>,
    #[cfg(feature = "xet")]
    xet: Option<InXet>,
}

/// Where the bytes of a file are.
#[derive(Clone, PartialEq, Eq)]
enum Place {
    /// At the Hub itself, as at many mirrors: each connection asks there.
    Hub,
    /// At a signed address of the Hub's storage, good for some minutes.
    Storage(String),
}

/// How a file comes from Xet.
#[cfg(feature = "xet")]
#[derive(Clone)]
struct InXet {
    files: super::XetFiles,
    hash: String,
    given_up: Arc<AtomicBool>,
}

impl Hub {
    /// A file of a commit, of this size. Nothing is sent yet.
    #[must_use]
    pub fn file(&self, repo: &Repo, commit: &Commit, path: &RepoPath, size: u64) -> RemoteFile {
        RemoteFile {
            hub: self.clone(),
            address: self.endpoint().resolve(repo, commit, path),
            size,
            place: Arc::default(),
            gives_parts: Arc::default(),
            #[cfg(feature = "xet")]
            xet: None,
        }
    }
}

impl RemoteFile {
    /// The same file, from Xet as long as that works.
    #[cfg(feature = "xet")]
    #[must_use]
    pub fn in_xet(mut self, files: &super::XetFiles, hash: &str) -> Self {
        self.xet = Some(InXet { files: files.clone(), hash: hash.to_owned(), given_up: Arc::default() });
        self
    }

    /// The content of a part. Look at the body's `start`: a server that knows no ranges begins at 0.
    pub async fn open(&self, token: Option<&Token>, part: Range<u64>) -> Result<Body, HubError> {
        #[cfg(feature = "xet")]
        if let Some(body) = self.open_in_xet(token, &part).await? {
            return Ok(body);
        }
        let hub = Get {
            address: &self.address,
            token,
            part: None,
            at_home: true,
            http_storage: self.hub.endpoint().http_storage(),
            wait: self.hub.patience().first_byte,
            limit: None,
        };
        let mut expired = None;
        loop {
            let mut place = self.place.lock().await;
            match place.clone().filter(|known| expired.as_ref() != Some(known)) {
                None => {
                    let (body, found) = self.get(hub, &part).await?;
                    *place = Some(found);
                    return Ok(body);
                }
                Some(Place::Hub) => {
                    drop(place);
                    return self.get(hub, &part).await.map(|(body, _)| body);
                }
                Some(Place::Storage(address)) => {
                    drop(place);
                    let get = Get { address: &address, token: None, at_home: false, ..hub };
                    match self.get(get, &part).await {
                        Err(HubError::Storage { .. }) if expired.is_none() => {
                            expired = Some(Place::Storage(address));
                        }
                        other => return other.map(|(body, _)| body),
                    }
                }
            }
        }
    }

    /// None: plain HTTP is the way, which also has the last word on what the Hub refuses.
    #[cfg(feature = "xet")]
    async fn open_in_xet(&self, token: Option<&Token>, part: &Range<u64>) -> Result<Option<Body>, HubError> {
        let Some(xet) = self.xet.as_ref().filter(|xet| !xet.given_up.load(Relaxed)) else { return Ok(None) };
        match xet.files.open(&xet.hash, self.size, part.clone(), token).await {
            // It may have waited while another connection found out that this way does not work.
            Ok(body) => Ok((!xet.given_up.load(Relaxed)).then(|| body.into())),
            Err(error) if self.size > MAX_HTTP => Err(error),
            Err(error) => {
                tracing::info!(%error, "cannot read from Xet: continuing with ordinary HTTPS requests");
                xet.given_up.store(true, Relaxed);
                Ok(None)
            }
        }
    }

    /// The Hub is asked again the next time, and over plain HTTP if it was Xet that failed: after a failure another
    /// place of its storage may do better, and a token that was withdrawn meanwhile is noticed.
    pub async fn invalidate(&self) {
        *self.place.lock().await = None;
        #[cfg(feature = "xet")]
        if let Some(xet) = self.xet.as_ref().filter(|_| self.size <= MAX_HTTP) {
            xet.given_up.store(true, Relaxed);
        }
    }

    /// The content, and where it is.
    async fn get(&self, get: Get<'_>, part: &Range<u64>) -> Result<(Body, Place), HubError> {
        let all = *part == (0..self.size);
        let asked = Get { part: (!all).then_some((part.start, part.end)), ..get };
        let answered = match with_retries(|| asked.send(self.hub.client())).await {
            Ok(answer) => self.read(answer, part.start)?,
            Err(error) if !all && error.may_mean_the_part() && !self.gives_parts.load(Relaxed) => None,
            Err(error) => return Err(error),
        };
        if let Some(found) = answered {
            return Ok(found);
        }
        let whole = Get { part: None, ..get };
        let answer = with_retries(|| whole.send(self.hub.client())).await?;
        let host = answer.host.clone();
        let found = self.read(answer, 0)?;
        found.ok_or_else(|| HubError::BadAnswer { host, what: "it gives no content".to_owned() })
    }

    /// None: the server does not give the part that was asked for.
    fn read(&self, answer: Answer, from: u64) -> Result<Option<(Body, Place)>, HubError> {
        let is_part = answer.response.status() == StatusCode::PARTIAL_CONTENT;
        let place = if answer.at_home {
            Place::Hub
        } else {
            Place::Storage(answer.response.url().as_str().to_owned())
        };
        let body = Body::new(answer, from, self.size, self.hub.patience().idle)?;
        if is_part && body.is_some() {
            self.gives_parts.store(true, Relaxed);
        }
        Ok(body.map(|body| (body, place)))
    }
}
