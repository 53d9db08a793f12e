//! A ModelCache that cannot be parsed, as one that a newer version wrote before this one came back: it is reported on the
//! resource itself, and nothing else is done with it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
    core::ApiResource,
    runtime::{
        controller::Action,
        events::{Event, EventType},
    },
};
use serde_json::{Value, json};
use tracing::warn;

use super::{
    ApplyError, ObserveError, ReconcileError,
    apply::STATUS_MANAGER,
    events,
    recorder::Recorder,
    watcher::{Guarded, Invalid},
};
use crate::{
    api::{Interval, ModelCache, condition},
    reason::{ConditionType, Reason, Verdict},
};

/// Reports it as a condition and an event, once for each cause.
pub async fn report(
    client: &Client,
    recorder: &Recorder,
    invalid: &Invalid,
) -> Result<Action, ReconcileError> {
    let known = Guarded::<ModelCache>::from_invalid(invalid);
    let (namespace, name) = (known.namespace().unwrap_or_default(), known.name_any());
    let resource = ApiResource::erase::<ModelCache>(&());
    let caches: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    let found = caches.get_opt(&name).await;
    let Some(raw) = found.map_err(|source| ObserveError::read("ModelCache", &name, source))? else {
        return Ok(Action::await_change());
    };
    let verdict = verdict(invalid);
    let generation = raw.metadata.generation.unwrap_or_default();
    if let Some(status) = status(raw.data.get("status"), &verdict, generation, Timestamp::now()) {
        let patch = json!({
            "apiVersion": ModelCache::api_version(&()),
            "kind": ModelCache::kind(&()),
            "metadata": { "name": name, "uid": raw.metadata.uid },
            "status": status,
        });
        let params = PatchParams::apply(STATUS_MANAGER).force();
        match caches.patch_status(&name, &params, &Patch::Apply(patch)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(Action::await_change()),
            Err(source) => {
                return Err(ApplyError::WriteStatus { manager: STATUS_MANAGER.to_owned(), source }.into());
            }
        }
        warn!(error = %invalid, "cannot use a ModelCache");
        let event = Event {
            type_: EventType::Warning,
            reason: verdict.reason.as_str().to_owned(),
            note: Some(events::bounded(&verdict.message)),
            action: "Parse".to_owned(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &known.object_ref(&())).await {
            warn!(%error, reason = event.reason, "cannot write an event");
        }
    }
    Ok(Action::requeue(Interval::default().duration()))
}

/// What is said of it.
pub fn verdict(invalid: &Invalid) -> Verdict {
    let message = format!(
        "This version of the operator cannot use the ModelCache: {invalid}. If a newer version wrote it, install that version \
         again; otherwise correct the field. Nothing is changed until then, and what is on the volume stays."
    );
    Verdict::no(ConditionType::Ready, Reason::InvalidSpec, message)
}

/// The status as it stands, with Ready and Stalled for the verdict; `None` where it says so already. All else stays as it was
/// written, known here or not: a version that understands the object must find it again. Pure.
fn status(raw: Option<&Value>, ready: &Verdict, generation: i64, now: Timestamp) -> Option<Value> {
    let mut status = raw.and_then(Value::as_object).cloned().unwrap_or_default();
    // Another field manager's.
    status.remove("progress");
    let before = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let read = |raw: &Value| serde_json::from_value::<Condition>(raw.clone()).ok();
    let old: Vec<_> = before.iter().filter_map(read).collect();
    let stalled =
        Verdict { topic: ConditionType::Stalled, status: crate::reason::Answer::True, ..ready.clone() };
    let new = condition::conditions(&old, &[ready.clone(), stalled], generation, now);
    let replaced =
        [ConditionType::Ready, ConditionType::Stalled, ConditionType::Reconciling].map(ConditionType::as_str);
    let said: Vec<_> = old.iter().filter(|it| replaced.contains(&it.type_.as_str())).collect();
    if said.len() == new.len() && new.iter().all(|condition| said.contains(&condition)) {
        return None;
    }
    let kept = before.into_iter().filter(|raw| !replaced.iter().any(|topic| raw["type"] == **topic));
    let conditions: Vec<_> = new.into_iter().map(|condition| json!(condition)).chain(kept).collect();
    status.insert("conditions".to_owned(), json!(conditions));
    status.insert("observedGeneration".to_owned(), json!(generation));
    Some(Value::Object(status))
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn invalid() -> Verdict {
        let metadata = kube::core::ObjectMeta::default();
        verdict(&Invalid { metadata, field: "spec.source.type".into(), problem: "is new".into() })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::new(second, 0).unwrap()
    }

    #[test]
    fn what_others_and_newer_versions_wrote_stays() {
        let written = json!({
            "observedGeneration": 3,
            "novel": { "a": [1] },
            "cached": { "commit": 5 },
            "progress": { "percent": 4 },
            "conditions": [
                { "type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" },
                { "type": "Reconciling", "status": "True", "reason": "Novel", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" },
                { "type": "Novel", "status": "Perhaps" },
            ],
        });
        let status = status(Some(&written), &invalid(), 4, at(60)).unwrap();
        assert_eq!((&status["novel"], &status["cached"]), (&written["novel"], &written["cached"]));
        assert_eq!((&status["observedGeneration"], status.get("progress")), (&json!(4), None));
        let conditions = status["conditions"].as_array().unwrap();
        let types: Vec<_> = conditions.iter().map(|it| it["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["Ready", "Stalled", "Novel"]);
        assert_eq!(conditions[2], written["conditions"][2]);
        assert_eq!(
            (&conditions[0]["status"], &conditions[0]["reason"]),
            (&json!("False"), &json!("InvalidSpec"))
        );
        assert!(conditions[0]["message"].as_str().unwrap().contains("spec.source.type is new."));
    }

    #[test]
    fn what_is_said_already_is_not_written_again() {
        for written in [None, Some(json!(null)), Some(json!("gone")), Some(json!({ "conditions": "none" }))] {
            let first = status(written.as_ref(), &invalid(), 1, at(60)).unwrap();
            assert_eq!(status(Some(&first), &invalid(), 1, at(99)), None);
            let next = status(Some(&first), &invalid(), 2, at(99)).unwrap();
            assert_eq!(
                next["conditions"][0]["lastTransitionTime"],
                first["conditions"][0]["lastTransitionTime"]
            );
        }
    }
}
