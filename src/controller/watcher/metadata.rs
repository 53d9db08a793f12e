//! The part of an object's metadata that the watches depend on, whatever shape the rest has.

use std::{borrow::Cow, fmt, marker::PhantomData};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// An object's identity, labels and owners. Only metadata is requested from the API server, and annotations, which may be
/// long, are skipped while they are read.
pub struct Metadata<K> {
    metadata: ObjectMeta,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Metadata<K> {
    fn clone(&self) -> Self {
        Self { metadata: self.metadata.clone(), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Metadata<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.metadata.fmt(f)
    }
}

impl<'de, K> Deserialize<'de> for Metadata<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object { metadata } = Object::deserialize(deserializer)?;
        Ok(Self { metadata: metadata.readable(), kind: PhantomData })
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Metadata<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn metadata_api() -> bool {
        true
    }

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
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Fields,
}

/// Each of them is parsed on its own; all other fields are skipped.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Fields {
    name: Value,
    namespace: Value,
    uid: Value,
    resource_version: Value,
    generation: Value,
    creation_timestamp: Value,
    deletion_timestamp: Value,
    labels: Value,
    owner_references: Value,
}

impl Fields {
    fn readable(self) -> ObjectMeta {
        fn one<T: DeserializeOwned>(field: Value) -> Option<T> {
            serde_json::from_value(field).ok()
        }
        ObjectMeta {
            name: one(self.name),
            namespace: one(self.namespace),
            uid: one(self.uid),
            resource_version: one(self.resource_version),
            generation: one(self.generation),
            creation_timestamp: one(self.creation_timestamp),
            deletion_timestamp: one(self.deletion_timestamp),
            labels: one(self.labels),
            owner_references: one(self.owner_references),
            ..ObjectMeta::default()
        }
    }
}

/// What can be read of raw metadata.
pub(super) fn readable(raw: &Value) -> ObjectMeta {
    Fields::deserialize(raw).unwrap_or_default().readable()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use kube::ResourceExt as _;
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_another_shape_is_left_out_and_annotations_are_never_kept() {
        let raw = json!({
            "apiVersion": "meta.k8s.io/v1",
            "kind": "PartialObjectMetadata",
            "metadata": {
                "name": "hf", "namespace": "team", "uid": "1", "resourceVersion": "7",
                "labels": "none", "ownerReferences": { "kind": 1 }, "annotations": { "a": "b" }, "novel": [1],
            },
        });
        let secret: Metadata<Secret> = serde_json::from_str(&raw.to_string()).unwrap();
        assert_eq!((secret.name_any().as_str(), secret.namespace().as_deref()), ("hf", Some("team")));
        assert_eq!(secret.resource_version().as_deref(), Some("7"));
        assert!(secret.labels().is_empty() && secret.annotations().is_empty());
        assert!(secret.owner_references().is_empty());
    }
}
