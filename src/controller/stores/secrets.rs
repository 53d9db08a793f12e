//! The Secrets that ModelCaches refer to: each version is read once. Of all others, name and version are kept.
//!
//! The watch delivers metadata only. What was read counts while the watch has that very version, and only as long as the watch stays
//! open: a watch that is lost, or whose right was revoked, would never report the change that matters. Without a watch nothing is
//! kept.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{ResourceExt as _, runtime::watcher::Event};
use tokio::sync::watch;

use crate::{
    controller::{observation::SecretState, watcher::Metadata},
    sync::locked,
    telemetry::Observer,
};

/// Keys of one Secret that are kept: more are asked for only by who tries them out.
const MOST: usize = 16;

/// Namespace and name.
type Name = (String, String);

/// The side that is read.
#[derive(Clone, Debug)]
pub struct Secrets {
    known: Arc<Mutex<Known>>,
    listed: watch::Receiver<bool>,
}

/// The side that the watch writes.
pub struct Listed {
    known: Arc<Mutex<Known>>,
    listed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Known {
    versions: HashMap<Name, String>,
    /// What these versions have under each key that was asked for, with the session of the watch in which it was read.
    read: HashMap<Name, HashMap<String, (u64, SecretState)>>,
    /// None where they are not watched.
    watch: Option<Observer>,
}

impl Known {
    fn session(&self) -> Option<u64> {
        self.watch.as_ref()?.session()
    }

    fn set(&mut self, name: Name, version: Option<String>) {
        if self.versions.get(&name) == version.as_ref() {
            return;
        }
        self.read.remove(&name);
        match version {
            Some(version) => self.versions.insert(name, version),
            None => self.versions.remove(&name),
        };
    }
}

impl Secrets {
    /// With nothing in it.
    pub fn empty() -> (Self, Listed) {
        let known = Arc::default();
        let (sender, receiver) = watch::channel(false);
        (Self { known: Arc::clone(&known), listed: receiver }, Listed { known, listed: sender })
    }

    /// Waits until all are listed. False where the watch ends before.
    pub async fn ready(&self) -> bool {
        self.listed.clone().wait_for(|listed| *listed).await.is_ok()
    }

    /// What a Secret has under a key, where its current version was read.
    pub fn get(&self, namespace: &str, name: &str, key: &str) -> Option<SecretState> {
        let known = locked(&self.known);
        let session = known.session()?;
        let (read_in, state) = known.read.get(&(namespace.to_owned(), name.to_owned()))?.get(key)?;
        (*read_in == session).then(|| state.clone())
    }

    /// Takes in what a version of a Secret has under a key.
    pub fn read(&self, secret: &Secret, key: &str, state: &SecretState) {
        let mut known = locked(&self.known);
        let (name, version) = (name(secret), secret.resource_version().unwrap_or_default());
        let Some(session) = known.session().filter(|_| known.versions.get(&name) == Some(&version)) else {
            return;
        };
        let states = known.read.entry(name).or_default();
        if states.len() == MOST {
            states.clear();
        }
        states.insert(key.to_owned(), (session, state.clone()));
    }
}

impl Listed {
    /// Secrets are not watched.
    pub fn are_not_watched(self) {
        self.listed.send_replace(true);
    }

