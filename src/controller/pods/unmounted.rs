//! Pods that ask for a model by label and run without it: made while the admission policies were missing, or labelled later.
//! Listed from time to time, because pods that have a node are not watched.

use std::{collections::HashSet, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource as _, ResourceExt as _, api::ListParams, runtime::events::EventType};
use tokio::{select, time::sleep};
use tracing::warn;

use super::{
    decide::PodEvent,
    pod::ModelPod,
    reconcile::{Context, publish},
};
use crate::{
    api::{ModelCache, mount},
    controller::{
        listing,
        scope::WatchScope,
        watch::Stop,
        watcher::{Guarded, ListingError},
    },
};

/// The pod has no volume for the model that it asks for.
pub const NOT_MOUNTED: &str = "ModelNotMounted";

/// They are listed at the start, and again after this time.
const PAUSE: Duration = Duration::from_secs(300);
/// Pods that get an event in one round. The count has all of them, and an event on one replica is enough.
const MOST_EVENTS: usize = 100;

/// Finds such pods of a scope until the end.
pub async fn run(scope: &WatchScope, context: &Context, stop: Stop) {
    let find_all = async {
        // A pod may mount the claim by hand: which one that is, the ModelCache names.
        if !context.caches.ready().await {
            return;
        }
        let mut reported = HashSet::new();
        let mut count = 0;
        loop {
            match find(scope, context).await {
                Ok(found) => {
                    context.metrics.pods_without_model(count, found.len());
                    count = found.len();
                    report(context, &found, &reported).await;
                    reported = found.into_iter().filter_map(|(pod, _)| pod.uid).collect();
                }
                Err(error) => {
                    warn!(namespaces = %scope, %error, "cannot check for pods without their model");
                }
            }
            sleep(PAUSE).await;
        }
    };
    select! {
        () = find_all => {}
        () = stop => {}
    }
}

/// The pods without their model, each with the name of a ModelCache that it lacks.
async fn find(scope: &WatchScope, context: &Context) -> Result<Vec<(ObjectReference, String)>, ListingError> {
    let query = ListParams::default().labels(mount::LABEL_MOUNT);
    let mut found = Vec::new();
    listing::each(&context.client, scope.namespace(), query, |pod: ModelPod| {
        let namespace = pod.namespace().unwrap_or_default();
        if let Some(name) = lacks(&pod, |name| context.caches.get(&namespace, name)) {
            // A reference is all that is kept.
            found.push((pod.object_ref(&()), name));
        }
    })
    .await?;
    Ok(found)
}

async fn report(context: &Context, found: &[(ObjectReference, String)], reported: &HashSet<String>) {
    let news = found.iter().filter(|(pod, _)| pod.uid.as_ref().is_none_or(|uid| !reported.contains(uid)));
    for (pod, name) in news.take(MOST_EVENTS) {
        publish(context, pod, not_mounted(name)).await;
    }
}

fn not_mounted(name: &str) -> PodEvent {
    PodEvent {
        type_: EventType::Warning,
        reason: NOT_MOUNTED.to_owned(),
        message: format!(
            "This pod asks for the ModelCache {name} and has no volume of it: it was made while the admission policies were not \
             there, or the label {} came later. Make it again, once `kubectl get mutatingadmissionpolicybindings` names \
             the policies.",
            mount::LABEL_MOUNT
        ),
    }
}

/// The first ModelCache that a pod asks for and neither has nor waits for.
fn lacks(pod: &ModelPod, known: impl Fn(&str) -> Option<Arc<Guarded<ModelCache>>>) -> Option<String> {
    if pod.has_ended() {
        return None;
    }
    let lacking = pod.asks_for().find(|name| {
        let cache = known(name);
        let has_volume =
            pod.has_volume(cache.as_ref().and_then(|cache| cache.parsed()).map(|cache| &**cache));
        !has_volume && !pod.waits_for().any(|gate| gate == *name)
    });
    lacking.map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::ModelCacheSpec;

    fn lacks(more: &[(&str, Value)]) -> Option<String> {
        let mut pod = json!({
            "metadata": {
                "labels": { "modelcache.internal/mount": "llama" },
                "annotations": { "modelcache.internal/also-mount": "adapter, other" },
            },
            "spec": { "volumes": [] },
        });
        for (pointer, value) in more {
            *pod.pointer_mut(pointer).unwrap() = value.clone();
        }
        super::lacks(&serde_json::from_value(pod).unwrap(), |name| (name != "other").then(|| cache(name)))
    }

    /// The ModelCache of the name, on the claim `NAME-claim`.
    fn cache(name: &str) -> Arc<Guarded<ModelCache>> {
        let mut cache = ModelCache::new(name, ModelCacheSpec::default());
        cache.spec.storage.existing_claim = Some(format!("{name}-claim"));
        Arc::new(Guarded::from(cache))
    }

    #[test]
    fn a_pod_that_neither_has_its_model_nor_waits_for_it_is_found() {
        let some = |name: &str| Some(name.to_owned());
        let claims = |names: &[&str]| -> Value {
            names
                .iter()
                .map(|name| json!({ "name": name, "persistentVolumeClaim": { "claimName": name } }))
                .collect()
        };
        let gates = |names: &[&str]| -> Value {
            names.iter().map(|name| json!({ "name": format!("modelcache.internal/{name}") })).collect()
        };
        let alone = ("/metadata/annotations", json!({}));
        for (more, expected) in [
            (vec![], some("llama")),
            (vec![("/spec/volumes", claims(&["llama-claim"]))], some("adapter")),
            (vec![("/spec/volumes", claims(&["llama-claim", "adapter-claim"]))], some("other")),
            (vec![("/spec/volumes", claims(&["llama-claim"])), alone.clone()], None),
            (vec![("/spec/volumes", claims(&["postgres"])), alone.clone()], some("llama")),
            (vec![("/spec/volumes", json!([{ "name": "modelcache", "emptyDir": {} }]))], None),
            (vec![("/spec", json!({ "schedulingGates": gates(&["llama", "adapter", "other"]) }))], None),
            (vec![("/spec", json!({ "schedulingGates": gates(&["llama"]) }))], some("adapter")),
            (vec![("/metadata", json!({ "labels": { "modelcache.internal/mount": "" } }))], None),
        ] {
            assert_eq!(lacks(&more), expected, "{more:?}");
        }
    }

    #[test]
    fn a_pod_that_has_ended_is_left_out() {
        for (field, value) in [
            ("status", json!({ "phase": "Succeeded" })),
            ("metadata", json!({ "deletionTimestamp": "2026-01-01T12:00:00Z" })),
        ] {
            let mut pod = json!({ "metadata": {}, "status": {} });
            pod[field] = value;
            pod["metadata"]["labels"] = json!({ "modelcache.internal/mount": "llama" });
            assert_eq!(super::lacks(&serde_json::from_value(pod).unwrap(), |_| None), None, "{field}");
        }
    }
}
