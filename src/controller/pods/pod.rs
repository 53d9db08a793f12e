//! A pod that asks for models: as much of it as is decided on. The typed pod of Kubernetes takes two kilobytes for each volume, and
//! anybody can make pods with thousands of them. Pure.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt as _};
use serde::Deserialize;

use crate::{
    api::{ModelCache, mount},
    controller::{
        stores::Stored,
        watcher::{Guarded, Keep, MODEL_POD, Parse},
    },
};

/// Gates of one pod that are handled at one time; the others follow when these are removed.
const MOST_GATES: usize = 64;
/// Volumes of one pod that are checked for the model.
const MOST_VOLUMES: usize = 128;

/// A pod with a gate, or with the label, of a ModelCache.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ModelPod {
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    scheduling_gates: Option<Vec<Gate>>,
    volumes: Option<Vec<Volume>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Gate {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    name: String,
    persistent_volume_claim: Option<ClaimSource>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSource {
    claim_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Status {
    phase: Option<String>,
}

impl ModelPod {
    /// The names of the ModelCaches that it waits for, from its gates.
    pub fn waits_for(&self) -> impl Iterator<Item = &str> {
        let gates = self.spec.scheduling_gates.iter().flatten();
        gates.filter_map(|gate| mount::gate_name(&gate.name)).take(MOST_GATES)
    }

    /// The names of the ModelCaches that it asks for, by label and annotation.
    pub fn asks_for(&self) -> impl Iterator<Item = &str> {
        let also = self.annotations().get(mount::ANNOTATION_ALSO_MOUNT).map(String::as_str);
        let first = self.labels().get(mount::LABEL_MOUNT).into_iter().map(String::as_str);
        let names = first.chain(also.unwrap_or_default().split(','));
        names.map(str::trim).filter(|name| !name.is_empty())
    }

    /// Whether it has a volume for the model; any will do where no ModelCache is known. The pod's own volume of our name counts:
    /// its author knows what it holds.
    pub fn has_volume(&self, cache: Option<&ModelCache>) -> bool {
        let claim = cache.map(ModelCache::claim_name);
        let mut volumes = self.spec.volumes.iter().flatten();
        volumes.any(|volume| {
            let source = volume.persistent_volume_claim.as_ref();
            volume.name == mount::VOLUME || source.is_some_and(|it| Some(&it.claim_name) == claim.as_ref())
        })
    }

    /// Whether its containers have ended, or are to.
    pub fn has_ended(&self) -> bool {
        let phase = self.status.phase.as_deref();
        matches!(phase, Some("Succeeded" | "Failed")) || self.metadata.deletion_timestamp.is_some()
    }

    /// Leaves what is read of one that waits. The rest may be large, and is there once for each replica.
    fn reduce(&mut self) {
        let read: Vec<String> = self.waits_for().map(mount::mounted).collect();
        let is_read = |key: &String| key == mount::ANNOTATION_WAIT_FOR || read.contains(key);
        let annotations = self.metadata.annotations.take().unwrap_or_default();
        let annotations: BTreeMap<_, _> = annotations.into_iter().filter(|(key, _)| is_read(key)).collect();
        let mut owners = self.metadata.owner_references.take().unwrap_or_default();
        owners.retain(|owner| owner.controller == Some(true));
        owners.truncate(1);
        let gates = self.spec.scheduling_gates.take().unwrap_or_default();
        let gates = gates.into_iter().filter(|gate| mount::gate_name(&gate.name).is_some());
        let volumes = self.spec.volumes.take().unwrap_or_default().into_iter();
        let volumes = volumes.filter(|it| it.name == mount::VOLUME || it.persistent_volume_claim.is_some());
        self.spec = Spec {
            scheduling_gates: Some(gates.take(MOST_GATES).collect()),
            volumes: Some(volumes.take(MOST_VOLUMES).collect()),
        };
        self.status = Status::default();
        (self.metadata.annotations, self.metadata.labels) = (Some(annotations), None);
        self.metadata.owner_references = Some(owners);
    }
}

impl Resource for ModelPod {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Parse for ModelPod {
    const KEEP: Keep = MODEL_POD;
}

/// One that waits.
impl Stored for ModelPod {
    /// Namespace and name of a ModelCache that it waits for.
    type Key = (String, String);

    fn keys(&self) -> Vec<Self::Key> {
        let namespace = self.namespace().unwrap_or_default();
        self.waits_for().map(|name| (namespace.clone(), name.to_owned())).collect()
    }

    fn admit(object: &mut Guarded<Self>) -> bool {
        if let Some(pod) = object.parsed_mut() {
            pod.reduce();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::{Value, json};

    use super::*;

    fn parse(raw: &Value) -> Guarded<ModelPod> {
        serde_json::from_str(&raw.to_string()).unwrap()
    }

    #[test]
    fn only_what_is_decided_on_is_kept_of_a_waiting_pod() {
        let owner = |controller: bool| json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": controller });
        let mut kept = json!({
            "metadata": {
                "name": "server", "namespace": "team", "uid": "1", "resourceVersion": "7",
                "annotations": { "modelcache.internal/wait-for": "Ready", "mounted.modelcache.internal/tiny": "tiny" },
                "ownerReferences": [owner(true)],
            },
            "spec": {
                "schedulingGates": [{ "name": "modelcache.internal/tiny" }],
                "volumes": [{ "name": "mine", "persistentVolumeClaim": { "claimName": "tiny" } }, { "name": "modelcache" }],
            },
        });
        let expected = parse(&kept);
        let large = json!("x".repeat(1_000));
        kept["metadata"]["annotations"]["x.modelcache.internal/large"] = large.clone();
        kept["metadata"]["annotations"]["mounted.modelcache.internal/other"] = large.clone();
        kept["metadata"]["labels"] = json!({ "modelcache.internal/mount": "tiny" });
        kept["metadata"]["ownerReferences"] = json!([owner(false), owner(true), owner(true)]);
        kept["spec"]["schedulingGates"].as_array_mut().unwrap().push(json!({ "name": "example.com/other" }));
        kept["spec"]["volumes"].as_array_mut().unwrap().push(json!({ "name": "more", "emptyDir": {} }));
        kept["status"] = json!({ "phase": "Pending" });
        let mut read = parse(&kept);
        assert!(ModelPod::admit(&mut read));
        assert_eq!(read.parsed(), expected.parsed());
    }

    /// A megabyte of short volumes and gates stays some kilobytes.
    #[test]
    fn many_volumes_and_gates_take_little() {
        let claim =
            |n: usize| json!({ "name": format!("v{n}"), "persistentVolumeClaim": { "claimName": "c" } });
        let raw = json!({
            "metadata": { "name": "server" },
            "spec": {
                "schedulingGates": (0..900).map(|n| json!({ "name": format!("modelcache.internal/{n}") })).collect::<Value>(),
                "volumes": (0..900).map(claim).collect::<Value>(),
            },
        });
        let mut read = parse(&raw);
        ModelPod::admit(&mut read);
        let pod = read.parsed().unwrap();
        assert_eq!((pod.keys().len(), pod.spec.volumes.as_ref().unwrap().len()), (MOST_GATES, MOST_VOLUMES));
    }
}
