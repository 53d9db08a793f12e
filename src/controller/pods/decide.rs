//! What becomes of one gate of a waiting pod. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{ResourceExt, runtime::events::EventType};

use crate::{
    api::{ModelCache, condition, mount},
    controller::{backoff, unreadable, watcher::Invalid},
    reason::{Reason, Topic},
};

/// Owners that make a pod again when it is deleted, and count that as no failure. A Job does count it.
const REMAKERS: [&str; 3] = ["ReplicaSet", "StatefulSet", "DaemonSet"];
/// The longest time that a pod without its volume stays before its owner has to make it again.
const LONGEST: Duration = Duration::from_secs(60);

/// No ModelCache of the name is there.
pub const NOT_FOUND: &str = "ModelCacheNotFound";
/// The pod was made before its ModelCache was known, and nobody makes it again by himself.
pub const MADE_TOO_EARLY: &str = "MadeBeforeModelCache";
/// The pod was made before its ModelCache was known, and its owner makes it again.
pub const MADE_AGAIN: &str = "MadeAgain";

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take the gate off.
    Release,
    /// Delete the pod at the end of this time: its owner makes another one, with the model.
    Remake(Duration),
    /// Leave it waiting, and tell why.
    Wait(Note),
}

/// An event on the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether somebody should act.
    pub type_: Weight,
    /// The reason: that of the ModelCache's Ready condition, or one of this file.
    pub reason: String,
    /// The sentence.
    pub message: String,
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Time helps.
    Normal,
    /// A person must act.
    Warning,
}

impl From<Weight> for EventType {
    fn from(weight: Weight) -> Self {
        match weight {
            Weight::Normal => Self::Normal,
            Weight::Warning => Self::Warning,
        }
    }
}

/// The names of the ModelCaches that a pod waits for, from its gates.
pub fn waits_for(pod: &Pod) -> impl Iterator<Item = &str> {
    let gates = pod.spec.iter().flat_map(|spec| spec.scheduling_gates.iter().flatten());
    gates.filter_map(|gate| mount::gate_name(&gate.name))
}

/// Decides for the gate of the ModelCache `name`, of which `cache` is all that is known.
#[must_use]
pub fn decide(pod: &Pod, name: &str, cache: Option<&ModelCache>, now: Timestamp) -> Step {
    let Some(cache) = cache.filter(|cache| cache.metadata.deletion_timestamp.is_none()) else {
        return Step::Wait(not_found(name));
    };
    let mounted = pod.annotations().get(&mount::mounted(name));
    if mounted == Some(&cache.place()) && has_volume(pod, Some(cache)) {
        return if may_start(pod, cache) { Step::Release } else { Step::Wait(not_ready(cache)) };
    }
    if !is_made_again(pod) {
        return Step::Wait(too_early(pod, cache, mounted.map(String::as_str)));
    }
    if may_start(pod, cache) { Step::Remake(patience(pod, cache, now)) } else { Step::Wait(not_ready(cache)) }
}

/// Whether the model is there as far as the pod needs it. The admission policies say the same.
fn may_start(pod: &Pod, cache: &ModelCache) -> bool {
    let waits_for = pod.annotations().get(mount::ANNOTATION_WAIT_FOR).map(String::as_str);
    cache.is_loadable() || (cache.is_available() && waits_for != Some(Topic::Ready.as_str()))
}

/// Whether the pod has a volume for the model; it is no matter which one where no ModelCache is known. The pod's own volume of our
/// name counts: whoever put it there knows what it holds.
pub fn has_volume(pod: &Pod, cache: Option<&ModelCache>) -> bool {
    let claim = cache.map(ModelCache::claim_name);
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.any(|volume| {
        volume.name == mount::VOLUME
            || volume
                .persistent_volume_claim
                .as_ref()
                .is_some_and(|source| Some(&source.claim_name) == claim.as_ref())
    })
}

fn controller(pod: &Pod) -> Option<&OwnerReference> {
    pod.owner_references().iter().find(|owner| owner.controller == Some(true))
}

fn is_made_again(pod: &Pod) -> bool {
    controller(pod)
        .is_some_and(|owner| owner.api_version == "apps/v1" && REMAKERS.contains(&owner.kind.as_str()))
}

/// The API server learns of a new ModelCache seconds later than we may, and pods that are made meanwhile lack their
/// volume again. So the later after Ready one was made, the longer it stays: the pauses double by themselves.
fn patience(pod: &Pod, cache: &ModelCache, now: Timestamp) -> Duration {
    let made = pod.creation_timestamp().map_or(now, |time| time.0);
    let ready =
        condition::find(cache.conditions(), Topic::Ready).map_or(made, |it| it.last_transition_time.0);
    backoff::elapsed(ready, made).min(LONGEST).saturating_sub(backoff::elapsed(made, now))
}

