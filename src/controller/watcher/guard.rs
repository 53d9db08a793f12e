//! Objects that may not parse: one that does not fails alone, and never the list or the watch that it came in.
//!
//! kube's own `DeserializeGuard` does the same, but it neither names the field, nor survives metadata of another shape, nor
//! a status that a newer operator wrote.

use std::{borrow::Cow, fmt::Debug, sync::Arc};

use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{Event, PersistentVolumeClaim, Pod, Secret},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed as _},
};
use serde_json::{Value, json};

use super::{
    fields::{self, Keep},
    metadata,
};
use crate::api::{ModelCache, ModelCacheStatus};

/// The longest part of a parser's message that is kept, in characters.
const LONGEST: usize = 300;

/// An object that cannot be parsed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Invalid {
    /// What can be read of its metadata.
    pub metadata: ObjectMeta,
    /// The path of the field that is meant, such as `spec.source.type`.
    pub field: String,
    /// What is wrong with it. A value that is not known is not repeated: it can be long, and anything.
    pub problem: String,
}

/// An object, or the reason why it cannot be parsed.
#[derive(Clone, Debug)]
pub struct Guarded<K>(Result<Arc<K>, Arc<Invalid>>);

impl<K> Guarded<K> {
    /// The object, or why there is none.
    pub fn get(&self) -> Result<&Arc<K>, &Invalid> {
        self.0.as_ref().map_err(|invalid| &**invalid)
    }

    /// The object, where it can be parsed.
    #[must_use]
    pub fn parsed(&self) -> Option<&Arc<K>> {
        self.0.as_ref().ok()
    }
}

impl<K> From<K> for Guarded<K> {
    fn from(object: K) -> Self {
        Self(Ok(Arc::new(object)))
    }
}

impl<K: Clone> Guarded<K> {
    /// One of which no more is known than this.
    #[must_use]
    pub fn from_invalid(invalid: &Invalid) -> Self {
        Self(Err(Arc::new(invalid.clone())))
    }

    /// The object, to change it.
    pub fn parsed_mut(&mut self) -> Option<&mut K> {
        self.0.as_mut().ok().map(Arc::make_mut)
    }

    /// The object itself.
    pub fn into_inner(self) -> Result<K, Arc<Invalid>> {
        self.0.map(Arc::unwrap_or_clone)
    }
}

/// How a kind is parsed.
pub trait Parse: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned {
    /// What is kept of it; nothing else reads the rest.
    const KEEP: Keep;

    /// Parses an object; the error is the path of a field and what is wrong with it.
    fn parse(raw: &mut Value) -> Result<Self, (String, String)> {
        typed(raw)
    }
}

impl Parse for Job {
    const KEEP: Keep = fields::JOB;
}

impl Parse for Pod {
    const KEEP: Keep = fields::POD;
}

impl Parse for PersistentVolumeClaim {
    const KEEP: Keep = fields::CLAIM;
}

impl Parse for Secret {
    const KEEP: Keep = fields::SECRET;
}

impl Parse for Event {
    const KEEP: Keep = fields::EVENT;
}

impl Parse for ModelCache {
    const KEEP: Keep = fields::MODEL_CACHE;

    /// A status that another version wrote is taken as far as it can be read: it is computed again, and what is known of the
    /// volume must not be lost with one field of another shape.
    fn parse(raw: &mut Value) -> Result<Self, (String, String)> {
        typed(raw).or_else(|invalid| if drop_unreadable_status(raw) { typed(raw) } else { Err(invalid) })
    }
}

impl<'de, K: Parse> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut raw = K::KEEP.deserialize(deserializer)?;
        Ok(Self(K::parse(&mut raw).map(Arc::new).map_err(|(field, problem)| {
            Arc::new(Invalid { metadata: metadata::readable(&raw["metadata"]), field, problem })
        })))
    }
}

impl<K: Resource<DynamicType = ()> + Clone> Resource for Guarded<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(invalid) => &invalid.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => Arc::make_mut(object).meta_mut(),
            Err(invalid) => &mut Arc::make_mut(invalid).metadata,
        }
    }
}

/// Parses, and names the field that cannot be.
fn typed<K: DeserializeOwned>(raw: &Value) -> Result<K, (String, String)> {
    serde_path_to_error::deserialize(raw).map_err(|error| {
        let path = error.path().to_string();
        // The parser does not always know where it was.
        let field = if path == "." { "the object".to_owned() } else { path };
        (field, problem(&error.inner().to_string()))
    })
}

/// The parser's message without the value that it complains of.
fn problem(message: &str) -> String {
    let problem = match message.rsplit_once(", expected ") {
        Some((_, expected)) => format!("has a value that is not known here (expected {expected})"),
        None => format!("cannot be read ({message})"),
    };
    problem.chars().take(LONGEST).collect()
}

