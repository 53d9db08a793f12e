//! What is done about one gate of a waiting pod. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{ResourceExt, runtime::events::EventType};

use super::pod::ModelPod;
use crate::{
    api::{ModelCache, condition, mount},
    controller::{backoff, unreadable, watcher::Invalid},
    reason::{ConditionType, Reason},
};

/// Controllers that replace a deleted pod and do not count that as a failure. A Job does count it.
const REPLACING: [&str; 3] = ["ReplicaSet", "StatefulSet", "DaemonSet"];
/// The longest time that a pod without its volume stays before it is deleted, so that its owner replaces it.
const LONGEST: Duration = Duration::from_secs(60);

/// No ModelCache of the name exists.
pub const NOT_FOUND: &str = "ModelCacheNotFound";
/// The pod was made before its ModelCache was known, and no controller replaces it.
pub const MADE_TOO_EARLY: &str = "MadeBeforeModelCache";
/// The pod was made before its ModelCache was known, and was deleted so that its owner replaces it.
pub const RECREATED: &str = "MadeAgain";

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Remove the gate.
    Release,
    /// Delete the pod at the end of this time: its owner makes another one, with the model.
    Recreate(Duration),
    /// Leave it waiting, and report why.
    Wait(PodEvent),
}

impl Action {
    /// Whether it changes the pod.
    #[must_use]
    pub const fn changes_the_pod(&self) -> bool {
        match self {
            Self::Release | Self::Recreate(_) => true,
            Self::Wait(_) => false,
        }
    }
}

/// An event on the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    /// A warning where user action is required.
    pub type_: EventType,
    /// The reason: that of the ModelCache's Ready condition, or one of this file.
    pub reason: String,
    /// The sentence.
    pub message: String,
}

/// Decides for the gate of the ModelCache `name`; `cache` is what is known of it.
#[must_use]
pub fn decide(pod: &ModelPod, name: &str, cache: Option<&ModelCache>, now: Timestamp) -> Action {
    let Some(cache) = cache.filter(|cache| cache.metadata.deletion_timestamp.is_none()) else {
        return Action::Wait(not_found(name));
    };
    let mounted = pod.annotations().get(&mount::mounted(name));
    if mounted == Some(&cache.place()) && pod.has_volume(Some(cache)) {
        return if may_start(pod, cache) { Action::Release } else { Action::Wait(not_ready(cache)) };
    }
    if !is_replaced(pod) {
        return Action::Wait(too_early(pod, cache, mounted.map(String::as_str)));
    }
    if may_start(pod, cache) {
        Action::Recreate(patience(pod, cache, now))
    } else {
        Action::Wait(not_ready(cache))
    }
}

/// Whether the volume has what the pod needs. The admission policies use the same rule.
fn may_start(pod: &ModelPod, cache: &ModelCache) -> bool {
    let waits_for = pod.annotations().get(mount::ANNOTATION_WAIT_FOR).map(String::as_str);
    cache.is_loadable() || (cache.is_available() && waits_for != Some(ConditionType::Ready.as_str()))
}

fn controller(pod: &ModelPod) -> Option<&OwnerReference> {
    pod.owner_references().iter().find(|owner| owner.controller == Some(true))
}

fn is_replaced(pod: &ModelPod) -> bool {
    controller(pod)
        .is_some_and(|owner| owner.api_version == "apps/v1" && REPLACING.contains(&owner.kind.as_str()))
}

/// Admission may learn of a new ModelCache seconds after us, and pods that are made meanwhile lack their volume, too. So the later
/// after Ready a pod was made, the longer it stays, which doubles the pauses.
fn patience(pod: &ModelPod, cache: &ModelCache, now: Timestamp) -> Duration {
    let made = pod.creation_timestamp().map_or(now, |time| time.0);
    let ready = condition::find(cache.conditions(), ConditionType::Ready)
        .map_or(made, |it| it.last_transition_time.0);
    backoff::elapsed(ready, made).min(LONGEST).saturating_sub(backoff::elapsed(made, now))
}

/// The ModelCache exists, but cannot be parsed.
#[must_use]
pub fn unreadable(name: &str, invalid: &Invalid) -> PodEvent {
    let verdict = unreadable::verdict(invalid);
    PodEvent {
        type_: EventType::Warning,
        reason: verdict.reason.as_str().to_owned(),
        message: format!("Waits for the ModelCache {name}: {}", verdict.message),
    }
}

fn not_found(name: &str) -> PodEvent {
    PodEvent {
        type_: EventType::Warning,
        reason: NOT_FOUND.to_owned(),
        message: format!(
            "There is no ModelCache {name} in this namespace. Make it, or correct the label {} or the annotation {}.",
            mount::LABEL_MOUNT,
            mount::ANNOTATION_ALSO_MOUNT
        ),
    }
}

