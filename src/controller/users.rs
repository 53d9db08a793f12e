//! What the pods of a namespace do with one claim: where they are, and whether one of them can write to it. Pure.

use std::{cmp::Reverse, collections::BTreeMap};

use k8s_openapi::api::core::v1::Toleration;
use serde::Deserialize;

use super::placement::Place;
use crate::api;

/// What is known of the pods that use a claim, our own Jobs' left out. Its size depends on one pod at most.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimUsers {
    claim: String,
    /// With whether the pod does not run, so that the least one is the best.
    place: Option<(Reverse<bool>, Place)>,
    writer: Option<String>,
}

impl ClaimUsers {
    /// Of a claim, before any pod is known.
    #[must_use]
    pub const fn of(claim: String) -> Self {
        Self { claim, place: None, writer: None }
    }

    /// Takes one more pod into account. The order of the pods does not matter.
    pub fn add(&mut self, pod: PodUse) {
        let phase = pod.status.phase.as_deref();
        let ours =
            pod.metadata.labels.get(api::LABEL_MANAGED_BY).map(String::as_str) == Some(api::MANAGED_BY);
        if ours || matches!(phase, Some("Succeeded" | "Failed")) || !pod.uses(&self.claim) {
            return;
        }
        // A pod that is ending may write until it has ended.
        if pod.writes(&self.claim) && self.writer.as_ref().is_none_or(|other| pod.metadata.name < *other) {
            self.writer = Some(pod.metadata.name);
        }
        // That of a node which does not answer stays until somebody deletes it for good: it holds no Job there.
        let Some(node) = pod.spec.node_name.filter(|_| pod.metadata.deletion_timestamp.is_none()) else {
            return;
        };
        let runs = Reverse(phase == Some("Running"));
        let better = self.place.as_ref().is_none_or(|(other, place)| (runs, &node) < (*other, &place.node));
        if better {
            self.place = Some((runs, Place { node, tolerations: pod.spec.tolerations.unwrap_or_default() }));
        }
    }

    /// Where the pods are. Of several places, that of a pod which runs.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref().map(|(_, place)| place)
    }

    /// The name of a pod that can write to the claim; the first by name.
    #[must_use]
    pub fn writer(&self) -> Option<&str> {
        self.writer.as_deref()
    }
}

/// As much of a pod as says what it does with claims.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodUse {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    labels: BTreeMap<String, String>,
    deletion_timestamp: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    tolerations: Option<Vec<Toleration>>,
    volumes: Vec<Volume>,
    init_containers: Vec<Container>,
    #[serde(deserialize_with = "or_none")]
    containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
}

