//! Validates an object against the schema of its kind, as the API server does, except for CEL rules.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;
use strsim::levenshtein;

use super::node::{Node, Shape};
use crate::text::printable;

/// An error and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Violation {
    pub(super) line: u64,
    /// The message, without a period.
    pub(super) text: String,
}

/// All violations of the schema. Values are not repeated: one may be a misplaced token.
pub(super) fn violations(node: &Node, schema: &JSONSchemaProps, path: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    check(node, schema, path, &mut violations);
    violations
}

fn check(node: &Node, schema: &JSONSchemaProps, path: &str, violations: &mut Vec<Violation>) {
    let mut say = |line, text| violations.push(Violation { line, text });
    let line = node.line;
    if !is_of_type(&node.shape, schema) {
        let wanted = schema.type_.as_deref().unwrap_or("string or integer");
        return say(line, format!("{path} must be {}", article(wanted)));
    }
    match &node.shape {
        Shape::Plain(value) => {
            let allowed: Vec<_> = schema.enum_.iter().flatten().map(|allowed| &allowed.0).collect();
            if !allowed.is_empty() && !allowed.contains(&value) {
                let words: Vec<_> = allowed.iter().filter_map(|word| word.as_str()).collect();
                say(line, format!("{path} must be one of {}", words.join(", ")));
            }
            if let Some(text) = value.as_str()
                && let Some(wrong) = outside(
                    text.chars().count(),
                    schema.min_length,
                    schema.max_length,
                    "character",
                    "characters",
                )
            {
                say(line, format!("{path} must have {wrong}"));
            }
        }
        Shape::List(nodes) => {
            if let Some(wrong) = outside(nodes.len(), schema.min_items, schema.max_items, "item", "items") {
                say(line, format!("{path} must have {wrong}"));
            }
            if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
                for (at, node) in nodes.iter().enumerate() {
                    check(node, items, &format!("{path}[{at}]"), violations);
                }
            }
        }
        Shape::Map(fields) => {
            for name in schema.required.iter().flatten() {
                if node.field(name).is_none() {
                    say(line, format!("{path}.{name} is missing"));
                }
            }
            for (name, line, node) in fields {
                let path = format!("{path}.{}", printable(name));
                match (
                    schema.properties.as_ref().and_then(|all| all.get(name)),
                    &schema.additional_properties,
                ) {
                    (Some(schema), _) => check(node, schema, &path, violations),
                    (None, Some(JSONSchemaPropsOrBool::Schema(schema))) => {
                        check(node, schema, &path, violations);
                    }
                    (None, Some(JSONSchemaPropsOrBool::Bool(true))) => {}
                    _ if schema.x_kubernetes_preserve_unknown_fields == Some(true) => {}
                    _ => violations.push(Violation {
                        line: *line,
                        text: format!("{path} is not a field{}", near(name, schema)),
                    }),
                }
            }
        }
    }
}

fn is_of_type(shape: &Shape, schema: &JSONSchemaProps) -> bool {
    // Null means unset: the API server drops it.
    if matches!(shape, Shape::Plain(Value::Null)) {
        return true;
    }
    let plain = |is: fn(&Value) -> bool| matches!(shape, Shape::Plain(value) if is(value));
    if schema.x_kubernetes_int_or_string == Some(true) {
        return plain(Value::is_string) || plain(is_integer);
    }
    match schema.type_.as_deref() {
        Some("object") => matches!(shape, Shape::Map(_)),
        Some("array") => matches!(shape, Shape::List(_)),
        Some("string") => plain(Value::is_string),
        Some("boolean") => plain(Value::is_boolean),
        Some("integer") => plain(is_integer),
        Some("number") => plain(Value::is_number),
        _ => true,
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64()
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}

/// The violated limit, if there are too few or too many.
fn outside(count: usize, min: Option<i64>, max: Option<i64>, one: &str, many: &str) -> Option<String> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let word = |limit: i64| if limit == 1 { one.to_owned() } else { many.to_owned() };
    match (min, max) {
        (Some(min), _) if count < min => Some(format!("at least {min} {}", word(min))),
        (_, Some(max)) if count > max => Some(format!("at most {max} {}", word(max))),
        _ => None,
    }
}

/// `; did you mean …?` if a field has a similar name.
fn near(name: &str, schema: &JSONSchemaProps) -> String {
    let fields = schema.properties.iter().flat_map(|all| all.keys());
    let name = name.to_lowercase();
    let near = fields.map(|field| (levenshtein(&name, &field.to_lowercase()), field)).min();
    near.filter(|(distance, _)| *distance <= 2)
        .map_or_else(String::new, |(_, field)| format!("; did you mean {field}?"))
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::api;

    fn found(yaml: &str) -> Vec<(u64, String)> {
        let node: Node = serde_saphyr::from_str(yaml).unwrap();
        let crd = api::crd();
        let schema = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
        let spec = &schema.properties.as_ref().unwrap()["spec"];
        violations(&node, spec, "spec")
            .into_iter()
            .map(|violation| (violation.line, violation.text))
            .collect()
    }

    #[test]
    fn every_field_of_the_kind_is_known() {
        let all = "source: {repo: a/b, type: Dataset, revision: v1, include: ['*.json'], exclude: [x], aliases: [main]}\n\
                   tokenSecretRef: {name: hf, key: token}\n\
                   storage: {claim: {size: 40Gi, accessModes: [ReadWriteMany]}}\n\
                   job: {nodeSelector: {a: b}, resources: {limits: {cpu: 2, memory: 1Gi}}, logLevel: Debug}\n\
                   interval: 1h\nsuspend: false\n";
        assert_eq!(found(all), []);
    }

    #[test]
    fn each_violation_has_its_line() {
        let bad = "source:\n  rpo: a/b\n  type: Modell\n  include: '*.json'\n  exclude: ['']\n  revision: 3\n\
                   TokenSecretRef:\n  name: hf\nsuspend: \"no\"\nstorage:\n  claim:\n    accessModes: []\n";
        let expected = [
            (2, "spec.source.repo is missing"),
            (2, "spec.source.rpo is not a field; did you mean repo?"),
            (3, "spec.source.type must be one of Model, Dataset, Space"),
            (4, "spec.source.include must be an array"),
            (5, "spec.source.exclude[0] must have at least 1 character"),
            (6, "spec.source.revision must be a string"),
            (7, "spec.TokenSecretRef is not a field; did you mean tokenSecretRef?"),
            (9, "spec.suspend must be a boolean"),
            (12, "spec.storage.claim.accessModes must have at least 1 item"),
        ];
        assert_eq!(found(bad), expected.map(|(line, text)| (line, text.to_owned())));
    }
}
