//! Which fields of an object are kept while it is parsed. What is skipped never takes memory, however large it is, and of a list no
//! more items are kept than any object of ours has: short texts take many times their length.

use std::{borrow::Cow, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::api;

/// Items of one list that are kept. The longest one of ours has each pattern as an argument of a Job, some hundred.
const MOST: usize = 1_000;
/// Items of a list whose typed items take a kilobyte or two each, however short their text is.
const FEW: usize = 64;

/// What is kept of a value.
#[derive(Clone, Copy, Debug)]
pub enum Keep {
    /// All of it.
    All,
    /// Of labels or annotations, those of ours.
    Ours,
    /// Of an object, these fields; of a list, these of each item.
    Fields(&'static [(&'static str, Keep)]),
    /// The same, of few items.
    Few(&'static [(&'static str, Keep)]),
}

use Keep::{All, Few, Fields, Ours};

/// Of an object's metadata. Who owns which field, and the labels and annotations of others, are often the largest part.
pub const METADATA: Keep = Fields(&[
    ("name", All),
    ("namespace", All),
    ("uid", All),
    ("resourceVersion", All),
    ("generation", All),
    ("creationTimestamp", All),
    ("deletionTimestamp", All),
    ("labels", Ours),
    ("annotations", Ours),
    ("ownerReferences", All),
]);

pub const MODEL_CACHE: Keep =
    Fields(&[("apiVersion", All), ("kind", All), ("metadata", METADATA), ("spec", All), ("status", All)]);

pub const SECRET: Keep = Fields(&[("metadata", METADATA), ("data", All)]);

pub const EVENT: Keep = Fields(&[
    ("metadata", METADATA),
    ("type", All),
    ("reason", All),
    ("message", All),
    ("series", All),
    ("lastTimestamp", All),
    ("eventTime", All),
]);

const STORAGE: Keep = Fields(&[("storage", All)]);

pub const CLAIM: Keep = Fields(&[
    ("metadata", METADATA),
    (
        "spec",
        Fields(&[
            ("accessModes", All),
            ("volumeMode", All),
            ("volumeName", All),
            ("resources", Fields(&[("requests", STORAGE)])),
        ]),
    ),
    ("status", Fields(&[("phase", All), ("capacity", STORAGE)])),
]);

/// Of a volume of a pod, the claim that it is.
const VOLUME: &[(&str, Keep)] = &[("name", All), ("persistentVolumeClaim", Fields(&[("claimName", All)]))];

pub const JOB: Keep = Fields(&[
    ("metadata", METADATA),
    (
        "spec",
        Fields(&[(
            "template",
            Fields(&[(
                "spec",
                Fields(&[
                    ("containers", Few(&[("name", All), ("args", All)])),
                    ("volumes", Few(VOLUME)),
                    ("affinity", All),
                ]),
            )]),
        )]),
    ),
    ("status", Fields(&[("conditions", All), ("ready", All)])),
]);

pub const POD: Keep = Fields(&[
    ("metadata", METADATA),
    ("spec", Fields(&[("nodeName", All)])),
    (
        "status",
        Fields(&[
            ("phase", All),
            ("reason", All),
            ("message", All),
            ("conditions", All),
            ("containerStatuses", Few(&[("name", All), ("state", All)])),
        ]),
    ),
]);

/// Of a pod that asks for models. Its status has only the phase: the rest changes all the time.
pub const MODEL_POD: Keep = Fields(&[
    ("metadata", METADATA),
    ("spec", Fields(&[("schedulingGates", Fields(&[("name", All)])), ("volumes", Fields(VOLUME))])),
    ("status", Fields(&[("phase", All)])),
]);

impl Keep {
    /// What is kept under a key; none where it is skipped.
    fn under(self, key: &str) -> Option<Self> {
        match self {
            All => Some(All),
            Ours => is_ours(key).then_some(All),
            Fields(fields) | Few(fields) => {
                fields.iter().find_map(|(name, keep)| (*name == key).then_some(*keep))
            }
        }
    }

    /// Items of a list that are kept.
    const fn most(self) -> usize {
        match self {
            Few(_) => FEW,
            All | Ours | Fields(_) => MOST,
        }
    }
}

