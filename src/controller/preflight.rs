//! Asks the Hub about one resource, no more often than there is reason to, and remembers the answer.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::sync::Semaphore;

use super::{
    PreflightError, attempt, backoff,
    budget::{Budget, Closed, Key},
    checked::{self, Checked},
    observe::{Observation, SecretState},
    source::{self, Wanted},
};
use crate::{
    api::{ModelCache, Source},
    hub::{self, Endpoint, Hub, Question, TokenRecord},
    reason::{Remedy, Verdict},
};

/// A refusal after a good answer is asked for once more, so soon, before it is believed.
const SECOND_OPINION: Duration = Duration::from_secs(15);

/// Questions to one endpoint at one time.
const LISTINGS: usize = 8;

/// What an answer depends on. The pinned commit is not in it: it follows from the answer.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    uid: Option<String>,
    source: Source,
    secret_version: Option<String>,
    reconcile_at: Option<String>,
    /// The last Job, if it was refused what had been granted: with its refusal, the next one is the second in a row.
    refused_job: Option<String>,
}

impl Asked {
    fn by(seen: &Observation) -> Self {
        let Observation { cache, secret, attempts, .. } = seen;
        let refused = attempts.last().filter(|last| attempt::is_refused(last));
        Self {
            uid: cache.uid(),
            source: cache.spec.source.clone(),
            secret_version: secret.version().map(ToOwned::to_owned),
            reconcile_at: cache.reconcile_at(),
            refused_job: refused.map(|last| last.job.name_any()),
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

impl Memory {
    /// Whether the files that were listed are those of the commit that the resource stays at: one that was found on the
    /// volume later is another than the Hub's newest.
    fn is_about(&self, cache: &ModelCache) -> bool {
        let listed = self.checked.snapshot.as_ref().map(|snapshot| &snapshot.commit);
        listed.zip(checked::pinned(cache).as_ref()).is_none_or(|(listed, pinned)| listed == pinned)
    }

    /// What an earlier process knew, so that a new one does not believe a single refusal either. It asks at once.
    fn earlier(cache: &ModelCache, asked: &Asked, endpoint: &Endpoint, now: Timestamp) -> Option<Self> {
        let checked = Checked::earlier(cache, endpoint)?;
        Some(Self { asked: asked.clone(), checked, next: now, failures: 0, was_good: true, doubted: false })
    }
}

/// One of the operator's endpoints.
#[derive(Debug)]
struct Door {
    hub: Hub,
    /// A listing may have a hundred thousand files: only so many are held in memory at one time. Each endpoint has its own,
    /// so that one that hangs keeps nobody else waiting.
    places: Semaphore,
    budget: Mutex<Budget>,
}

/// The answers of the Hub, by resource. Lost with the process, which costs one question each; that they were good is told by
/// the resource.
#[derive(Debug)]
pub struct Preflights {
    doors: Vec<Door>,
    memories: Mutex<HashMap<Key, Memory>>,
    /// By Secret: its version, and what is known of its token.
    tokens: Mutex<HashMap<Key, (String, Arc<TokenRecord>)>>,
}

impl Preflights {
    /// Connects to the operator's endpoints.
    pub fn new(endpoints: &[Endpoint]) -> Result<Self, PreflightError> {
        let door = |endpoint| {
            let hub = Hub::connect(endpoint)?;
            Ok(Door { hub, places: Semaphore::new(LISTINGS), budget: Mutex::default() })
        };
        let doors = endpoints.iter().map(door).collect::<Result<_, PreflightError>>()?;
        Ok(Self { doors, memories: Mutex::default(), tokens: Mutex::default() })
    }

    /// What is known of the token, the access and the revision of a resource, and in how long to look again.
    pub async fn check(&self, seen: &Observation, now: Timestamp) -> (Checked, Duration) {
        let cache = &seen.cache;
        let interval = cache.spec.interval.duration();
        let wanted = match Wanted::parse(&cache.spec) {
            Ok(wanted) => wanted,
            Err(verdict) => return (Checked::unusable(verdict), interval),
        };
        let door = match self.door(cache) {
            Ok(door) => door,
            Err(verdict) => return (Checked::stopped(wanted, verdict), interval),
        };
        if let Some(checked) = Checked::without_token(cache, &seen.secret, &wanted) {
            return (checked, backoff::WITHOUT_TOKEN);
        }
        let key = key(cache, &cache.name_any());
        let asked = Asked::by(seen);
        let before = match self.recall(&key) {
            Some(memory) => Some(memory).filter(|memory| memory.asked == asked),
            None => Memory::earlier(cache, &asked, door.hub.endpoint(), now),
        };
        if let Some(memory) = before.as_ref().filter(|memory| memory.next > now && memory.is_about(cache)) {
            return (timed(memory.checked.clone(), memory.next), until(memory.next, now));
        }
        // The semaphore is never closed; without a place the question would only be less polite.
        let _place = door.places.acquire().await;
        // Waiting for a place takes time, in which others may have learned something.
        let now = now.max(Timestamp::now());
        if let Err(closed) = locked(&door.budget).take(now) {
            let wait = until(closed.until, now) + backoff::spread(&key.1);
            let known = before.map(|memory| timed(memory.checked, closed.until));
            return (known.unwrap_or_else(|| postponed(wanted, &seen.secret, &closed)), wait);
        }
        let answer = self.ask(&door.hub, cache, &seen.secret, wanted).await;
        let now = now.max(Timestamp::now());
        locked(&door.budget).learn(&key, answer.first_unmet(), answer.retry_after, now);
        let memory = remember(before, asked, answer, interval, &key.1, now);
        let result = (timed(memory.checked.clone(), memory.next), until(memory.next, now));
        locked(&self.memories).insert(key, memory);
        result
    }

    /// Drops what is known of a resource that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        locked(&self.memories).remove(&key);
    }

    fn recall(&self, key: &Key) -> Option<Memory> {
        locked(&self.memories).get(key).cloned()
    }

    fn door(&self, cache: &ModelCache) -> Result<&Door, Verdict> {
        let endpoints: Vec<Endpoint> = self.doors.iter().map(|door| door.hub.endpoint().clone()).collect();
        let endpoint = source::endpoint(&cache.spec, &endpoints)?;
        let place = endpoints.iter().position(|one| one == endpoint);
        Ok(&self.doors[place.unwrap_or_default()])
    }

    async fn ask(&self, hub: &Hub, cache: &ModelCache, secret: &SecretState, wanted: Wanted) -> Checked {
        let record = self.record(cache, secret);
        let pinned = checked::pinned(cache);
        let preflight = hub::preflight(
            hub,
            &Question {
                repo: &wanted.repo,
                revision: &wanted.revision,
                patterns: &wanted.patterns,
                pinned: pinned.as_ref(),
                followed: wanted.aliases.first(),
                token: secret.token(),
                record: &record,
                files: false,
                confirm: true,
            },
        )
        .await;
        Checked::answered(wanted, hub.endpoint().clone(), preflight)
    }

    /// What is known of the token in this version of the Secret, however many resources refer to it.
    fn record(&self, cache: &ModelCache, secret: &SecretState) -> Arc<TokenRecord> {
        let Some((key, version)) = secret_key(cache, secret) else { return Arc::default() };
        let mut tokens = locked(&self.tokens);
        let entry = tokens.entry(key).or_default();
        if entry.0 != version {
            *entry = (version.to_owned(), Arc::default());
        }
        Arc::clone(&entry.1)
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer where nothing is known yet, and nobody may ask now.
fn postponed(wanted: Wanted, secret: &SecretState, closed: &Closed) -> Checked {
    let message = backoff::with_time(closed.message.clone(), closed.reason, closed.until);
    Checked::postponed(wanted, secret.token().is_some(), closed.reason, message)
}

/// The answer as it is told: it is remembered without the time of the next question, which others move.
fn timed(mut checked: Checked, next: Timestamp) -> Checked {
    for verdict in &mut checked.verdicts {
        verdict.message = backoff::with_time(mem::take(&mut verdict.message), verdict.reason, next);
    }
    checked
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
    let next = after(now, backoff::hub(remedy, failures, answer.retry_after, interval, name));
    Memory { asked, checked: answer, next, failures, was_good, doubted: false }
}

fn after(now: Timestamp, pause: Duration) -> Timestamp {
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}

fn until(next: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(next.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
