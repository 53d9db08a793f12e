//! Where a Job has to run. A claim that attaches to one node at a time is where the pods are that use it: on another node
//! the Job's pod would wait for ever, with nothing but an event of the volume (`Multi-Attach error`). Pure.

use std::cmp::Reverse;

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, Toleration,
};
use kube::ResourceExt;

use crate::api::{self, ModelCache};

/// The only node that a Job can run on.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The node's name.
    pub node: String,
    /// What a pod there tolerates: without that the node may take no pod of ours.
    pub tolerations: Vec<Toleration>,
}

impl Place {
    /// The place of the pods that use a claim, those of our Jobs and those that are ending left out. Of several, that of a
    /// pod which runs.
    #[must_use]
    pub fn of_users(pods: &[Pod], claim_name: &str) -> Option<Self> {
        let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
        let users = pods.iter().filter(|pod| {
            pod.labels().get(api::LABEL_MANAGED_BY).map(String::as_str) != Some(api::MANAGED_BY)
                && pod.metadata.deletion_timestamp.is_none()
                && mounts(pod, claim_name)
        });
        users
            .filter_map(|pod| match phase(pod).as_deref() {
                Some("Succeeded" | "Failed") => None,
                phase => {
                    let spec = pod.spec.as_ref()?;
                    Some((Reverse(phase == Some("Running")), spec.node_name.clone()?, spec))
                }
            })
            .min_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)))
            .map(|(_, node, spec)| Self { node, tolerations: spec.tolerations.clone().unwrap_or_default() })
    }

    /// Whether a ModelCache leaves it to us where its Jobs run.
    #[must_use]
    pub fn is_open(cache: &ModelCache) -> bool {
        cache.spec.job.node_selector.is_empty() && cache.spec.job.affinity.is_none()
    }

    /// The rule that there is no other place.
    #[must_use]
    pub fn affinity(&self) -> Affinity {
        let here = NodeSelectorRequirement {
            key: "metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![self.node.clone()]),
        };
        let term = NodeSelectorTerm { match_fields: Some(vec![here]), ..NodeSelectorTerm::default() };
        let required = NodeSelector { node_selector_terms: vec![term] };
        Affinity {
            node_affinity: Some(NodeAffinity {
                required_during_scheduling_ignored_during_execution: Some(required),
                ..NodeAffinity::default()
            }),
            ..Affinity::default()
        }
    }
}

fn mounts(pod: &Pod, claim_name: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| volume.persistent_volume_claim.as_ref())
        .any(|claim| claim.claim_name == claim_name)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;
    use crate::controller::fixtures::at;

    fn pod(claim: &str, node: Option<&str>, phase: &str) -> Pod {
        let volume = json!({ "name": "models", "persistentVolumeClaim": { "claimName": claim } });
        let spec = json!({
            "nodeName": node, "containers": [], "volumes": [{ "name": "tmp" }, volume],
            "tolerations": [{ "key": "gpu", "operator": "Exists" }],
        });
        serde_json::from_value(json!({ "spec": spec, "status": { "phase": phase } })).unwrap()
    }

    #[test]
    fn the_claim_is_where_its_pods_are() {
        let node = |pods: &[Pod]| Place::of_users(pods, "models").map(|place| place.node);
        assert_eq!(node(&[]), None);
        for useless in [
            pod("others", Some("a"), "Running"),
            pod("models", Some("a"), "Succeeded"),
            pod("models", Some("a"), "Failed"),
            pod("models", None, "Pending"),
        ] {
            assert_eq!(node(&[useless]), None);
        }
        let waits = pod("models", Some("b"), "Pending");
        assert_eq!(node(std::slice::from_ref(&waits)).as_deref(), Some("b"));
        let runs = pod("models", Some("c"), "Running");
        assert_eq!(node(&[waits.clone(), runs.clone()]).as_deref(), Some("c"));
        // The pod of a node that does not answer stays Running until somebody deletes it for good.
        let mut lost = runs;
        lost.metadata.deletion_timestamp = Some(Time(at(0)));
        assert_eq!(node(&[waits.clone(), lost]).as_deref(), Some("b"));
        // The pod of a Job that is to be replaced holds nobody.
        let mut ours = waits;
        ours.labels_mut().insert(api::LABEL_MANAGED_BY.to_owned(), api::MANAGED_BY.to_owned());
        assert_eq!(node(&[ours]), None);
    }
}