    /// Namespace and name of the Secrets that have changed since they were listed first: what refers to them is reconciled after that.
    pub fn changed(
        self,
        events: impl Stream<Item = Event<Metadata<Secret>>> + Send,
        watch: Observer,
    ) -> impl Stream<Item = Name> + Send {
        locked(&self.known).watch = Some(watch);
        let mut in_list = HashSet::new();
        events.flat_map(move |event| {
            let is_first = !*self.listed.borrow();
            let mut known = locked(&self.known);
            stream::iter(match event {
                Event::Init => {
                    in_list.clear();
                    Vec::new()
                }
                Event::InitApply(secret) => {
                    in_list.insert(name(&secret));
                    known.set(name(&secret), secret.resource_version());
                    if is_first { Vec::new() } else { vec![name(&secret)] }
                }
                Event::InitDone => {
                    let gone = known.versions.keys().filter(|name| !in_list.contains(*name));
                    let gone: Vec<_> = gone.cloned().collect();
                    for name in &gone {
                        known.set(name.clone(), None);
                    }
                    in_list = HashSet::new();
                    self.listed.send_replace(true);
                    gone
                }
                Event::Apply(secret) => {
                    known.set(name(&secret), secret.resource_version());
                    vec![name(&secret)]
                }
                Event::Delete(secret) => {
                    known.set(name(&secret), None);
                    vec![name(&secret)]
                }
            })
        })
    }
}

fn name(secret: &impl kube::ResourceExt) -> Name {
    (secret.namespace().unwrap_or_default(), secret.name_any())
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;
    use crate::telemetry::Contacts;

    fn at(version: &str) -> Metadata<Secret> {
        let raw = json!({ "metadata": { "name": "hf", "namespace": "team", "resourceVersion": version } });
        serde_json::from_str(&raw.to_string()).unwrap()
    }

    fn secret(version: &str) -> Secret {
        let raw = json!({ "metadata": { "name": "hf", "namespace": "team", "resourceVersion": version } });
        serde_json::from_value(raw).unwrap()
    }

    /// What is known after these events, of what was read in a version after the first `read_after` of them.
    async fn known_after(
        events: Vec<Event<Metadata<Secret>>>,
        read_after: usize,
        version: &str,
    ) -> (bool, usize) {
        let (secrets, listed) = Secrets::empty();
        let contact = Contacts::default().add("secrets".into());
        let _ = contact.make();
        let reader = secrets.clone();
        let events = stream::iter(events.into_iter().enumerate()).map(|(number, event)| {
            if number == read_after {
                reader.read(&secret(version), "token", &SecretState::Malformed);
            }
            event
        });
        let woken = listed.changed(events, contact.observer()).count().await;
        assert!(secrets.get("team", "hf", "other").is_none(), "that key was never read");
        (secrets.get("team", "hf", "token").is_some(), woken)
    }

    #[tokio::test]
    async fn what_was_read_counts_while_the_watch_has_that_version() {
        let first = || vec![Event::Init, Event::InitApply(at("1")), Event::InitDone];
        let then = |more: Vec<Event<_>>| first().into_iter().chain(more).collect::<Vec<_>>();
        // A last event of another kind lets the reading come after the others.
        let end = || Event::Init;
        assert_eq!(known_after(then(vec![end()]), 3, "1").await, (true, 0));
        assert_eq!(known_after(then(vec![end()]), 3, "2").await, (false, 0), "the watch is late");
        assert_eq!(known_after(then(vec![Event::Apply(at("2")), end()]), 3, "1").await, (false, 1));
        assert_eq!(
            known_after(then(vec![Event::Apply(at("2")), end()]), 4, "1").await,
            (false, 1),
            "it was late"
        );
        assert_eq!(known_after(then(vec![Event::Apply(at("2")), end()]), 4, "2").await, (true, 1));
        assert_eq!(known_after(then(vec![Event::Delete(at("1"))]), 3, "1").await, (false, 1));
        // Another list: of the same version, of a later one, and without it.
        assert_eq!(known_after(then(first()), 3, "1").await, (true, 1));
        assert_eq!(known_after(then(vec![Event::Init, Event::InitApply(at("2"))]), 3, "1").await, (false, 1));
        assert_eq!(known_after(then(vec![Event::Init, Event::InitDone]), 3, "1").await, (false, 1));
    }

    /// As where the right to `watch` is revoked and the one to `get` stays.
    #[tokio::test]
    async fn what_was_read_does_not_outlive_the_watch() {
        let (secrets, listed) = Secrets::empty();
        let contact = Contacts::default().add("secrets".into());
        let events = stream::iter([Event::Init, Event::InitApply(at("1")), Event::InitDone]);
        listed.changed(events, contact.observer()).count().await;
        let read = || {
            secrets.read(&secret("1"), "token", &SecretState::Malformed);
            secrets.get("team", "hf", "token").is_some()
        };
        let is_known = || secrets.get("team", "hf", "token").is_some();
        assert!(!read(), "it is not open yet");
        let _ = contact.make();
        assert!(read());
        let _ = contact.lose();
        assert!(!is_known() && !read());
        let _ = contact.make();
        assert!(!is_known(), "a change from in between may still be on its way");
        assert!(read());
        drop(contact);
        assert!(!is_known());
    }

    #[tokio::test]
    async fn without_a_watch_nothing_is_kept() {
        let (secrets, listed) = Secrets::empty();
        listed.are_not_watched();
        assert!(secrets.ready().await);
        secrets.read(&secret("1"), "token", &SecretState::Malformed);
        assert!(secrets.get("team", "hf", "token").is_none());
    }
}
