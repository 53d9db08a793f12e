//! Our own writes that the watch has not delivered yet: read before it, so that nothing is decided as if they had not happened.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{Resource, ResourceExt as _, runtime::reflector::ObjectRef};

/// A watch that is silent for longer than this is reopened, with a list that has all: what it does not deliver is gone, or was
/// changed by others so that it is not watched.
const LONGEST: Duration = Duration::from_secs(120);

/// Objects written, and objects deleted.
#[derive(Debug)]
pub struct Own<K: Resource<DynamicType = ()>> {
    written: HashMap<ObjectRef<K>, (Arc<K>, Instant)>,
    /// By UID.
    deleted: HashMap<String, Instant>,
    gone: Gone,
}

/// The UIDs of objects that the watch has reported as deleted. The answer to a write may be read after that.
#[derive(Debug, Default)]
struct Gone {
    uids: HashSet<String>,
    order: VecDeque<(Instant, String)>,
}

impl Gone {
    fn add(&mut self, uid: &str, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| now.duration_since(*at) >= LONGEST) {
            let old = self.order.pop_front();
            old.inspect(|(_, uid)| _ = self.uids.remove(uid));
        }
        if self.uids.insert(uid.to_owned()) {
            self.order.push_back((now, uid.to_owned()));
        }
    }
}

impl<K: Resource<DynamicType = ()>> Default for Own<K> {
    fn default() -> Self {
        Self { written: HashMap::new(), deleted: HashMap::new(), gone: Gone::default() }
    }
}

impl<K: Resource<DynamicType = ()>> Own<K> {
    /// Takes in what the API server answered to a write.
    pub fn wrote(&mut self, object: K, now: Instant) {
        self.forget_before(now.checked_sub(LONGEST));
        if object.meta().uid.as_ref().is_some_and(|uid| self.gone.uids.contains(uid)) {
            return;
        }
        self.written.insert(ObjectRef::from_obj(&object), (Arc::new(object), now));
    }

    /// Takes in that it has deleted an object.
    pub fn deleted(&mut self, uid: String, now: Instant) {
        self.forget_before(now.checked_sub(LONGEST));
        self.deleted.insert(uid, now);
    }

    /// Whether a state that the watch delivers is what we have written.
    pub fn is_ours(&self, object: &K) -> bool {
        let own = self.written.get(&ObjectRef::from_obj(object));
        own.is_some_and(|(own, _)| own.meta().resource_version == object.meta().resource_version)
    }

    /// The watch has delivered a state of an object: it counts from now on, where it is no older.
    pub fn came(&mut self, object: &K, is_gone: bool, now: Instant) {
        let key = ObjectRef::from_obj(object);
        if self.written.get(&key).is_some_and(|(own, _)| !is_newer(&**own, object)) {
            self.written.remove(&key);
        }
        if is_gone && let Some(uid) = &object.meta().uid {
            self.deleted.remove(uid);
            self.gone.add(uid, now);
        }
    }

    /// The watch has listed all, and an object that it had is not among them.
    pub fn vanished(&mut self, object: &K, now: Instant) {
        if let Some(uid) = &object.meta().uid {
            self.gone.add(uid, now);
        }
    }

    /// The watch has listed all, beginning at a time.
    pub fn listed(&mut self, began: Instant) {
        self.forget_before(Some(began));
    }

    /// The newer one of the state that the watch has delivered, if any, and our own; none where we have deleted it.
    pub fn newest(&self, key: &ObjectRef<K>, known: Option<Arc<K>>) -> Option<Arc<K>> {
        let own = self.written.get(key).filter(|(_, at)| counts(*at)).map(|(own, _)| own.clone());
        let newest = match (own, known) {
            (Some(own), Some(known)) => Some(if is_newer(&*own, &*known) { own } else { known }),
            (own, known) => own.or(known),
        };
        let is_deleted = |uid: &String| self.deleted.get(uid).is_some_and(|at| counts(*at));
        newest.filter(|object| !object.meta().uid.as_ref().is_some_and(is_deleted))
    }

    /// The objects that we have written.
    pub fn written(&self) -> impl Iterator<Item = (&ObjectRef<K>, &K)> {
        self.written.iter().map(|(key, (object, _))| (key, &**object))
    }

