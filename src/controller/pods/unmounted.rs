//! Pods that ask for a model by label and run without it: made while the admission policies were not there, or labelled later.
//! Looked for now and then, because pods that have a node are not watched.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::{
    api::ListParams,
    runtime::reflector::{ObjectRef, Store},
};
use serde::Deserialize;
use tokio::{select, time::sleep};
use tracing::warn;

use super::{
    decide::{Note, Weight},
    reconcile::{Context, publish},
};
use crate::{
    api::{ModelCache, mount},
    controller::{
        area::Area,
        listing::{self, ListingError},
        watch::Stop,
        watcher::Guarded,
    },
};

/// The pod has no volume for the model that it asks for.
pub const NOT_MOUNTED: &str = "ModelNotMounted";

/// They are looked for at the start, and again after this time.
const PAUSE: Duration = Duration::from_secs(300);
/// Pods that are told in one round. The count has all of them, and their owners' other replicas say the same.
const TOLD: usize = 100;

/// Looks for such pods of an area until the end.
pub async fn run(area: &Area, known: Store<Guarded<ModelCache>>, context: &Context, stop: Stop) {
    let look = async {
        // By hand a pod may have the claim: which one that is, the ModelCache says. The store fails with its writer only.
        if known.wait_until_ready().await.is_err() {
            return;
        }
        let mut told = HashSet::new();
        let mut count = 0;
        loop {
            match find(area, &known, context).await {
                Ok(found) => {
                    context.metrics.pods_without_model(count, found.len());
                    count = found.len();
                    tell(context, &found, &told).await;
                    told = found.into_iter().map(|(pod, _)| pod.metadata.uid).collect();
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
) -> Result<Vec<(Asking, String)>, ListingError> {
    let query = ListParams::default().labels(mount::LABEL_MOUNT);
    let mut found = Vec::new();
    listing::fold::<Pod, Asking>(&context.client, area.namespace(), query, |pod| {
        let claim = |name: &str| {
            let cache = known.get(&ObjectRef::new(name).within(&pod.metadata.namespace))?;
            Some(cache.parsed()?.claim_name())
        };
        if let Some(name) = pod.lacks(claim) {
            found.push((pod.without_volumes(), name));
        }
    })
    .await?;
    Ok(found)
}

async fn tell(context: &Context, found: &[(Asking, String)], told: &HashSet<String>) {
    let news = found.iter().filter(|(pod, _)| !told.contains(&pod.metadata.uid));
    for (pod, name) in news.take(TOLD) {
        publish(context, &pod.reference(), note(name)).await;
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

/// As much of a pod as says whether it has its model.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Asking {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    name: String,
    namespace: String,
    uid: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    deletion_timestamp: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    volumes: Vec<Volume>,
    scheduling_gates: Vec<Gate>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Gate {
    name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Volume {
    name: String,
    persistent_volume_claim: Option<Claim>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Claim {
    claim_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Status {
    phase: Option<String>,
}

impl Asking {
    /// The first ModelCache that it asks for and neither has nor waits for. `claim` knows the claim of each. A volume of that
    /// claim counts, and one of our name: whoever put it there knows what it holds.
    fn lacks(&self, claim: impl Fn(&str) -> Option<String>) -> Option<String> {
        let Meta { labels, annotations, deletion_timestamp, .. } = &self.metadata;
        let has_ended = matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if has_ended || deletion_timestamp.is_some() || self.has_volume(|it| it.name == mount::VOLUME) {
            return None;
        }
        let also = annotations.get(mount::ANNOTATION_ALSO_MOUNT).map(String::as_str).unwrap_or_default();
        let names = labels.get(mount::LABEL_MOUNT).into_iter().map(String::as_str).chain(also.split(','));
        names.map(str::trim).filter(|name| !name.is_empty()).map(ToOwned::to_owned).find(|name| {
            let gate = mount::gate(name);
            let waits = self.spec.scheduling_gates.iter().any(|it| it.name == gate);
            let claim = claim(name);
            let of_claim =
                |it: &Volume| it.persistent_volume_claim.as_ref().map(|it| &it.claim_name) == claim.as_ref();
            let has_it = claim.is_some() && self.has_volume(of_claim);
            !(waits || has_it)
        })
    }

    fn has_volume(&self, is_it: impl FnMut(&Volume) -> bool) -> bool {
        self.spec.volumes.iter().any(is_it)
    }

    /// What is kept of it until the round is over.
    fn without_volumes(self) -> Self {
        let metadata = Meta { labels: BTreeMap::new(), annotations: BTreeMap::new(), ..self.metadata };
        Self { metadata, ..Self::default() }
    }

    fn reference(&self) -> ObjectReference {
        let Meta { name, namespace, uid, .. } = self.metadata.clone();
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(name),
            namespace: Some(namespace),
            uid: Some(uid),
            ..ObjectReference::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::{Value, json};

    use super::*;

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
        let pod: Asking = serde_json::from_value(pod).unwrap();
        pod.lacks(|name| (name != "other").then(|| format!("{name}-claim")))
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
            let pod: Asking = serde_json::from_value(pod).unwrap();
            assert_eq!(pod.lacks(|_| None), None, "{field}");
        }
    }
}
