//! The life cycle of a release, and what remains after its uninstallation.

use std::{net::SocketAddr, time::Duration};

use standin_hub::{Class, Content, Options, Repo, StandinHub};
use tokio::time::{Instant, sleep};

use crate::commands::{CLUSTER, helm, kubectl, kubectl_with};

/// The bridge of the test cluster.
const BRIDGE: [u8; 4] = [10, 88, 0, 1];
const NAMESPACE: &str = "chart-life";
const SYSTEM: &str = "--namespace modelcache-system";
const CACHE: &str = "{apiVersion: modelcache.internal/v1alpha1, kind: ModelCache, metadata: {name: life}, spec: {source: {repo: acme/life}}}";
const PATIENCE: Duration = Duration::from_secs(180);

fn hub() -> StandinHub {
    let options = Options {
        listen: Some(SocketAddr::from((BRIDGE, 8080))),
        cdn_listen: Some(SocketAddr::from((BRIDGE, 8081))),
        ..Options::default()
    };
    let hub = StandinHub::start_with(options).expect("the bridge's ports 8080 and 8081 are free");
    let weights = Content::random(7, 3 << 20);
    hub.add(Repo::model("acme/life").file("config.json", "{}").lfs("model.safetensors", weights));
    hub
}

/// Removes leftovers of earlier tests.
fn clear() {
    let _ = helm(&format!("uninstall modelcache {SYSTEM} --wait"));
    let ours = "--ignore-not-found --wait=true";
    kubectl(&format!("delete crd modelcaches.modelcache.internal {ours}")).unwrap();
    kubectl(&format!("delete namespace modelcache-system {NAMESPACE} {NAMESPACE}-other {ours}")).unwrap();
    for kind in [
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "clusterroles",
        "clusterrolebindings",
    ] {
        kubectl(&format!("delete {kind} -l app.kubernetes.io/name=modelcache {ours}")).unwrap();
    }
}

fn install(hub: &StandinHub, more: &str) -> String {
    let settings = format!("--set image.tag=latest --set endpoints[0].url={}", hub.url());
    helm(&format!(
        "install modelcache CHART {SYSTEM} --create-namespace {settings} {more} --wait --timeout 3m"
    ))
    .unwrap()
}

fn apply_cache(namespace: &str) {
    kubectl_with(CACHE, &format!("apply -n {namespace} -f -")).unwrap();
}

fn wait_ready(namespace: &str) {
    kubectl(&format!("wait -n {namespace} --for=condition=Ready mcache/life --timeout=3m")).unwrap_or_else(
        |error| {
            let state = kubectl(&format!("get mcache life -n {namespace} -o yaml")).unwrap_or_default();
            panic!("{error}{state}")
        },
    );
}

fn field(path: &str) -> String {
    kubectl(&format!("get mcache life -n {NAMESPACE} -o jsonpath={{{path}}}")).unwrap()
}

/// A pod that requests the model, in a namespace.
fn pod(name: &str, namespace: &str) -> Result<String, String> {
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{modelcache.internal/mount: life}}}}, \
         spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: pause, image: localhost/modelcache-test/pause:1}}]}}}}"
    );
    kubectl_with(&pod, &format!("apply -n {namespace} -f -"))
}

fn downloads(hub: &StandinHub) -> usize {
    hub.requests().iter().filter(|request| request.class == Class::Cdn && !request.is_for_a_byte()).count()
}

/// Requests a reconciliation, and waits until it is done and changed nothing.
async fn reconciles_again(stamp: &str) {
    let uid = field(".metadata.uid");
    kubectl(&format!(
        "annotate mcache life -n {NAMESPACE} --overwrite modelcache.internal/reconcile-at={stamp}"
    ))
    .unwrap();
    let begun = Instant::now();
    while field(".status.lastHandledReconcileAt") != stamp {
        assert!(begun.elapsed() < PATIENCE, "the operator does not look");
        sleep(Duration::from_millis(200)).await;
    }
    wait_ready(NAMESPACE);
    assert_eq!((field(".metadata.uid"), field(".metadata.generation").as_str()), (uid, "1"));
}

