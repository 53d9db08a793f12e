//! One watch: lists, follows the changes, and reconnects after the API server was unreachable.
//!
//! kube's own watcher neither reports when it is connected nor times out on an answer that never comes, and its `Controller` makes
//! all watches wait for the backoff of one. So each watch here is a task with its own backoff, timeouts and `Contact`.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
    runtime::watcher::Event,
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, time::timeout};
use tracing::{info, warn};

use super::pages::{Lister, ListingError, Pages};
use crate::{controller::backoff::Growing, telemetry::Contact};

/// Events that wait for the controller.
const WAITING: usize = 16;
/// The time for the beginning of an answer to a watch.
const ANSWER: Duration = Duration::from_secs(30);
/// The API server is asked to end a watch after this time, in seconds: a silently dead connection is noticed soon.
const WATCH: u32 = 60;
/// The time after which a watch that should have ended is given up.
const SILENCE: Duration = Duration::from_secs(WATCH as u64 + 5);
/// A watch that ends sooner than this counts as failed: it is not opened again at once.
const SHORT: Duration = Duration::from_secs(1);
/// Pauses after a failure. Short, so that a watch is back within ten seconds after the API server is.
const PAUSES: Growing = Growing::new(1, 4);
/// The longest error that is logged, in characters.
const LONGEST: usize = 500;

/// Why a watch was lost.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Kube(#[from] kube::Error),
    #[error(transparent)]
    List(#[from] ListingError),
    #[error("no answer within {} s", ANSWER.as_secs())]
    NoAnswer(#[from] tokio::time::error::Elapsed),
    #[error("nothing came for {} s", SILENCE.as_secs())]
    Silent,
    #[error("the API server ended it: {0}")]
    Ended(String),
    #[error("the API server ended it at once")]
    Short,
    #[error("an answer has no resource version")]
    NoVersion,
}

impl Lost {
    /// Whether the changes since the last one that was seen can no longer be had: all is listed again.
    fn is_behind(&self) -> bool {
        match self {
            Self::Kube(kube::Error::Api(status)) => status.code == 410,
            Self::Kube(kube::Error::SerdeError(_)) | Self::Ended(_) | Self::NoVersion => true,
            _ => false,
        }
    }
}

/// All objects that match, and every change of them, until the stream is dropped. It never fails and never ends: a
/// failure is logged once for each time that the watch is lost, and the contact reports it.
pub fn events<K>(api: Api<K>, query: ListParams, contact: Contact) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let (out, events) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let dropped = out.clone();
        tokio::select! {
            () = dropped.closed() => {}
            () = Watch { api, query, contact, out, version: None }.follow() => {}
        }
    });
    stream::unfold(events, |mut events| async { events.recv().await.map(|event| (event, events)) })
}

struct Watch<K> {
    api: Api<K>,
    query: ListParams,
    contact: Contact,
    out: mpsc::Sender<Event<K>>,
    /// The version that the next watch begins at; none before all objects are listed.
    version: Option<String>,
}

