//! Objects that a newer version wrote, before this one came back: values that its definition allows and this one's does not.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use modelcache::api::{ModelCache, crd};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Team, eventually},
    operator::{Account, Operator, documented_rules, names},
    world::{TOKEN, hub, model, spec},
};

const UNHEARD: &str = "Unheard";

/// The fields with a list of values, by path; `[]` stands for the items of a list. The lists are taken away.
fn open_enums(schema: &mut Value, path: &str, found: &mut Vec<String>) {
    if let Some(fields) = schema.as_object_mut()
        && fields.remove("enum").is_some()
    {
        found.push(path.to_owned());
    }
    for (name, field) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        open_enums(field, &format!("{path}.{name}"), found);
    }
    for (inside, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(field) = schema.get_mut(inside) {
            open_enums(field, &format!("{path}{mark}"), found);
        }
    }
}

/// Puts a value at a path, with all that is on the way there.
fn plant(at: &mut Value, path: &str, value: &Value) {
    let Some((step, rest)) = path.split_once('.') else { return leaf(at, path, value) };
    let inner = match step.strip_suffix("[]") {
        Some(list) => {
            let list = at.as_object_mut().unwrap().entry(list).or_insert(json!([{}]));
            &mut list[0]
        }
        None => at.as_object_mut().unwrap().entry(step).or_insert(json!({})),
    };
    plant(inner, rest, value);
}

fn leaf(at: &mut Value, path: &str, value: &Value) {
    match path.strip_suffix("[]") {
        Some(list) => at[list] = json!([value]),
        None => at[path] = value.clone(),
    }
}

#[test]
fn values_are_planted_where_the_path_leads() {
    let mut object = json!({ "spec": {} });
    plant(&mut object, "spec.a.b[].c", &json!(1));
    plant(&mut object, "spec.a.d[]", &json!(2));
    assert_eq!(object, json!({ "spec": { "a": { "b": [{ "c": 1 }], "d": [2] } } }));
}

async fn define(cluster: &Cluster, definition: &Value) {
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let name = definition["metadata"]["name"].as_str().unwrap();
    definitions.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(definition)).await.unwrap();
}

/// Applies the status as a newer operator would have.
async fn write_status(team: &Team, name: &str, manager: &str, status: &Value) {
    let caches = raw(team);
    let patch =
        json!({ "apiVersion": "modelcache.internal/v1alpha1", "kind": "ModelCache", "status": status });
    let params = PatchParams::apply(manager).force();
    caches.patch_status(name, &params, &Patch::Apply(patch)).await.unwrap();
}

fn raw(team: &Team) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<ModelCache>(&());
    Api::namespaced_with(team.client.clone(), &team.namespace, &resource)
}

