//! One kind as its watch has it, found by more than its name. kube's `Store` holds the objects; the indexes beside it, what is
//! admitted and what has changed are ours. Does not know what an object means.

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex},
    time::Instant,
};

use futures::{Stream, StreamExt as _, stream};
use kube::{
    Resource as _, ResourceExt as _,
    runtime::{
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher::Event,
    },
};
use tokio::sync::watch;
use tracing::warn;

use super::own::{Own, is_newer};
use crate::{
    controller::watcher::{Guarded, Parse},
    sync::locked,
};

/// A kind that is kept.
pub trait Stored: Parse + PartialEq + Send + Sync + 'static {
    /// What it is found by.
    type Key: Clone + Debug + Eq + Hash + Send;

    /// Objects under one first key that are kept. Whoever can make one of a kind can make any number.
    const MOST: usize = usize::MAX;

    /// The keys of an object. The first one says whose it is.
    fn keys(&self) -> Vec<Self::Key>;

    /// Leaves of an object what is read. Says whether it is kept at all.
    fn admit(object: &mut Guarded<Self>) -> bool;
}

/// The state of an object before and after an event; never neither.
#[derive(Debug)]
pub struct Change<K> {
    /// None where it is new.
    pub old: Option<Arc<Guarded<K>>>,
    /// None where it is gone.
    pub new: Option<Arc<Guarded<K>>>,
    /// Known to be our own write.
    pub is_ours: bool,
}

impl<K: Stored> Change<K> {
    /// Both states, as far as they can be parsed.
    pub fn states(&self) -> impl Iterator<Item = &K> {
        [&self.old, &self.new].into_iter().flatten().filter_map(|state| state.parsed()).map(|state| &**state)
    }

    /// Whether anything that is kept differs, apart from the version.
    pub fn is_news(&self) -> bool {
        let (Some(old), Some(new)) = (&self.old, &self.new) else { return true };
        let (Some(old), Some(new)) = (old.parsed(), new.parsed()) else { return true };
        let mut same = (**old).clone();
        same.meta_mut().resource_version = new.resource_version();
        same != **new
    }
}

/// The side of a kind that is read.
#[derive(Debug)]
pub struct Indexed<K: Stored> {
    store: Store<Guarded<K>>,
    listed: watch::Receiver<bool>,
    beside: Arc<Mutex<Beside<K>>>,
}

#[derive(Debug)]
struct Beside<K: Stored> {
    index: HashMap<K::Key, HashSet<ObjectRef<Guarded<K>>>>,
    own: Own<Guarded<K>>,
}

impl<K: Stored> Beside<K> {
    fn enter(&mut self, key: &ObjectRef<Guarded<K>>, object: &Guarded<K>) {
        for under in keys(object) {
            self.index.entry(under).or_default().insert(key.clone());
        }
    }
}

impl<K: Stored> Clone for Indexed<K> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), listed: self.listed.clone(), beside: self.beside.clone() }
    }
}

impl<K: Stored> Indexed<K> {
    /// All objects, as the watch has them.
    pub const fn store(&self) -> &Store<Guarded<K>> {
        &self.store
    }

    /// Waits until all are listed once. False where the watch ends before. The store's own
    /// `wait_until_ready` wakes only the one who has asked last.
    pub async fn ready(&self) -> bool {
        self.listed.clone().wait_for(|listed| *listed).await.is_ok()
    }

    /// Whether all have been listed once.
    pub fn is_listed(&self) -> bool {
        *self.listed.borrow()
    }

