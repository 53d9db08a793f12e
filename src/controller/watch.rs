//! What the controller watches, and which resource each change concerns.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, Shared, join_all},
};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod, Secret},
};
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    runtime::{
        controller::{Action, Config, Controller},
        events::Reporter,
        reflector::{self, ObjectRef, Store, store::Writer},
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
    watcher::{Guarded, Metadata, kept, touched},
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
        Area::of(&settings.namespaces).into_iter().map(|area| (area, reflector::store())).collect();
    let known: Vec<_> = watched.iter().map(|(_, (known, _))| known.clone()).collect();
    let contacts = Contacts::default();
    let prober = Arc::new(Prober::start(&settings.endpoints)?);
    let metrics = Arc::new(Metrics::new(known.clone(), contacts.clone(), prober.clone()));
    telemetry::serve(settings.listen, metrics.clone(), contacts.clone())
        .await
        .map_err(|source| ControllerError::Listen { address: settings.listen, source })?;
    let reporter = Reporter { controller: REPORTER.to_owned(), instance: std::env::var("POD_NAME").ok() };
    let recorder = Arc::new(Recorder::new(client.clone(), reporter));
    let waiting_pods =
        Arc::new(pods::Context::new(client.clone(), recorder.clone(), contacts.clone(), metrics.clone()));
    let context = Arc::new(Context {
        client,
        caches: known,
        contacts,
        prober,
        recorder,
        metrics,
        failures: Failures::default(),
        secrets: settings.secrets,
        image: settings.image,
    });
    info!(version = env!("CARGO_PKG_VERSION"), "the controller starts");
    let stop = stop.boxed().shared();
    join_all(watched.into_iter().map(|(area, (known, writer))| {
        let (context, waiting_pods, stop) = (context.clone(), waiting_pods.clone(), stop.clone());
        async move {
            select! {
                () = area.opens(&context.client, context.secrets, &context.contacts) => {}
                () = stop.clone() => return,
            }
            tokio::join!(
                caches_of(&area, known.clone(), writer, &context, stop.clone()),
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
async fn caches_of(
    area: &Area,
    known: Store<Guarded<ModelCache>>,
    writer: Writer<Guarded<ModelCache>>,
    context: &Arc<Context>,
    stop: Stop,
) {
    let (client, contacts) = (&context.client, &context.contacts);
    let caches = area.watch::<Guarded<ModelCache>>(client, ListParams::default(), contacts);
    let caches = touched(kept(writer, caches));
    let claims = area.watch::<Metadata<PersistentVolumeClaim>>(client, ListParams::default(), contacts);
    let answered = context
        .prober
        .answered(area.namespace())
        .map(|(namespace, name)| ObjectRef::new(&name).within(&namespace));
    // One that is gone meanwhile is no longer concerned.
    let answered = answered.filter({
        let known = known.clone();
        move |cache| std::future::ready(known.get(cache).is_some())
    });
    // Metadata only, wherever an object says no more than that something around a ModelCache has changed: what is in the
    // Secrets of the cluster never comes into this process by the watch.
    let mut controller = Controller::for_stream(caches, known.clone())
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY))
        .reconcile_on(answered)
        .owns_stream(touched(area.watch::<Metadata<Job>>(client, labelled(), contacts)))
        .watches_stream(touched(area.watch::<Metadata<Pod>>(client, labelled(), contacts)), of_label)
        .watches_stream(touched(claims), {
            let known = known.clone();
            move |changed| using(&known, &changed, |cache| Some(cache.claim_name()))
        });
    if context.secrets == Secrets::Watch {
        let secrets = area.watch::<Metadata<Secret>>(client, ListParams::default(), contacts);
        controller = controller.watches_stream(touched(secrets), move |changed| {
            using(&known, &changed, |cache| Some(cache.spec.token_secret_ref.as_ref()?.name.clone()))
        });
    }
    controller
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

async fn connect() -> Result<Client, ControllerError> {
    let mut config = kube::Config::infer().await?;
    config.connect_timeout = Some(CONNECT);
    Client::try_from(config).map_err(ControllerError::Connect)
}

fn labelled() -> ListParams {
    ListParams::default().labels(&format!("{}={}", api::LABEL_MANAGED_BY, api::MANAGED_BY))
}

// The signatures of both functions below are the runtime's.
#[allow(clippy::needless_pass_by_value)]
fn of_label(pod: Metadata<Pod>) -> Option<ObjectRef<Guarded<ModelCache>>> {
    let name = pod.labels().get(api::LABEL_NAME)?;
    Some(ObjectRef::new(name).within(&pod.namespace()?))
}

/// The ModelCaches of the same namespace that refer to the changed object by name.
fn using<K: ResourceExt>(
    known: &Store<Guarded<ModelCache>>,
    changed: &K,
    refers_to: impl Fn(&ModelCache) -> Option<String>,
) -> Vec<ObjectRef<Guarded<ModelCache>>> {
    let (namespace, name) = (changed.namespace(), changed.name_any());
    known
        .state()
        .iter()
        .filter(|cache| cache.namespace() == namespace)
        .filter(|cache| cache.parsed().is_some_and(|cache| refers_to(cache).as_ref() == Some(&name)))
        .map(|cache| ObjectRef::from_obj(&**cache))
        .collect()
}

/// An error here is between us and the API server: what a user can mend is a verdict on the resource.
#[allow(clippy::needless_pass_by_value)]
fn on_error(cache: Arc<Guarded<ModelCache>>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let pause = backoff::look(context.failures.count(&cache), &cache.name_any());
    warn!(namespace = cache.namespace(), modelcache = cache.name_any(), %error, ?pause, "reconciliation failed");
    Action::requeue(pause)
}
