//! Everything that a user can write has a bound: one more is refused by its name, and the most that is allowed is taken.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use modelcache::api;
use serde_json::{Map, Value, json};

use crate::{
    largest,
    support::{Server, refusal, spec},
};

/// A value that is too large, where it is, and what it is wrapped into on the way out.
struct TooLarge {
    path: String,
    spec: Value,
}

/// What is needed beside the field that is under test, so that the rest of the object is good.
fn small(schema: &JSONSchemaProps) -> Value {
    match schema.type_.as_deref() {
        Some("string") => schema.enum_.as_ref().map_or(json!("a"), |words| words[0].0.clone()),
        Some("integer") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => {
            let required = schema.required.iter().flatten();
            required.map(|name| (name.clone(), small(&schema.properties.as_ref().unwrap()[name]))).collect()
        }
        _ => json!("1"),
    }
}

fn walk(schema: &JSONSchemaProps, path: &str, wrap: &dyn Fn(Value) -> Value, found: &mut Vec<TooLarge>) {
    let mut refuse = |path: String, value: Value| found.push(TooLarge { path, spec: wrap(value) });
    let many = |most: i64| usize::try_from(most).unwrap() + 1;
    if let Some(most) = schema.max_length {
        refuse(path.to_owned(), json!("1".repeat(many(most))));
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items {
        refuse(path.to_owned(), json!(vec![small(item); many(schema.max_items.unwrap())]));
        walk(item, &format!("{path}[0]"), &|value| wrap(json!([value])), found);
    } else if let Some(JSONSchemaPropsOrBool::Schema(value)) = &schema.additional_properties {
        let map: Map<_, _> =
            (0..many(schema.max_properties.unwrap())).map(|n| (format!("k{n}"), small(value))).collect();
        refuse(path.to_owned(), json!(map));
        refuse(path.to_owned(), json!({ "k".repeat(129): small(value) }));
        walk(value, &format!("{path}.k0"), &|value| wrap(json!({ "k0": value })), found);
    }
    for (name, field) in schema.properties.iter().flatten() {
        let beside = small(schema);
        let wrap = |value: Value| {
            let mut object = beside.clone();
            object[name] = value;
            wrap(object)
        };
        walk(field, &format!("{path}.{name}"), &wrap, found);
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn one_more_than_allowed_is_refused_by_its_name() {
    let server = Server::new().await;
    let crd = api::crd();
    let root = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
    let mut cases = Vec::new();
    walk(&root.properties.as_ref().unwrap()["spec"], "spec", &|spec| spec, &mut cases);
    let mut unlike = Vec::new();
    for TooLarge { path, spec: more } in &cases {
        let message = refusal(server.create("large", &spec(more)).await);
        if !message.contains(path.as_str()) {
            unlike.push(format!("{path}: {message}"));
        }
    }
    println!("{} too large", cases.len());
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
    assert!(cases.len() > 100, "{}", cases.len());
    let together = json!({ "source": { "include": vec!["x".repeat(65); 64] } });
    let message = refusal(server.create("large", &spec(&together)).await);
    assert!(message.contains("spec.source.include must have at most 4096 characters"), "{message}");
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn the_largest_that_is_allowed_is_taken() {
    let server = Server::new().await;
    let largest = largest::spec();
    let made = server.create("largest", &spec(&largest)).await.unwrap();
    assert_eq!(
        made.data["spec"]["job"]["affinity"]["podAffinity"],
        largest["job"]["affinity"]["podAffinity"]
    );
    println!("{} bytes", made.data["spec"].to_string().len());
}
