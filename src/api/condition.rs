//! Verdicts as Kubernetes conditions: what is kept of the old ones, in what order, and within which bounds.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use schemars::{Schema, SchemaGenerator, json_schema};

use crate::reason::{Topic, Verdict};

/// The longest message that is written, in characters. The schema takes 32,768, as Kubernetes does; a person reads less.
const MAX_MESSAGE: usize = 2_000;

/// The order on the resource: the summary first, then in the order in which things are looked at.
const ORDER: [Topic; 8] = [
    Topic::Ready,
    Topic::Reconciling,
    Topic::Stalled,
    Topic::Authenticated,
    Topic::Authorized,
    Topic::Resolved,
    Topic::Downloaded,
    Topic::UpdateAvailable,
];

/// The conditions for these verdicts, and no others: a topic that is left out goes away, as `Reconciling`, `Stalled` and
/// `UpdateAvailable` must while they are not True. Of two verdicts on one topic the last one counts.
///
/// The time of an old condition is kept while its status is the same, so that an unchanged state gives unchanged
/// conditions.
#[must_use]
pub fn conditions(
    old: &[Condition],
    verdicts: &[Verdict],
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let now = whole_seconds(now);
    ORDER
        .into_iter()
        .filter_map(|topic| verdicts.iter().rfind(|verdict| verdict.topic == topic))
        .map(|verdict| Condition {
            type_: verdict.topic.as_str().to_owned(),
            status: verdict.status.as_str().to_owned(),
            reason: verdict.reason.as_str().to_owned(),
            message: bounded(&verdict.message),
            observed_generation: Some(generation),
            last_transition_time: find(old, verdict.topic)
                .filter(|before| before.status == verdict.status.as_str())
                .map_or(Time(now), |before| before.last_transition_time.clone()),
        })
        .collect()
}

/// The condition on this topic.
#[must_use]
pub fn find(conditions: &[Condition], topic: Topic) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == topic.as_str())
}

/// Whether the condition on this topic is there and True.
#[must_use]
pub fn holds(conditions: &[Condition], topic: Topic) -> bool {
    find(conditions, topic).is_some_and(|condition| condition.status == "True")
}

/// Kubernetes writes times in whole seconds; a finer one would differ from itself after a round trip.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The message, cut at the bound.
fn bounded(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        None => message.to_owned(),
        // One character is left out for the sign that there was more.
        Some(_) => message.chars().take(MAX_MESSAGE - 1).chain(['…']).collect(),
    }
}

/// The schema of Kubernetes' own condition, with the bounds that its Go type has and the generated Rust type lacks.
pub(super) fn list_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "The answer to one question.",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When the status last changed.",
                },
                "message": {
                    "type": "string",
                    "maxLength": 32768,
                    "description": "What is so, and what to do about it, for a person.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "The generation of the spec that this was found for.",
                },
                "reason": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                    "description": "Why, in one word; the reference lists them all.",
                },
                "status": {
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                    "description": "The answer: True, False or Unknown.",
                },
                "type": {
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                    "description": "The question.",
                },
            },
        },
    })
}
