//! Whether the watches of the API server are open: for `/readyz` and the metrics.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use crate::sync::locked;

/// A kind that is watched nowhere for longer than this makes the operator not ready. Shorter ones come with every restart of an API
/// server.
pub const TOLERATED: Duration = Duration::from_secs(30);

/// The watches of this process, each for as long as its [`Contact`] lives.
#[derive(Clone, Debug, Default)]
pub struct Contacts(Arc<Mutex<BTreeMap<u64, Watch>>>);

/// One watch.
#[derive(Debug)]
struct Watch {
    kind: Cow<'static, str>,
    state: State,
}

/// For how long the watches of a kind have not been open. There is one for each namespace that was asked for, or one for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// One of them; zero where all are open.
    pub any: Duration,
    /// Every one of them; zero where one is open. A namespace that is gone must not make the operator of the others not ready.
    pub every: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Open.
    Made,
    /// Not open since then, and nobody was told of it.
    New(Instant),
    /// Not open since then.
    Lost(Instant),
}

impl Contacts {
    /// A watch of a kind, by its plural; not open yet.
    #[must_use]
    pub fn add(&self, kind: Cow<'static, str>) -> Contact {
        let mut all = self.locked();
        let number = all.last_key_value().map_or(0, |(last, _)| last + 1);
        all.insert(number, Watch { kind, state: State::New(Instant::now()) });
        Contact { all: self.clone(), number }
    }

    /// The kinds that are watched, each with how long its watches have not been open.
    #[must_use]
    pub fn lost(&self) -> BTreeMap<String, Lost> {
        let mut kinds = BTreeMap::<_, Lost>::new();
        for Watch { kind, state } in self.locked().values() {
            let lost = match state {
                State::Made => Duration::ZERO,
                // Never zero, which would mean that it is open.
                State::New(since) | State::Lost(since) => since.elapsed().max(Duration::from_nanos(1)),
            };
            let known = kinds.entry(kind.to_string()).or_insert(Lost { any: lost, every: lost });
            *known = Lost { any: known.any.max(lost), every: known.every.min(lost) };
        }
        kinds
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<u64, Watch>> {
        locked(&self.0)
    }
}

/// The side of a watch, which reports its state.
#[derive(Debug)]
pub struct Contact {
    all: Contacts,
    number: u64,
}

impl Contact {
    /// Whether the watch is open.
    #[must_use]
    pub fn is_made(&self) -> bool {
        self.change(|state| *state == State::Made)
    }

    /// The watch is open. Says whether its loss was reported before.
    #[must_use]
    pub fn make(&self) -> bool {
        self.change(|state| matches!(std::mem::replace(state, State::Made), State::Lost(_)))
    }

    /// The watch is not open. Says whether that is news.
    #[must_use]
    pub fn lose(&self) -> bool {
        self.change(|state| match *state {
            State::Lost(_) => false,
            State::New(since) => {
                *state = State::Lost(since);
                true
            }
            State::Made => {
                *state = State::Lost(Instant::now());
                true
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut State) -> bool) -> bool {
        self.all.locked().get_mut(&self.number).is_some_and(|watch| change(&mut watch.state))
    }
}

impl Drop for Contact {
    fn drop(&mut self) {
        self.all.locked().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_lost_while_one_of_its_watches_is_and_each_loss_is_news_once() {
        let contacts = Contacts::default();
        let (pods, others) = (contacts.add("pods".into()), contacts.add("pods".into()));
        let lost = || contacts.lost()["pods"];
        let zero = Duration::ZERO;
        assert!(lost().any > zero && lost().every > zero, "not open yet");
        assert!(!pods.make() && !others.make(), "nobody was told of it");
        assert_eq!(lost(), Lost { any: zero, every: zero });
        assert!(pods.lose() && !pods.lose());
        assert!(lost().any > zero && lost().every == zero, "one of two");
        assert!(others.lose() && lost().every > zero);
        assert!(pods.make() && !pods.make());
        drop((pods, others));
        assert!(contacts.lost().is_empty(), "what is no longer watched is not missed");
    }
}
