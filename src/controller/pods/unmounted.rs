//! Pods that ask for a model by label and run without it: made while the admission policies were not there, or labelled later.
//! Looked for now and then, because pods that have a node are not watched.

use std::{collections::HashSet, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::{
    Resource as _, ResourceExt as _,
    api::ListParams,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::{select, time::sleep};
use tracing::warn;

use super::{
    decide::{Note, Weight, has_volume, waits_for},
    reconcile::{Context, publish},
};
use crate::{
    api::{ModelCache, mount},
    controller::{
        area::Area,
        listing,
        stores::Indexed,
        watch::Stop,
        watcher::{Guarded, ListingError},
    },
};

/// The pod has no volume for the model that it asks for.
pub const NOT_MOUNTED: &str = "ModelNotMounted";

/// They are looked for at the start, and again after this time.
const PAUSE: Duration = Duration::from_secs(300);
/// Pods that are told in one round. The count has all of them, and their owners' other replicas say the same.
const TOLD: usize = 100;

/// Looks for such pods of an area until the end.
pub async fn run(area: &Area, known: Indexed<ModelCache>, context: &Context, stop: Stop) {
    let look = async {
        // By hand a pod may have the claim: which one that is, the ModelCache says.
        if !known.ready().await {
            return;
        }
        let mut told = HashSet::new();
        let mut count = 0;
        loop {
            match find(area, known.store(), context).await {
                Ok(found) => {
                    context.metrics.pods_without_model(count, found.len());
                    count = found.len();
                    tell(context, &found, &told).await;
                    told = found.into_iter().filter_map(|(pod, _)| pod.uid).collect();
                }
                Err(error) => {
                    warn!(namespaces = %area, %error, "cannot look for pods without their model");
                }
            }
            sleep(PAUSE).await;
        }
    };
    select! {
        () = look => {}
        () = stop => {}
    }
}

/// The pods without their model, each with the name of a ModelCache that it lacks.
async fn find(
    area: &Area,
    known: &Store<Guarded<ModelCache>>,
    context: &Context,
) -> Result<Vec<(ObjectReference, String)>, ListingError> {
    let query = ListParams::default().labels(mount::LABEL_MOUNT);
    let mut found = Vec::new();
    listing::each(&context.client, area.namespace(), query, |pod: Pod| {
        let namespace = pod.namespace().unwrap_or_default();
        if let Some(name) = lacks(&pod, |name| known.get(&ObjectRef::new(name).within(&namespace))) {
            // A reference is all that is kept.
            found.push((pod.object_ref(&()), name));
        }
    })
    .await?;
    Ok(found)
}

async fn tell(context: &Context, found: &[(ObjectReference, String)], told: &HashSet<String>) {
    let news = found.iter().filter(|(pod, _)| pod.uid.as_ref().is_none_or(|uid| !told.contains(uid)));
    for (pod, name) in news.take(TOLD) {
        publish(context, pod, note(name)).await;
    }
}

fn note(name: &str) -> Note {
    Note {
        type_: Weight::Warning,
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
fn lacks(pod: &Pod, known: impl Fn(&str) -> Option<Arc<Guarded<ModelCache>>>) -> Option<String> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let also = pod.annotations().get(mount::ANNOTATION_ALSO_MOUNT).map(String::as_str).unwrap_or_default();
    let asked = pod.labels().get(mount::LABEL_MOUNT).into_iter().map(String::as_str).chain(also.split(','));
    let lacking = asked.map(str::trim).filter(|name| !name.is_empty()).find(|name| {
        let cache = known(name);
        let has = has_volume(pod, cache.as_ref().and_then(|cache| cache.parsed()).map(|cache| &**cache));
        !has && !waits_for(pod).any(|gate| gate == *name)
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
    fn one_that_has_ended_is_nobodys_concern() {
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