/// Drops those fields and conditions of the status that cannot be parsed. Says whether there were any.
fn drop_unreadable_status(raw: &mut Value) -> bool {
    let Some(status) = raw.get_mut("status") else { return false };
    let is_readable =
        |field: &str, value: &Value| typed::<ModelCacheStatus>(&json!({ field: value })).is_ok();
    let Some(fields) = status.as_object_mut() else {
        *status = json!({});
        return true;
    };
    let before = fields.clone();
    if let Some(conditions) = fields.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.retain(|condition| is_readable("conditions", &json!([condition])));
    }
    fields.retain(|field, value| is_readable(field, value));
    *fields != before
}

#[cfg(test)]
mod tests {
    use kube::{ResourceExt as _, core::ObjectList};
    use pretty_assertions::assert_eq;

    use super::*;

    fn cache(name: &str) -> Value {
        json!({
            "apiVersion": "modelcache.internal/v1alpha1",
            "kind": "ModelCache",
            "metadata": {
                "name": name, "namespace": "team", "uid": "1", "resourceVersion": "7", "generation": 2,
                "managedFields": [{ "manager": "kubectl", "operation": "Apply" }],
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": "{}",
                    "modelcache.internal/reconcile-at": "now",
                },
            },
            "spec": { "source": { "repo": "acme/tiny" } },
            "status": {
                "observedGeneration": 2,
                "resolved": { "revision": "main", "commit": "c0ffee", "files": 1, "bytes": 2 },
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "Ready", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
            },
        })
    }

    fn parse(raw: Value) -> Guarded<ModelCache> {
        serde_json::from_value(raw).unwrap()
    }

    #[test]
    fn one_bad_object_does_not_spoil_the_list() {
        let mut bad = cache("bad");
        bad["spec"]["source"]["type"] = json!("Kernel");
        let list =
            json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": [bad, cache("good")] });
        let list: ObjectList<Guarded<ModelCache>> = serde_json::from_value(list).unwrap();
        let invalid = list.items[0].get().unwrap_err();
        assert_eq!(
            invalid.to_string(),
            "spec.source.type has a value that is not known here (expected one of `Model`, `Dataset`, `Space`)"
        );
        assert_eq!((list.items[0].name_any(), list.items[0].uid()), ("bad".to_owned(), Some("1".to_owned())));
        let good = list.items[1].parsed().unwrap();
        assert_eq!(good.spec.source.repo, "acme/tiny");
        assert_eq!(good.annotations().keys().collect::<Vec<_>>(), ["modelcache.internal/reconcile-at"]);
        assert!(good.managed_fields().is_empty());
    }

    #[test]
    fn a_value_is_not_repeated_and_a_message_is_short() {
        for (value, field) in [
            (json!({ "source": { "repo": 5 } }), "spec.source.repo"),
            (json!({ "source": { "repo": { "verysecret": "verysecret" } } }), "spec.source.repo"),
            (
                json!({ "source": { "repo": "a", "type": format!("x, expected {}", "verysecret".repeat(99_999)) } }),
                "spec.source.type",
            ),
            (
                json!({ "source": { "repo": "a" }, "storage": { "claim": { "accessModes": ["verysecret"] } } }),
                "spec.storage.claim.accessModes[0]",
            ),
            (json!({ "source": {} }), "spec.source"),
            (json!("verysecret"), "spec"),
        ] {
            let mut raw = cache("bad");
            raw["spec"] = value;
            let invalid = parse(raw);
            let invalid = invalid.get().unwrap_err();
            assert_eq!(invalid.field, field, "{invalid}");
            assert!(!invalid.problem.contains("verysecret") && invalid.problem.len() < 400, "{invalid}");
        }
    }

    #[test]
    fn a_status_of_another_version_is_read_as_far_as_it_can_be() {
        let mut raw = cache("newer");
        raw["status"]["progress"] = json!({ "percent": 12.5 });
        raw["status"]["observedGeneration"] = json!("two");
        raw["status"]["conditions"].as_array_mut().unwrap().push(json!({ "type": "Novel", "status": 1 }));
        raw["status"]["unknown"] = json!([{}]);
        let cache = parse(raw);
        let status = cache.parsed().unwrap().status.clone().unwrap();
        assert_eq!(status.resolved.unwrap().commit, "c0ffee");
        assert_eq!((status.conditions.len(), status.progress, status.observed_generation), (1, None, None));
        for garbage in [json!("gone"), json!(null), json!([1]), json!({ "conditions": "none" })] {
            let mut raw = self::cache("newer");
            raw["status"] = garbage.clone();
            assert!(parse(raw).parsed().is_some(), "{garbage}");
        }
    }

    #[test]
    fn metadata_of_another_shape_is_read_as_far_as_it_can_be() {
        let mut raw = cache("odd");
        raw["metadata"]["labels"] = json!(["not", "a", "map"]);
        let odd = parse(raw);
        assert!(odd.get().unwrap_err().to_string().starts_with("metadata.labels"), "{odd:?}");
        assert_eq!((odd.name_any().as_str(), odd.resource_version().as_deref()), ("odd", Some("7")));
    }
}
