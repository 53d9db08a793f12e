//! Asks the Hub outside of the reconciles. A reconcile takes the answer that is there, or leaves a question and runs again when
//! its answer has come. One answer serves all who ask the same.

mod circuit_breaker;
mod endpoint;
mod listeners;
mod pause;
mod question;
mod queue;
mod rate_limits;
mod report;

pub use circuit_breaker::State as Circuit;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use futures::Stream;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use tokio::task::JoinSet;

use self::{
    endpoint::{Asker, EndpointProber},
    listeners::{Key, Listeners},
    pause::Pause,
    question::Question,
    queue::Priority,
    report::{CachedReport, Entry, Inputs},
};
use super::{
    PreflightError,
    access::AccessReport,
    backoff,
    observation::{Observation, SecretState},
    pin,
    source::{self, Wanted},
};
use crate::{
    api::ModelCache,
    hub::{Endpoint, Hub, Token, TokenStatusCache},
    reason::Verdict,
    sync::locked,
};

/// A new ModelCache takes an answer that others got so short a time ago.
const FRESH: SignedDuration = SignedDuration::from_secs(60);
/// A safety net below the announcement that an answer has come.
const ASKING: Duration = Duration::from_secs(300);

/// What is known now.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// This, and how long it counts.
    Known(AccessReport, Duration),
    /// This, but it is asked for again just now.
    Refreshing(AccessReport, Duration),
    /// Nothing yet: it is asked for.
    Pending(Duration),
}

/// The answers of the Hub, by ModelCache. Lost with the process, which costs one question each; that they were good is in the
/// resource's status.
#[derive(Debug)]
pub struct Prober {
    endpoints: Vec<Endpoint>,
    /// In the same order.
    probers: Vec<Arc<EndpointProber>>,
    entries: Mutex<HashMap<Key, Entry>>,
    /// By Secret: its version, and what is known of its token as long as an entry holds it.
    tokens: Mutex<HashMap<Key, (String, Weak<TokenStatusCache>)>>,
    listeners: Arc<Listeners>,
    /// Ended with it.
    _dispatchers: JoinSet<()>,
}

impl Prober {
    /// Begins to ask at the operator's endpoints what will be left to be asked.
    pub fn start(endpoints: &[Endpoint]) -> Result<Self, PreflightError> {
        let listeners = Arc::<Listeners>::default();
        let connect = |endpoint| {
            let hub = Hub::connect(endpoint)?;
            Ok(Arc::new(EndpointProber::new(hub, listeners.clone())))
        };
        let probers = endpoints.iter().map(connect).collect::<Result<Vec<_>, PreflightError>>()?;
        let dispatchers = probers.iter().map(|prober| prober.clone().run()).collect();
        Ok(Self {
            endpoints: endpoints.to_vec(),
            probers,
            entries: Mutex::default(),
            tokens: Mutex::default(),
            listeners,
            _dispatchers: dispatchers,
        })
    }

    /// The ModelCaches of a namespace, or of all, about which there is a new answer from now on.
    pub fn answered(&self, namespace: Option<&str>) -> impl Stream<Item = Key> + Send + use<> {
        self.listeners.listen(namespace)
    }