/// The ModelCache is there, but cannot be parsed.
#[must_use]
pub fn unreadable(name: &str, invalid: &Invalid) -> Note {
    let verdict = unreadable::verdict(invalid);
    Note {
        type_: Weight::Warning,
        reason: verdict.reason.as_str().to_owned(),
        message: format!("Waits for the ModelCache {name}: {}", verdict.message),
    }
}

fn not_found(name: &str) -> Note {
    Note {
        type_: Weight::Warning,
        reason: NOT_FOUND.to_owned(),
        message: format!(
            "There is no ModelCache {name} in this namespace. Make it, or correct the label {} or the annotation {}.",
            mount::LABEL_MOUNT,
            mount::ANNOTATION_ALSO_MOUNT
        ),
    }
}

/// The ModelCache's own words.
fn not_ready(cache: &ModelCache) -> Note {
    let name = cache.name_any();
    let Some(ready) = condition::verdict(cache.conditions(), Topic::Ready) else {
        return Note {
            type_: Weight::Normal,
            reason: Reason::NotChecked.as_str().to_owned(),
            message: format!("Waits for the ModelCache {name}, which no operator has checked yet."),
        };
    };
    if ready.holds() {
        return Note {
            type_: Weight::Normal,
            reason: Reason::NotChecked.as_str().to_owned(),
            message: format!("Waits for the ModelCache {name}, the spec of which has just been changed."),
        };
    }
    Note {
        type_: if condition::holds(cache.conditions(), Topic::Stalled) {
            Weight::Warning
        } else {
            Weight::Normal
        },
        reason: ready.reason.as_str().to_owned(),
        message: format!("Waits for the ModelCache {name}: {}", ready.message),
    }
}