fn is_ours(key: &str) -> bool {
    key == api::LABEL_MANAGED_BY || key.split('/').next().is_some_and(|prefix| prefix.ends_with(api::GROUP))
}

impl<'de> DeserializeSeed<'de> for Keep {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// What has another shape than expected stays as it is: the parser of the kind names it.
impl<'de> Visitor<'de> for Keep {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(key) = fields.next_key::<Cow<'de, str>>()? {
            match self.under(&key) {
                Some(keep) => {
                    kept.insert(key.into_owned(), fields.next_value_seed(keep)?);
                }
                None => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(kept))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < self.most() {
            let Some(item) = items.next_element_seed(self)? else { return Ok(Value::Array(kept)) };
            kept.push(item);
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array(kept))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;

    fn read(keep: Keep, raw: &Value) -> Value {
        keep.deserialize(&mut serde_json::Deserializer::from_str(&raw.to_string())).unwrap()
    }

    #[test]
    fn only_what_is_decided_on_is_kept_of_a_pod() {
        let metadata = json!({
            "name": "pod", "labels": { "modelcache.internal/mount": "llama", "app.kubernetes.io/managed-by": "modelcache" },
            "annotations": { "modelcache.internal/also-mount": "x", "mounted.modelcache.internal/x": "y" },
            "ownerReferences": [{ "uid": "1" }],
        });
        let volumes =
            json!([{ "name": "v", "persistentVolumeClaim": { "claimName": "c" } }, { "name": "w" }]);
        let gates = json!([{ "name": "modelcache.internal/llama" }]);
        let of_a_job = json!({
            "metadata": metadata,
            "spec": { "nodeName": "a" },
            "status": { "phase": "Running", "containerStatuses": [{ "name": "c", "state": { "running": {} } }] },
        });
        let with_a_model = json!({
            "metadata": metadata,
            "spec": { "schedulingGates": gates, "volumes": volumes },
            "status": { "phase": "Running" },
        });
        let mut raw = of_a_job.clone();
        let large = json!("x".repeat(1_000));
        raw["metadata"]["managedFields"] = json!([{ "manager": "kubelet" }]);
        raw["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = large.clone();
        raw["metadata"]["annotations"]["internal"] = large.clone();
        raw["metadata"]["labels"]["app"] = large.clone();
        raw["spec"]["schedulingGates"] = gates;
        raw["spec"]["containers"] = json!([{ "env": [{ "name": "A", "value": large }] }]);
        raw["spec"]["volumes"] = volumes;
        raw["spec"]["volumes"][0]["persistentVolumeClaim"]["novel"] = large.clone();
        raw["spec"]["volumes"][1]["configMap"] = json!({ "name": "m" });
        raw["status"]["containerStatuses"][0]["imageID"] = large.clone();
        raw["status"]["initContainerStatuses"] = json!([large]);
        assert_eq!((read(POD, &raw), read(MODEL_POD, &raw)), (of_a_job, with_a_model));
    }

    #[test]
    fn of_a_long_list_no_more_is_kept_than_ours_have() {
        let raw = json!({
            "spec": { "schedulingGates": vec![json!({ "name": "a" }); 5_000] },
            "status": { "phase": "b", "containerStatuses": vec![json!({ "name": "a" }); 5_000] },
        });
        let kept = |keep, list: &str| {
            let read = read(keep, &raw);
            assert_eq!(read["status"]["phase"], "b");
            read.pointer(list).unwrap().as_array().unwrap().len()
        };
        assert_eq!(kept(MODEL_POD, "/spec/schedulingGates"), MOST);
        assert_eq!(kept(POD, "/status/containerStatuses"), FEW);
    }

    #[test]
    fn what_has_another_shape_is_left_to_the_parser() {
        for odd in [
            json!({ "metadata": { "labels": ["not", "a", "map"] } }),
            json!({ "metadata": null, "spec": 1, "status": [true, -1, 1.5, "text"] }),
            json!("none"),
        ] {
            assert_eq!(read(POD, &odd), odd);
        }
    }
}
