//! Asks the Hub about one resource, no more often than there is reason to, and remembers the answer.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::sync::Semaphore;

use super::{
    PreflightError, backoff,
    checked::{self, Checked},
    observe::{Observation, SecretState},
    source::{self, Wanted},
};
use crate::{
    api::{self, ModelCache, Source},
    hub::{self, Endpoint, Hub, Question},
    reason::{Remedy, Verdict},
};

/// Where no event tells that a Secret came: looked at again after this time at the latest.
const WITHOUT_TOKEN: Duration = Duration::from_secs(300);
/// A refusal after a good answer is asked for once more, so soon, before it is believed.
const SECOND_OPINION: Duration = Duration::from_secs(15);

/// Questions to the Hub at one time.
const LISTINGS: usize = 8;

/// Namespace and name.
type Key = (String, String);

/// What an answer depends on. The pinned commit is not in it: it follows from the answer.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    uid: Option<String>,
    source: Source,
    secret_version: Option<String>,
    reconcile_at: Option<String>,
}

impl Asked {
    fn by(cache: &ModelCache, secret: &SecretState) -> Self {
        Self {
            uid: cache.uid(),
            source: cache.spec.source.clone(),
            secret_version: secret.version().map(ToOwned::to_owned),
            reconcile_at: cache.annotations().get(api::ANNOTATION_RECONCILE_AT).cloned(),
        }
    }
}

/// What the Hub said of a resource the last time, and when to ask again.
#[derive(Clone, Debug)]
struct Memory {
    asked: Asked,
    checked: Checked,
    next: Timestamp,
    /// How often in a row the answer was not a plain yes.
    failures: u32,
    /// The last answer that said anything was good; an outage in between does not change that.
    was_good: bool,
    /// The last answer was a refusal that is not believed yet.
    doubted: bool,
}

/// The answers of the Hub, by resource. Lost with the process, which costs one question each.
#[derive(Debug)]
pub struct Preflights {
    hubs: Vec<Hub>,
    /// A listing may have a hundred thousand files: only so many are held in memory at one time.
    places: Semaphore,
    memories: Mutex<HashMap<Key, Memory>>,
    /// By Secret: the version of it whose token was good.
    good_tokens: Mutex<HashMap<Key, String>>,
}

impl Preflights {
    /// Connects to the operator's endpoints.
    pub fn new(endpoints: &[Endpoint]) -> Result<Self, PreflightError> {
        let hubs = endpoints.iter().map(Hub::connect).collect::<Result<_, _>>()?;
        Ok(Self {
            hubs,
            places: Semaphore::new(LISTINGS),
            memories: Mutex::default(),
            good_tokens: Mutex::default(),
        })
    }

    /// What is known of the token, the access and the revision of a resource, and in how long to look again.
    pub async fn check(&self, seen: &Observation, now: Timestamp) -> (Checked, Duration) {
        let cache = &seen.cache;
        let interval = cache.spec.interval.duration();
        let wanted = match Wanted::parse(&cache.spec) {
            Ok(wanted) => wanted,
            Err(verdict) => return (Checked::unusable(verdict), interval),
        };
        let hub = match self.hub(cache) {
            Ok(hub) => hub,
            Err(verdict) => return (Checked::stopped(wanted, verdict), interval),
        };
        if let Some(checked) = Checked::without_token(cache, &seen.secret, &wanted) {
            return (checked, WITHOUT_TOKEN);
        }
        let key = key(cache, &cache.name_any());
        let asked = Asked::by(cache, &seen.secret);
        let before = self.recall(&key).filter(|memory| memory.asked == asked);
        if let Some(memory) = before.as_ref().filter(|memory| memory.next > now) {
            return (memory.checked.clone(), until(memory.next, now));
        }
        let answer = self.ask(hub, cache, &seen.secret, wanted).await;
        let memory = remember(before, asked, answer, interval, &key.1, now);
        let result = (memory.checked.clone(), until(memory.next, now));
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).insert(key, memory);
        result
    }

    /// Drops what is known of a resource that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    fn recall(&self, key: &Key) -> Option<Memory> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn hub(&self, cache: &ModelCache) -> Result<&Hub, Verdict> {
        let endpoints: Vec<Endpoint> = self.hubs.iter().map(|hub| hub.endpoint().clone()).collect();
        let endpoint = source::endpoint(&cache.spec, &endpoints)?;
        let place = endpoints.iter().position(|one| one == endpoint);
        Ok(&self.hubs[place.unwrap_or_default()])
    }

    async fn ask(&self, hub: &Hub, cache: &ModelCache, secret: &SecretState, wanted: Wanted) -> Checked {
        let token = match secret {
            SecretState::Present(token, _) => Some(token),
            _ => None,
        };
        // Asked once for each version of the Secret, however many resources refer to it.
        let token_known_good = self.is_good(cache, secret);
        let pinned = checked::pinned(cache);
        // The semaphore is never closed; without a place the question would only be less polite.
        let _place = self.places.acquire().await;
        let preflight = hub::preflight(
            hub,
            &Question {
                repo: &wanted.repo,
                revision: &wanted.revision,
                patterns: &wanted.patterns,
                pinned: pinned.as_ref(),
                token,
                token_known_good,
            },
        )
        .await;
        if let Some((key, version)) = secret_key(cache, secret).filter(|_| preflight.authenticated.holds()) {
            self.good_tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(key, version.to_owned());
        }
        Checked::answered(wanted, hub.endpoint().clone(), preflight)
    }

    fn is_good(&self, cache: &ModelCache, secret: &SecretState) -> bool {
        let good = self.good_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        secret_key(cache, secret)
            .is_some_and(|(key, version)| good.get(&key).is_some_and(|good| good == version))
    }
}