    fn forget_before(&mut self, time: Option<Instant>) {
        let Some(time) = time else { return };
        self.written.retain(|_, (_, at)| *at >= time);
        self.deleted.retain(|_, at| *at >= time);
    }
}

fn counts(since: Instant) -> bool {
    since.elapsed() < LONGEST
}

/// Whether one state is later than another of the same name. Versions of one kind are ordered
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>); what has another form is no newer.
pub(super) fn is_newer<K: Resource<DynamicType = ()>>(one: &K, other: &K) -> bool {
    let version = |object: &K| object.resource_version()?.parse::<u64>().ok();
    matches!((version(one), version(other)), (Some(one), Some(other)) if one > other)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::Job;
    use pretty_assertions::assert_eq;

    use super::*;

    fn job(uid: &str, version: u32) -> Job {
        let mut job = Job::default();
        job.metadata.name = Some("job".to_owned());
        job.metadata.uid = Some(uid.to_owned());
        job.metadata.resource_version = Some(version.to_string());
        job
    }

    fn newest(own: &Own<Job>, known: Option<Job>) -> Option<String> {
        let found = own.newest(&ObjectRef::new("job"), known.map(Arc::new))?;
        Some(format!("{}/{}", found.uid()?, found.resource_version()?))
    }

    #[test]
    fn what_was_written_counts_until_the_watch_has_delivered_it() {
        let (mut own, now) = (Own::default(), Instant::now());
        own.wrote(job("b", 12), now);
        assert_eq!(newest(&own, None).as_deref(), Some("b/12"));
        // An earlier Job of its name is still there, or goes: it was replaced by ours.
        assert_eq!(newest(&own, Some(job("a", 9))).as_deref(), Some("b/12"));
        own.came(&job("a", 10), true, now);
        assert_eq!(newest(&own, None).as_deref(), Some("b/12"));
        assert_eq!(newest(&own, Some(job("b", 100))).as_deref(), Some("b/100"));
        own.came(&job("b", 12), false, now);
        assert_eq!(newest(&own, None), None);
    }

    #[test]
    fn what_was_deleted_is_gone_though_the_watch_still_has_it() {
        let (mut own, now) = (Own::default(), Instant::now());
        own.wrote(job("a", 9), now);
        own.deleted("a".to_owned(), now);
        assert_eq!(newest(&own, Some(job("a", 9))), None);
        own.came(&job("a", 10), false, now);
        assert_eq!(newest(&own, Some(job("a", 10))), None, "a change from before it was deleted");
        assert_eq!(newest(&own, Some(job("b", 11))).as_deref(), Some("b/11"), "another one of its name");
        own.came(&job("a", 12), true, now);
        assert!(own.deleted.is_empty());
    }

    /// Our write and the deletion by another are answered and watched on two connections.
    #[test]
    fn the_answer_to_a_write_does_not_bring_back_what_was_deleted() {
        let (mut own, now) = (Own::default(), Instant::now());
        own.came(&job("a", 12), true, now);
        own.wrote(job("a", 11), now);
        assert_eq!(newest(&own, None), None);
        own.vanished(&job("b", 13), now);
        own.wrote(job("b", 13), now);
        assert_eq!(newest(&own, None), None);
        own.wrote(job("c", 14), now);
        assert_eq!(newest(&own, None).as_deref(), Some("c/14"), "another one of its name");
        own.came(&job("d", 15), true, now + LONGEST);
        assert_eq!((own.gone.uids.len(), own.gone.order.len()), (1, 1), "the rest is forgotten");
    }

    #[test]
    fn nothing_is_kept_that_a_list_does_not_have_or_that_never_comes() {
        let (mut own, now) = (Own::default(), Instant::now());
        own.wrote(job("a", 9), now);
        own.listed(now);
        assert_eq!(newest(&own, None).as_deref(), Some("a/9"), "the list may be older");
        own.listed(now + Duration::from_secs(1));
        assert_eq!(newest(&own, None), None);
        own.wrote(job("a", 9), now.checked_sub(LONGEST).unwrap());
        assert_eq!(newest(&own, None), None);
        own.deleted("b".to_owned(), now + LONGEST * 2);
        assert_eq!((own.written.len(), own.deleted.len()), (0, 1));
    }
}
