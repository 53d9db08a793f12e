//! Jobs as a whole.

mod expansion;

use pretty_assertions::assert_eq;
use serde_json::json;

use super::*;
use crate::controller::{
    fill::Fill,
    fixtures::{COMMIT, cache, endpoint, with_token},
};

fn fill() -> Fill {
    let target = Target {
        repo: crate::hub::Repo { kind: crate::hub::RepoType::Model, id: "acme/tiny".parse().unwrap() },
        patterns: crate::hub::Patterns::parse(["*.json"], ["original/*"]).unwrap(),
        claim_uid: "claim-uid".to_owned(),
        sub_path: Some("hub".to_owned()),
    };
    Fill::new(target, COMMIT.parse().unwrap())
}

fn built(cache: &ModelCache) -> serde_json::Value {
    built_at(cache, &endpoint())
}

fn built_at(cache: &ModelCache, endpoint: &Endpoint) -> serde_json::Value {
    let fill = fill();
    let refs = ["latest", "main"].map(|name| name.parse().unwrap());
    let job = build(JobParams {
        cache,
        target: &fill.target,
        task: fill.hash(),
        refs: &refs,
        claim_name: "models",
        attempt: 2,
        secret_version: Some("uid/7"),
        image: "modelcache:1",
        place: None,
        kind: JobKind::Fetch(&fill.commit, endpoint),
        bytes: Some(100 << 20),
    });
    serde_json::to_value(job).unwrap()
}

/// Every field that we set, so that none changes without notice.
#[test]
fn a_job_as_a_whole() {
    let hash = fill().hash().to_owned();
    let labels = json!({
        "app.kubernetes.io/managed-by": "modelcache",
        "modelcache.internal/name": "tiny",
        "modelcache.internal/task": hash,
        "modelcache.internal/attempt": "2",
        "modelcache.internal/claim-uid": "claim-uid",
    });
    let expected = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(&cache(), fill().hash(), 2),
            "namespace": "team",
            "labels": labels,
            "annotations": {
                "modelcache.internal/secret-version": "uid/7",
                "modelcache.internal/template": built(&with_token(cache()))["metadata"]["annotations"]["modelcache.internal/template"],
            },
            "ownerReferences": [{
                "apiVersion": "modelcache.internal/v1alpha1",
                "kind": "ModelCache",
                "name": "tiny",
                "uid": "cache-uid",
                "controller": true,
            }],
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": 6 * 3600 + 100,
            "podFailurePolicy": { "rules": [{
                "action": "Ignore",
                "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }],
            }] },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "dnsConfig": { "options": [{ "name": "ndots", "value": "1" }] },
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "fsGroup": 65532,
                        "fsGroupChangePolicy": "OnRootMismatch",
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "containers": [{
                        "name": "fetch",
                        "image": "modelcache:1",
                        "imagePullPolicy": "IfNotPresent",
                        "args": [
                            "fetch",
                            "acme/tiny",
                            "--type=model",
                            format!("--revision={COMMIT}"),
                            "--endpoint=https://huggingface.co",
                            "--report=/dev/termination-log",
                            "--output=json",
                            "--cache-dir=/cache",
                            "--alias=latest",
                            "--alias=main",
                            "--include=*.json",
                            "--exclude=original/*",
                            "--token-file=/var/run/secrets/modelcache.internal/token",
                        ],
                        "resources": {
                            "requests": { "cpu": "100m", "memory": "64Mi" },
                            "limits": { "memory": "512Mi" },
                        },
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "capabilities": { "drop": ["ALL"] },
                            "readOnlyRootFilesystem": true,
                        },
                        "terminationMessagePath": "/dev/termination-log",
                        "volumeMounts": [
                            { "name": "cache", "mountPath": "/cache", "subPath": "hub" },
                            { "name": "token", "mountPath": "/var/run/secrets/modelcache.internal", "readOnly": true },
                        ],
                    }],
                    "volumes": [
                        { "name": "cache", "persistentVolumeClaim": { "claimName": "models" } },
                        { "name": "token", "projected": {
                            "defaultMode": 0o440,
                            "sources": [{ "secret": {
                                "name": "hf",
                                "items": [{ "key": "token", "path": "token" }],
                                "optional": true,
                            } }],
                        } },
                    ],
                },
            },
        },
    });
    assert_eq!(built(&with_token(cache())), expected);
}

#[test]
fn the_users_settings_are_taken_and_our_labels_win() {
    let mut cache = with_token(cache());
    let settings = &mut cache.spec.job;
    settings.labels =
        [("team", "a"), (api::LABEL_NAME, "forged")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    settings.node_selector = [("gpu".to_owned(), "yes".to_owned())].into();
    settings.pod_security_context =
        Some(PodSecurityContext { run_as_user: Some(1000), ..Default::default() });
    let job = built(&cache);
    let pod = &job["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"]["team"], "a");
    assert_eq!(pod["metadata"]["labels"][api::LABEL_NAME], "tiny");
    assert_eq!(pod["spec"]["nodeSelector"], json!({ "gpu": "yes" }));
    assert_eq!(pod["spec"]["securityContext"], json!({ "runAsUser": 1000 }), "theirs replaces ours whole");
    // Without our fsGroup the group bits help nobody.
    assert_eq!(pod["spec"]["volumes"][1]["projected"]["defaultMode"], 0o444);
}

#[test]
fn the_way_to_the_endpoint_is_in_variables_and_changes_no_name() {
    let mut cache = cache();
    cache.spec.job.log_level = Some(api::LogLevel::Debug);
    let plain = built(&cache);
    let authority = include_str!("../../../tests/hub_client/tls/ca.pem");
    let endpoint = endpoint()
        .with_proxy("http://proxy.example:3128".parse().unwrap())
        .with_ca_bundle(authority.parse().unwrap())
        .with_timeouts(crate::hub::Timeouts::both("600".parse().unwrap()))
        .with_http_storage(true);
    let job = built_at(&cache, &endpoint);
    let env = &job["spec"]["template"]["spec"]["containers"][0]["env"];
    let expected = json!([
        { "name": "MODELCACHE_LOG", "value": "debug" },
        { "name": "HTTPS_PROXY", "value": "http://proxy.example:3128" },
        { "name": "HTTP_PROXY", "value": "http://proxy.example:3128" },
        { "name": "MODELCACHE_CA_BUNDLE", "value": authority },
        { "name": "HF_HUB_DOWNLOAD_TIMEOUT", "value": "600" },
        { "name": "HF_HUB_ETAG_TIMEOUT", "value": "600" },
        { "name": "MODELCACHE_HTTP_STORAGE", "value": "1" },
    ]);
    assert_eq!(*env, expected);
    let deadline = |job: &serde_json::Value| job["spec"]["activeDeadlineSeconds"].as_i64();
    assert_eq!(deadline(&job), deadline(&plain).map(|seconds| seconds + 600));
    assert_eq!(job["metadata"]["name"], plain["metadata"]["name"]);
    assert_eq!(job["metadata"]["labels"], plain["metadata"]["labels"], "the hash of the task among them");
    // A Job that cannot start the old way is made again.
    let template = |job: &serde_json::Value| job["metadata"]["annotations"][api::ANNOTATION_TEMPLATE].clone();
    assert_ne!(template(&job), template(&plain));
}
