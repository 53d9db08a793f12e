//! The admission policies as they ship, and the operator's rights without the operator.

use std::time::Duration;

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
    discovery,
};
use serde_json::json;
use tokio::time::sleep;

use crate::support::Server;

/// The policies for pods, and that on what the operator may do with them.
pub const PODS: &str = include_str!("../../deploy/pods.yaml");
/// The operator with its rights, and the policies on what it may make.
pub const OPERATOR_AND_ITS_LIMITS: &str = include_str!("../../deploy/operator.yaml");

const OPERATOR: &str = "system:serviceaccount:modelcache-system:modelcache";

/// The kind of what binds a mutating policy.
pub fn binding() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingAdmissionPolicyBinding",
    ))
}

/// All of them on the server.
pub fn bindings(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &binding())
}

/// Installs the policies for pods, and waits until the server goes by all of them.
pub async fn install(client: &Client) {
    bindings(client).delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    apply(client, objects(PODS)).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let pod = |name: &str| -> Pod {
        let metadata = json!({ "name": "probe", "labels": { "modelcache.internal/mount": name } });
        let spec = json!({ "containers": [{ "name": "probe", "image": "probe" }] });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
    };
    let gated = async || {
        let made = pods.create(&params, &pod("probe")).await;
        made.is_ok_and(|made| made.spec.unwrap().scheduling_gates.is_some())
    };
    while !gated().await || pods.create(&params, &pod("")).await.is_ok() {
        sleep(Duration::from_millis(100)).await;
    }
}

/// A client that is the operator to the server, with the rights that ship and their limits. What it may do with pods comes with
/// the policies for pods.
pub async fn operator(server: &Server) -> Client {
    let wanted = |object: &DynamicObject| {
        let kind = &object.types.as_ref().unwrap().kind;
        let rights = ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding"];
        rights.contains(&kind.as_str()) || kind.starts_with("ValidatingAdmissionPolicy")
    };
    apply(&server.client, objects(OPERATOR_AND_ITS_LIMITS).filter(wanted)).await;
    let mut config = Config::infer().await.unwrap();
    config.auth_info.impersonate = Some(OPERATOR.to_owned());
    let client = Client::try_from(config).unwrap();
    // A pod that no ModelCache concerns: as long as it may be deleted, the limits are not known yet.
    let params = PostParams::default();
    let free: Pod = serde_json::from_value(json!({
        "metadata": { "name": "free" }, "spec": { "containers": [{ "name": "free", "image": "free" }] },
    }))
    .unwrap();
    let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
    server.pods().create(&params, &free).await.unwrap();
    let mine: Api<Pod> = Api::namespaced(client.clone(), server.namespace());
    server
        .eventually("the limits of the operator's rights", async || {
            let error = mine.delete("free", &dry).await.err()?;
            error.to_string().contains("only pods that wait for a model").then_some(())
        })
        .await;
    let (jobs, claims) = (ApiResource::erase::<Job>(&()), ApiResource::erase::<PersistentVolumeClaim>(&()));
    let mine = |kind| Api::<DynamicObject>::namespaced_with(client.clone(), server.namespace(), kind);
    for (api, object) in [(mine(&jobs), free_job()), (mine(&claims), free_claim())] {
        server
            .eventually("the limits of what the operator may make", async || {
                let dry = PostParams { dry_run: true, ..PostParams::default() };
                let error = api.create(&dry, &object).await.err()?;
                error.to_string().contains("the operator").then_some(())
            })
            .await;
    }
    client
}

/// A Job of nobody.
pub fn free_job() -> DynamicObject {
    serde_json::from_value(json!({
        "metadata": { "name": "free" },
        "spec": { "template": { "spec": {
            "restartPolicy": "Never", "containers": [{ "name": "free", "image": "free" }],
        } } },
    }))
    .unwrap()
}

/// A claim of nobody.
fn free_claim() -> DynamicObject {
    serde_json::from_value(json!({
        "metadata": { "name": "free" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    }))
    .unwrap()
}

/// The objects of a YAML text.
pub fn objects(yaml: &str) -> impl Iterator<Item = DynamicObject> {
    yaml.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap())
}

/// Applies objects. What was applied here before and is not in them any more goes.
pub async fn apply(client: &Client, objects: impl Iterator<Item = DynamicObject>) {
    for object in objects {
        let types = object.types.clone().unwrap();
        let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
        let kind = GroupVersionKind::gvk(group, version, &types.kind);
        let (resource, _) = discovery::pinned_kind(client, &kind).await.unwrap();
        let api: Api<DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let name = object.metadata.name.clone().unwrap();
        api.patch(&name, &PatchParams::apply("modelcache-tests").force(), &Patch::Apply(&object))
            .await
            .unwrap();
    }
}