fn too_early(pod: &Pod, cache: &ModelCache, mounted: Option<&str>) -> Note {
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
    Note {
        type_: Weight::Warning,
        reason: MADE_TOO_EARLY.to_owned(),
        message: format!("{why}, and the volumes of a pod cannot be changed. {remedy}."),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::{PersistentVolumeClaimVolumeSource, PodSchedulingGate, PodSpec, Volume},
        apimachinery::pkg::apis::meta::v1::Time,
    };
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::controller::fixtures::{at, bound, cache, downloaded, looked, refused, seen};

    /// A pod of the Deployment's ReplicaSet, that was made so many seconds after noon before its ModelCache was known.
    fn early(made: i64) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.creation_timestamp = Some(Time(at(made)));
        pod.metadata.owner_references = Some(vec![owner("apps/v1", "ReplicaSet")]);
        let gate = PodSchedulingGate { name: mount::gate("tiny") };
        pod.spec = Some(PodSpec { scheduling_gates: Some(vec![gate]), ..PodSpec::default() });
        pod
    }

    fn owner(api_version: &str, kind: &str) -> OwnerReference {
        OwnerReference {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: "server".to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        }
    }

    /// The same, with the volume.
    fn injected(place: &str) -> Pod {
        let mut pod = early(0);
        pod.metadata.annotations = Some([(mount::mounted("tiny"), place.to_owned())].into());
        let claim = PersistentVolumeClaimVolumeSource { claim_name: place.to_owned(), read_only: Some(true) };
        let volume = Volume {
            name: mount::VOLUME.to_owned(),
            persistent_volume_claim: Some(claim),
            ..Volume::default()
        };
        pod.spec.as_mut().unwrap().volumes = Some(vec![volume]);
        pod
    }

    fn ready() -> ModelCache {
        (*downloaded().0.cache).clone()
    }

    /// Terms that are not accepted, as the status tells it.
    fn stalled() -> ModelCache {
        let checked = refused(&cache(), Reason::TermsNotAccepted);
        (*looked(seen(cache()), &checked, at(0)).cache).clone()
    }

    fn note(step: Step) -> (String, String) {
        match step {
            Step::Wait(note) => (note.reason, note.message),
            other => panic!("it does not wait: {other:?}"),
        }
    }

    #[test]
    fn a_pod_goes_when_its_model_is_there() {
        assert_eq!(waits_for(&injected("tiny")).collect::<Vec<_>>(), ["tiny"]);
        assert_eq!(decide(&injected("tiny"), "tiny", Some(&ready()), at(20)), Step::Release);
    }

    #[test]
    fn one_that_waits_for_ready_waits_while_the_spec_is_newer_than_the_answer() {
        let mut cache = ready();
        cache.metadata.generation = Some(2);
        cache.spec.source.aliases = vec!["stable".to_owned()];
        let step = decide(&injected("tiny"), "tiny", Some(&cache), at(20));
        assert_eq!(step, Step::Release, "no file can be missing");
        cache.spec.source.revision = "v2".to_owned();
        let mut pod = injected("tiny");
        assert_eq!(decide(&pod, "tiny", Some(&cache), at(20)), Step::Release, "it starts with what is there");
        pod.annotations_mut().insert(mount::ANNOTATION_WAIT_FOR.to_owned(), "Ready".to_owned());
        let (reason, message) = note(decide(&pod, "tiny", Some(&cache), at(20)));
        assert_eq!(reason, "NotChecked");
        assert!(message.contains("just been changed"), "{message}");
    }

    #[test]
    fn it_is_told_what_its_modelcache_waits_for() {
        let step = decide(&injected("tiny"), "tiny", Some(&stalled()), at(20));
        let expected = Note {
            type_: Weight::Warning,
            reason: "TermsNotAccepted".to_owned(),
            message: "Waits for the ModelCache tiny: No.".to_owned(),
        };
        assert_eq!(step, Step::Wait(expected));
        let new = bound(cache()).0.cache;
        assert_eq!(note(decide(&injected("tiny"), "tiny", Some(&new), at(20))).0, "NotChecked");
    }

    /// Whether somebody has to look is the ModelCache's to say: an outage that does not end becomes a person's.
    #[test]
    fn it_is_a_warning_as_soon_as_its_modelcache_is_stalled() {
        let mut cache = stalled();
        let conditions = &mut cache.status.as_mut().unwrap().conditions;
        for condition in conditions.iter_mut() {
            Reason::HubUnreachable.as_str().clone_into(&mut condition.reason);
        }
        let weight = |cache: &ModelCache| match decide(&injected("tiny"), "tiny", Some(cache), at(20)) {
            Step::Wait(note) => note.type_,
            other => panic!("it does not wait: {other:?}"),
        };
        assert_eq!(weight(&cache), Weight::Warning);
        cache.status.as_mut().unwrap().conditions.retain(|it| it.type_ != Topic::Stalled.as_str());
        assert_eq!(weight(&cache), Weight::Normal);
    }

    #[test]
    fn a_modelcache_that_is_not_there_or_going_is_told() {
        assert_eq!(note(decide(&early(0), "tiny", None, at(20))).0, NOT_FOUND);
        let mut going = ready();
        going.metadata.deletion_timestamp = Some(Time(at(5)));
        assert_eq!(note(decide(&injected("tiny"), "tiny", Some(&going), at(20))).0, NOT_FOUND);
    }

    #[test]
    fn one_without_its_volume_is_never_let_go_but_made_again_by_its_owner() {
        assert_eq!(decide(&early(0), "tiny", Some(&ready()), at(20)), Step::Remake(Duration::ZERO));
        assert_eq!(note(decide(&early(0), "tiny", Some(&stalled()), at(20))).0, "TermsNotAccepted");
        // An annotation alone is a promise.
        let mut forged = injected("tiny");
        forged.spec.as_mut().unwrap().volumes = None;
        assert_eq!(decide(&forged, "tiny", Some(&ready()), at(20)), Step::Remake(Duration::ZERO));
        // The ModelCache was made again on another claim.
        assert_eq!(decide(&injected("old"), "tiny", Some(&ready()), at(20)), Step::Remake(Duration::ZERO));
    }

    #[test]
    fn pods_that_are_made_too_early_again_and_again_stay_longer_each_time() {
        // Ready since 10 s after noon.
        let stays = |made, now| match decide(&early(made), "tiny", Some(&ready()), at(now)) {
            Step::Remake(pause) => pause.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            [stays(9, 11), stays(11, 11), stays(12, 12), stays(14, 15), stays(4000, 4000)],
            [0, 1, 2, 3, 60]
        );
    }

    #[test]
    fn no_pod_is_deleted_that_nobody_makes_again() {
        for (owners, remedy) in [
            (vec![], "Delete the pod and make it again"),
            (vec![owner("batch/v1", "Job")], "Delete the Job server"),
            (vec![owner("example.com/v1", "ReplicaSet")], "if the ReplicaSet server does not"),
        ] {
            let mut pod = early(0);
            pod.metadata.owner_references = Some(owners);
            let (reason, message) = note(decide(&pod, "tiny", Some(&ready()), at(20)));
            assert_eq!(reason, MADE_TOO_EARLY);
            assert!(message.contains(remedy), "{message}");
        }
    }
}
