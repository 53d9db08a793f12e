//! What cannot be changed, whichever way it is tried, and what can.

use serde_json::{Value, json};

use crate::support::{Server, refusal, spec};

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn what_the_volume_depends_on_cannot_change() {
    let server = Server::new().await;
    let storage = |storage: Value| json!({ "storage": storage });
    let claim = |claim: Value| json!({ "storage": { "claim": claim } });
    let nothing = || json!({});
    let class = "spec.storage.claim.storageClassName cannot be set, changed or removed later";
    let modes = "spec.storage.claim.accessModes cannot be changed later";
    let existing = "spec.storage.existingClaim cannot be set, changed or removed later";
    let folder = "spec.storage.subPath cannot be set, changed or removed later";
    let forbidden = [
        (nothing(), json!({ "source": { "repo": "org/other" } }), "spec.source.repo cannot be changed"),
        (nothing(), json!({ "source": { "type": "Space" } }), "spec.source.type cannot be changed"),
        (json!({ "source": { "type": "Space" } }), nothing(), "spec.source.type cannot be changed"),
        (nothing(), storage(json!({ "existingClaim": "a" })), existing),
        (storage(json!({ "existingClaim": "a" })), storage(json!({ "existingClaim": "b" })), existing),
        (storage(json!({ "existingClaim": "a" })), nothing(), existing),
        (storage(json!({ "existingClaim": "a" })), claim(json!({})), existing),
        (claim(json!({})), storage(json!({ "existingClaim": "a" })), existing),
        (nothing(), storage(json!({ "subPath": "a" })), folder),
        (storage(json!({ "subPath": "a" })), storage(json!({ "subPath": "b" })), folder),
        (storage(json!({ "subPath": "a" })), nothing(), folder),
        (nothing(), claim(json!({ "storageClassName": "a" })), class),
        (claim(json!({})), claim(json!({ "storageClassName": "" })), class),
        (claim(json!({ "storageClassName": "a" })), claim(json!({ "storageClassName": "b" })), class),
        (claim(json!({ "storageClassName": "a" })), claim(json!({})), class),
        (claim(json!({ "storageClassName": "a" })), nothing(), class),
        (nothing(), claim(json!({ "accessModes": ["ReadWriteMany"] })), modes),
        (claim(json!({ "accessModes": ["ReadWriteMany"] })), claim(json!({})), modes),
        (claim(json!({ "accessModes": ["ReadWriteMany"] })), nothing(), modes),
        (claim(json!({})), claim(json!({ "accessModes": ["ReadWriteOnce", "ReadWriteMany"] })), modes),
    ];
    for (number, (before, after, said)) in forbidden.iter().enumerate() {
        let name = format!("fixed-{number}");
        server.create(&name, &spec(before)).await.unwrap();
        let message = refusal(server.update(&name, &spec(after)).await);
        assert!(message.contains(said), "{before} → {after}\n  got:    {message}\n  wanted: {said}");
    }

    let both = json!(["ReadWriteOnce", "ReadWriteMany"]);
    let turned = json!(["ReadWriteMany", "ReadWriteOnce"]);
    let allowed = [
        (nothing(), claim(json!({}))),
        (nothing(), claim(json!({ "accessModes": ["ReadWriteOnce"] }))),
        (claim(json!({ "size": "1Gi" })), nothing()),
        (claim(json!({ "size": "1Gi" })), claim(json!({ "size": "2Gi" }))),
        (claim(json!({ "accessModes": both })), claim(json!({ "accessModes": turned }))),
        (nothing(), json!({ "source": { "revision": "v2", "include": ["*.json"], "aliases": ["main"] } })),
        (
            nothing(),
            json!({ "tokenSecretRef": { "name": "a" }, "interval": "5m", "suspend": true, "job": { "priorityClassName": "a" } }),
        ),
    ];
    for (number, (before, after)) in allowed.iter().enumerate() {
        let name = format!("free-{number}");
        server.create(&name, &spec(before)).await.unwrap();
        server
            .update(&name, &spec(after))
            .await
            .unwrap_or_else(|error| panic!("{before} → {after}: {error}"));
    }
}
