//! What the chart renders to, judged by Helm, by Kubernetes' own schemas, and by Prometheus' rules.

use std::{fs, process::Command};

use crate::commands::{CLUSTER, kubectl, root, told, tool};

#[test]
fn each_alert_fires_when_it_should_and_not_before() {
    let promtool = |arguments: &[&str]| {
        let files =
            arguments.iter().map(|word| if word.ends_with(".yaml") { root(word) } else { (*word).into() });
        told(Command::new(tool("promtool")).args(files).output().unwrap()).unwrap()
    };
    let checked = promtool(&["check", "rules", "--lint-fatal", "charts/modelcache/files/rules.yaml"]);
    assert!(checked.contains("SUCCESS: 4 rules found"), "{checked}");
    promtool(&["test", "rules", "tests/chart/rules.yaml"]);
}

/// The API server's own description of what it takes, made strict: no unknown field passes.
#[test]
#[ignore = "needs a cluster: make test"]
fn everything_we_render_has_the_shape_that_kubernetes_describes() {
    let _alone = CLUSTER.blocking_lock();
    kubectl("apply --server-side --force-conflicts -f crds").unwrap();
    kubectl("wait --for=condition=Established crd/modelcaches.modelcache.internal").unwrap();
    let schemas = tempfile::tempdir().unwrap();
    let described = schemas.path().join("openapi.json");
    fs::write(&described, kubectl("get --raw /openapi/v2").unwrap()).unwrap();
    let script = root("tests/chart/schemas.py");
    told(Command::new("python3").arg(script).arg(&described).arg(schemas.path()).output().unwrap()).unwrap();
    let place = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", schemas.path().display());
    let judge = |files: &[&str]| {
        // The kinds of the Prometheus operator are not in this cluster.
        told(
            Command::new(tool("kubeconform"))
                .args([
                    "-strict",
                    "-summary",
                    "-skip",
                    "PodMonitor,ServiceMonitor,PrometheusRule,Kustomization",
                ])
                .args(["-ignore-filename-pattern", "argocd-cm", "-schema-location", &place])
                .args(files.iter().map(|file| root(file)))
                .output()
                .unwrap(),
        )
    };
    let summary = judge(&[
        "tests/chart/rendered",
        "deploy/operator.yaml",
        "deploy/pods.yaml",
        "deploy/samples",
        "demo/models.yaml",
    ])
    .unwrap();
    assert!(summary.contains("Invalid: 0, Errors: 0"), "{summary}");

    let wrong = schemas.path().join("wrong.yaml");
    let text = fs::read_to_string(root("deploy/samples/public.yaml")).unwrap();
    fs::write(&wrong, text.replace("repo:", "repository:")).unwrap();
    judge(&[wrong.to_str().unwrap()]).unwrap_err();
}
