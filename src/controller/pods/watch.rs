//! Which pods are looked at, and when.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Volume};
use kube::{
    ResourceExt,
    api::ListParams,
    runtime::{
        controller::{Action, Config, Controller},
        reflector::{self, ObjectRef, Store},
    },
};
use tracing::warn;

use super::{
    decide,
    reconcile::{Context, reconcile},
};
use crate::{
    api::{ModelCache, condition, mount},
    controller::{
        area::Area,
        backoff,
        error::PodError,
        watch::Stop,
        watcher::{Guarded, kept, touched},
    },
    reason::Topic,
    sync::locked,
};

/// Each look is a question to the API server and an answer.
const CONCURRENCY: u16 = 32;

/// Looks at the waiting pods of an area until the end.
pub async fn run(area: &Area, context: &Arc<Context>, stop: Stop) {
    let client = &context.client;
    // Who waits has no node yet: pods that run are never held in memory, however many there are.
    let query = ListParams::default().labels(mount::LABEL_MOUNT).fields("spec.nodeName=");
    let (pods, writer) = reflector::store();
    let waiting = area.watch::<Guarded<Pod>>(client, query, &context.contacts);
    let waiting = kept(writer, waiting.map(|event| event.modify(reduce)));
    let caches = area.watch::<Guarded<ModelCache>>(client, ListParams::default(), &context.contacts);
    let known = Known::default();
    Controller::for_stream(touched(waiting), pods.clone())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .watches_stream(touched(caches), move |cache| known.concerned(&pods, &cache))
        .graceful_shutdown_on(stop)
        .run(reconcile, on_error, context.clone())
        .for_each(|result| async {
            match result {
                Err(kube::runtime::controller::Error::ObjectNotFound(gone)) => {
                    let namespace = gone.namespace.as_deref().unwrap_or_default();
                    context.told.forget(&ObjectRef::new(&gone.name).within(namespace));
                    context.failures.forget(&ObjectRef::new(&gone.name).within(namespace));
                }
                // `on_error` has told it.
                Ok(_) | Err(kube::runtime::controller::Error::ReconcilerFailed(..)) => {}
                Err(error) => warn!(namespaces = %area, %error, "a watch failed"),
            }
        })
        .await;
}

/// Leaves of a waiting pod what is decided on. The rest may be large, and is there once for each replica.
fn reduce(pod: &mut Guarded<Pod>) {
    let Some(pod) = pod.parsed_mut() else { return };
    pod.status = None;
    let Some(spec) = pod.spec.take() else { return };
    let volumes = spec.volumes.map(|volumes| {
        let reduced = volumes.into_iter().map(|volume| Volume {
            name: volume.name,
            persistent_volume_claim: volume.persistent_volume_claim,
            ..Volume::default()
        });
        reduced.collect()
    });
    pod.spec = Some(PodSpec { scheduling_gates: spec.scheduling_gates, volumes, ..PodSpec::default() });
}

/// What the waiting pods were last looked at for, by ModelCache: a download's progress concerns none of them.
#[derive(Debug, Default)]
struct Known(Mutex<HashMap<ObjectRef<Guarded<ModelCache>>, Option<Seen>>>);

/// All of a ModelCache that a waiting pod goes by.
#[derive(Debug, PartialEq)]
struct Seen {
    uid: Option<String>,
    place: String,
    going: bool,
    available: bool,
    loadable: bool,
    why: Option<String>,
}

impl Seen {
    fn of(cache: &ModelCache) -> Self {
        Self {
            uid: cache.uid(),
            place: cache.place(),
            going: cache.metadata.deletion_timestamp.is_some(),
            available: cache.is_available(),
            loadable: cache.is_loadable(),
            why: condition::find(cache.conditions(), Topic::Ready).map(|ready| ready.reason.clone()),
        }
    }
}

impl Known {
    /// The pods that wait for a ModelCache, if something about it has changed that they wait for.
    fn concerned(
        &self,
        pods: &Store<Guarded<Pod>>,
        cache: &Guarded<ModelCache>,
    ) -> Vec<ObjectRef<Guarded<Pod>>> {
        let (namespace, name) = (cache.namespace(), cache.name_any());
        let waiting: Vec<_> = pods
            .state()
            .iter()
            .filter(|pod| pod.namespace() == namespace)
            .filter(|pod| pod.parsed().is_some_and(|pod| decide::waits_for(pod).any(|one| one == name)))
            .map(|pod| ObjectRef::from_obj(&**pod))
            .collect();
        let mut known = locked(&self.0);
        let key = ObjectRef::from_obj(cache);
        if waiting.is_empty() {
            known.remove(&key);
            return waiting;
        }
        let now = cache.parsed().map(|cache| Seen::of(cache));
        if known.get(&key) == Some(&now) {
            return Vec::new();
        }
        known.insert(key, now);
        waiting
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the runtime's signature")]
fn on_error(pod: Arc<Guarded<Pod>>, error: &PodError, context: Arc<Context>) -> Action {
    let pause = backoff::look(context.failures.count(&pod), &pod.name_any());
    warn!(namespace = pod.namespace(), pod = pod.name_any(), %error, ?pause, "reconciliation of a pod failed");
    Action::requeue(pause)
}
