//! Which events were written on which pod, so that none is repeated. Lost with the process, which costs one event each.

use std::{collections::HashMap, sync::Mutex};

use kube::{
    ResourceExt,
    runtime::{events::EventType, reflector::ObjectRef},
};

use super::{decide::PodEvent, pod::ModelPod};
use crate::{controller::watcher::Guarded, sync::locked};

/// By pod.
#[derive(Debug, Default)]
pub struct EventDedup(Mutex<HashMap<ObjectRef<Guarded<ModelPod>>, Emitted>>);

/// The reason of the last event, by ModelCache.
#[derive(Debug, Default)]
struct Emitted {
    /// Of the pod: another one of its name has had none.
    uid: Option<String>,
    reasons: HashMap<String, String>,
}

impl EventDedup {
    /// Whether an event is news: a warning of another reason than the last event, or the first event about why the pod waits. The
    /// steps of a download are reported on the ModelCache, and not on every pod that waits for it.
    pub fn should_emit(&self, pod: &ModelPod, cache: &str, event: &PodEvent) -> bool {
        let mut all = locked(&self.0);
        let key = ObjectRef::new(&pod.name_any()).within(&pod.namespace().unwrap_or_default());
        let emitted = all.entry(key).or_default();
        if emitted.uid != pod.uid() {
            *emitted = Emitted { uid: pod.uid(), ..Emitted::default() };
        }
        let last = emitted.reasons.get(cache);
        let is_news = match event.type_ {
            EventType::Warning => last != Some(&event.reason),
            EventType::Normal => last.is_none(),
        };
        if is_news {
            emitted.reasons.insert(cache.to_owned(), event.reason.clone());
        }
        is_news
    }

    /// Drops what is known of a pod that is gone.
    pub fn forget(&self, pod: &ObjectRef<Guarded<ModelPod>>) {
        locked(&self.0).remove(pod);
    }
}

#[cfg(test)]
mod tests {
    use kube::Resource as _;

    use super::*;

    #[test]
    fn a_cause_is_reported_once_and_the_steps_of_a_download_are_not() {
        let event = |type_, reason: &str| PodEvent {
            type_,
            reason: reason.to_owned(),
            message: "Because.".to_owned(),
        };
        let dedup = EventDedup::default();
        let mut pod = ModelPod::default();
        pod.meta_mut().name = Some("server-0".to_owned());
        pod.meta_mut().uid = Some("one".to_owned());
        let emits = |pod: &ModelPod, type_, reason| dedup.should_emit(pod, "llama", &event(type_, reason));
        assert!(emits(&pod, EventType::Normal, "ClaimPending"));
        assert!(!emits(&pod, EventType::Normal, "Downloading"));
        assert!(emits(&pod, EventType::Warning, "TermsNotAccepted"));
        assert!(!emits(&pod, EventType::Warning, "TermsNotAccepted"));
        assert!(emits(&pod, EventType::Warning, "AccessPending"));
        // Another pod of the same name.
        pod.meta_mut().uid = Some("two".to_owned());
        assert!(emits(&pod, EventType::Warning, "AccessPending"));
    }
}