    /// The object of a name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Guarded<K>>> {
        self.newest(&ObjectRef::new(name).within(namespace))
    }

    /// An object that was taken from the store, or our own later state of it.
    pub fn newest_of(&self, object: Arc<Guarded<K>>) -> Arc<Guarded<K>> {
        let newest = locked(&self.beside).own.newest(&ObjectRef::from_obj(&*object), Some(object.clone()));
        newest.unwrap_or(object)
    }

    /// The objects under a key that can be parsed.
    pub fn under(&self, key: &K::Key) -> Vec<Arc<K>> {
        let refs: HashSet<_> = {
            let beside = locked(&self.beside);
            let own = beside.own.written().filter(|(_, object)| keys(object).contains(key)).map(|(it, _)| it);
            beside.index.get(key).into_iter().flatten().chain(own).cloned().collect()
        };
        let objects = refs.iter().filter_map(|it| self.newest(it)?.parsed().cloned());
        // Our own state of it may be under another key.
        objects.filter(|object| object.keys().contains(key)).collect()
    }

    /// Takes in what the API server answered to our own write.
    pub fn wrote(&self, mut object: Guarded<K>) {
        if object.meta().name.is_none() || !K::admit(&mut object) {
            return;
        }
        let mut beside = locked(&self.beside);
        // Often the watch is faster than the answer: nothing would ever replace what it has delivered already.
        let known = self.store.get(&ObjectRef::from_obj(&object));
        if known.is_none_or(|known| is_newer(&object, &*known)) {
            beside.own.wrote(object, Instant::now());
        }
    }

    /// Takes in that we have deleted an object.
    pub fn deleted(&self, uid: String) {
        locked(&self.beside).own.deleted(uid, Instant::now());
    }

    /// Our own writes that the watch has not delivered.
    #[cfg(test)]
    pub fn own_writes(&self) -> usize {
        locked(&self.beside).own.written().count()
    }

    fn newest(&self, key: &ObjectRef<Guarded<K>>) -> Option<Arc<Guarded<K>>> {
        // Our own first: what the watch delivers in between is no older.
        let beside = locked(&self.beside);
        beside.own.newest(key, self.store.get(key))
    }
}

/// The side of a kind that its watch writes.
pub struct Keeper<K: Stored> {
    writer: Writer<Guarded<K>>,
    listed_once: watch::Sender<bool>,
    read: Indexed<K>,
    /// While all are listed: how many were admitted under each first key, and since when.
    listed: HashMap<K::Key, usize>,
    began: Instant,
    /// Whether what is listed first is news.
    first_is_news: bool,
}

impl<K: Stored> Keeper<K> {
    /// With nothing in it.
    pub fn new(first_is_news: bool) -> (Indexed<K>, Self) {
        let (store, writer) = reflector::store();
        let beside = Beside { index: HashMap::new(), own: Own::default() };
        let (listed_once, listed) = watch::channel(false);
        let read = Indexed { store, listed, beside: Arc::new(Mutex::new(beside)) };
        let keeper = Self {
            writer,
            listed_once,
            read: read.clone(),
            listed: HashMap::new(),
            began: Instant::now(),
            first_is_news,
        };
        (read, keeper)
    }

    /// Stores the objects of the events, and yields what has changed by them.
    pub fn keep(
        mut self,
        events: impl Stream<Item = Event<Guarded<K>>> + Send,
    ) -> impl Stream<Item = Change<K>> + Send {
        events.flat_map(move |event| stream::iter(self.apply(event)))
    }

    /// Stores the object of an event, and returns what has changed by it.
    pub fn apply(&mut self, event: Event<Guarded<K>>) -> Vec<Change<K>> {
        match event {
            // A real API server has none.
            Event::InitApply(object) | Event::Apply(object) | Event::Delete(object)
                if object.meta().name.is_none() =>
            {
                Vec::new()
            }
            Event::Init => {
                (self.listed, self.began) = (HashMap::new(), Instant::now());
                self.writer.apply_watcher_event(&Event::Init);
                Vec::new()
            }
            Event::InitApply(mut object) => {
                if K::admit(&mut object) && self.has_room_in_list(&object) {
                    self.writer.apply_watcher_event(&Event::InitApply(object));
                }
                Vec::new()
            }
            Event::InitDone => self.replace(),
            Event::Apply(mut object) => {
                let admitted = K::admit(&mut object);
                let key = ObjectRef::from_obj(&object);
                let old = self.read.store.get(&key);
                let is_ours = locked(&self.read.beside).own.is_ours(&object);
                let is_known = old.as_ref().is_some_and(|old| first_key(old) == first_key(&object));
                let kept = admitted && (is_known || is_ours || self.has_room(&object));
                let changes = self.set(&key, old, kept.then(|| object.clone()), is_ours);
                // After that: a reader in between must not miss both.
                locked(&self.read.beside).own.came(&object, false, Instant::now());
                changes
            }
            Event::Delete(object) => {
                let key = ObjectRef::from_obj(&object);
                let old = self.read.store.get(&key);
                let changes = self.set(&key, old, None, false);
                locked(&self.read.beside).own.came(&object, true, Instant::now());
                changes
            }
        }
    }

