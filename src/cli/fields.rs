//! The reference of the resource, in Markdown: every field of the CRD with its validation rules.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

use crate::api;

/// Fields with a type of Kubernetes itself, documented there.
const KUBERNETES: [&str; 5] = [
    "spec.job.affinity",
    "spec.job.podSecurityContext",
    "spec.job.resources",
    "spec.job.tolerations[]",
    "status.conditions[]",
];

/// Renders the page.
pub(super) fn page() -> String {
    let mut text = String::from(
        "<!-- Generated from src/api by `make generate`: change it there. -->\n\n# ModelCache\n\n\
         `apiVersion: modelcache.internal/v1alpha1`, `kind: ModelCache`, in a namespace; `mcache` for short. \
         `kubectl explain modelcache.spec` shows the same. The API server validates each rule, and returns its text when it rejects an \
         object.\n",
    );
    let version = api::crd().spec.versions.into_iter().next();
    let root = version.and_then(|version| version.schema?.open_api_v3_schema).unwrap_or_default();
    for part in ["spec", "status"] {
        if let Some(found) = root.properties.as_ref().and_then(|all| all.get(part)) {
            let described = found.description.as_deref().unwrap_or_default();
            let _ = write!(text, "\n## {part}\n\n{described}\n");
            fields(&mut text, part, found);
        }
    }
    text
}

/// The fields of an object, recursively.
fn fields(text: &mut String, path: &str, schema: &JSONSchemaProps) {
    let required = schema.required.clone().unwrap_or_default();
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        field_of(text, &path, field, required.contains(name));
    }
}

fn field_of(text: &mut String, path: &str, field: &JSONSchemaProps, required: bool) {
    let items = match &field.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(&**items),
        _ => None,
    };
    let kind = match (field.type_.as_deref(), items.and_then(|items| items.type_.as_deref())) {
        (Some("array"), Some(of)) => format!("list of {of}s"),
        (Some(kind), _) => kind.to_owned(),
        (None, _) => "integer or string".to_owned(),
    };
    let mut facts = vec![kind];
    if required {
        facts.push("required".to_owned());
    }
    if let Some(default) = field.default.as_ref().filter(|default| default.0 != serde_json::json!({})) {
        facts.push(format!("`{}` unless given", default.0));
    }
    // The bounds of the status do not concern users.
    if path.starts_with("spec.") {
        facts.extend(bounds(field, items));
    }
    if let Some(allowed) = &field.enum_ {
        let words = allowed.iter().filter(|word| !word.0.is_null());
        let words: Vec<_> = words.map(|one| format!("`{}`", one.0)).collect();
        facts.push(words.join(", ").replace('"', ""));
    }
    let described = field.description.as_deref().unwrap_or_default();
    let _ = write!(text, "\n### {path}\n\n*{}*\n\n{described}\n", facts.join(" · "));
    let rules: Vec<_> = [Some(field), items]
        .into_iter()
        .flatten()
        .flat_map(|schema| schema.x_kubernetes_validations.iter().flatten())
        .filter_map(|rule| rule.message.as_deref())
        .collect();
    if !rules.is_empty() {
        text.push('\n');
        for rule in rules {
            let _ = writeln!(text, "- {rule}.");
        }
    }
    let inner = items.map_or_else(|| path.to_owned(), |_| format!("{path}[]"));
    if KUBERNETES.contains(&inner.as_str()) {
        return;
    }
    fields(text, &inner, items.unwrap_or(field));
}

/// The size limits of a field, if the schema has any.
fn bounds(field: &JSONSchemaProps, items: Option<&JSONSchemaProps>) -> Option<String> {
    let entries = field.max_items.map(|most| format!("at most {most}")).or_else(|| {
        let most = field.max_properties?;
        Some(format!("at most {most} entries"))
    });
    let values = match &field.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(value)) => value.max_length,
        _ => None,
    };
    let texts = items.and_then(|items| items.max_length).or(values);
    let texts = texts.map(|most| format!("of at most {most} characters"));
    let alone =
        field.max_length.filter(|_| field.enum_.is_none()).map(|most| format!("at most {most} characters"));
    let bounds: Vec<_> = [entries, texts, alone].into_iter().flatten().collect();
    (!bounds.is_empty()).then(|| bounds.join(" "))
}
