//! The custom resource definition: made from the types, then completed with what they cannot say.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{ModelCache, bounds, columns, rules};

/// What the text of the definition begins with.
const HEADER: &str = "# Generated from src/api by `make generate`: change it there.\n";

/// Kubernetes' own pattern for quantities, without the sign that none of ours may have.
const QUANTITY: &str = r"^\+?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?[0-9]+))?$";

/// The definition, as it is installed.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut crd = ModelCache::crd();
    for version in &mut crd.spec.versions {
        version.additional_printer_columns = Some(columns::all());
        if let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            complete(root);
        }
    }
    crd
}

/// Why the definition could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// It does not fit into JSON.
    #[error("the definition cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It does not fit into YAML.
    #[error("the definition cannot be written as YAML: {0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// The definition as YAML text.
pub fn crd_yaml() -> Result<String, CrdError> {
    let mut value = serde_json::to_value(crd())?;
    whole_numbers(&mut value);
    Ok(format!("{HEADER}{}", serde_saphyr::to_string(&value)?))
}

/// Everything that is changed about the generated schema.
fn complete(root: &mut JSONSchemaProps) {
    root.title = None;
    everywhere(root, &mut |schema| {
        // Every `Option` is generated as nullable. Without it the API server drops a null and applies the default.
        schema.nullable = None;
        schema.description = schema.description.take().map(|text| unwrapped(&text));
        if schema.x_kubernetes_int_or_string == Some(true) {
            schema.pattern = Some(QUANTITY.to_owned());
            schema.max_length = Some(32);
        }
    });
    at(root, "status", |status| status.default = Some(JSON(unseen())));
    at(root, "spec.job", shorten_job);
    bounds::complete(root);
    for rule in rules::all() {
        at(root, rule.at, |schema| {
            schema.x_kubernetes_validations.get_or_insert_default().push(rule.into());
        });
    }
}

/// The status of an object that no operator has reconciled. Without one it would count as done for `kstatus`.
///
/// No other condition than Ready: the operator's own status is merged onto this one, and only what that always has is replaced.
fn unseen() -> Value {
    json!({
        "observedGeneration": -1,
        "conditions": [{
            "type": "Ready",
            "status": "Unknown",
            "reason": "NotChecked",
            "message": "No operator has checked this ModelCache yet. If it stays so for a minute, none watches this namespace, \
                        or none runs: ask whoever installed it.",
            // Kubernetes' zero: it is not known when this began.
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }],
    })
}

/// Kubernetes' own types in the Job's settings: bounds that the rules need, and descriptions of one sentence each, which
/// makes the definition half as long.
fn shorten_job(job: &mut JSONSchemaProps) {
    for setting in job.properties.iter_mut().flat_map(|settings| settings.values_mut()) {
        children(setting, &mut |child| {
            everywhere(child, &mut |schema| {
                schema.description = schema.description.take().map(|text| first_sentence(&text).to_owned());
            });
        });
    }
    at(job, "resources", |resources| {
        // Dynamic resources would need a field of the pod that is not offered here.
        resources.properties.get_or_insert_default().remove("claims");
    });
    at(job, "podSecurityContext", |context| {
        // Settings of the kernel and of Windows: a download on Linux has no use for them.
        let settings = context.properties.get_or_insert_default();
        settings.remove("sysctls");
        settings.remove("windowsOptions");
    });
    at(job, "imagePullSecrets", |secrets| keyed_by(secrets, "name"));
    at(job, "imagePullSecrets[]", |secret| secret.required = Some(vec!["name".to_owned()]));
    at(job, "imagePullSecrets[].name", |name| {
        name.default = None;
        name.max_length = Some(253);
    });
    for labels in ["nodeSelector", "labels"] {
        at(job, &format!("{labels}{{}}"), |value| value.max_length = Some(63));
    }
    at(job, "annotations{}", |value| value.max_length = Some(4096));
    // A download goes after the pods of its own namespace, if after any.
    for kind in ["podAffinity", "podAntiAffinity"] {
        for term in [
            "requiredDuringSchedulingIgnoredDuringExecution[]",
            "preferredDuringSchedulingIgnoredDuringExecution[].podAffinityTerm",
        ] {
            at(job, &format!("affinity.{kind}.{term}"), |term| {
                let fields = term.properties.get_or_insert_default();
                for name in ["namespaces", "namespaceSelector", "matchLabelKeys", "mismatchLabelKeys"] {
                    fields.remove(name);
                }
            });
        }
    }
}

