//! What the controller watches, and which resource each change concerns.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{
    FutureExt as _, Stream, StreamExt as _,
    future::{BoxFuture, Shared, join_all},
    stream::{self, BoxStream},
};
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    runtime::{
        controller::{Action, Config, Controller},
        events::Reporter,
        reflector::ObjectRef,
    },
};
use tokio::select;
use tracing::{info, warn};

use super::{
    ControllerError, Namespace, ReconcileError, Secrets,
    area::Area,
    backoff,
    failures::Failures,
    pods,
    prober::Prober,
    reconcile::{Context, reconcile},
    recorder::Recorder,
    stores::{Keepers, Stores, wakes},
    watcher::{Guarded, Metadata},
};
use crate::{
    api::{self, ModelCache},
    hub::Endpoint,
    telemetry::{self, Contacts, Metrics},
};

/// Changes that come together are looked at together; and our own write has come back before the next look.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Looks that run at one time: each waits for the Hub and the API server most of the time.
const CONCURRENCY: u16 = 32;
/// The name under which events are reported.
const REPORTER: &str = "modelcache.internal/controller";

/// What the operator's owner decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The image of the Jobs: the controller's own.
    pub image: String,
    /// The Hubs that tokens may be sent to, the default one first, each with the way there.
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
        Area::of(&settings.namespaces).into_iter().map(|area| (area, Stores::empty())).collect();
    let known = watched.iter().map(|(_, (stores, _))| stores.caches.store().clone()).collect();
    let contacts = Contacts::default();
    let prober = Arc::new(Prober::start(&settings.endpoints)?);
    let metrics = Arc::new(Metrics::new(known, contacts.clone(), prober.clone()));
    telemetry::serve(settings.listen, metrics.clone(), contacts.clone())
        .await
        .map_err(|source| ControllerError::Listen { address: settings.listen, source })?;
    let reporter = Reporter { controller: REPORTER.to_owned(), instance: std::env::var("POD_NAME").ok() };
    let recorder = Arc::new(Recorder::new(client.clone(), reporter));
    let waiting_pods =
        Arc::new(pods::Context::new(client.clone(), recorder.clone(), contacts.clone(), metrics.clone()));
    info!(version = env!("CARGO_PKG_VERSION"), "the controller starts");
    let stop = stop.boxed().shared();
    join_all(watched.into_iter().map(|(area, (stores, keepers))| {
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
        let (waiting_pods, stop) = (waiting_pods.clone(), stop.clone());
        async move {
            select! {
                () = area.opens(&context.client, context.secrets, &context.contacts) => {}
                () = stop.clone() => return,
            }
            let known = context.stores.caches.clone();
            tokio::join!(
                caches_of(&area, keepers, &context, stop.clone()),
                pods::run(&area, &waiting_pods, stop.clone()),
                pods::find_unmounted(&area, known, &waiting_pods, stop),
            );
        }
    }))
    .await;
    info!("the controller stops");
    Ok(())
}

/// Looks at the ModelCaches of an area until the end.
async fn caches_of(area: &Area, keepers: Keepers, context: &Arc<Context>, stop: Stop) {
    let known = context.stores.caches.store().clone();
    let answered = context
        .prober
        .answered(area.namespace())
        .map(|(namespace, name)| ObjectRef::new(&name).within(&namespace));
    // One that is gone meanwhile is no longer concerned.
    let answered = answered.filter({
        let known = known.clone();
        move |cache| std::future::ready(known.get(cache).is_some())
    });
    // What a change of a ModelCache means for it is told like that of anything else.
    Controller::for_stream(stream::pending(), known)
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY))
        .reconcile_on(answered)
        .reconcile_on(woken(area, keepers, context))
        .graceful_shutdown_on(stop)
        .run(reconcile, on_error, context.clone())
        .for_each(|result| async {
            match result {
                // Deleted, and since nothing of ours holds it back, gone.
                Err(kube::runtime::controller::Error::ObjectNotFound(gone)) => {
                    let namespace = gone.namespace.as_deref().unwrap_or_default();
                    context.prober.forget(namespace, &gone.name);
                    context.failures.forget(&ObjectRef::new(&gone.name).within(namespace));
                }
                // `on_error` has told it.
                Ok(_) | Err(kube::runtime::controller::Error::ReconcilerFailed(..)) => {}
                Err(error) => warn!(namespaces = %area, %error, "a watch failed"),
            }
        })
        .await;
}

/// Keeps what the watches of an area bring, and gives the ModelCaches that it concerns.
fn woken(
    area: &Area,
    keepers: Keepers,
    context: &Context,
) -> impl Stream<Item = ObjectRef<Guarded<ModelCache>>> + Send + use<> {
    let Context { client, contacts, stores, .. } = context;
    let Keepers { caches, claims, jobs, pods, secrets } = keepers;
    let all = ListParams::default;
    // Metadata only: what is in the Secrets of the cluster never comes into this process by the watch.
    let secrets = match context.secrets {
        Secrets::Watch => secrets.changed(area.watch(client, all(), contacts)).boxed(),
        Secrets::Poll => {
            secrets.are_not_watched();
            stream::pending().boxed()
        }
    };
    stream::select_all([
        concerned(stores, caches.keep(area.watch(client, all(), contacts)), wakes::of_cache),
        concerned(stores, claims.keep(area.watch(client, all(), contacts)), wakes::of_claim),
        concerned(stores, jobs.keep(area.watch(client, labelled(), contacts)), wakes::of_job),
        concerned(stores, pods.keep(area.watch(client, labelled(), contacts)), wakes::of_pod),
        concerned(stores, secrets, wakes::of_secret),
    ])
}

fn concerned<C: Send + 'static>(
    stores: &Stores,
    changes: impl Stream<Item = C> + Send + 'static,
    by: fn(&Stores, &C) -> Vec<ObjectRef<Guarded<ModelCache>>>,
) -> BoxStream<'static, ObjectRef<Guarded<ModelCache>>> {
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

/// An error here is between us and the API server: what a user can fix is a verdict on the resource.
#[allow(clippy::needless_pass_by_value, reason = "the runtime's signature")]
fn on_error(cache: Arc<Guarded<ModelCache>>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let pause = backoff::look(context.failures.count(&cache), &cache.name_any());
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

    /// Each kind is listed and watched; one that stays at rest is reconciled once, and writes once. Its own status wakes nobody.
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
                        // Our own write comes back, once.
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
        // Before the watches that say nothing are opened again.
        let stop = tokio::time::sleep(Duration::from_secs(28)).boxed().shared();
        caches_of(&Area::of(&[])[0], keepers, &context, stop).await;

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
