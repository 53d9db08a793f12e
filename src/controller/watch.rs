//! What the controller watches, and which ModelCaches each change affects.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{
    FutureExt as _, Stream, StreamExt as _,
    channel::mpsc::{UnboundedSender, unbounded},
    future::{BoxFuture, Shared, join_all},
    stream::{self, BoxStream},
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, Resource as _, ResourceExt,
    api::ListParams,
    runtime::{
        controller::{Action, Controller},
        events::Reporter,
        reflector::ObjectRef,
    },
};
use tokio::select;
use tracing::{info, warn};

use super::{
    ControllerError, Namespace, ReconcileError, Secrets, backoff,
    coalesce::coalesce,
    failures::Failures,
    pods,
    prober::Prober,
    reconcile::{Context, reconcile},
    recorder::Recorder,
    scope::WatchScope,
    stores::{Keepers, Stores, wakes},
    watcher::{Guarded, Metadata},
    workers::Workers,
};
use crate::{
    api::{self, ModelCache},
    hub::Endpoint,
    telemetry::{self, Contacts, Metrics},
};

/// Changes within this time are handled by one reconcile.
const WINDOW: Duration = Duration::from_millis(100);
/// Reconciles that run at one time: each waits for the API server most of the time, and for an answer with all of its ModelCache.
const CONCURRENCY: usize = 16;
/// The name under which events are reported.
const REPORTER: &str = "modelcache.internal/controller";

/// What the operator's owner decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The image of the Jobs: the controller's own.
    pub image: String,
    /// The Hubs that tokens may be sent to, the default one first, each with its proxy and certificates.
    pub endpoints: Vec<Endpoint>,
    /// The namespaces that are watched; none of them mean all.
    pub namespaces: Vec<Namespace>,
    /// How changes of Secrets are noticed.
    pub secrets: Secrets,
    /// Where probes and metrics are served.
    pub listen: SocketAddr,
}

/// The API server answers within this time, or another connection is tried.
const CONNECT: Duration = Duration::from_secs(5);

/// The end of all watches.
pub(super) type Stop = Shared<BoxFuture<'static, ()>>;

/// Waits for a controller of the runtime, which shuts down by itself. But it holds its reconciles until its store is listed, and where it
/// is stopped before, it would wait for that forever.
pub(super) async fn until_stopped(
    controller: impl Future<Output = ()>,
    is_listed: impl Fn() -> bool,
    stop: Stop,
) {
    let stopped_early = async {
        stop.await;
        if is_listed() {
            std::future::pending::<()>().await;
        }
    };
    select! {
        () = controller => {}
        () = stopped_early => {}
    }
}

