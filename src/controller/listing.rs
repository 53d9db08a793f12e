//! Lists objects of which little is kept: page by page, with a bound on what is in memory at one time, however many and
//! however large they are. Knows nothing of what they mean.

use std::sync::Arc;

use futures::{AsyncReadExt as _, io};
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt as _, api::ListParams, core::Request};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tracing::warn;

use super::watcher::{Guarded, Invalid, Parse};

/// Objects asked for at a time.
const PAGE: u32 = 50;
/// Bytes of an answer that are taken at a time. etcd stores at most 1.5 MiB of an object; as JSON, with every character
/// escaped, these are 9 MiB.
const PAGE_BYTES: u64 = 12 << 20;
/// Bytes of the objects of one list that are kept, as JSON. A Job of ours has some 10 KiB, and 300 KiB at most.
const KEPT_BYTES: usize = 4 << 20;
/// Who lists at one time, of all reconciles. Others wait: one after another is as fast for the API server.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Something around a resource cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// One object.
    #[error("cannot read the {kind} {name}: {source}")]
    Read {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: kube::Error,
    },
    /// One object has a field that is not understood.
    #[error("cannot use the {kind} {name}: {source}")]
    Parse {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Which field.
        #[source]
        source: Arc<Invalid>,
    },
    /// A list of objects.
    #[error("cannot list {kind}: {source}")]
    List {
        /// What they are.
        kind: &'static str,
        /// Why not.
        #[source]
        source: ListingError,
    },
}

impl ObserveError {
    pub(super) fn read(kind: &'static str, name: &str, source: kube::Error) -> Self {
        Self::Read { kind, name: name.to_owned(), source }
    }
}