    /// What is known of the token, the access and the revision of a ModelCache. What is not, or no longer, is asked for.
    pub fn report(&self, seen: &Observation, now: Timestamp) -> Report {
        let cache = &seen.cache;
        let interval = cache.spec.interval.duration();
        let wanted = match Wanted::parse(&cache.spec) {
            Ok(wanted) => wanted,
            Err(verdict) => return Report::Known(AccessReport::unusable(verdict), interval),
        };
        let prober = match self.prober(cache) {
            Ok(prober) => prober,
            Err(verdict) => return Report::Known(AccessReport::stopped(wanted, verdict), interval),
        };
        if let Some(checked) = AccessReport::without_token(cache, &seen.secret, &wanted) {
            return Report::Known(checked, backoff::WITHOUT_TOKEN);
        }
        let key = key(cache, &cache.name_any());
        let inputs = Inputs::of(seen);
        let mut entries = locked(&self.entries);
        let entry = entries.entry(key.clone()).or_insert_with(|| Entry {
            report: CachedReport::earlier(cache, prober.hub().endpoint(), now),
            ..Entry::new(inputs.clone(), now - FRESH)
        });
        // What has changed, or what the user asks for, needs an answer from after that.
        if entry.inputs != inputs {
            let record = entry.record.take();
            *entry = Entry { record, ..Entry::new(inputs, now) };
        }
        let about_it = entry.report.as_ref().filter(|report| report.is_about(cache));
        if let Some(report) = about_it.filter(|report| report.next > now) {
            return Report::Known(report.with_next(report.next), backoff::elapsed(now, report.next));
        }
        let token = seen.secret.token();
        let question = Question::new(&wanted, pin::pinned(cache), token.map(Token::fingerprint));
        if let Some(answer) = prober.answer(&question, entry.since) {
            let endpoint = prober.hub().endpoint().clone();
            let checked = AccessReport::answered(wanted, endpoint, (*answer.preflight).clone());
            let report = entry.add(&answer, checked, cache);
            return Report::Known(report.with_next(report.next), backoff::elapsed(now, report.next));
        }
        if let Some(pause) = prober.pause(question.token(), now) {
            let wait = backoff::elapsed(now, pause.until) + backoff::spread(&key.1);
            let known = entry.report.as_ref().map(|report| report.with_next(pause.until));
            return Report::Known(known.unwrap_or_else(|| postponed(wanted, &seen.secret, &pause)), wait);
        }
        let priority = if entry.report.is_some() { Priority::Refresh } else { Priority::First };
        let record = self.record(cache, &seen.secret);
        entry.record = Some(record.clone());
        let asker = Asker { token: token.cloned(), record, listed: entry.listed.clone() };
        prober.ask(&key, question, asker, priority, entry.since.max(now));
        match about_it {
            Some(report) => Report::Refreshing(report.with_next(report.next), ASKING),
            None => Report::Pending(ASKING),
        }
    }

    /// The endpoints, each with the state of its circuit breaker.
    pub fn circuits(&self) -> impl Iterator<Item = (&str, Circuit)> {
        self.probers.iter().map(|prober| (prober.hub().endpoint().as_str(), prober.circuit()))
    }

    /// Drops what is known of a ModelCache that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        locked(&self.entries).remove(&key);
        drop_unused(&mut locked(&self.tokens));
    }

    fn prober(&self, cache: &ModelCache) -> Result<&Arc<EndpointProber>, Verdict> {
        Ok(&self.probers[source::endpoint(&cache.spec, &self.endpoints)?])
    }

    /// What is known of the token in this version of the Secret, however many ModelCaches refer to it.
    fn record(&self, cache: &ModelCache, secret: &SecretState) -> Arc<TokenStatusCache> {
        let Some((key, version)) = secret_key(cache, secret) else { return Arc::default() };
        let mut tokens = locked(&self.tokens);
        let known = tokens.get(&key).filter(|(known, _)| known == version);
        if let Some(record) = known.and_then(|(_, record)| record.upgrade()) {
            return record;
        }
        let record = Arc::default();
        drop_unused(&mut tokens);
        tokens.insert(key, (version.to_owned(), Arc::downgrade(&record)));
        record
    }
}

fn drop_unused(tokens: &mut HashMap<Key, (String, Weak<TokenStatusCache>)>) {
    tokens.retain(|_, (_, record)| record.strong_count() > 0);
}

/// The answer where nothing is known yet, and the endpoint may not be asked now.
fn postponed(wanted: Wanted, secret: &SecretState, pause: &Pause) -> AccessReport {
    let message = backoff::with_time(pause.message.clone(), pause.reason, pause.until);
    AccessReport::postponed(wanted, secret.token().is_some(), pause.reason, message)
}

fn key(cache: &ModelCache, name: &str) -> Key {
    (cache.namespace().unwrap_or_default(), name.to_owned())
}

/// The Secret's key, with its version; a key of it that is not the default one is part of the name.
fn secret_key<'a>(cache: &ModelCache, secret: &'a SecretState) -> Option<(Key, &'a str)> {
    let reference = cache.spec.token_secret_ref.as_ref()?;
    Some((key(cache, &format!("{}/{}", reference.name, reference.key)), secret.version()?))
}

#[cfg(test)]
mod tests;
