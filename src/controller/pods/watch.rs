//! Which pods are reconciled, and when.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use kube::{
    ResourceExt,
    api::ListParams,
    runtime::{
        controller::{self, Action, Controller},
        reflector::ObjectRef,
    },
};
use tracing::warn;

use super::{
    pod::ModelPod,
    reconcile::{Context, reconcile},
};
use crate::{
    api::{ModelCache, condition, mount},
    controller::{
        backoff,
        error::PodError,
        scope::WatchScope,
        stores::{Change, Indexed, Keeper},
        watch::{Stop, until_stopped},
        watcher::Guarded,
        workers::Workers,
    },
    reason::ConditionType,
};

/// Reconciles that run at one time: each waits for the API server most of the time.
const CONCURRENCY: usize = 32;

/// Reconciles the waiting pods of a scope until the end. `changed` has each ModelCache that has changed for them, once the store has
/// the change.
pub async fn run(
    scope: &WatchScope,
    context: &Arc<Context>,
    changed: impl Stream<Item = ObjectRef<Guarded<ModelCache>>> + Send + 'static,
    stop: Stop,
) {
    // Who waits has no node yet: pods that run are never held in memory, however many there are.
    let query = ListParams::default().labels(mount::LABEL_MOUNT).fields("spec.nodeName=");
    let (waiting, keeper) = Keeper::<ModelPod>::new(true);
    let pods = keeper.keep(scope.watch(&context.client, query, &context.contacts));
    let pods = pods.filter_map(|change| {
        let pod = change.new.or(change.old);
        std::future::ready(pod.map(|pod| ObjectRef::from_obj(&*pod)))
    });
    let affected = {
        let waiting = waiting.clone();
        changed.flat_map(move |cache| stream::iter(pods_affected_by(&waiting, &cache)))
    };
    let workers = Workers::new(CONCURRENCY);
    let reconcile_in_turn = move |pod: Arc<Guarded<ModelPod>>, context: Arc<Context>| {
        let workers = workers.clone();
        async move {
            let _worker = workers.acquire(&pod.namespace().unwrap_or_default()).await;
            reconcile(pod, context).await
        }
    };
    // As for ModelCaches, what to reconcile comes from the changes of the stores.
    let controller = Controller::for_stream(stream::pending(), waiting.store().clone())
        .reconcile_on(pods)
        .reconcile_on(affected)
        .graceful_shutdown_on(stop.clone())
        .run(reconcile_in_turn, on_error, context.clone())
        .for_each(|result| async {
            match result {
                Err(controller::Error::ObjectNotFound(gone)) => {
                    let gone =
                        ObjectRef::new(&gone.name).within(gone.namespace.as_deref().unwrap_or_default());
                    context.events.forget(&gone);
                    context.failures.forget(&gone);
                }
                // `on_error` has logged it.
                Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
                Err(error) => warn!(namespaces = %scope, %error, "a watch failed"),
            }
        });
    until_stopped(controller, || waiting.is_listed(), stop).await;
}

/// The pods that wait for a ModelCache.
fn pods_affected_by(
    waiting: &Indexed<ModelPod>,
    cache: &ObjectRef<Guarded<ModelCache>>,
) -> Vec<ObjectRef<Guarded<ModelPod>>> {
    let namespace = cache.namespace.clone().unwrap_or_default();
    let pods = waiting.under(&(namespace.clone(), cache.name.clone()));
    pods.iter().map(|pod| ObjectRef::new(&pod.name_any()).within(&namespace)).collect()
}

/// What waiting pods depend on of a ModelCache.
#[derive(Debug, PartialEq)]
struct Observed<'a> {
    uid: Option<&'a str>,
    place: String,
    is_deleted: bool,
    is_available: bool,
    is_loadable: bool,
    reason: Option<&'a str>,
}