impl<K> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Until the stream is dropped.
    async fn follow(mut self) {
        let mut failures = 0;
        while !self.out.is_closed() {
            let began = Instant::now();
            let lost = match self.round().await {
                Ok(()) if began.elapsed() >= SHORT => {
                    failures = 0;
                    continue;
                }
                Ok(()) => Lost::Short,
                Err(lost) => lost,
            };
            // A watch that held for a while was no failure: this is the first of a new row.
            failures = if self.contact.is_made() { 1 } else { failures + 1 };
            if lost.is_behind() {
                self.version = None;
            }
            if self.contact.lose() {
                warn!(kind = %K::plural(&()), error = %bounded(&lost), "lost a watch; it is opened again");
            }
            let pause = PAUSES.after(failures);
            tokio::time::sleep(pause / 2 + (pause / 2).mul_f64(fastrand::f64())).await;
        }
    }

    /// One watch, from its beginning to its end; before it a list, where there is no version to begin at.
    async fn round(&mut self) -> Result<(), Lost> {
        let version = match &self.version {
            Some(version) => version.clone(),
            None => self.list().await?,
        };
        let mut changes = timeout(ANSWER, self.api.watch(&self.params(), &version)).await??.boxed();
        self.version = Some(version);
        if self.contact.make() {
            info!(kind = %K::plural(&()), "a watch is open again");
        }
        loop {
            let change = timeout(SILENCE, changes.try_next()).await.map_err(|_| Lost::Silent)??;
            let (event, version) = match change {
                None => return Ok(()),
                Some(WatchEvent::Bookmark(bookmark)) => (None, Some(bookmark.metadata.resource_version)),
                Some(WatchEvent::Error(status)) => return Err(Lost::Ended(status.message)),
                Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    let version = object.resource_version();
                    (Some(Event::Apply(object)), version)
                }
                Some(WatchEvent::Deleted(object)) => {
                    let version = object.resource_version();
                    (Some(Event::Delete(object)), version)
                }
            };
            self.version = Some(version.filter(|version| !version.is_empty()).ok_or(Lost::NoVersion)?);
            if let Some(event) = event {
                self.send(event).await;
            }
        }
    }

    /// Lists page by page, and returns the version of the list.
    async fn list(&self) -> Result<String, Lost> {
        self.send(Event::Init).await;
        let client = self.api.clone().into_client();
        let mut pages =
            Pages::of(Lister::Watch, client, self.api.resource_url(), K::metadata_api(), self.query.clone());
        loop {
            let mut page = Vec::new();
            let read = pages.next(|object| {
                page.push(serde_json::from_str(object)?);
                Ok(())
            });
            if !read.await? {
                break;
            }
            for object in page {
                self.send(Event::InitApply(object)).await;
            }
        }
        let version = pages.version().ok_or(Lost::NoVersion)?;
        self.send(Event::InitDone).await;
        Ok(version)
    }

    /// Waits for the controller where it is behind. That the stream was dropped is noticed elsewhere.
    async fn send(&self, event: Event<K>) {
        let _ = self.out.send(event).await;
    }

    fn params(&self) -> WatchParams {
        WatchParams {
            label_selector: self.query.label_selector.clone(),
            field_selector: self.query.field_selector.clone(),
            timeout: Some(WATCH),
            bookmarks: true,
            send_initial_events: false,
        }
    }
}

/// The error as a line of the log: an answer of an API server, or of a proxy before it, can have any length.
fn bounded(lost: &Lost) -> String {
    lost.to_string().chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use axum::http::{Request, Response};
    use k8s_openapi::api::core::v1::Pod;
    use kube::{Client, client::Body};
    use pretty_assertions::assert_eq;
    use serde_json::{Value, json};
    use tokio::sync::Mutex;

    use super::*;
    use crate::{controller::watcher::Guarded, telemetry::Contacts};

    fn pod(name: &str) -> Value {
        json!({ "metadata": { "name": name, "namespace": "team", "resourceVersion": "8" } })
    }

    /// Two pages, of which the first comes in one object each because it is too large, and then a change.
    #[tokio::test]
    async fn all_pages_are_listed_and_then_watched_from_their_version() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let server = tower::service_fn({
            let asked = asked.clone();
            move |request: Request<Body>| {
                let asked = asked.clone();
                async move {
                    let query = request.uri().query().unwrap().to_owned();
                    let given = |name: &str| {
                        query
                            .split('&')
                            .find_map(|pair| pair.strip_prefix(name))
                            .unwrap_or_default()
                            .to_owned()
                    };
                    let (limit, next) = (given("limit="), given("continue="));
                    asked.lock().await.push(format!("{limit}/{next}/{}", given("resourceVersion=")));
                    let body =
                        match (&*limit, &*next) {
                            ("", _) => json!({ "type": "ADDED", "object": pod("c") }).to_string() + "\n",
                            ("50", "") => " ".repeat(3 << 20),
                            (_, "") => json!({ "metadata": { "continue": "n" }, "items": [pod("a"), "odd"] })
                                .to_string(),
                            _ => json!({ "metadata": { "resourceVersion": "7" }, "items": [pod("b")] })
                                .to_string(),
                        };
                    Ok::<_, Infallible>(Response::new(Body::from(body.into_bytes())))
                }
            }
        });
        let api: Api<Guarded<Pod>> = Api::namespaced(Client::new(server, "team"), "team");
        let contact = Contacts::default().add(Pod::plural(&()));
        let seen = events(api, ListParams::default(), contact).take(6).map(|event| match event {
            Event::Init => "begins".to_owned(),
            Event::InitDone => "listed".to_owned(),
            Event::InitApply(pod) if pod.get().is_err() => "odd".to_owned(),
            Event::InitApply(pod) | Event::Apply(pod) | Event::Delete(pod) => pod.name_any(),
        });
        assert_eq!(seen.collect::<Vec<_>>().await, ["begins", "a", "odd", "b", "listed", "c"]);
        assert_eq!(asked.lock().await[..4], ["50//", "12//", "24/n/", "//7"]);
    }
}
