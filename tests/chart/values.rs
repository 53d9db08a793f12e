//! The effects of values, and which are rejected.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::Path,
    process::Command,
};

use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::{
    commands::helm,
    programs::{root, said},
};

/// The rendered objects.
fn objects(arguments: &str) -> Vec<Value> {
    let rendered = helm(&format!("template {arguments}")).unwrap();
    let documents = rendered.split("\n---\n").map(|text| serde_saphyr::from_str(text).unwrap());
    documents.filter(|document: &Value| !document.is_null()).collect()
}

/// The only object of a kind.
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
fn helm_lint_passes_and_wrong_values_are_rejected() {
    helm("lint CHART --strict").unwrap();
    for (values, sentence) in [
        ("image.tga=1", "additional properties 'tga' not allowed"),
        ("namespace={a}", "additional properties 'namespace' not allowed"),
        ("nameOverride=Model", "does not match pattern"),
        ("fullnameOverride=model.cache", "does not match pattern"),
        ("image.tag=0.1.0+abc", "does not match pattern"),
        ("image.digest=sha256:1", "does not match pattern"),
        ("endpoints=null", "endpoints must name at least one Hub"),
        ("endpoints[0].url=https://user:pw@proxy", "does not match pattern"),
        ("endpoints[0].caBundle=-----BEGIN-CERTIFICATE-----,endpoints[0].caBundleFile=/ca", "'not' failed"),
        ("endpoints[0].url=https://hub,endpoints[1].url=https://hub/", "endpoints names https://hub twice"),
        ("pods.byLabel=false", "must be one of 'auto', 'always', 'never'"),
        ("pods.byLabel=always", "it needs Kubernetes 1.36"),
        (
            "metrics.podMonitor.enabled=true,metrics.serviceMonitor.enabled=true",
            "would both scrape the same pod",
        ),
        ("metrics.podMonitor.intervall=1m", "additional properties 'intervall' not allowed"),
        ("resources.memory=1Gi", "additional properties 'memory' not allowed"),
        ("affinity.nodeSelectorTerms={}", "additional properties 'nodeSelectorTerms' not allowed"),
        ("serviceAccount.create=false", "serviceAccount.name is required"),
    ] {
        let refusal =
            helm(&format!("template x CHART --kube-version 1.35.0 --set {values}")).expect_err(values);
        assert!(refusal.contains(sentence), "{values}: {refusal}");
    }
}

#[test]
fn pods_by_label_installs_policies_and_rights() {
    let old = "--kube-version 1.35.0";
    let api = "--api-versions admissionregistration.k8s.io/v1/MutatingAdmissionPolicy";
    for (flags, installed) in [
        (old.to_owned(), false),
        (format!("{old} {api}"), true),
        (format!("{old} {api} --set pods.byLabel=always"), true),
        ("--kube-version 1.36.1-gke.7".to_owned(), true),
        ("--kube-version 1.36.0 --set pods.byLabel=always".to_owned(), true),
        ("--kube-version 1.36.0 --set pods.byLabel=never".to_owned(), false),
    ] {
        let objects = objects(&format!("x CHART {flags}"));
        one(&objects, "Deployment");
        let named = |name| objects.iter().any(|object| object["metadata"]["name"] == name);
        let may_change_pods = objects
            .iter()
            .flat_map(|object| object["rules"].as_array().into_iter().flatten())
            .any(|rule| rule["resources"] == json!(["pods"]) && rule["verbs"] == json!(["patch", "delete"]));
        let found = [named("x-modelcache-inject"), named("x-modelcache-operator-rights"), may_change_pods];
        assert_eq!(found, [installed; 3], "{flags}");
    }
}

#[test]
fn a_tenant_can_install_it_without_cluster_scoped_objects() {
    let objects = objects(
        "x CHART --namespace ours --set namespaces={a},pods.byLabel=never,crds.enabled=false,rbac.aggregate=false,operatorPolicy.enabled=false",
    );
    for object in &objects {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        assert!(["ours", "a"].contains(&namespace), "{object}");
    }
    assert_eq!(one(&objects, "Role")["metadata"]["namespace"], "a");
}

/// Group, resource and verb of each right in these rules.
fn rights(rules: &Value) -> BTreeSet<[String; 3]> {
    let words = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).unwrap() };
    let mut all = BTreeSet::new();
    for rule in rules.as_array().unwrap() {
        for (group, resource) in words(&rule["apiGroups"])
            .iter()
            .flat_map(|group| words(&rule["resources"]).into_iter().map(move |resource| (group, resource)))
        {
            for verb in words(&rule["verbs"]) {
                all.insert([group.clone(), resource.clone(), verb]);
            }
        }
    }
    all
}