/// The only list of these that a server writes as null where there is none.
fn or_none<'de, D: serde::Deserializer<'de>>(list: D) -> Result<Vec<Container>, D::Error> {
    Ok(Option::deserialize(list)?.unwrap_or_default())
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Volume {
    name: String,
    persistent_volume_claim: Option<ClaimSource>,
    /// Kubernetes makes a claim for it, named after pod and volume.
    ephemeral: Option<serde::de::IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimSource {
    claim_name: String,
    read_only: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    volume_mounts: Vec<Mount>,
    volume_devices: Vec<Device>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Mount {
    name: String,
    read_only: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Device {
    name: String,
}

impl PodUse {
    /// The volumes that stand for a claim, each with whether it is read-only.
    fn volumes<'a>(&'a self, claim: &'a str) -> impl Iterator<Item = (&'a str, bool)> {
        self.spec.volumes.iter().filter_map(move |volume| match &volume.persistent_volume_claim {
            Some(source) if source.claim_name == claim => Some((&*volume.name, source.read_only)),
            None if volume.ephemeral.is_some()
                && claim.strip_prefix(&*self.metadata.name).and_then(|rest| rest.strip_prefix('-'))
                    == Some(&*volume.name) =>
            {
                Some((&*volume.name, false))
            }
            _ => None,
        })
    }

    fn uses(&self, claim: &str) -> bool {
        self.volumes(claim).next().is_some()
    }

    /// Whether a container can write to a claim: neither the volume nor the mount is read-only.
    fn writes(&self, claim: &str) -> bool {
        let spec = &self.spec;
        self.volumes(claim).filter(|(_, read_only)| !read_only).any(|(volume, _)| {
            [&spec.init_containers, &spec.containers, &spec.ephemeral_containers].into_iter().flatten().any(
                |container| {
                    container.volume_mounts.iter().any(|mount| mount.name == volume && !mount.read_only)
                        || container.volume_devices.iter().any(|device| device.name == volume)
                },
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, claim: &str, node: Option<&str>, phase: &str) -> Value {
        let volume = json!({ "name": "models", "persistentVolumeClaim": { "claimName": claim } });
        json!({
            "metadata": { "name": name },
            "spec": {
                "nodeName": node,
                "containers": [{ "name": "c", "volumeMounts": [{ "name": "models", "mountPath": "/m", "readOnly": true }] }],
                "volumes": [{ "name": "tmp", "emptyDir": {} }, volume],
                "tolerations": [{ "key": "gpu", "operator": "Exists" }],
            },
            "status": { "phase": phase },
        })
    }

    /// Folded in both orders: they must not matter.
    fn users(claim: &str, pods: &[Value]) -> ClaimUsers {
        let fold = |pods: &mut dyn Iterator<Item = &Value>| {
            let mut users = ClaimUsers::of(claim.to_owned());
            pods.for_each(|pod| users.add(serde_json::from_value(pod.clone()).unwrap()));
            users
        };
        let (one, other) = (fold(&mut pods.iter()), fold(&mut pods.iter().rev()));
        assert_eq!(one, other);
        one
    }

    #[test]
    fn the_claim_is_where_its_pods_are() {
        let node = |pods: &[Value]| users("models", pods).place().map(|place| place.node.clone());
        assert_eq!(node(&[]), None);
        for useless in [
            pod("p", "others", Some("a"), "Running"),
            pod("p", "models", Some("a"), "Succeeded"),
            pod("p", "models", Some("a"), "Failed"),
            pod("p", "models", None, "Pending"),
        ] {
            assert_eq!(node(&[useless]), None);
        }
        let waits = pod("p", "models", Some("b"), "Pending");
        assert_eq!(node(std::slice::from_ref(&waits)).as_deref(), Some("b"));
        let runs = pod("q", "models", Some("c"), "Running");
        assert_eq!(node(&[waits.clone(), runs.clone()]).as_deref(), Some("c"));
        assert_eq!(
            users("models", std::slice::from_ref(&runs)).place().unwrap().tolerations[0].key.as_deref(),
            Some("gpu")
        );
        // The pod of a node that does not answer stays Running until somebody deletes it for good.
        let mut lost = runs;
        lost["metadata"]["deletionTimestamp"] = json!("2026-01-01T12:00:00Z");
        assert_eq!(node(&[waits.clone(), lost]).as_deref(), Some("b"));
        // The pod of a Job that is to be replaced holds no other.
        let mut ours = waits;
        ours["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": "modelcache" });
        assert_eq!(node(&[ours]), None);
    }

    #[test]
    fn a_pod_writes_where_neither_volume_nor_mount_is_read_only() {
        let writer = |pods: &[Value]| users("data", pods).writer().map(ToOwned::to_owned);
        let with = |edit: &dyn Fn(&mut Value)| {
            let mut pod = pod("postgres-0", "data", Some("a"), "Running");
            edit(&mut pod);
            pod
        };
        let mount =
            |read_only: Value| json!([{ "volumeMounts": [{ "name": "models", "readOnly": read_only }] }]);
        let database = with(&|pod| pod["spec"]["containers"] = mount(json!(false)));
        assert_eq!(writer(std::slice::from_ref(&database)).as_deref(), Some("postgres-0"));
        for harmless in [
            with(&|_| {}),
            with(&|pod| pod["spec"]["containers"] = mount(json!(true))),
            with(&|pod| {
                pod["spec"]["containers"] = mount(json!(false));
                pod["spec"]["volumes"][1]["persistentVolumeClaim"]["readOnly"] = json!(true);
            }),
            with(&|pod| {
                pod["spec"]["containers"] = mount(json!(false));
                pod["status"]["phase"] = json!("Succeeded");
            }),
            with(&|pod| {
                pod["spec"]["containers"] = mount(json!(false));
                pod["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": "modelcache" });
            }),
            with(&|pod| {
                pod["spec"]["containers"] = json!([{ "volumeMounts": [{ "name": "tmp" }] }]);
            }),
        ] {
            assert_eq!(writer(std::slice::from_ref(&harmless)), None, "{harmless}");
        }
        for harmful in [
            with(&|pod| pod["spec"]["containers"] = json!([{ "volumeMounts": [{ "name": "models" }] }])),
            with(&|pod| pod["spec"]["initContainers"] = mount(json!(false))),
            with(&|pod| pod["spec"]["ephemeralContainers"] = mount(json!(false))),
            with(&|pod| pod["spec"]["containers"] = json!([{ "volumeDevices": [{ "name": "models" }] }])),
            // Not on a node yet, and ending.
            with(&|pod| {
                pod["spec"]["containers"] = mount(json!(false));
                pod["spec"]["nodeName"] = Value::Null;
                pod["status"] = json!({});
            }),
            with(&|pod| {
                pod["spec"]["containers"] = mount(json!(false));
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T12:00:00Z");
            }),
            // One container of several, and one volume of two for the same claim.
            with(&|pod| {
                let containers = pod["spec"]["containers"].as_array_mut().unwrap();
                containers.push(json!({ "volumeMounts": [{ "name": "again" }] }));
                let again = json!({ "name": "again", "persistentVolumeClaim": { "claimName": "data" } });
                pod["spec"]["volumes"].as_array_mut().unwrap().push(again);
            }),
        ] {
            assert_eq!(writer(std::slice::from_ref(&harmful)).as_deref(), Some("postgres-0"), "{harmful}");
        }
        // The first by name, so that the message stays the same.
        let mut earlier = database.clone();
        earlier["metadata"]["name"] = json!("backup");
        assert_eq!(writer(&[database, earlier]).as_deref(), Some("backup"));
    }

    #[test]
    fn a_claim_that_kubernetes_made_for_a_volume_is_that_of_its_pod() {
        let mut pod = pod("worker", "others", Some("a"), "Running");
        pod["spec"]["volumes"][1] = json!({ "name": "scratch", "ephemeral": { "volumeClaimTemplate": {} } });
        pod["spec"]["containers"] = json!([{ "volumeMounts": [{ "name": "scratch" }] }]);
        assert_eq!(users("worker-scratch", std::slice::from_ref(&pod)).writer(), Some("worker"));
        assert_eq!(users("scratch", std::slice::from_ref(&pod)).writer(), None);
        assert_eq!(users("worker-tmp", &[pod]).writer(), None);
    }

    #[test]
    fn whatever_is_missing_is_no_use_of_a_claim() {
        for pod in [
            json!({}),
            json!({ "spec": { "containers": null }, "status": {} }),
            json!({ "metadata": { "name": "data-a" } }),
        ] {
            let users = users("data", &[pod]);
            assert_eq!((users.place(), users.writer()), (None, None));
        }
    }
}