/// Kubernetes' own roles apply to ModelCaches, and the role in the guide grants nothing beyond its description.
async fn users_have_the_rights_of_their_roles() {
    let can = |who: &str, what: &str| {
        let answer = kubectl(&format!("auth can-i {what} --as={who} -n {NAMESPACE}"));
        answer.is_ok_and(|answer| answer.trim() == "yes")
    };
    for role in ["view", "edit", "admin"] {
        kubectl(&format!("create rolebinding {role} -n {NAMESPACE} --clusterrole={role} --user={role}er"))
            .unwrap();
    }
    let guide = include_str!("../../docs/guides/tenants.md");
    let mut blocks = guide.split("```yaml\n").filter_map(|rest| rest.split("```").next());
    let role = blocks.find(|block| block.contains("kind: Role\n")).unwrap();
    kubectl_with(&role.replace("namespace: inference", &format!("namespace: {NAMESPACE}")), "apply -f -")
        .unwrap();
    kubectl(&format!("create rolebinding models -n {NAMESPACE} --role=models --user=keeper")).unwrap();
    // Kubernetes aggregates roles with a delay.
    let begun = Instant::now();
    while !(can("viewer", "list modelcaches") && can("editer", "create modelcaches")) {
        assert!(begun.elapsed() < PATIENCE, "the roles are not joined");
        sleep(Duration::from_millis(200)).await;
    }
    let writes = ["create modelcaches", "patch modelcaches", "delete modelcaches"];
    for (who, may) in
        [("viewer", false), ("editer", true), ("adminer", true), ("keeper", true), ("nobody", false)]
    {
        assert_eq!(can(who, "watch modelcaches"), who != "nobody", "{who}");
        assert_eq!(writes.map(|what| can(who, what)), [may; 3], "{who}");
        assert!(!can(who, "patch modelcaches --subresource=status"), "{who}");
    }
    assert!(can("keeper", "get pods --subresource=log") && can("keeper", "list jobs.batch"));
    assert!(
        !can("keeper", "create pods") && !can("keeper", "get secrets") && !can("keeper", "create jobs.batch")
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test"]
async fn data_survive_upgrades_and_uninstallation() {
    let _alone = CLUSTER.lock().await;
    clear();
    let hub = hub();
    let notes = install(&hub, "");
    assert!(notes.contains("kubectl get mcache -n default --watch"), "{notes}");
    assert!(notes.contains("Pods mount it with the label modelcache.internal/mount"), "{notes}");
    kubectl(&format!("create namespace {NAMESPACE}")).unwrap();
    apply_cache(NAMESPACE);
    wait_ready(NAMESPACE);
    pod("first", NAMESPACE).unwrap();
    kubectl(&format!("wait -n {NAMESPACE} --for=condition=Ready pod/first --timeout=3m")).unwrap();
    let (commit, loaded) = (field(".status.snapshots[0].commit"), downloads(&hub));
    assert!(loaded > 0);

    users_have_the_rights_of_their_roles().await;

    // An upgrade with other settings, and back.
    helm(&format!("upgrade modelcache CHART {SYSTEM} --reset-then-reuse-values --set logLevel=debug --set rbac.watchSecrets=false --wait --timeout 3m")).unwrap();
    reconciles_again("upgraded").await;
    helm(&format!("rollback modelcache 1 {SYSTEM} --wait --timeout 3m")).unwrap();
    reconciles_again("back").await;
    assert_eq!(downloads(&hub), loaded, "neither downloads anything again");

    // Uninstalled: the CRD, the resource, its pod and its data stay.
    helm(&format!("uninstall modelcache {SYSTEM} --wait")).unwrap();
    assert_eq!(field(".status.snapshots[0].commit"), commit);
    kubectl(&format!("get pvc life -n {NAMESPACE}")).unwrap();
    kubectl(&format!("wait -n {NAMESPACE} --for=condition=Ready pod/first --timeout=10s")).unwrap();

    // The CRD is deleted, and the Hub is down: the next operator finds everything on the claim.
    kubectl("delete crd modelcaches.modelcache.internal").unwrap();
    kubectl(&format!("get pvc life -n {NAMESPACE}")).unwrap();
    hub.off().await;
    install(&hub, "");
    apply_cache(NAMESPACE);
    wait_ready(NAMESPACE);
    assert_eq!(field(".status.snapshots[0].commit"), commit);
    assert_eq!(field(".status.conditions[?(@.type==\"Authorized\")].reason"), "HubUnreachable");

    // With crds.keep=false, the CRD is deleted.
    helm(&format!(
        "upgrade modelcache CHART {SYSTEM} --reset-then-reuse-values --set crds.keep=false --wait --timeout 3m"
    ))
    .unwrap();
    helm(&format!("uninstall modelcache {SYSTEM} --wait")).unwrap();
    kubectl("wait --for=delete crd/modelcaches.modelcache.internal --timeout=1m").unwrap();
    kubectl(&format!("get pvc life -n {NAMESPACE}")).unwrap();

    // Of two namespaces, one is watched.
    hub.on();
    let other = format!("{NAMESPACE}-other");
    kubectl(&format!("create namespace {other}")).unwrap();
    let notes = install(&hub, &format!("--set namespaces={{{NAMESPACE}}}"));
    assert!(notes.contains(&format!("watches the namespaces {NAMESPACE}.")), "{notes}");
    apply_cache(NAMESPACE);
    wait_ready(NAMESPACE);
    let refused = pod("elsewhere", &other).unwrap_err();
    assert!(refused.contains(&format!("modelcache does not watch the namespace {other}")), "{refused}");
    let cache = kubectl_with(CACHE, &format!("apply -n {other} -f -")).unwrap_err();
    assert!(cache.contains("so this ModelCache would have no effect"), "{cache}");
    let account = "--as=system:serviceaccount:modelcache-system:modelcache";
    assert_eq!(kubectl(&format!("auth can-i get secrets {account} -n {NAMESPACE}")).unwrap().trim(), "yes");
    kubectl(&format!("auth can-i get secrets {account} -n {other}")).unwrap_err();
    clear();
}
