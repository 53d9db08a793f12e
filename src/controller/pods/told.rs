//! What was told on which pod, so that nothing is told twice. Lost with the process, which costs one event each.

use std::{collections::HashMap, sync::Mutex};

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::decide::{Note, Weight};

use crate::sync::locked;

/// By pod: its UID, and by ModelCache the word that was told last.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashMap<ObjectRef<Pod>, Words>>);

#[derive(Debug, Default)]
struct Words {
    uid: Option<String>,
    by_cache: HashMap<String, String>,
}

impl Told {
    /// Whether a note is news: a cause for a person to act that was not told, or the first word on why the pod waits. The
    /// steps of a download are on the ModelCache, and not on every pod that waits for it.
    pub fn is_news(&self, pod: &Pod, cache: &str, note: &Note) -> bool {
        let mut all = locked(&self.0);
        let words = all.entry(ObjectRef::from_obj(pod)).or_default();
        if words.uid != pod.uid() {
            *words = Words { uid: pod.uid(), ..Words::default() };
        }
        let last = words.by_cache.get(cache);
        let news = match note.type_ {
            Weight::Warning => last != Some(&note.reason),
            Weight::Normal => last.is_none(),
        };
        if news {
            words.by_cache.insert(cache.to_owned(), note.reason.clone());
        }
        news
    }

    /// Drops what was told on a pod that is gone.
    pub fn forget(&self, pod: &ObjectRef<Pod>) {
        locked(&self.0).remove(pod);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once_and_the_steps_of_a_download_are_not() {
        let note =
            |type_, reason: &str| Note { type_, reason: reason.to_owned(), message: "Because.".to_owned() };
        let told = Told::default();
        let mut pod = Pod::default();
        pod.metadata.name = Some("server-0".to_owned());
        pod.metadata.uid = Some("one".to_owned());
        let news = |pod: &Pod, type_, reason| told.is_news(pod, "llama", &note(type_, reason));
        assert!(news(&pod, Weight::Normal, "ClaimPending"));
        assert!(!news(&pod, Weight::Normal, "Downloading"));
        assert!(news(&pod, Weight::Warning, "TermsNotAccepted"));
        assert!(!news(&pod, Weight::Warning, "TermsNotAccepted"));
        assert!(news(&pod, Weight::Warning, "AccessPending"));
        // Another pod of the same name.
        pod.metadata.uid = Some("two".to_owned());
        assert!(news(&pod, Weight::Warning, "AccessPending"));
    }
}
