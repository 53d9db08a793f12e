//! The rendered chart, checked by Helm, Kubernetes' own schemas, and Prometheus.

use std::{fs, process::Command};

use crate::{
    commands::{CLUSTER, kubectl, kubectl_with},
    definitions,
    programs::{root, said, tool},
};

#[test]
fn alerts_fire_when_they_should() {
    let promtool = |arguments: &[&str]| {
        let files =
            arguments.iter().map(|word| if word.ends_with(".yaml") { root(word) } else { (*word).into() });
        said(Command::new(tool("promtool")).args(files)).unwrap()
    };
    let checked = promtool(&["check", "rules", "--lint-fatal", "charts/modelcache/files/rules.yaml"]);
    assert!(checked.contains("SUCCESS: 6 rules found"), "{checked}");
    promtool(&["test", "rules", "tests/chart/rules.yaml", "tests/chart/incidents.yaml"]);
}

/// The API server's own schemas, made strict to reject unknown fields.
#[test]
#[ignore = "needs a cluster: make test"]
fn rendered_objects_match_the_schemas_of_kubernetes() {
    let _alone = CLUSTER.blocking_lock();
    kubectl("apply --server-side --force-conflicts -f crds").unwrap();
    kubectl("wait --for=condition=Established crd/modelcaches.modelcache.internal").unwrap();
    definitions::install();
    let schemas = tempfile::tempdir().unwrap();
    let described = schemas.path().join("openapi.json");
    fs::write(&described, kubectl("get --raw /openapi/v2").unwrap()).unwrap();
    let script = root("tests/chart/schemas.py");
    said(Command::new("python3").arg(script).arg(&described).arg(schemas.path())).unwrap();
    let place = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", schemas.path().display());
    let judge = |files: &[&str]| {
        said(
            Command::new(tool("kubeconform"))
                .args(["-strict", "-summary", "-schema-location", &place])
                .args(files.iter().map(|file| root(file))),
        )
    };
    let summary = judge(&[
        "tests/chart/rendered",
        "deploy/operator.yaml",
        "deploy/pods.yaml",
        "deploy/samples",
        "deploy/argocd",
        "deploy/flux",
        "demo/models.yaml",
    ])
    .unwrap();
    assert!(summary.contains("Invalid: 0, Errors: 0, Skipped: 0"), "{summary}");

    let wrong = schemas.path().join("wrong.yaml");
    let text = fs::read_to_string(root("deploy/samples/public.yaml")).unwrap();
    fs::write(&wrong, text.replace("repo:", "repository:")).unwrap();
    judge(&[wrong.to_str().unwrap()]).unwrap_err();
}

/// `deploy/` as built by kustomize, also with another image as described in its comment.
#[test]
#[ignore = "needs a cluster: make test"]
fn the_plain_install_is_a_base_for_kustomize() {
    let _alone = CLUSTER.blocking_lock();
    let folder = tempfile::tempdir().unwrap();
    let comment = fs::read_to_string(root("deploy/kustomization.yaml")).unwrap();
    let overlay =
        comment.lines().filter_map(|line| line.strip_prefix("#   ")).skip(1).collect::<Vec<_>>().join("\n");
    let base = folder.path().join("base");
    fs::create_dir(&base).unwrap();
    for file in ["kustomization.yaml", "crd.yaml", "operator.yaml", "pods.yaml"] {
        fs::copy(root("deploy").join(file), base.join(file)).unwrap();
    }
    fs::write(folder.path().join("kustomization.yaml"), overlay.replace("https://.../deploy", "base"))
        .unwrap();
    let built = kubectl(&format!("kustomize {}", folder.path().display())).unwrap();
    assert_eq!(
        built.matches("registry.example/modelcache:0.1.0").count(),
        3,
        "for the operator, its Jobs, and the policy on them"
    );
    assert!(!built.contains("localhost/"), "{built}");
    for kind in
        ["CustomResourceDefinition", "Deployment", "MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"]
    {
        assert!(built.contains(&format!("\nkind: {kind}\n")), "{kind}");
    }
    // A dry run does not create the namespace for later objects.
    kubectl("create namespace modelcache-system").ok();
    kubectl_with(&built, "apply --server-side --force-conflicts --dry-run=server --validate=strict -f -")
        .unwrap();
}
