//! The largest spec that the schema takes.

use serde_json::{Value, json};

/// Each text, list and map as long as it may be, with keys of characters of four bytes.
pub fn spec() -> Value {
    let key = |number: usize| format!("{number:02}{}", "\u{1f917}".repeat(126));
    let map = |count: usize, value: &str| -> Value { (0..count).map(|n| (key(n), json!(value))).collect() };
    let label = "v".repeat(63);
    let expressions = |count: usize| {
        vec![json!({ "key": "k".repeat(128), "operator": "In", "values": vec![label.clone(); 8] }); count]
    };
    let node = json!({
        "matchExpressions": expressions(4),
        "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n"] }],
    });
    let pod = json!({
        "topologyKey": "t".repeat(128),
        "labelSelector": { "matchLabels": map(8, &label), "matchExpressions": expressions(4) },
    });
    let pods = json!({
        "requiredDuringSchedulingIgnoredDuringExecution": vec![pod.clone(); 2],
        "preferredDuringSchedulingIgnoredDuringExecution": vec![json!({ "weight": 1, "podAffinityTerm": pod }); 2],
    });
    let aliases: Vec<_> = (0..8).map(|number| format!("{number}{}", "a".repeat(199))).collect();
    let toleration =
        json!({ "key": "k".repeat(128), "operator": "Equal", "value": label, "effect": "NoSchedule" });
    json!({
        "source": {
            "include": vec!["é".repeat(64); 64], "exclude": vec!["x".repeat(64); 64], "aliases": aliases,
            "revision": "r".repeat(200),
        },
        "tokenSecretRef": { "name": "n".repeat(253), "key": "k".repeat(253) },
        "storage": { "existingClaim": "n".repeat(253), "subPath": "s".repeat(256) },
        "job": {
            "labels": map(32, &label), "nodeSelector": map(32, &label), "annotations": map(32, &"a".repeat(128)),
            "tolerations": vec![toleration; 32],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": vec![node.clone(); 4] },
                    "preferredDuringSchedulingIgnoredDuringExecution": vec![json!({ "weight": 1, "preference": node }); 2],
                },
                "podAffinity": pods,
                "podAntiAffinity": pods,
            },
            "podSecurityContext": { "supplementalGroups": vec![1; 16] },
        },
    })
}
