//! Lists objects of which little is kept, however many and however large they are. Does not know what they mean.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt as _, api::ListParams};
use serde::de::DeserializeOwned;
use tracing::warn;

use super::watcher::{Guarded, Invalid, Lister, ListingError, Pages, Parse};

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

    pub(super) fn parse(kind: &'static str, name: &str, source: Arc<Invalid>) -> Self {
        Self::Parse { kind, name: name.to_owned(), source }
    }
}

/// Passes each object of a kind in a namespace to `each`, read as `T`: what `T` does not have is never kept.
pub async fn fold<K, T>(client: &Client, namespace: &str, mut each: impl FnMut(T)) -> Result<(), ListingError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    T: DeserializeOwned,
{
    let mut pages = pages::<K>(client, Some(namespace), ListParams::default());
    while pages
        .next(|object| {
            each(serde_json::from_str(object)?);
            Ok(())
        })
        .await?
    {}
    Ok(())
}

fn pages<K>(client: &Client, namespace: Option<&str>, query: ListParams) -> Pages
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Pages::of(Lister::Reconcile, client.clone(), &K::url_path(&(), namespace), false, query)
}

/// Passes each object of a list to `each`, in a namespace or in all of them; the caller keeps few of them.
pub async fn each<K>(
    client: &Client,
    namespace: Option<&str>,
    query: ListParams,
    mut each: impl FnMut(K),
) -> Result<(), ListingError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Parse,
{
    let mut left_out = 0_u64;
    let mut pages = pages::<K>(client, namespace, query);
    let mut read = |text: &str| {
        let object: Guarded<K> = serde_json::from_str(text)?;
        let (namespace, name) = (object.namespace(), object.name_any());
        match object.into_inner() {
            Ok(object) => each(object),
            Err(invalid) => {
                left_out += 1;
                // Who can make one can make many.
                if left_out == 1 {
                    let kind = K::plural(&());
                    warn!(%kind, namespace, name, error = %invalid, "left out what cannot be parsed");
                }
            }
        }
        Ok(())
    };
    while pages.next(&mut read).await? {}
    if left_out > 1 {
        warn!(kind = %K::plural(&()), namespace, left_out, "left out what cannot be parsed");
    }
    Ok(())
}

/// One object, if it is there.
pub async fn one<K: Parse>(
    api: &Api<Guarded<K>>,
    name: &str,
    kind: &'static str,
) -> Result<Option<K>, ObserveError> {
    let found = api.get_opt(name).await.map_err(|source| ObserveError::read(kind, name, source))?;
    let parsed = found.map(Guarded::into_inner).transpose();
    parsed.map_err(|source| ObserveError::parse(kind, name, source))
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

    /// Whoever can create events can create a hundred thousand for one object, and one list delays others.
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
        each(&client, Some("default"), ListParams::default().limit(120), |_: Pod| read += 1).await.unwrap();
        assert_eq!((read, asked.load(SeqCst)), (120, 120));
    }

    /// However many lists reconciles want at once, one is in memory; a watch that begins does not wait for it.
    #[tokio::test]
    async fn one_list_of_reconciles_at_a_time_beside_those_of_watches() {
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let watched = Arc::new(Notify::new());
        let server = tower::service_fn({
            let (inside, most, watched) = (inside.clone(), most.clone(), watched.clone());
            move |request: axum::http::Request<Body>| {
                let (inside, most, watched) = (inside.clone(), most.clone(), watched.clone());
                async move {
                    if request.uri().path().ends_with("/pods") {
                        let now = inside.fetch_add(1, SeqCst) + 1;
                        most.fetch_max(now, SeqCst);
                        // The first answer comes after the list of a watch; whoever else might come has the time to.
                        if now == 1 {
                            watched.notified().await;
                            watched.notify_one();
                        }
                        for _ in 0..100 {
                            tokio::task::yield_now().await;
                        }
                        inside.fetch_sub(1, SeqCst);
                    } else {
                        watched.notify_one();
                    }
                    Ok::<_, Infallible>(Response::new(Body::from(br#"{"items":[]}"#.to_vec())))
                }
            }
        });
        let client = Client::new(server, "default");
        let lists = join_all([(); 6].map(|()| fold::<Pod, Value>(&client, "default", |_| {})));
        let mut watch =
            Pages::of(Lister::Watch, client.clone(), "/api/v1/secrets", false, ListParams::default());
        let both = async { tokio::join!(lists, watch.next(|_| Ok(()))) };
        let limit = std::time::Duration::from_secs(10);
        let (lists, watched) = tokio::time::timeout(limit, both).await.expect("one waits for the other");
        assert!(watched.unwrap() && lists.into_iter().all(|list| list.is_ok()));
        assert_eq!(most.load(SeqCst), 1);
    }
}
