//! Where a Job has to run. A claim that attaches to one node at a time is where the pods are that use it: on another node
//! the Job's pod would wait forever, with nothing but an event of the volume (`Multi-Attach error`). Pure.

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Toleration,
};

use crate::api::ModelCache;

/// The only node that a Job can run on.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The node's name.
    pub node: String,
    /// What a pod there tolerates: without that the node may take no pod of ours.
    pub tolerations: Vec<Toleration>,
}

impl Place {
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