/// Runs until `stop`.
pub async fn run(
    settings: Settings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ControllerError> {
    let client = connect().await?;
    if settings.namespaces.is_empty() {
        let caches: Api<Metadata<ModelCache>> = Api::all(client.clone());
        caches.list(&ListParams::default().limit(1)).await.map_err(ControllerError::NoCrd)?;
    } else {
        client.apiserver_version().await.map_err(ControllerError::Connect)?;
    }

    let watched: Vec<_> =
        WatchScope::of(&settings.namespaces).into_iter().map(|scope| (scope, Stores::empty())).collect();
    let known = watched.iter().map(|(_, (stores, _))| stores.caches.store().clone()).collect();
    let contacts = Contacts::default();
    let prober = Arc::new(Prober::start(&settings.endpoints)?);
    let metrics = Arc::new(Metrics::new(known, contacts.clone(), prober.clone()));
    telemetry::serve(settings.listen, metrics.clone(), contacts.clone())
        .await
        .map_err(|source| ControllerError::Listen { address: settings.listen, source })?;
    let reporter = Reporter { controller: REPORTER.to_owned(), instance: std::env::var("POD_NAME").ok() };
    let recorder = Arc::new(Recorder::new(client.clone(), reporter));
    info!(version = env!("CARGO_PKG_VERSION"), "starting controller");
    let stop = stop.boxed().shared();
    join_all(watched.into_iter().map(|(scope, (stores, keepers))| {
        let pods_context = Arc::new(pods::Context::new(
            client.clone(),
            stores.caches.clone(),
            recorder.clone(),
            contacts.clone(),
            metrics.clone(),
        ));
        let context = Arc::new(Context {
            client: client.clone(),
            stores,
            contacts: contacts.clone(),
            prober: prober.clone(),
            recorder: recorder.clone(),
            metrics: metrics.clone(),
            failures: Failures::default(),
            secrets: settings.secrets,
            image: settings.image.clone(),
        });
        let stop = stop.clone();
        async move {
            select! {
                () = scope.wait_until_listable(&context.client, context.secrets, &context.contacts) => {}
                () = stop.clone() => return,
            }
            let (report, changed) = unbounded();
            tokio::join!(
                caches_of(&scope, keepers, report, &context, stop.clone()),
                pods::run(&scope, &pods_context, changed, stop.clone()),
                pods::find_unmounted(&scope, &pods_context, stop),
            );
        }
    }))
    .await;
    info!("stopped controller");
    Ok(())
}

type CacheRef = ObjectRef<Guarded<ModelCache>>;

/// Reconciles the ModelCaches of a scope until the end. Those that have changed for waiting pods are reported.
async fn caches_of(
    scope: &WatchScope,
    keepers: Keepers,
    report: UnboundedSender<CacheRef>,
    context: &Arc<Context>,
    stop: Stop,
) {
    let known = context.stores.caches.store().clone();
    let answered = context
        .prober
        .answered(scope.namespace())
        .map(|(namespace, name)| ObjectRef::new(&name).within(&namespace));
    // One that is gone meanwhile is no longer concerned.
    let answered = answered.filter({
        let known = known.clone();
        move |cache| std::future::ready(known.get(cache).is_some())
    });
    let woken = stream::select(answered, woken(scope, keepers, report, context));
    let workers = Workers::new(CONCURRENCY);
    let reconcile_in_turn = move |cache: Arc<Guarded<ModelCache>>, context: Arc<Context>| {
        let workers = workers.clone();
        async move {
            let (namespace, name) = (cache.namespace().unwrap_or_default(), cache.name_any());
            // A thousand that wait must not keep a thousand old states in memory.
            drop(cache);
            let _worker = workers.acquire(&namespace).await;
            // As it is now: it may have waited for long.
            match context.stores.caches.get(&namespace, &name) {
                Some(newest) => reconcile(newest, context).await,
                None => Ok(Action::await_change()),
            }
        }
    };
    // A change of a ModelCache wakes it as a change of anything else does. The workers bound how many run.
    let controller = Controller::for_stream(stream::pending(), known)
        .reconcile_on(coalesce(woken, WINDOW))
        .graceful_shutdown_on(stop.clone())
        .run(reconcile_in_turn, on_error, context.clone())
        .for_each(|result| async {
            match result {
                // Deleted: nothing of ours holds it back.
                Err(kube::runtime::controller::Error::ObjectNotFound(gone)) => {
                    let namespace = gone.namespace.as_deref().unwrap_or_default();
                    context.prober.forget(namespace, &gone.name);
                    context.failures.forget(&ObjectRef::new(&gone.name).within(namespace));
                }
                // `on_error` has logged it.
                Ok(_) | Err(kube::runtime::controller::Error::ReconcilerFailed(..)) => {}
                Err(error) => warn!(namespaces = %scope, %error, "a watch failed"),
            }
        });
    until_stopped(controller, || context.stores.caches.is_listed(), stop).await;
}

/// Stores what the watches of a scope deliver, and yields the ModelCaches that it affects.
fn woken(
    scope: &WatchScope,
    keepers: Keepers,
    report: UnboundedSender<CacheRef>,
    context: &Context,
) -> impl Stream<Item = CacheRef> + Send + use<> {
    let Context { client, contacts, stores, .. } = context;
    let Keepers { caches, claims, jobs, pods, secrets } = keepers;
    let all = ListParams::default;
    // Metadata only: the content of the cluster's Secrets never enters this process through the watch.
    let secrets = match context.secrets {
        Secrets::Watch => {
            let contact = contacts.add(Secret::plural(&()));
            let observer = contact.observer();
            secrets.changed(scope.watch_with(client, all(), contact), observer).boxed()
        }
        Secrets::Poll => {
            secrets.are_not_watched();
            stream::pending().boxed()
        }
    };
    let caches = caches.keep(scope.watch(client, all(), contacts)).inspect(move |change| {
        if let Some(cache) =
            change.new.as_ref().or(change.old.as_ref()).filter(|_| pods::affects_pods(change))
        {
            // At the end of the process no one listens.
            let _ = report.unbounded_send(ObjectRef::from_obj(&**cache));
        }
    });
    stream::select_all([
        affected(stores, caches, wakes::of_cache),
        affected(stores, claims.keep(scope.watch(client, all(), contacts)), wakes::of_claim),
        affected(stores, jobs.keep(scope.watch(client, labelled(), contacts)), wakes::of_job),
        affected(stores, pods.keep(scope.watch(client, labelled(), contacts)), wakes::of_pod),
        affected(stores, secrets, wakes::of_secret),
    ])
}

fn affected<C: Send + 'static>(
    stores: &Stores,
    changes: impl Stream<Item = C> + Send + 'static,
    by: fn(&Stores, &C) -> Vec<CacheRef>,
) -> BoxStream<'static, CacheRef> {
    let stores = stores.clone();
    changes.flat_map(move |change| stream::iter(by(&stores, &change))).boxed()
}

