//! Lists page by page, with a bound on what is in memory at one time, however many and however large the objects are.

use std::time::Duration;

use futures::{AsyncReadExt as _, io};
use kube::{Client, api::ListParams, core::Request};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{sync::Semaphore, time::timeout};

/// Objects asked for at a time.
const PAGE: u32 = 50;
/// Bytes of an answer with several objects: of a longer one, fewer are asked for.
const PAGE_BYTES: u64 = 2 << 20;
/// Bytes of an answer with one object. etcd stores at most 1.5 MiB of it; as JSON, with every character escaped, these are 9 MiB.
const OBJECT_BYTES: u64 = 12 << 20;
/// The time for one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Who lists. Of each, one answer is in memory at a time: one after another is as fast for the API server, and neither the lists of
/// reconciles keep a namespace from being watched, nor the watches of many namespaces the reconciles of those that are.
#[derive(Clone, Copy, Debug)]
pub enum Lister {
    /// A watch that begins.
    Watch,
    /// A reconcile.
    Reconcile,
}

impl Lister {
    fn turns(self) -> &'static Semaphore {
        static WATCHES: Semaphore = Semaphore::const_new(1);
        static RECONCILES: Semaphore = Semaphore::const_new(1);
        match self {
            Self::Watch => &WATCHES,
            Self::Reconcile => &RECONCILES,
        }
    }
}

/// A list cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The API server's answer, or none.
    #[error(transparent)]
    Ask(#[from] kube::Error),
    /// No answer in time.
    #[error("no answer within {} s", ANSWER.as_secs())]
    NoAnswer(#[from] tokio::time::error::Elapsed),
    /// The answer breaks off.
    #[error("the answer breaks off: {0}")]
    Read(#[from] io::Error),
    /// The answer is no list.
    #[error("the answer is no list: {0}")]
    Parse(#[from] serde_json::Error),
    /// One object alone has too many bytes.
    #[error("an object has more than {} MiB", OBJECT_BYTES >> 20)]
    TooLarge,
    /// The program ends.
    #[error("the program ends")]
    Closed(#[from] tokio::sync::AcquireError),
}

/// As much of a list as is needed to go on, before its objects are read. An empty list of Go may be null.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    metadata: Metadata,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(rename = "continue")]
    next: Option<String>,
    resource_version: Option<String>,
}

/// A list that is read page by page: as many objects as the query's limit says, or all.
///
/// No resource version is given. With `resourceVersion=0` the API server answers from its cache and takes no notice of the
/// limit (<https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list>).
pub struct Pages {
    lister: Lister,
    client: Client,
    list: Request,
    /// Only metadata is asked for.
    metadata: bool,
    query: ListParams,
    limit: u32,
    left: Option<u32>,
    version: Option<String>,
    is_read: bool,
}

impl Pages {
    /// Before its first page. `path` is that of the list.
    pub fn of(lister: Lister, client: Client, path: &str, metadata: bool, query: ListParams) -> Self {
        let left = query.limit;
        let list = Request::new(path);
        Self { lister, client, list, metadata, query, limit: PAGE, left, version: None, is_read: false }
    }

    /// Hands over the text of each object of the next page. Says whether there was one.
    pub async fn next(
        &mut self,
        mut each: impl FnMut(&str) -> Result<(), serde_json::Error>,
    ) -> Result<bool, ListingError> {
        if self.is_read {
            return Ok(false);
        }
        let _turn = self.lister.turns().acquire().await?;
        loop {
            self.limit = self.limit.min(self.left.unwrap_or(PAGE));
            self.query.limit = Some(self.limit);
            let most = if self.limit == 1 { OBJECT_BYTES } else { PAGE_BYTES };
            let text = timeout(ANSWER, self.ask(most)).await??;
            if text.len() as u64 > most {
                // The same page again, with fewer objects.
                self.limit = match self.limit {
                    1 => return Err(ListingError::TooLarge),
                    many => (many / 4).max(1),
                };
                continue;
            }
            let answer: Answer<'_> = serde_json::from_slice(&text)?;
            answer.items.iter().flatten().try_for_each(|object| each(object.get()))?;
            let some = |text: Option<String>| text.filter(|text| !text.is_empty());
            self.left = self.left.map(|left| left.saturating_sub(self.limit));
            self.query.continue_token = some(answer.metadata.next);
            self.version = some(answer.metadata.resource_version);
            self.is_read = self.query.continue_token.is_none() || self.left == Some(0);
            if text.len() as u64 <= PAGE_BYTES / 4 {
                self.limit = (self.limit * 2).min(PAGE);
            }
            return Ok(true);
        }
    }

    /// The version that the list is of, once it is read.
    pub fn version(self) -> Option<String> {
        self.version
    }

    /// At most a byte more than these.
    async fn ask(&self, most: u64) -> Result<Vec<u8>, ListingError> {
        let request =
            if self.metadata { self.list.list_metadata(&self.query) } else { self.list.list(&self.query) };
        let mut text = Vec::new();
        let body = self.client.request_stream(request.map_err(kube::Error::BuildRequest)?).await?;
        body.take(most + 1).read_to_end(&mut text).await?;
        Ok(text)
    }
}