/// The rights of the guide's Role, without those that its section "Fewer rights" removes by a value of the chart.
fn fewer_rights() -> BTreeSet<[String; 3]> {
    let guide = fs::read_to_string(root("docs/guides/install.md")).unwrap();
    let block = guide.split("```").find(|block| block.contains("kind: Role\n")).unwrap();
    let role: Value = serde_saphyr::from_str(block.trim_start_matches("yaml")).unwrap();
    let mut all = rights(&role["rules"]);
    for (resource, verb) in [
        ("secrets", "list"),
        ("secrets", "watch"),
        ("pods/log", "get"),
        ("pods", "patch"),
        ("pods", "delete"),
    ] {
        assert!(all.remove(&[String::new(), resource.to_owned(), verb.to_owned()]), "{verb} {resource}");
    }
    all
}

#[test]
fn the_values_for_least_rights_grant_exactly_those_of_the_guide() {
    let objects = objects("x CHART --kube-version 1.36.0 --values deploy/values/least-rights.yaml");
    let kinds = |kind: &str| objects.iter().filter(|it| it["kind"] == kind).collect::<Vec<_>>();
    let roles = kinds("Role");
    let places: Vec<_> = roles.iter().map(|role| &role["metadata"]["namespace"]).collect();
    assert_eq!(places, ["inference", "training"]);
    for role in roles {
        assert_eq!(rights(&role["rules"]), fewer_rights());
    }
    for kind in
        ["ClusterRole", "ClusterRoleBinding", "MutatingAdmissionPolicy", "PodMonitor", "ServiceMonitor"]
    {
        assert_eq!(kinds(kind), Vec::<&Value>::new());
    }
    let policies: Vec<_> =
        kinds("ValidatingAdmissionPolicy").iter().map(|policy| &policy["metadata"]["name"]).collect();
    for of_operator in ["x-modelcache-operator-jobs", "x-modelcache-operator-claims"] {
        assert!(policies.contains(&&json!(of_operator)), "{policies:?}");
    }
    assert_eq!(one(&objects, "NetworkPolicy")["spec"]["ingress"], json!([]));
    let pod = &one(&objects, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], one(&objects, "ServiceAccount")["metadata"]["name"]);
    for (name, value) in [("MODELCACHE_SECRETS", "poll"), ("MODELCACHE_NAMESPACES", "inference,training")] {
        let variable = json!({ "name": name, "value": value });
        assert!(pod["containers"][0]["env"].as_array().unwrap().contains(&variable), "{pod}");
    }
}

/// With inverted defaults, as a later chart may have.
#[test]
fn the_values_for_least_rights_do_not_depend_on_defaults() {
    let generous = json!({
        "rbac": { "watchSecrets": true, "podLogs": true, "aggregate": true },
        "operatorPolicy": { "enabled": false, "images": ["registry.example/other:1"] },
        "pods": { "byLabel": "always" },
        "serviceAccount": { "create": false },
        "networkPolicy": { "enabled": false, "ingressFrom": [{ "podSelector": {} }] },
        "metrics": { "podMonitor": { "enabled": true }, "serviceMonitor": { "enabled": true } },
    });
    let folder = tempfile::tempdir().unwrap();
    let defaults = folder.path().join("defaults.yaml");
    fs::write(&defaults, generous.to_string()).unwrap();
    let with = |before: &str| {
        objects(&format!("x CHART --kube-version 1.36.0 {before} --values deploy/values/least-rights.yaml"))
    };
    assert_eq!(with(&format!("--values {}", defaults.display())), with(""));
}

/// The notes. `helm template` omits them, so they are moved into an object of a copy of the chart.
fn notes(flags: &str) -> String {
    let copy = tempfile::tempdir().unwrap();
    let chart = copy.path().join("chart");
    said(Command::new("cp").arg("-r").arg(root("charts/modelcache")).arg(&chart)).unwrap();
    let notes = fs::read_to_string(chart.join("templates/NOTES.txt")).unwrap();
    let object = format!(
        "{{{{ define \"notes\" }}}}{notes}{{{{ end }}}}\nnotes: {{{{ include \"notes\" . | quote }}}}"
    );
    fs::write(chart.join("templates/notes.yaml"), object).unwrap();
    let object = objects(&format!("x {} --show-only templates/notes.yaml {flags}", chart.display()));
    object[0]["notes"].as_str().unwrap().to_owned()
}

#[test]
fn the_notes_say_why_pods_can_or_cannot_be_labelled() {
    for (flags, sentence) in [
        ("--kube-version 1.36.0", "Pods mount it with the label modelcache.internal/mount"),
        (
            "--kube-version 1.36.0 --set pods.byLabel=never",
            "Mounting by label is disabled (pods.byLabel: never).",
        ),
        (
            "--kube-version 1.35.0",
            "Mounting by label requires Kubernetes 1.36: after upgrading the cluster,\nrun `helm upgrade` again.",
        ),
    ] {
        let notes = notes(flags);
        assert!(notes.contains(sentence), "{flags}: {notes}");
        // What an uninstallation breaks, and how to check that first.
        let uninstall = [
            "After `helm uninstall`, pods with the label start without their model",
            "kubectl get pods --all-namespaces -l modelcache.internal/mount",
        ];
        for part in uninstall {
            assert_eq!(notes.contains(part), sentence.starts_with("Pods mount it"), "{flags}: {notes}");
        }
        assert_eq!(
            notes.contains("modelcache mount gpt2"),
            !sentence.starts_with("Pods mount it"),
            "{flags}: {notes}"
        );
    }
}