/// A list cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The API server's answer, or none.
    #[error(transparent)]
    Ask(#[from] kube::Error),
    /// The answer breaks off.
    #[error("the answer breaks off: {0}")]
    Read(#[from] io::Error),
    /// The answer is no list.
    #[error("the answer is no list: {0}")]
    Parse(#[from] serde_json::Error),
    /// One object alone has too many bytes.
    #[error("an object has more than {} MiB", PAGE_BYTES >> 20)]
    TooLarge,
    /// Objects that look like ours have too many bytes in all.
    #[error("they have more than {} MiB", KEPT_BYTES >> 20)]
    TooMany,
    /// The program ends.
    #[error("the program ends")]
    Closed(#[from] tokio::sync::AcquireError),
}

/// As much of a list as is needed to go on, before its objects are read. An empty list of Go may be null.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(rename = "continue")]
    next: Option<String>,
}

/// Gives each object of a kind in a namespace to `each`, read as `T`: what `T` does not have is never kept.
pub async fn fold<K, T>(client: &Client, namespace: &str, mut each: impl FnMut(T)) -> Result<(), ListingError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    T: DeserializeOwned,
{
    pages::<K>(client, Some(namespace), ListParams::default(), |object| {
        each(serde_json::from_str(object)?);
        Ok(())
    })
    .await
}

/// Hands each object of a list over, in a namespace or in all of them. Those for which `keep` says that it keeps them must not have
/// more than [`KEPT_BYTES`] in all.
pub async fn each<K>(
    client: &Client,
    namespace: Option<&str>,
    query: ListParams,
    mut keep: impl FnMut(K) -> bool,
) -> Result<(), ListingError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Parse,
{
    let mut kept = 0;
    let mut left_out = 0_u64;
    let listed = pages::<K>(client, namespace, query, |text| {
        let object: Guarded<K> = serde_json::from_str(text)?;
        let (namespace, name) = (object.namespace(), object.name_any());
        match object.into_inner() {
            Ok(object) => {
                if keep(object) {
                    kept += text.len();
                }
            }
            Err(invalid) => {
                left_out += 1;
                // Who can make one can make many.
                if left_out == 1 {
                    let kind = K::plural(&());
                    warn!(%kind, namespace, name, error = %invalid, "left out what cannot be parsed");
                }
            }
        }
        if kept > KEPT_BYTES { Err(ListingError::TooMany) } else { Ok(()) }
    });
    listed.await?;
    if left_out > 1 {
        warn!(kind = %K::plural(&()), namespace, left_out, "left out what cannot be parsed");
    }
    Ok(())
}

/// Lists page by page, and hands over the text of each object: of as many as the query's limit says, or of all.
///
/// No resource version is given. With `resourceVersion=0` the API server answers from its cache and takes no notice of the
/// limit (<https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list>).
async fn pages<K>(
    client: &Client,
    namespace: Option<&str>,
    mut query: ListParams,
    mut each: impl FnMut(&str) -> Result<(), ListingError>,
) -> Result<(), ListingError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    let _turn = TURNS.acquire().await?;
    let list = Request::new(K::url_path(&(), namespace));
    let mut left = query.limit;
    let mut limit = PAGE;
    loop {
        limit = limit.min(left.unwrap_or(PAGE));
        query.limit = Some(limit);
        let request = list.list(&query).map_err(kube::Error::BuildRequest)?;
        let mut answer = Vec::new();
        let body = client.request_stream(request).await?;
        body.take(PAGE_BYTES + 1).read_to_end(&mut answer).await?;
        if answer.len() as u64 > PAGE_BYTES {
            // The same page again, with fewer objects.
            limit = match limit {
                1 => return Err(ListingError::TooLarge),
                many => (many / 4).max(1),
            };
            continue;
        }
        let page: Page<'_> = serde_json::from_slice(&answer)?;
        page.items.iter().flatten().try_for_each(|object| each(object.get()))?;
        left = left.map(|left| left.saturating_sub(limit));
        query.continue_token = page.metadata.next.filter(|token| !token.is_empty());
        if query.continue_token.is_none() || left == Some(0) {
            return Ok(());
        }
        if answer.len() as u64 <= PAGE_BYTES / 8 {
            limit = (limit * 2).min(PAGE);
        }
    }
}

/// One object, if it is there.
pub async fn one<K: Parse>(
    api: &Api<Guarded<K>>,
    name: &str,
    kind: &'static str,
) -> Result<Option<K>, ObserveError> {
    let found = api.get_opt(name).await.map_err(|source| ObserveError::read(kind, name, source))?;
    let parsed = found.map(Guarded::into_inner).transpose();
    parsed.map_err(|source| ObserveError::Parse { kind, name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
    };

    use axum::http::Response;
    use futures::future::join_all;
    use k8s_openapi::api::core::v1::Pod;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tokio::sync::Notify;

    use super::*;

    /// Who can make events can make a hundred thousand of one object, and whoever lists keeps others waiting.
    #[tokio::test]
    async fn no_more_than_the_limit_is_read() {
        let asked = Arc::new(AtomicUsize::new(0));
        let server = tower::service_fn({
            let asked = asked.clone();
            move |request: axum::http::Request<Body>| {
                let query = request.uri().query().unwrap().to_owned();
                let limit: usize =
                    query.split('&').find_map(|pair| pair.strip_prefix("limit=")?.parse().ok()).unwrap();
                asked.fetch_add(limit, SeqCst);
                let page = json!({ "metadata": { "continue": "more" }, "items": vec![json!({}); limit] })
                    .to_string();
                async move { Ok::<_, Infallible>(Response::new(Body::from(page.into_bytes()))) }
            }
        });
        let client = Client::new(server, "default");
        let mut read = 0;
        each(&client, Some("default"), ListParams::default().limit(120), |_: Pod| {
            read += 1;
            false
        })
        .await
        .unwrap();
        assert_eq!((read, asked.load(SeqCst)), (120, 120));
    }

    /// However many lists are wanted at once, two are in memory.
    #[tokio::test]
    async fn two_lists_at_a_time() {
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let second = Arc::new(Notify::new());
        let server = tower::service_fn({
            let (inside, most, second) = (inside.clone(), most.clone(), second.clone());
            move |_| {
                let (inside, most, second) = (inside.clone(), most.clone(), second.clone());
                async move {
                    let now = inside.fetch_add(1, SeqCst) + 1;
                    most.fetch_max(now, SeqCst);
                    // The first waits for the second, and whoever else might come has the time to.
                    if now == 1 {
                        second.notified().await;
                    } else {
                        second.notify_one();
                    }
                    for _ in 0..100 {
                        tokio::task::yield_now().await;
                    }
                    inside.fetch_sub(1, SeqCst);
                    Ok::<_, Infallible>(Response::new(Body::from(br#"{"items":[]}"#.to_vec())))
                }
            }
        });
        let client = Client::new(server, "default");
        let lists = [(); 6].map(|()| fold::<Pod, Value>(&client, "default", |_| {}));
        for list in join_all(lists).await {
            list.unwrap();
        }
        assert_eq!(most.load(SeqCst), 2);
    }
}