async fn create(team: &Team, name: &str, object: &Value) {
    let object = json!({
        "apiVersion": "modelcache.internal/v1alpha1", "kind": "ModelCache",
        "metadata": { "name": name }, "spec": object["spec"],
    });
    // The API server takes a new definition in a moment later.
    eventually("the newer definition to count", || async {
        let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let made = raw(team).create(&PostParams::default(), &object).await;
        made.inspect_err(|error| println!("{name}: {error}")).ok()
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn what_a_newer_version_wrote_is_reported_on_itself_and_keeps_nobody_else_waiting() {
    let _alone = crate::ALONE.lock().await;
    let cluster = Cluster::without_operator().await;
    let team = cluster.namespace("newer").await;
    let account = Account::new(&cluster, "newer").await;
    account.may(&documented_rules(), &team).await;
    hub().add(model("acme/newer"));
    team.secret("hf", TOKEN).await;

    let mut newer = json!(crd());
    let schema = "/spec/versions/0/schema/openAPIV3Schema";
    let mut paths = Vec::new();
    open_enums(newer.pointer_mut(schema).unwrap(), "", &mut paths);
    // Shapes change, too.
    for path in ["/properties/spec/properties/suspend", "/properties/status/properties/progress"] {
        *newer.pointer_mut(&format!("{schema}{path}")).unwrap() =
            json!({ "x-kubernetes-preserve-unknown-fields": true });
    }
    define(&cluster, &newer).await;
    let (spec_paths, status_paths): (Vec<_>, Vec<_>) =
        paths.iter().map(|path| path.trim_start_matches('.')).partition(|path| path.starts_with("spec."));
    assert!(spec_paths.contains(&"spec.source.type") && !status_paths.is_empty(), "{paths:?}");
    println!("enums of the schema: {paths:?}");

    let mut bad = BTreeMap::new();
    for (number, path) in spec_paths.iter().enumerate() {
        let mut object = json!({ "spec": spec("acme/newer") });
        plant(&mut object, path, &json!(UNHEARD));
        let name = format!("bad-{number}");
        create(&team, &name, &object).await;
        bad.insert(name, (*path).to_owned());
    }
    let mut object = json!({ "spec": spec("acme/newer") });
    object["spec"]["suspend"] = json!({ "until": "tomorrow" });
    create(&team, "shape", &object).await;
    bad.insert("shape".to_owned(), "spec.suspend".to_owned());
    // What is kept of the newer version's words, whatever this one thinks of the spec.
    let resolved = json!({ "revision": "main", "commit": "c0ffee", "files": 1, "bytes": 1 });
    write_status(&team, "shape", "modelcache-status", &json!({ "resolved": resolved })).await;
    write_status(&team, "shape", "modelcache-progress", &json!({ "progress": { "novel": true } })).await;

    let mut served = vec!["good".to_owned()];
    create(&team, "good", &json!({ "spec": spec("acme/newer") })).await;
    for (number, path) in status_paths.iter().enumerate() {
        let name = format!("status-{number}");
        create(&team, &name, &json!({ "spec": spec("acme/newer") })).await;
        let mut object = json!({
            "status": {
                "conditions": [{
                    "type": "Novel", "status": "True", "reason": "Novel", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
                "progress": { "percent": "half" },
            },
        });
        plant(&mut object, path, &json!(UNHEARD));
        if let Some(snapshot) = object.pointer_mut("/status/snapshots/0") {
            for field in ["commit", "claimName", "claimUID", "path", "fillHash"] {
                snapshot[field] = json!("x");
            }
        }
        write_status(&team, &name, "modelcache-status", &object["status"]).await;
        served.push(name);
    }

    let operator = Operator::start(&account, &["--namespace", &names(&[&team])]).await;
    for name in &served {
        granted(&team, name).await;
    }
    for (name, path) in &bad {
        reported(&team, name, path).await;
    }
    let shape = raw(&team).get("shape").await.unwrap();
    assert_eq!(shape.data["status"]["progress"]["novel"], json!(true));
    assert_eq!(shape.data["status"]["resolved"]["commit"], json!("c0ffee"));

    // The same while it runs: the watch goes on.
    let mut object = json!({ "spec": spec("acme/newer") });
    plant(&mut object, spec_paths[0], &json!(UNHEARD));
    create(&team, "late", &object).await;
    bad.insert("late".to_owned(), spec_paths[0].to_owned());
    reported(&team, "late", spec_paths[0]).await;
    create(&team, "after", &json!({ "spec": spec("acme/newer") })).await;
    granted(&team, "after").await;
    let counted =
        operator.metric(r#"modelcache_resources{ready="False",reason="InvalidSpec",remedy="user-action"}"#);
    assert_eq!(counted, bad.len() as u64);

    // Corrected, it is served like any other, and nothing of the report is left.
    let corrected = json!({ "spec": { "suspend": false } });
    raw(&team).patch("shape", &PatchParams::default(), &Patch::Merge(corrected)).await.unwrap();
    granted(&team, "shape").await;
    eventually("nothing of the report to be left", || async {
        let shape = raw(&team).get("shape").await.unwrap();
        (!shape.data["status"].to_string().contains("InvalidSpec")).then_some(())
    })
    .await;
    let log = operator.log();
    assert!(!log.contains("\"items\"") && !log.contains(UNHEARD), "contents in the log: {log}");
    operator.stop();

    // For the other tests in this cluster: what the definition allows as it ships.
    let bad: Vec<_> = raw(&team).list(&ListParams::default()).await.unwrap().items;
    for object in bad {
        raw(&team).delete(&object.metadata.name.unwrap(), &DeleteParams::default()).await.unwrap();
    }
    define(&cluster, &json!(crd())).await;
}

/// Waits until it is served. What it holds cannot be parsed before that.
async fn granted(team: &Team, name: &str) {
    eventually(&format!("{name} to be served"), || async {
        let object = raw(team).get(name).await.unwrap();
        let conditions = object.data.pointer("/status/conditions")?.as_array()?.clone();
        conditions.iter().any(|it| it["reason"] == "AccessGranted").then_some(())
    })
    .await;
}

/// Waits for the condition, which says the field and that a newer version may understand it.
async fn reported(team: &Team, name: &str, path: &str) {
    // The parser names the place in a list.
    let field = path.replace("[]", "[0]");
    let said = eventually(&format!("the report on {name}"), || async {
        let object = raw(team).get(name).await.unwrap();
        let conditions = object.data.pointer("/status/conditions")?.as_array()?.clone();
        let of = |topic: &str| conditions.iter().find(|it| it["type"] == topic).cloned();
        Some((of("Ready").filter(|ready| ready["reason"] == "InvalidSpec")?, of("Stalled")?))
    })
    .await;
    let (ready, stalled) = said;
    assert_eq!((&ready["status"], &stalled["status"]), (&json!("False"), &json!("True")));
    let message = ready["message"].as_str().unwrap();
    assert!(message.contains(&field) && message.contains("newer version"), "{name}: {message}");
    assert!(!message.contains(UNHEARD), "{message}");
}