#[test]
fn the_notes_warn_about_a_local_image() {
    assert!(notes("").contains("WARNING: the image localhost/modelcache:0.1.0 is not in a registry."));
    assert!(!notes("--set image.repository=registry.example.com/modelcache").contains("WARNING"));
}

#[test]
fn a_parent_chart_can_enable_and_disable_it() {
    let around = tempfile::tempdir().unwrap();
    let charts = around.path().join("charts");
    fs::create_dir(&charts).unwrap();
    pack("0.1.0", &charts);
    let dependency = json!({ "name": "modelcache", "version": "0.1.0", "condition": "modelcache.enabled" });
    let chart =
        json!({ "apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency] });
    fs::write(around.path().join("Chart.yaml"), chart.to_string()).unwrap();
    let made = |enabled: bool| {
        let values = format!("--set modelcache.enabled={enabled},global.registry=registry.example.com");
        objects(&format!("x {} {values}", around.path().display()))
    };
    one(&made(true), "Deployment");
    assert_eq!(made(false), Vec::<Value>::new());
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
        let policy =
            objects.iter().find(|it| it["metadata"]["name"] == "x-modelcache-operator-jobs").unwrap();
        let images = json!({ "name": "images", "expression": format!("['{expected}']") });
        assert_eq!(policy["spec"]["variables"][0], images);
    }
}

#[test]
fn required_labels_cannot_be_overridden() {
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
fn the_crd_is_the_generated_one_and_kept_by_default() {
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

#[test]
fn the_network_policy_allows_egress_to_endpoints_and_proxies() {
    let objects = objects("x CHART --values tests/chart/values/network-policy.yaml");
    let egress = &one(&objects, "NetworkPolicy")["spec"]["egress"];
    let ports: Vec<_> = egress[1]["ports"].as_array().unwrap().iter().map(|it| &it["port"]).collect();
    assert_eq!(ports, [16443, 3128, 443, 6443, 80, 8443]);
}

#[test]
fn the_network_policy_is_on_by_default_and_allows_scraping() {
    let spec = |flags: &str| one(&objects(&format!("x CHART {flags}")), "NetworkPolicy")["spec"].clone();
    let default = spec("");
    assert_eq!(default["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(default["ingress"], json!([]));
    assert_eq!(
        default["podSelector"]["matchLabels"],
        json!({
            "app.kubernetes.io/name": "modelcache", "app.kubernetes.io/instance": "x",
        })
    );
    let metrics = json!([{ "port": "metrics", "protocol": "TCP" }]);
    for monitor in ["podMonitor", "serviceMonitor"] {
        assert_eq!(
            spec(&format!("--set metrics.{monitor}.enabled=true"))["ingress"],
            json!([{ "ports": metrics }])
        );
    }
    let from = spec("--set networkPolicy.ingressFrom[0].podSelector.matchLabels.app=prometheus");
    let peers = json!([{ "podSelector": { "matchLabels": { "app": "prometheus" } } }]);
    assert_eq!(from["ingress"], json!([{ "ports": metrics, "from": peers }]));
    // Ports that the chart does not know are not blocked.
    assert_eq!(spec("--set endpointsSecret=mine")["egress"], json!([{}]));
    let given = spec("--set endpointsSecret=mine,networkPolicy.egressPorts={9443}");
    assert!(
        given["egress"][1]["ports"].as_array().unwrap().contains(&json!({ "port": 9443, "protocol": "TCP" }))
    );
    assert!(
        objects("x CHART --set networkPolicy.enabled=false").iter().all(|it| it["kind"] != "NetworkPolicy")
    );
}

#[test]
fn names_are_valid_and_unique() {
    let longest = "a".repeat(53);
    let mut names = HashSet::new();
    for (release, expected) in [
        ("modelcache", Some("modelcache")),
        ("eu", Some("eu-modelcache")),
        ("eu-modelcache-7", Some("eu-modelcache-7")),
        ("a.b", None),
        ("a-b", Some("a-b-modelcache")),
        ("7", None),
        ("r7", Some("r7-modelcache")),
        (&longest, None),
        (&longest[1..], None),
    ] {
        let flags = "--set crds.enabled=false,metrics.serviceMonitor.enabled=true,rbac.aggregate=true";
        let objects = objects(&format!("{release} CHART {flags}"));
        let service = one(&objects, "Service")["metadata"]["name"].as_str().unwrap().to_owned();
        assert_eq!(service, expected.unwrap_or(&service));
        assert!(service.starts_with(|first: char| first.is_ascii_lowercase()) && !service.contains('.'));
        for object in &objects {
            let name = object["metadata"]["name"].as_str().unwrap();
            assert!(name.starts_with(&service) && name.len() <= 63, "{name}");
        }
        assert!(names.insert(service), "{release}");
    }
}
