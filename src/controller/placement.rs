//! Where a Job has to run. A claim that attaches to one node at a time is where the pods are that use it: on another node
//! the Job's pod would wait for ever, with nothing but an event of the volume (`Multi-Attach error`). Pure.

use std::cmp::Reverse;

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
};
use kube::ResourceExt;

use crate::api;

/// The node of the pods that use a claim, those of our Jobs left out. Of several, that of a pod which runs.
#[must_use]
pub fn node_of_users(pods: &[Pod], claim_name: &str) -> Option<String> {
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    pods.iter()
        .filter(|pod| pod.labels().get(api::LABEL_MANAGED_BY).map(String::as_str) != Some(api::MANAGED_BY))
        .filter(|pod| mounts(pod, claim_name))
        .filter_map(|pod| match phase(pod).as_deref() {
            Some("Succeeded" | "Failed") => None,
            phase => Some((Reverse(phase == Some("Running")), pod.spec.as_ref()?.node_name.as_deref()?)),
        })
        .min()
        .map(|(_, node)| node.to_owned())
}

fn mounts(pod: &Pod, claim_name: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| volume.persistent_volume_claim.as_ref())
        .any(|claim| claim.claim_name == claim_name)
}

/// Rules for where a pod may run, with one node as the only place in addition.
#[must_use]
pub fn at(node: &str, affinity: Option<Affinity>) -> Affinity {
    let here = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let mut affinity = affinity.unwrap_or_default();
    let nodes = affinity.node_affinity.get_or_insert_with(NodeAffinity::default);
    let required =
        nodes.required_during_scheduling_ignored_during_execution.get_or_insert_with(NodeSelector::default);
    // One of the terms is enough, so each of them has to hold it.
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut required.node_selector_terms {
        term.match_fields.get_or_insert_with(Vec::new).push(here.clone());
    }
    affinity
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::{Value, json};

    use super::*;

    fn pod(claim: &str, node: Option<&str>, phase: &str) -> Pod {
        let volume = json!({ "name": "models", "persistentVolumeClaim": { "claimName": claim } });
        let spec = json!({ "nodeName": node, "containers": [], "volumes": [{ "name": "tmp" }, volume] });
        serde_json::from_value(json!({ "spec": spec, "status": { "phase": phase } })).unwrap()
    }

    #[test]
    fn the_claim_is_where_its_pods_are() {
        let node = |pods: &[Pod]| node_of_users(pods, "models");
        assert_eq!(node(&[]), None);
        for useless in [
            pod("others", Some("a"), "Running"),
            pod("models", Some("a"), "Succeeded"),
            pod("models", Some("a"), "Failed"),
            pod("models", None, "Pending"),
        ] {
            assert_eq!(node(&[useless]), None);
        }
        let waits = pod("models", Some("a"), "Pending");
        assert_eq!(node(std::slice::from_ref(&waits)).as_deref(), Some("a"));
        assert_eq!(node(&[waits.clone(), pod("models", Some("b"), "Running")]).as_deref(), Some("b"));

        // The pod of a Job that is to be replaced holds nobody.
        let mut ours = waits;
        ours.labels_mut().insert(api::LABEL_MANAGED_BY.to_owned(), api::MANAGED_BY.to_owned());
        assert_eq!(node(&[ours]), None);
    }

    #[test]
    fn a_users_own_rules_hold_beside_it() {
        let required = |affinity: Option<Value>| {
            let affinity = at("a", affinity.map(|rules| serde_json::from_value(rules).unwrap()));
            serde_json::to_value(affinity).unwrap()["nodeAffinity"]
                ["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
                .clone()
        };
        let here = json!([{ "key": "metadata.name", "operator": "In", "values": ["a"] }]);
        assert_eq!(required(None), json!([{ "matchFields": here }]));
        let term = |key: &str| json!({ "matchExpressions": [{ "key": key, "operator": "Exists" }] });
        let both = |key: &str| json!({ "matchExpressions": [{ "key": key, "operator": "Exists" }], "matchFields": here });
        let users = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [term("ssd"), term("nvme")],
        } } });
        assert_eq!(required(Some(users)), json!([both("ssd"), both("nvme")]));
    }
}