/// Makes a list one that is merged by this key, and refused where the key comes twice.
fn keyed_by(list: &mut JSONSchemaProps, key: &str) {
    list.x_kubernetes_list_type = Some("map".to_owned());
    list.x_kubernetes_list_map_keys = Some(vec![key.to_owned()]);
}

/// Changes the schema at a path: property names, `[]` for the items of a list, `{}` for the values of a map.
fn at(root: &mut JSONSchemaProps, path: &str, change: impl FnOnce(&mut JSONSchemaProps)) {
    let mut found = Some(root);
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let name = step.trim_end_matches(['[', ']', '{', '}']);
        found = found.and_then(|schema| schema.properties.as_mut()?.get_mut(name));
        if step.ends_with("[]") {
            found = found.and_then(items);
        } else if step.ends_with("{}") {
            found = found.and_then(values);
        }
    }
    // A path that leads nowhere is caught by the tests: nothing here depends on input.
    if let Some(schema) = found {
        change(schema);
    }
}

/// The schema of a list's items.
fn items(list: &mut JSONSchemaProps) -> Option<&mut JSONSchemaProps> {
    match list.items.as_mut()? {
        JSONSchemaPropsOrArray::Schema(item) => Some(item),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

/// The schema of a map's values.
fn values(map: &mut JSONSchemaProps) -> Option<&mut JSONSchemaProps> {
    match map.additional_properties.as_mut()? {
        JSONSchemaPropsOrBool::Schema(value) => Some(value),
        JSONSchemaPropsOrBool::Bool(_) => None,
    }
}

/// Visits the schemas directly below.
fn children(schema: &mut JSONSchemaProps, visit: &mut dyn FnMut(&mut JSONSchemaProps)) {
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(&mut *visit);
    items(schema).into_iter().for_each(&mut *visit);
    values(schema).into_iter().for_each(visit);
}

/// Visits a schema and all below.
fn everywhere(schema: &mut JSONSchemaProps, visit: &mut dyn FnMut(&mut JSONSchemaProps)) {
    visit(schema);
    children(schema, &mut |child| everywhere(child, visit));
}

/// A description without the line breaks of the source; paragraphs stay.
fn unwrapped(text: &str) -> String {
    text.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
}

/// Up to the first full stop that ends a sentence.
fn first_sentence(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    let end = line.match_indices(". ").map(|(at, _)| at).find(|&at| {
        let abbreviated = line[..at].ends_with("e.g") || line[..at].ends_with("i.e");
        !abbreviated && line[at + 2..].trim_start().starts_with(|next: char| next.is_uppercase())
    });
    end.map_or(line, |at| &line[..=at])
}

/// Writes 0.0 as 0, as the API server gives it back: else the two would differ for tools that compare them.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Number(number) if number.is_f64() => {
            if let Some(whole) =
                number.to_string().strip_suffix(".0").and_then(|text| text.parse::<i64>().ok())
            {
                *value = whole.into();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{
        api::{ModelCacheStatus, condition},
        reason::{Answer, ConditionType, Reason, Verdict},
    };

    /// The file that is installed.
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/modelcaches.modelcache.internal.yaml");

    fn root() -> JSONSchemaProps {
        crd().spec.versions.remove(0).schema.unwrap().open_api_v3_schema.unwrap()
    }

    fn collect<T>(root: &mut JSONSchemaProps, mut pick: impl FnMut(&JSONSchemaProps) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        everywhere(root, &mut |schema| found.extend(pick(schema)));
        found
    }

    #[test]
    fn the_file_is_up_to_date() {
        let wanted = crd_yaml().unwrap();
        if std::env::var_os("UPDATE_CRDS").is_some() {
            std::fs::write(FILE, &wanted).unwrap();
        }
        let file = std::fs::read_to_string(FILE).unwrap();
        assert!(file == wanted, "{FILE} is not what src/api makes: run `make generate`");
    }

    #[test]
    fn the_text_says_what_the_types_say() {
        let mut wanted = serde_json::to_value(crd()).unwrap();
        whole_numbers(&mut wanted);
        assert_eq!(serde_saphyr::from_str::<Value>(&crd_yaml().unwrap()).unwrap(), wanted);
    }

    #[test]
    fn every_rule_finds_its_place() {
        let rules = collect(&mut root(), |schema| schema.x_kubernetes_validations.clone()).concat();
        let of_keys =
            rules.iter().filter(|rule| rule.rule.starts_with("self.all(key, key.size() <= ")).count();
        assert_eq!(rules.len() - of_keys, rules::all().count());
        assert_eq!(of_keys, 9, "one for each map");
        assert!(rules.iter().all(|rule| !rule.rule.contains('\n') && !rule.rule.contains("  ")));
    }

    #[test]
    fn nothing_is_nullable() {
        assert!(collect(&mut root(), |schema| schema.nullable).is_empty());
    }

    #[test]
    fn every_field_is_described_and_bounded() {
        let mut root = root();
        // What lies deeper in the Job's settings is Kubernetes' own.
        at(&mut root, "spec.job", |job| {
            for setting in job.properties.iter_mut().flat_map(|settings| settings.values_mut()) {
                assert!(setting.description.is_some(), "{setting:#?}");
                if setting.type_.as_deref() == Some("object") && setting.additional_properties.is_none() {
                    setting.properties = None;
                }
                setting.items = None;
            }
        });
        let mut described = 0;
        everywhere(&mut root, &mut |schema| {
            for (name, field) in schema.properties.iter().flatten() {
                let standard = ["apiVersion", "kind", "metadata"].contains(&name.as_str());
                assert!(standard || field.description.is_some(), "{name} has no description");
                described += 1;
            }
        });
        assert!(described > 40);
        at(&mut root, "spec", |spec| {
            everywhere(spec, &mut |schema| match schema.type_.as_deref() {
                Some("string") => {
                    assert!(schema.max_length.is_some() || schema.enum_.is_some(), "{schema:#?}");
                }
                Some("array") => assert!(schema.max_items.is_some(), "{schema:#?}"),
                Some("object") => {
                    let map = schema.additional_properties.is_some();
                    assert!(!map || schema.max_properties.is_some(), "{schema:#?}");
                }
                _ => {}
            });
        });
    }

    #[test]
    fn a_new_object_is_not_done() {
        at(&mut root(), "status", |status| {
            let default: ModelCacheStatus =
                serde_json::from_value(status.default.clone().unwrap().0).unwrap();
            assert_eq!(default.observed_generation, Some(-1));
            let ready = condition::verdict(&default.conditions, ConditionType::Ready).unwrap();
            assert_eq!((ready.status, ready.reason), (Answer::Unknown, Reason::NotChecked));
            // What the operator finds replaces all of it.
            let found = [Verdict::yes(ConditionType::Ready, Reason::Ready, "Done.")];
            assert_eq!(
                default.conditions.len(),
                condition::conditions(&[], &found, 1, Timestamp::UNIX_EPOCH).len()
            );
        });
    }

    #[test]
    fn the_table_tells_the_story() {
        let version = crd().spec.versions.remove(0);
        let columns = version.additional_printer_columns.unwrap();
        let always: Vec<_> = columns.iter().filter(|it| it.priority.is_none()).map(|it| &it.name).collect();
        assert_eq!(always, ["Ready", "Reason", "Repo", "Commit", "Size", "Progress", "Claim", "Age"]);
    }

    #[test]
    fn the_definition_fits_into_an_annotation() {
        // `kubectl apply` keeps the whole of it in one, of 262,144 bytes at most.
        let size = serde_json::to_string(&crd()).unwrap().len();
        assert!(size < 64 * 1024, "{size} bytes");
    }

    #[test]
    fn sentences_end_at_full_stops() {
        for (text, first) in [
            ("One. Two.", "One."),
            ("See e.g. Kubernetes. Two", "See e.g. Kubernetes."),
            ("Up to v1.36. more", "Up to v1.36. more"),
            ("A line\n\nand more", "A line"),
            ("", ""),
        ] {
            assert_eq!(first_sentence(text), first);
        }
        assert_eq!(unwrapped("a\nb\n\nc\nd"), "a b\n\nc d");
    }
}