    fn set(
        &mut self,
        key: &ObjectRef<Guarded<K>>,
        old: Option<Arc<Guarded<K>>>,
        new: Option<Guarded<K>>,
        is_ours: bool,
    ) -> Vec<Change<K>> {
        let mut beside = locked(&self.read.beside);
        if let Some(old) = &old {
            for under in keys(old) {
                if let Some(refs) = beside.index.get_mut(&under) {
                    refs.remove(key);
                    if refs.is_empty() {
                        beside.index.remove(&under);
                    }
                }
            }
        }
        if let Some(new) = &new {
            beside.enter(key, new);
        }
        match (&old, &new) {
            (_, Some(new)) => self.writer.apply_watcher_event(&Event::Apply(new.clone())),
            (Some(old), None) => self.writer.apply_watcher_event(&Event::Delete((**old).clone())),
            (None, None) => return Vec::new(),
        }
        vec![Change { old, new: new.map(Arc::new), is_ours }]
    }

    /// After a list. What it does not have is gone, although no event has reported that.
    fn replace(&mut self) -> Vec<Change<K>> {
        let by_ref = |store: &Store<Guarded<K>>| -> HashMap<_, _> {
            store.state().into_iter().map(|object| (ObjectRef::from_obj(&*object), object)).collect()
        };
        let mut old = by_ref(&self.read.store);
        let mut beside = locked(&self.read.beside);
        self.writer.apply_watcher_event(&Event::InitDone);
        beside.own.listed(self.began);
        self.listed = HashMap::new();
        let new = by_ref(&self.read.store);
        beside.index = HashMap::new();
        for (key, object) in &new {
            beside.enter(key, object);
        }
        for (key, object) in &old {
            if new.get(key).is_none_or(|new| new.meta().uid != object.meta().uid) {
                beside.own.vanished(object, Instant::now());
            }
        }
        drop(beside);
        self.listed_once.send_replace(true);
        if !std::mem::replace(&mut self.first_is_news, true) {
            return Vec::new();
        }
        let mut changes: Vec<_> = new.into_iter().map(|(key, new)| (old.remove(&key), Some(new))).collect();
        changes.extend(old.into_values().map(|old| (Some(old), None)));
        changes.into_iter().map(|(old, new)| Change { old, new, is_ours: false }).collect()
    }

    fn has_room_in_list(&mut self, object: &Guarded<K>) -> bool {
        let Some(first) = first_key(object) else { return true };
        let known = self.read.store.get(&ObjectRef::from_obj(object));
        let is_known = known.is_some_and(|known| first_key(&known).as_ref() == Some(&first));
        let count = self.listed.entry(first).or_default();
        *count += 1;
        is_known || is_below(*count, object)
    }

    fn has_room(&self, object: &Guarded<K>) -> bool {
        let Some(first) = first_key(object) else { return true };
        let beside = locked(&self.read.beside);
        is_below(beside.index.get(&first).map_or(0, HashSet::len) + 1, object)
    }
}

fn is_below<K: Stored>(count: usize, object: &Guarded<K>) -> bool {
    // Once for each row of them.
    if count == K::MOST.saturating_add(1) {
        let (kind, namespace) = (K::plural(&()), object.namespace());
        warn!(%kind, namespace, name = object.name_any(), "left out: there are too many of one owner");
    }
    count <= K::MOST
}

fn first_key<K: Stored>(object: &Guarded<K>) -> Option<K::Key> {
    keys(object).into_iter().next()
}

fn keys<K: Stored>(object: &Guarded<K>) -> Vec<K::Key> {
    object.parsed().map(|object| object.keys()).unwrap_or_default()
}