impl<'a> Observed<'a> {
    fn of(cache: &'a ModelCache) -> Self {
        let ready = condition::find(cache.conditions(), ConditionType::Ready);
        Self {
            uid: cache.metadata.uid.as_deref(),
            place: cache.place(),
            is_deleted: cache.metadata.deletion_timestamp.is_some(),
            is_available: cache.is_available(),
            is_loadable: cache.is_loadable(),
            reason: ready.map(|ready| ready.reason.as_str()),
        }
    }
}

/// Whether a change of a ModelCache concerns the pods that wait for it: the progress of a download does not.
pub fn affects_pods(change: &Change<ModelCache>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    match (old.get(), new.get()) {
        (Ok(old), Ok(new)) => Observed::of(old) != Observed::of(new),
        (Err(old), Err(new)) => old.problem != new.problem || old.field != new.field,
        _ => true,
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the runtime's signature")]
fn on_error(pod: Arc<Guarded<ModelPod>>, error: &PodError, context: Arc<Context>) -> Action {
    let pause = backoff::failed(context.failures.count(&pod), &pod.name_any());
    warn!(namespace = pod.namespace(), pod = pod.name_any(), %error, ?pause, "reconciliation of a pod failed");
    Action::requeue(pause)
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;
    use crate::{
        api::{ModelCacheStatus, Progress},
        controller::fixtures,
    };

    fn pod(name: &str, namespace: &str, gates: &[&str]) -> Guarded<ModelPod> {
        let gates: Vec<_> = gates.iter().map(|name| json!({ "name": mount::gate(name) })).collect();
        let raw = json!({
            "metadata": { "name": name, "namespace": namespace, "uid": name },
            "spec": { "schedulingGates": gates },
        });
        serde_json::from_str(&raw.to_string()).unwrap()
    }

    #[test]
    fn a_modelcache_wakes_the_pods_that_wait_for_it_and_no_others() {
        let (waiting, mut keeper) = Keeper::new(true);
        for pod in [
            pod("one", "team", &["tiny"]),
            pod("both", "team", &["other", "tiny"]),
            pod("other", "team", &["other"]),
            pod("elsewhere", "rival", &["tiny"]),
        ] {
            keeper.apply(Event::Apply(pod));
        }
        let woken = |name: &str| {
            let cache = ObjectRef::new(name).within("team");
            let mut names: Vec<_> =
                pods_affected_by(&waiting, &cache).into_iter().map(|pod| pod.name).collect();
            names.sort();
            names
        };
        assert_eq!(
            (woken("tiny"), woken("other")),
            (vec!["both".into(), "one".into()], vec!["both".into(), "other".into()])
        );
        keeper.apply(Event::Apply(pod("both", "team", &["other"])));
        keeper.apply(Event::Delete(pod("one", "team", &["tiny"])));
        assert_eq!((woken("tiny"), woken("missing")), (Vec::<String>::new(), vec![]));
    }

    #[test]
    fn only_changes_that_pods_depend_on_affect_them() {
        let with = |edit: &dyn Fn(&mut ModelCache)| {
            let mut cache = (*fixtures::downloaded().0.cache).clone();
            edit(&mut cache);
            Some(Arc::new(Guarded::from(cache)))
        };
        let status =
            |edit: &dyn Fn(&mut ModelCacheStatus)| with(&|cache| edit(cache.status.as_mut().unwrap()));
        let affects = |old, new| affects_pods(&Change { old, new, is_ours: false });
        let same = || with(&|_| {});
        assert!(!affects(same(), same()));
        assert!(!affects(same(), status(&|status| status.progress = Some(Progress::default()))));
        assert!(!affects(same(), with(&|cache| cache.metadata.resource_version = Some("9".to_owned()))));
        for other in [
            None,
            with(&|cache| cache.metadata.uid = Some("another".to_owned())),
            with(&|cache| cache.spec.storage.existing_claim = Some("another".to_owned())),
            status(&|status| status.conditions.retain(|it| it.type_ != ConditionType::Available.as_str())),
            status(&|status| status.conditions.iter_mut().for_each(|it| it.reason.push('x'))),
        ] {
            assert!(affects(same(), other.clone()) && affects(other, same()));
        }
    }
}
