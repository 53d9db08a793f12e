//! What is taken, and what is filled in.

use kube::api::ListParams;
use pretty_assertions::assert_eq;
use serde_json::json;

use crate::support::{Server, spec};

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn good_objects_are_taken_and_can_be_read() {
    let server = Server::new().await;
    let patterns = vec!["*".repeat(64); 64];
    let good = [
        json!({ "source": { "repo": "gpt2" } }),
        json!({ "source": { "repo": "meta-llama/Llama-3.1-8B", "type": "Dataset", "revision": "refs/pr/1" } }),
        json!({ "source": { "repo": "_a/_", "revision": "0123456789abcdef0123456789abcdef01234567", "aliases": ["main", "v1.0"] } }),
        json!({ "source": { "include": patterns, "exclude": patterns, "endpoint": "https://hub.example.com:8443/api" } }),
        json!({ "tokenSecretRef": { "name": "hf.token", "key": ".token" } }),
        json!({ "storage": { "existingClaim": "models", "subPath": "hub/a..b" } }),
        json!({ "storage": { "claim": { "storageClassName": "", "size": 41_943_040, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"] } } }),
        json!({ "storage": { "claim": { "size": "1.5Gi", "accessModes": ["ReadWriteOncePod"] } } }),
        json!({ "interval": "1h30m" }),
        json!({ "interval": "60s", "suspend": true }),
        json!({ "job": {
            "resources": { "requests": { "cpu": 1, "memory": "1Gi" }, "limits": { "cpu": "500m" } },
            "nodeSelector": { "gpu": "yes" },
            "tolerations": [{ "operator": "Exists", "tolerationSeconds": 5 }],
            "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
                { "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["a"] }] }
            ] } } },
            "priorityClassName": "low",
            "runtimeClassName": "gvisor",
            "serviceAccountName": "default",
            "imagePullSecrets": [{ "name": "pull" }],
            "labels": { "team": "ml" },
            "annotations": { "sidecar.istio.io/inject": "false" },
            "podSecurityContext": { "runAsUser": 1000, "fsGroup": 1000, "seccompProfile": { "type": "RuntimeDefault" } },
            "logLevel": "Debug",
        } }),
        // What templates write for values that are not set.
        json!({ "job": null, "storage": { "claim": { "size": null, "storageClassName": null }, "subPath": null }, "interval": null, "suspend": null }),
    ];
    for (number, more) in good.iter().enumerate() {
        server
            .create(&format!("good-{number}"), &spec(more))
            .await
            .unwrap_or_else(|error| panic!("{more}: {error}"));
    }
    let read = server.typed().list(&ListParams::default()).await.unwrap();
    assert_eq!(read.items.len(), good.len());

    let chosen = ListParams::default().fields("spec.source.repo=gpt2");
    assert_eq!(server.typed().list(&chosen).await.unwrap().items.len(), 1);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn defaults_are_filled_in() {
    let server = Server::new().await;
    let made = server.create("plain", &spec(&json!({}))).await.unwrap();
    assert_eq!(
        made.data["spec"],
        json!({
            "source": { "repo": "org/name", "type": "Model", "revision": "main" },
            "storage": {},
            "interval": "1h",
            "job": {},
            "suspend": false,
        })
    );
    // It says so by itself that nobody has looked at it; `kstatus` would call it done without a generation.
    let status = &made.data["status"];
    assert_eq!(status["observedGeneration"], -1);
    let conditions = status["conditions"].as_array().unwrap();
    assert_eq!(
        (conditions.len(), &conditions[0]["type"], &conditions[0]["status"]),
        (1, &json!("Ready"), &json!("Unknown"))
    );

    let more = json!({ "tokenSecretRef": { "name": "a" }, "storage": { "claim": {} } });
    let made = server.create("more", &spec(&more)).await.unwrap();
    assert_eq!(made.data["spec"]["tokenSecretRef"], json!({ "name": "a", "key": "token" }));
    assert_eq!(made.data["spec"]["storage"], json!({ "claim": { "accessModes": ["ReadWriteOnce"] } }));

    let typed = serde_json::to_value(server.typed().get("more").await.unwrap().spec).unwrap();
    assert_eq!(typed, made.data["spec"], "the types write other defaults than the schema");
}
