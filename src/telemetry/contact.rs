//! Tracks whether the watches on the API server are connected, for `/readyz` and the metrics.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use crate::sync::locked;

/// If all watches of a kind are disconnected for longer than this, the operator is not ready. Shorter losses are normal when an API
/// server restarts.
pub const TOLERATED: Duration = Duration::from_secs(30);

/// The watches of this process, each registered while its [`Contact`] lives.
#[derive(Clone, Debug, Default)]
pub struct Contacts(Arc<Mutex<BTreeMap<u64, Watch>>>);

/// One watch.
#[derive(Debug)]
struct Watch {
    kind: Cow<'static, str>,
    state: State,
    /// How often it was opened after it had been lost, or was new.
    sessions: u64,
}

/// How long the watches of a kind have been disconnected. There is one per watched namespace, or one for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The longest of them; zero if all are connected.
    pub any: Duration,
    /// The shortest of them; zero if any is connected. A deleted namespace must not make the operator of the others not ready.
    pub every: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Connected.
    Connected,
    /// Disconnected since then; not reported yet.
    Unreported(Instant),
    /// Disconnected since then; reported.
    Lost(Instant),
}

impl Contacts {
    /// Registers a watch of a kind, by its plural. Not connected yet.
    #[must_use]
    pub fn add(&self, kind: Cow<'static, str>) -> Contact {
        let mut all = self.locked();
        let number = all.last_key_value().map_or(0, |(last, _)| last + 1);
        all.insert(number, Watch { kind, state: State::Unreported(Instant::now()), sessions: 0 });
        Contact { all: self.clone(), number }
    }

    /// The watched kinds, each with how long its watches have been disconnected.
    #[must_use]
    pub fn lost(&self) -> BTreeMap<String, Lost> {
        let mut kinds = BTreeMap::<_, Lost>::new();
        for Watch { kind, state, .. } in self.locked().values() {
            let lost = match state {
                State::Connected => Duration::ZERO,
                // Never zero, which would mean connected.
                State::Unreported(since) | State::Lost(since) => since.elapsed().max(Duration::from_nanos(1)),
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

/// The handle with which a watch reports its state.
#[derive(Debug)]
pub struct Contact {
    all: Contacts,
    number: u64,
}

impl Contact {
    /// For who depends on the watch.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer { all: self.all.clone(), number: self.number }
    }

    /// Whether the watch is open.
    #[must_use]
    pub fn is_made(&self) -> bool {
        self.change(|watch| watch.state == State::Connected)
    }

    /// Records that the watch is connected. Returns whether its loss was reported before.
    #[must_use]
    pub fn make(&self) -> bool {
        self.change(|watch| {
            let before = std::mem::replace(&mut watch.state, State::Connected);
            watch.sessions += u64::from(before != State::Connected);
            matches!(before, State::Lost(_))
        })
    }

    /// Records that the watch is disconnected. Returns whether that has not been reported before.
    #[must_use]
    pub fn lose(&self) -> bool {
        self.change(|watch| match watch.state {
            State::Lost(_) => false,
            State::Unreported(since) => {
                watch.state = State::Lost(since);
                true
            }
            State::Connected => {
                watch.state = State::Lost(Instant::now());
                true
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut Watch) -> bool) -> bool {
        self.all.locked().get_mut(&self.number).is_some_and(change)
    }
}

impl Drop for Contact {
    fn drop(&mut self) {
        self.all.locked().remove(&self.number);
    }
}

/// The side of who depends on a watch.
#[derive(Clone, Debug)]
pub struct Observer {
    all: Contacts,
    number: u64,
}

impl Observer {
    /// The number of the session that is open; none while the watch is lost or has ended. Another number means that it was lost
    /// in between.
    #[must_use]
    pub fn session(&self) -> Option<u64> {
        let all = self.all.locked();
        all.get(&self.number).filter(|watch| watch.state == State::Connected).map(|watch| watch.sessions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_lost_while_any_watch_is_and_each_loss_is_reported_once() {
        let contacts = Contacts::default();
        let (pods, others) = (contacts.add("pods".into()), contacts.add("pods".into()));
        let lost = || contacts.lost()["pods"];
        let zero = Duration::ZERO;
        assert!(lost().any > zero && lost().every > zero, "not connected yet");
        assert!(!pods.make() && !others.make(), "the loss was not reported");
        assert_eq!(lost(), Lost { any: zero, every: zero });
        assert!(pods.lose() && !pods.lose());
        assert!(lost().any > zero && lost().every == zero, "one of two");
        assert!(others.lose() && lost().every > zero);
        assert!(pods.make() && !pods.make());
        let observer = pods.observer();
        let first = observer.session();
        assert!(first.is_some() && pods.lose() && observer.session().is_none());
        assert!(pods.make() && observer.session() > first, "another session");
        drop((pods, others));
        assert_eq!(observer.session(), None);
        assert!(contacts.lost().is_empty(), "what is no longer watched is not missed");
    }
}
