//! One file of a commit at the Hub, read in parts over as many connections as the caller likes. Does not know where it
//! is written to.

#[cfg(feature = "xet")]
use std::sync::atomic::Ordering::Relaxed;
use std::{ops::Range, sync::Arc};

use reqwest::Client;
use tokio::sync::Mutex;

use super::{
    Body, Token,
    error::HubError,
    request::{Answer, Get, patiently},
};

/// The Hub gives larger files only over Xet (`MAX_HTTP_DOWNLOAD_SIZE` of `huggingface_hub`).
#[cfg(feature = "xet")]
const MAX_HTTP: u64 = 50_000_000_000;

/// A file at the Hub. The clones share what is known of it.
#[derive(Clone)]
pub struct RemoteFile {
    client: Client,
    address: String,
    size: u64,
    /// Where the Hub's storage has it: a signed address, good for some minutes. One connection asks the Hub for it, and
    /// the others wait for the answer instead of asking too.
    storage: Arc<Mutex<Option<String>>>,
    #[cfg(feature = "xet")]
    xet: Option<InXet>,
}

/// How a file comes from Xet.
#[cfg(feature = "xet")]
#[derive(Clone)]
struct InXet {
    files: super::XetFiles,
    hash: String,
    given_up: Arc<std::sync::atomic::AtomicBool>,
}

impl RemoteFile {
    pub(super) fn new(client: Client, address: String, size: u64) -> Self {
        Self {
            client,
            address,
            size,
            storage: Arc::default(),
            #[cfg(feature = "xet")]
            xet: None,
        }
    }

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
        let mut expired = None;
        loop {
            let mut storage = self.storage.lock().await;
            let known = storage.clone().filter(|address| expired.as_ref() != Some(address));
            let Some(address) = known else {
                let hub = Get { address: &self.address, token, part: None, at_home: true, limit: None };
                let (body, away) = self.get(hub, &part).await?;
                *storage = away;
                return Ok(body);
            };
            drop(storage);
            let get = Get { address: &address, token: None, part: None, at_home: false, limit: None };
            match self.get(get, &part).await {
                Err(HubError::Storage { .. }) if expired.is_none() => expired = Some(address),
                other => return other.map(|(body, _)| body),
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
                tracing::info!(%error, "xet does not give it: going on over plain HTTP");
                xet.given_up.store(true, Relaxed);
                Ok(None)
            }
        }
    }

    /// The Hub is asked again the next time, and over plain HTTP if it was Xet that failed: after a failure another
    /// place of its storage may do better, and a token that was withdrawn meanwhile is noticed.
    pub async fn forget(&self) {
        *self.storage.lock().await = None;
        #[cfg(feature = "xet")]
        if let Some(xet) = self.xet.as_ref().filter(|_| self.size <= MAX_HTTP) {
            xet.given_up.store(true, Relaxed);
        }
    }

    /// The content, and where it is if that is not at the Hub itself.
    async fn get(&self, get: Get<'_>, part: &Range<u64>) -> Result<(Body, Option<String>), HubError> {
        let all = *part == (0..self.size);
        let asked = Get { part: (!all).then_some((part.start, part.end)), ..get };
        let answer = patiently(|| asked.send(&self.client)).await?;
        let away = away(&answer);
        if let Some(body) = Body::new(answer, part.start)? {
            return Ok((body, away));
        }
        let whole = Get { part: None, ..get };
        let answer = patiently(|| whole.send(&self.client)).await?;
        let (host, away) = (answer.host.clone(), self::away(&answer));
        let body = Body::new(answer, 0)?;
        body.map(|body| (body, away))
            .ok_or_else(|| HubError::BadAnswer { host, what: "it gives no content".to_owned() })
    }
}

fn away(answer: &Answer) -> Option<String> {
    (!answer.at_home).then(|| answer.response.url().as_str().to_owned())
}