async fn connect() -> Result<Client, ControllerError> {
    let mut config = kube::Config::infer().await?;
    config.connect_timeout = Some(CONNECT);
    Client::try_from(config).map_err(ControllerError::Connect)
}

fn labelled() -> ListParams {
    ListParams::default().labels(&format!("{}={}", api::LABEL_MANAGED_BY, api::MANAGED_BY))
}

/// An error here is between us and the API server: what a user can fix is a condition of the resource.
#[allow(clippy::needless_pass_by_value, reason = "the runtime's signature")]
fn on_error(cache: Arc<Guarded<ModelCache>>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let pause = backoff::failed(context.failures.count(&cache), &cache.name_any());
    warn!(namespace = cache.namespace(), modelcache = cache.name_any(), %error, ?pause, "reconciliation failed");
    Action::requeue(pause)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Mutex};

    use axum::http::{Request, Response};
    use kube::client::Body;
    use pretty_assertions::assert_eq;
    use serde_json::{Value, json};
    use tokio::sync::Notify;

    use super::*;
    use crate::{controller::fixtures, sync::locked};

    /// Each kind is listed and watched; a ModelCache at rest is reconciled once, and writes once. Its own status wakes nothing.
    #[tokio::test(start_paused = true)]
    async fn a_controller_that_is_stopped_before_its_list_has_come_ends() {
        let stopped = || std::future::ready(()).boxed().shared();
        let hangs = std::future::pending::<()>;
        until_stopped(hangs(), || false, stopped()).await;
        let in_flight = until_stopped(hangs(), || true, stopped());
        let ended = tokio::time::timeout(Duration::from_secs(60), in_flight).await;
        assert!(ended.is_err(), "what is at work is waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_modelcache_is_reconciled_once_and_after_all_kinds_are_listed() {
        let mut cache = fixtures::with_token(fixtures::cache());
        cache.spec.suspend = true;
        cache.metadata.resource_version = Some("1".to_owned());
        let cache = Arc::new(Mutex::new(json!(cache)));
        let (asked, written) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let server = tower::service_fn({
            let (asked, written) = (asked.clone(), written.clone());
            move |request: Request<Body>| {
                let (asked, written, cache) = (asked.clone(), written.clone(), cache.clone());
                async move {
                    let (parts, body) = request.into_parts();
                    let kind = parts.uri.path().rsplit('/').next().unwrap().to_owned();
                    let query = parts.uri.query().unwrap_or_default();
                    let is_watch = query.contains("watch=true");
                    if is_watch && kind != "modelcaches" {
                        std::future::pending::<()>().await;
                    }
                    if is_watch {
                        // Our own write is delivered, once.
                        written.notified().await;
                        let event =
                            json!({ "type": "MODIFIED", "object": *locked(&cache) }).to_string() + "\n";
                        return Ok::<_, Infallible>(Response::new(Body::from(event.into_bytes())));
                    }
                    if kind == "pods" {
                        // The last to be listed.
                        tokio::time::sleep(Duration::from_secs(20)).await;
                    }
                    locked(&asked).push(format!("{} {kind}", parts.method));
                    let answer = match (parts.method.as_str(), &*kind) {
                        ("GET", "modelcaches") => {
                            json!({ "metadata": { "resourceVersion": "1" }, "items": [*locked(&cache)] })
                        }
                        ("GET", "hf") => json!({ "metadata": { "name": "hf" } }),
                        ("GET", _) => json!({ "metadata": { "resourceVersion": "1" }, "items": [] }),
                        ("PATCH", _) => {
                            let given = body.collect_bytes().await.unwrap();
                            let given: Value = serde_json::from_slice(&given).unwrap();
                            let mut cache = locked(&cache);
                            cache["status"] = given["status"].clone();
                            cache["metadata"]["resourceVersion"] = json!("2");
                            written.notify_one();
                            cache.clone()
                        }
                        _ => json!({ "metadata": { "name": "event" } }),
                    };
                    Ok(Response::new(Body::from(answer.to_string().into_bytes())))
                }
            }
        });
        let (stores, keepers) = Stores::empty();
        let context = Arc::new(Context::of(Client::new(server, "default"), stores));
        // Before the silent watches are opened again.
        let stop = tokio::time::sleep(Duration::from_secs(28)).boxed().shared();
        caches_of(&WatchScope::of(&[])[0], keepers, unbounded().0, &context, stop).await;

        let asked = locked(&asked);
        let listed = ["modelcaches", "jobs", "pods", "persistentvolumeclaims", "secrets"];
        let at = asked.iter().position(|it| it == "GET hf").unwrap();
        for kind in listed {
            let kind = format!("GET {kind}");
            assert!(asked[..at].contains(&kind), "{kind} comes before the reconcile: {asked:?}");
        }
        let rest: Vec<_> = asked[at..].iter().filter(|it| *it != "POST events").collect();
        assert_eq!(rest, ["GET hf", "PATCH status"], "{asked:?}");
    }
}
