//! What the values make of the chart, and which of them are refused.

use std::path::Path;

use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::commands::helm;

/// The objects that Helm renders.
fn objects(arguments: &str) -> Vec<Value> {
    let rendered = helm(&format!("template {arguments}")).unwrap();
    let documents = rendered.split("\n---\n").map(|text| serde_saphyr::from_str(text).unwrap());
    documents.filter(|document: &Value| !document.is_null()).collect()
}

/// The only one of a kind.
fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

/// Packs the chart under another version, as a pipeline does.
fn pack(version: &str, folder: &Path) -> String {
    let to = folder.display();
    helm(&format!("package CHART --version {version} --app-version {version} --destination {to}")).unwrap();
    format!("{to}/modelcache-{version}.tgz")
}

#[test]
fn a_version_with_a_digest_changes_labels_and_never_the_pod() {
    let folder = tempfile::tempdir().unwrap();
    let chart = pack("0.1.0+0cc9a8446c95", folder.path());
    let packed = objects(&format!("x {chart} --set image.tag=fixed"));
    let labels = &one(&packed, "Deployment")["metadata"]["labels"];
    assert_eq!(labels["helm.sh/chart"], "modelcache-0.1.0_0cc9a8446c95");
    assert_eq!(labels["app.kubernetes.io/version"], "0.1.0_0cc9a8446c95");
    let pod = |objects: &[Value]| one(objects, "Deployment")["spec"]["template"].clone();
    assert_eq!(pod(&packed), pod(&objects("x CHART --set image.tag=fixed")));
}

#[test]
fn the_operator_and_its_jobs_run_the_image_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let packed = pack("0.1.0+0cc9a8446c95", folder.path());
    let digest = format!("sha256:{}", "0".repeat(64));
    for (chart, values, expected) in [
        ("CHART", String::new(), "hub/modelcache:0.1.0".to_owned()),
        (&packed, String::new(), "hub/modelcache:0.1.0_0cc9a8446c95".to_owned()),
        (&packed, "--set image.tag=v1".to_owned(), "hub/modelcache:v1".to_owned()),
        ("CHART", format!("--set image.digest={digest}"), format!("hub/modelcache@{digest}")),
        ("CHART", format!("--set image.tag=v1,image.digest={digest}"), format!("hub/modelcache:v1@{digest}")),
    ] {
        let objects = objects(&format!("x {chart} --set image.repository=hub/modelcache {values}"));
        let container = &one(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], expected);
        assert_eq!(container["env"][0], json!({ "name": "MODELCACHE_IMAGE", "value": expected }));
    }
}

#[test]
fn labels_that_the_chart_needs_cannot_be_taken_from_it() {
    let objects = objects("x CHART --values tests/chart/values/labels.yaml");
    let deployment = one(&objects, "Deployment");
    let pod = &deployment["spec"]["template"]["metadata"];
    let selector = json!({ "app.kubernetes.io/name": "modelcache", "app.kubernetes.io/instance": "x" });
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], selector);
    let mut labels = selector.clone();
    labels["team"] = "platform".into();
    labels["tier"] = "system".into();
    assert_eq!(pod["labels"], labels);
    assert_eq!(pod["annotations"]["example.com/owner"], "platform");
    assert_eq!(pod["annotations"]["checksum/endpoints"].as_str().unwrap().len(), 64);
    let monitor = &one(&objects, "PodMonitor")["metadata"]["labels"];
    assert_eq!(
        (&monitor["release"], &monitor["app.kubernetes.io/name"]),
        (&"prometheus".into(), &"modelcache".into())
    );
    for object in &objects {
        assert_eq!(object["metadata"]["labels"]["team"], "platform", "{}", object["kind"]);
    }
}

#[test]
fn the_definition_is_the_generated_one_and_stays_unless_told_otherwise() {
    for (keep, policy) in [("true", json!("keep")), ("false", Value::Null)] {
        let objects = objects(&format!("x CHART --set crds.keep={keep}"));
        let mut rendered = one(&objects, "CustomResourceDefinition").clone();
        assert_eq!(rendered["metadata"]["annotations"]["helm.sh/resource-policy"], policy);
        assert_eq!(rendered["metadata"]["labels"]["app.kubernetes.io/instance"], "x");
        let generated: Value =
            serde_saphyr::from_str(include_str!("../../crds/modelcaches.modelcache.internal.yaml")).unwrap();
        rendered["metadata"] = json!({ "name": rendered["metadata"]["name"] });
        assert_eq!(rendered, generated);
    }
}