fn key(cache: &ModelCache, name: &str) -> Key {
    (cache.namespace().unwrap_or_default(), name.to_owned())
}

/// The Secret's key, with its version; a key of it that is not the default one is part of the name.
fn secret_key<'a>(cache: &ModelCache, secret: &'a SecretState) -> Option<(Key, &'a str)> {
    let reference = cache.spec.token_secret_ref.as_ref()?;
    Some((key(cache, &format!("{}/{}", reference.name, reference.key)), secret.version()?))
}

/// What the new answer makes of what was known. Pure.
fn remember(
    before: Option<Memory>,
    asked: Asked,
    answer: Checked,
    interval: Duration,
    name: &str,
    now: Timestamp,
) -> Memory {
    let remedy = answer.first_unmet().map_or(Remedy::None, |verdict| verdict.reason.remedy());
    let was_good = before.as_ref().is_some_and(|memory| memory.was_good);
    if let Some(before) =
        before.clone().filter(|memory| was_good && !memory.doubted && remedy == Remedy::Person)
    {
        return Memory { next: after(now, SECOND_OPINION), doubted: true, ..before };
    }
    let was_good = match remedy {
        Remedy::None => true,
        Remedy::Person => false,
        Remedy::Wait | Remedy::Retry => was_good,
    };
    let failures = if remedy == Remedy::None { 0 } else { before.map_or(0, |memory| memory.failures) + 1 };
    let pause = backoff::hub(remedy, failures, answer.retry_after, interval, name);
    Memory { asked, checked: answer, next: after(now, pause), failures, was_good, doubted: false }
}

fn after(now: Timestamp, pause: Duration) -> Timestamp {
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}

fn until(next: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(next.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        controller::fixtures::{at, cache, granted, refused},
        reason::Reason,
    };

    const HOUR: Duration = Duration::from_secs(3600);

    fn next(before: Option<Memory>, answer: Checked, now: i64) -> Memory {
        let asked = Asked::by(&cache(), &SecretState::NotAsked);
        remember(before, asked, answer, HOUR, "tiny", at(now))
    }

    fn pause(memory: &Memory, now: i64) -> u64 {
        until(memory.next, at(now)).as_secs()
    }

    #[test]
    fn one_refusal_after_a_good_answer_is_not_believed() {
        let good = next(None, granted(&cache()), 0);
        assert!(pause(&good, 0) >= 3600);
        let doubted = next(Some(good), refused(&cache(), Reason::TokenInvalid), 10);
        assert!(doubted.checked.granted(), "the good answer stands");
        assert_eq!(pause(&doubted, 10), 15);
        let believed = next(Some(doubted.clone()), refused(&cache(), Reason::TokenInvalid), 30);
        assert!(!believed.checked.granted());
        let healed = next(Some(doubted), granted(&cache()), 30);
        assert_eq!((healed.checked.granted(), healed.doubted), (true, false));
    }

    #[test]
    fn an_outage_shows_at_once_and_is_asked_about_with_growing_pauses() {
        let good = next(None, granted(&cache()), 0);
        let first = next(Some(good), refused(&cache(), Reason::HubUnreachable), 10);
        assert!(!first.checked.granted());
        let second = next(Some(first.clone()), refused(&cache(), Reason::HubUnreachable), 20);
        assert!(pause(&first, 10) < pause(&second, 20));
    }

    #[test]
    fn an_outage_in_between_does_not_make_one_refusal_believable() {
        let good = next(None, granted(&cache()), 0);
        let outage = next(Some(good), refused(&cache(), Reason::HubUnreachable), 10);
        let first = next(Some(outage), refused(&cache(), Reason::TokenInvalid), 20);
        assert_eq!(first.checked.verdicts[1].reason, Reason::HubUnreachable);
        let second = next(Some(first), refused(&cache(), Reason::TokenInvalid), 40);
        assert_eq!(second.checked.verdicts[1].reason, Reason::TokenInvalid);
    }

    #[test]
    fn terms_that_are_accepted_on_a_web_page_are_noticed_within_seconds() {
        let refused = next(None, refused(&cache(), Reason::TermsNotAccepted), 0);
        assert!((15..=17).contains(&pause(&refused, 0)));
    }
}
