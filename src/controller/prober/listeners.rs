//! Who is to know that there is a new answer about a ModelCache.

use std::sync::Mutex;

use futures::{
    Stream,
    channel::mpsc::{UnboundedSender, unbounded},
};

use crate::sync::locked;

/// Namespace and name of a ModelCache, or of a Secret.
pub type Key = (String, String);

/// The listeners, each for one namespace or for all.
#[derive(Debug, Default)]
pub struct Listeners(Mutex<Vec<(Option<String>, UnboundedSender<Key>)>>);

impl Listeners {
    /// The ModelCaches of a namespace, or of all, about which there is a new answer from now on.
    pub fn listen(&self, namespace: Option<&str>) -> impl Stream<Item = Key> + Send + use<> {
        let (sender, keys) = unbounded();
        let mut all = locked(&self.0);
        all.push((namespace.map(ToOwned::to_owned), sender));
        keys
    }

    /// There is an answer about a ModelCache.
    pub fn announce(&self, key: &Key) {
        let mut all = locked(&self.0);
        all.retain(|(_, listener)| !listener.is_closed());
        let concerned = all.iter().filter(|(namespace, _)| namespace.as_ref().is_none_or(|it| *it == key.0));
        for (_, listener) in concerned {
            // One that has just been closed hears nothing more.
            let _ = listener.unbounded_send(key.clone());
        }
    }
}