/// What the ModelCache's Ready condition says.
fn not_ready(cache: &ModelCache) -> PodEvent {
    let name = cache.name_any();
    let Some(ready) = condition::verdict(cache.conditions(), ConditionType::Ready) else {
        return PodEvent {
            type_: EventType::Normal,
            reason: Reason::NotChecked.as_str().to_owned(),
            message: format!("Waits for the ModelCache {name}, which no operator has checked yet."),
        };
    };
    if ready.holds() {
        return PodEvent {
            type_: EventType::Normal,
            reason: Reason::NotChecked.as_str().to_owned(),
            message: format!("Waits for the ModelCache {name}, the spec of which has just been changed."),
        };
    }
    PodEvent {
        type_: if condition::holds(cache.conditions(), ConditionType::Stalled) {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: ready.reason.as_str().to_owned(),
        message: format!("Waits for the ModelCache {name}: {}", ready.message),
    }
}

fn too_early(pod: &ModelPod, cache: &ModelCache, mounted: Option<&str>) -> PodEvent {
    let name = cache.name_any();
    let why = match mounted {
        None => format!("This pod was made before the ModelCache {name} was known"),
        Some(place) => {
            format!("This pod mounts the ModelCache {name} from {place}, but it is now on {}", cache.place())
        }
    };
    let remedy = match controller(pod) {
        Some(owner) if owner.kind == "Job" => format!(
            "Delete the Job {} and make it again (deleting its pod alone counts as a failure of the Job)",
            owner.name
        ),
        Some(owner) => format!(
            "Delete the pod; if the {} {} does not make another one, make that again",
            owner.kind, owner.name
        ),
        None => "Delete the pod and make it again".to_owned(),
    };
    PodEvent {
        type_: EventType::Warning,
        reason: MADE_TOO_EARLY.to_owned(),
        message: format!("{why}, and the volumes of a pod cannot be changed. {remedy}."),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use pretty_assertions::assert_eq;
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::fixtures::{at, bound, cache, downloaded, reconciled, refused, seen};

    fn parse(raw: &Value) -> ModelPod {
        serde_json::from_value(raw.clone()).unwrap()
    }

    /// A pod of the Deployment's ReplicaSet, made so many seconds after noon and before its ModelCache was known.
    fn early(made: i64) -> ModelPod {
        parse(&json!({
            "metadata": { "creationTimestamp": at(made), "ownerReferences": [owner("apps/v1", "ReplicaSet")] },
            "spec": { "schedulingGates": [{ "name": mount::gate("tiny") }] },
        }))
    }

    fn owner(api_version: &str, kind: &str) -> Value {
        json!({ "apiVersion": api_version, "kind": kind, "name": "server", "uid": "1", "controller": true })
    }

    fn owned_by(owners: &Value) -> ModelPod {
        parse(&json!({
            "metadata": { "creationTimestamp": at(0), "ownerReferences": owners },
            "spec": { "schedulingGates": [{ "name": mount::gate("tiny") }] },
        }))
    }

    /// With the volume, as admission leaves it, or without.
    fn injected_with(place: &str, volumes: &Value) -> ModelPod {
        parse(&json!({
            "metadata": {
                "creationTimestamp": at(0), "ownerReferences": [owner("apps/v1", "ReplicaSet")],
                "annotations": { mount::mounted("tiny"): place },
            },
            "spec": { "schedulingGates": [{ "name": mount::gate("tiny") }], "volumes": volumes },
        }))
    }

    fn injected(place: &str) -> ModelPod {
        let claim = json!({ "claimName": place, "readOnly": true });
        injected_with(place, &json!([{ "name": mount::VOLUME, "persistentVolumeClaim": claim }]))
    }

    fn ready() -> ModelCache {
        (*downloaded().0.cache).clone()
    }

    /// With the status of terms that are not accepted.
    fn stalled() -> ModelCache {
        let checked = refused(&cache(), Reason::TermsNotAccepted);
        (*reconciled(seen(cache()), &checked, at(0)).cache).clone()
    }

    fn event(action: Action) -> (String, String) {
        match action {
            Action::Wait(event) => (event.reason, event.message),
            other => panic!("it does not wait: {other:?}"),
        }
    }

    #[test]
    fn a_pod_is_released_when_its_model_is_available() {
        assert_eq!(injected("tiny").waits_for().collect::<Vec<_>>(), ["tiny"]);
        assert_eq!(decide(&injected("tiny"), "tiny", Some(&ready()), at(20)), Action::Release);
    }

    #[test]
    fn a_pod_that_asks_for_ready_waits_while_the_spec_is_newer_than_the_status() {
        let mut cache = ready();
        cache.metadata.generation = Some(2);
        cache.spec.source.aliases = vec!["stable".to_owned()];
        let action = decide(&injected("tiny"), "tiny", Some(&cache), at(20));
        assert_eq!(action, Action::Release, "no file can be missing");
        cache.spec.source.revision = "v2".to_owned();
        let mut pod = injected("tiny");
        assert_eq!(
            decide(&pod, "tiny", Some(&cache), at(20)),
            Action::Release,
            "it starts with what is there"
        );
        kube::ResourceExt::annotations_mut(&mut pod)
            .insert(mount::ANNOTATION_WAIT_FOR.to_owned(), "Ready".to_owned());
        let (reason, message) = event(decide(&pod, "tiny", Some(&cache), at(20)));
        assert_eq!(reason, "NotChecked");
        assert!(message.contains("just been changed"), "{message}");
    }

    #[test]
    fn the_event_says_what_the_modelcache_waits_for() {
        let action = decide(&injected("tiny"), "tiny", Some(&stalled()), at(20));
        let expected = PodEvent {
            type_: EventType::Warning,
            reason: "TermsNotAccepted".to_owned(),
            message: "Waits for the ModelCache tiny: No.".to_owned(),
        };
        assert_eq!(action, Action::Wait(expected));
        let new = bound(cache()).0.cache;
        assert_eq!(event(decide(&injected("tiny"), "tiny", Some(&new), at(20))).0, "NotChecked");
    }

    /// The ModelCache decides whether user action is required: an outage that does not end comes to require it.
    #[test]
    fn the_event_is_a_warning_once_the_modelcache_is_stalled() {
        let mut cache = stalled();
        let conditions = &mut cache.status.as_mut().unwrap().conditions;
        for condition in conditions.iter_mut() {
            Reason::HubUnreachable.as_str().clone_into(&mut condition.reason);
        }
        let type_of = |cache: &ModelCache| match decide(&injected("tiny"), "tiny", Some(cache), at(20)) {
            Action::Wait(event) => event.type_,
            other => panic!("it does not wait: {other:?}"),
        };
        assert_eq!(type_of(&cache), EventType::Warning);
        cache.status.as_mut().unwrap().conditions.retain(|it| it.type_ != ConditionType::Stalled.as_str());
        assert_eq!(type_of(&cache), EventType::Normal);
    }

    #[test]
    fn a_modelcache_that_is_missing_or_being_deleted_is_reported() {
        assert_eq!(event(decide(&early(0), "tiny", None, at(20))).0, NOT_FOUND);
        let mut going = ready();
        going.metadata.deletion_timestamp = Some(Time(at(5)));
        assert_eq!(event(decide(&injected("tiny"), "tiny", Some(&going), at(20))).0, NOT_FOUND);
    }

    #[test]
    fn a_pod_without_its_volume_is_never_released_but_replaced_by_its_owner() {
        assert_eq!(decide(&early(0), "tiny", Some(&ready()), at(20)), Action::Recreate(Duration::ZERO));
        assert_eq!(event(decide(&early(0), "tiny", Some(&stalled()), at(20))).0, "TermsNotAccepted");
        // The annotation alone proves nothing.
        let forged = injected_with("tiny", &json!([]));
        assert_eq!(decide(&forged, "tiny", Some(&ready()), at(20)), Action::Recreate(Duration::ZERO));
        // The ModelCache was recreated on another claim.
        assert_eq!(
            decide(&injected("old"), "tiny", Some(&ready()), at(20)),
            Action::Recreate(Duration::ZERO)
        );
    }

    #[test]
    fn pods_that_are_made_too_early_repeatedly_stay_longer_each_time() {
        // Ready since 10 s after noon.
        let stays = |made, now| match decide(&early(made), "tiny", Some(&ready()), at(now)) {
            Action::Recreate(pause) => pause.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            [stays(9, 11), stays(11, 11), stays(12, 12), stays(14, 15), stays(4000, 4000)],
            [0, 1, 2, 3, 60]
        );
    }

    #[test]
    fn no_pod_is_deleted_that_nothing_replaces() {
        for (owners, remedy) in [
            (json!([]), "Delete the pod and make it again"),
            (json!([owner("batch/v1", "Job")]), "Delete the Job server"),
            (json!([owner("example.com/v1", "ReplicaSet")]), "if the ReplicaSet server does not"),
        ] {
            let pod = owned_by(&owners);
            let (reason, message) = event(decide(&pod, "tiny", Some(&ready()), at(20)));
            assert_eq!(reason, MADE_TOO_EARLY);
            assert!(message.contains(remedy), "{message}");
        }
    }
}
