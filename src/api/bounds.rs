//! Bounds on everything that an object can hold: the operator keeps every one of them in memory, whoever wrote it. Fields of
//! our own types have theirs at the type; what is Kubernetes' own has none and gets them here.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};

/// The longest key of a map, in characters. Kubernetes allows 317, of which nobody uses half.
pub(super) const KEY: i64 = 128;
/// The longest value of a label.
const LABEL: i64 = 63;
/// The longest text, unless it is known better: the longest name of an object.
const TEXT: i64 = 253;
/// Items of a list and entries of a map, unless it is known better.
const COUNT: i64 = 8;
/// What is no user's free text is visible ASCII.
const VISIBLE: &str = "^[ -~]*$";

/// Where the rest of a path is this, the list has at most so many items.
const ITEMS: [(&str, i64); 6] = [
    ("matchFields[].values", 1),
    ("matchFields", 1),
    ("matchExpressions", 4),
    ("nodeSelectorTerms", 4),
    ("DuringExecution", 2),
    ("supplementalGroups", 16),
];

/// Where the rest of a path is this, the text has at most so many characters.
const LENGTHS: [(&str, i64); 10] = [
    ("ey", KEY),
    (".value", LABEL),
    ("values[]", LABEL),
    ("matchLabels{}", LABEL),
    // A folder, a repo's folder and a commit.
    ("status.snapshots[].path", 512),
    ("status.snapshots[].claimUID", LABEL),
    ("ommit", LABEL),
    ("fillHash", LABEL),
    // A time.
    ("status.furthest.since", LABEL),
    // The times: updated, verified, observed.
    ("edAt", LABEL),
];

/// Gives a bound to each text, list and map below that has none, and to the keys of each map of the spec.
pub(super) fn complete(root: &mut JSONSchemaProps) {
    bound(root, "");
}

fn known(table: &[(&str, i64)], path: &str, otherwise: i64) -> i64 {
    table.iter().find(|(end, _)| path.ends_with(end)).map_or(otherwise, |(_, most)| *most)
}

fn bound(schema: &mut JSONSchemaProps, path: &str) {
    match schema.type_.as_deref() {
        Some("string") if schema.enum_.is_none() && schema.max_length.is_none() => {
            schema.max_length = Some(known(&LENGTHS, path, TEXT));
            if path.starts_with("spec.") && schema.pattern.is_none() {
                schema.pattern = Some(VISIBLE.to_owned());
            }
        }
        Some("array") if schema.max_items.is_none() => schema.max_items = Some(known(&ITEMS, path, COUNT)),
        _ => {}
    }
    for (name, field) in schema.properties.iter_mut().flatten() {
        // The API server's own.
        if !path.is_empty() || name != "metadata" {
            bound(field, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") });
        }
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &mut schema.items {
        bound(item, &format!("{path}[]"));
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &mut schema.additional_properties {
        bound(value, &format!("{path}{{}}"));
        schema.max_properties.get_or_insert(COUNT);
        schema.x_kubernetes_validations.get_or_insert_default().push(keys(path));
    }
}

/// A schema has no bound for keys.
fn keys(path: &str) -> ValidationRule {
    ValidationRule {
        rule: format!("self.all(key, key.size() <= {KEY})"),
        message: Some(format!("{path} must have keys of at most {KEY} characters")),
        ..ValidationRule::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists and maps whose texts have a bound together, by a rule: characters in all of them.
    const TOGETHER: [(&str, u64); 3] =
        [("spec.source.include", 4096), ("spec.source.exclude", 4096), ("spec.job.annotations", 4096)];

    fn root() -> JSONSchemaProps {
        let version = crate::api::crd().spec.versions.remove(0);
        version.schema.unwrap().open_api_v3_schema.unwrap()
    }

    fn number(bound: Option<i64>, path: &str) -> u64 {
        u64::try_from(bound.unwrap_or_else(|| panic!("{path} has no bound"))).unwrap()
    }

    /// The most bytes that the JSON of a value can have, without escapes: four for a character that may be any.
    fn most(schema: &JSONSchemaProps, path: &str) -> u64 {
        let wide = |length: u64| if schema.pattern.is_some() { length } else { 4 * length };
        let quoted = |length: u64| length + 2;
        if let Some(words) = &schema.enum_ {
            return words.iter().map(|word| word.0.to_string().len() as u64).max().unwrap();
        }
        let together = TOGETHER.iter().find(|(at, _)| *at == path).map(|(_, all)| all * 4);
        match schema.type_.as_deref() {
            Some("string") => quoted(wide(number(schema.max_length, path))),
            Some("integer" | "number") => 20,
            Some("boolean") => 5,
            Some("array") => {
                let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items else { panic!("{path}") };
                let count = number(schema.max_items, path);
                let each = most(item, &format!("{path}[]"));
                2 + together.map_or(count * (each + 1), |all| all + count * 3)
            }
            Some("object") => match &schema.additional_properties {
                Some(JSONSchemaPropsOrBool::Schema(value)) => {
                    let count = number(schema.max_properties, path);
                    let key = u64::try_from(KEY).unwrap() * 4 + 4;
                    let each = most(value, &format!("{path}{{}}"));
                    2 + together.map_or(count * (key + each), |all| all + count * (key + 2))
                }
                Some(JSONSchemaPropsOrBool::Bool(_)) => panic!("{path} takes anything"),
                None => {
                    assert!(schema.x_kubernetes_preserve_unknown_fields.is_none(), "{path} takes anything");
                    let fields = schema.properties.iter().flatten();
                    2 + fields
                        .map(|(name, field)| name.len() as u64 + 4 + most(field, &format!("{path}.{name}")))
                        .sum::<u64>()
                }
            },
            _ if schema.x_kubernetes_int_or_string == Some(true) => quoted(number(schema.max_length, path)),
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn everything_that_an_object_can_hold_is_bounded() {
        let root = root();
        let fields = root.properties.as_ref().unwrap();
        let (spec, status) = (most(&fields["spec"], "spec"), most(&fields["status"], "status"));
        println!("spec: {spec} bytes, status: {status} bytes");
        assert!(spec < 288 << 10, "{spec} bytes");
        // Conditions may have what those of Kubernetes may; ours are cut at 2,000 characters.
        let conditions =
            most(&fields["status"].properties.as_ref().unwrap()["conditions"], "status.conditions");
        // Half of it are the patterns of the current snapshot, the rest eight snapshots with ten refs each.
        let rest = status - conditions;
        assert!(rest < 264 << 10, "{rest} bytes");
    }
}
