//! The prober of one endpoint: asks what is queued, some questions at a time, and keeps the answers. Runs outside of the
//! reconciles, so that an endpoint that hangs keeps none of them waiting.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use super::{
    Key,
    circuit_breaker::{CircuitBreaker, State as Circuit},
    listeners::Listeners,
    pause::Pause,
    question::Question,
    queue::{FairQueue, Priority},
    rate_limits::RateLimits,
};
use crate::hub::{self, Concern, Fingerprint, Hub, Preflight, Token, TokenRecord};

/// Questions at one time.
const IN_FLIGHT: usize = 16;
/// Of these, questions of one namespace: one whose answers are slow leaves room for the others.
const IN_FLIGHT_OF_ONE: usize = 4;
/// How long an answer is kept for others who ask the same; refreshes come within a tenth of their interval.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

/// Who asks.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The token.
    pub token: Option<Token>,
    /// What is known of it.
    pub record: Arc<TokenRecord>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the Hub said.
    pub preflight: Arc<Preflight>,
    /// What it said is at least as new as this.
    pub asked_at: Timestamp,
    /// When it had come.
    pub answered_at: Timestamp,
}

/// A question that is queued or in flight.
#[derive(Debug)]
struct Waiting {
    credentials: Credentials,
    /// Who is to be reconciled when the answer is there.
    resources: HashSet<Key>,
    /// The time by which somebody has asked.
    since: Timestamp,
}

/// All that changes.
#[derive(Debug, Default)]
struct State {
    queue: FairQueue<Question>,
    waiting: HashMap<Question, Waiting>,
    /// How many are in flight, by the namespace that asked first.
    in_flight: HashMap<String, usize>,
    answers: HashMap<Question, Answer>,
    swept_at: Timestamp,
    breaker: CircuitBreaker,
    limits: RateLimits,
    /// Whether the call that is about no repo is in flight.
    is_pinging: bool,
}

/// One of the operator's endpoints.
#[derive(Debug)]
pub struct EndpointProber {
    hub: Hub,
    state: Mutex<State>,
    work: Notify,
    listeners: Arc<Listeners>,
}

/// What the dispatcher does next.
enum Next {
    Ask {
        namespace: String,
        question: Question,
        credentials: Credentials,
        since: Timestamp,
    },
    /// Nobody may ask this now: who waits for it is told.
    Postpone(HashSet<Key>),
    Wait,
}

impl EndpointProber {
    /// Answers are announced to the listeners.
    pub fn new(hub: Hub, listeners: Arc<Listeners>) -> Self {
        Self { hub, state: Mutex::default(), work: Notify::new(), listeners }
    }

    /// The Hub there.
    pub const fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Whether requests pass.
    pub fn circuit(&self) -> Circuit {
        self.locked().breaker.state()
    }

    /// The pause that keeps a token from asking now.
    pub fn pause(&self, token: Option<Fingerprint>, now: Timestamp) -> Option<Pause> {
        let state = self.locked();
        state.limits.of(token, now).or_else(|| state.breaker.pause(now)).cloned()
    }

    /// An answer that is at least as new as a time.
    pub fn answer(&self, question: &Question, since: Timestamp) -> Option<Answer> {
        self.locked().answers.get(question).filter(|answer| answer.asked_at >= since).cloned()
    }

    /// Queues a question; whoever asks the same joins in.
    pub fn ask(
        &self,
        who: &Key,
        question: Question,
        credentials: Credentials,
        priority: Priority,
        since: Timestamp,
    ) {
        let mut state = self.locked();
        if let Some(waiting) = state.waiting.get_mut(&question) {
            waiting.resources.insert(who.clone());
            return;
        }
        state.queue.push(&who.0, priority, question.clone());
        state
            .waiting
            .insert(question, Waiting { credentials, resources: HashSet::from([who.clone()]), since });
        drop(state);
        self.work.notify_one();
    }

    /// Asks until the process ends.
    pub async fn run(self: Arc<Self>) {
        loop {
            match self.next(Timestamp::now()) {
                Next::Ask { namespace, question, credentials, since } => {
                    let prober = self.clone();
                    tokio::spawn(async move { prober.put(namespace, question, credentials, since).await });
                }
                Next::Postpone(resources) => self.announce(&resources),
                Next::Wait => self.work.notified().await,
            }
        }
    }

    fn next(&self, now: Timestamp) -> Next {
        let mut guard = self.locked();
        let state = &mut *guard;
        let in_flight = &state.in_flight;
        if in_flight.values().sum::<usize>() >= IN_FLIGHT {
            return Next::Wait;
        }
        let has_room = |namespace: &str| in_flight.get(namespace).is_none_or(|&some| some < IN_FLIGHT_OF_ONE);
        let Some((namespace, question)) = state.queue.pop(has_room) else { return Next::Wait };
        let is_limited = state.limits.of(question.token(), now).is_some();
        if is_limited || state.breaker.try_acquire(now).is_err() {
            return Next::Postpone(
                state.waiting.remove(&question).map(|it| it.resources).unwrap_or_default(),
            );
        }
        let Some(Waiting { credentials, since, .. }) = state.waiting.get(&question) else {
            return Next::Wait;
        };
        let (credentials, since) = (credentials.clone(), *since);
        *state.in_flight.entry(namespace.clone()).or_default() += 1;
        Next::Ask { namespace, question, credentials, since }
    }

    async fn put(&self, namespace: String, question: Question, credentials: Credentials, since: Timestamp) {
        let asked_at = since.max(Timestamp::now());
        let token = credentials.token.as_ref();
        let preflight = hub::preflight(&self.hub, &question.to_the_hub(token, &credentials.record)).await;
        let answered_at = asked_at.max(Timestamp::now());
        let answer = Answer { preflight: Arc::new(preflight), asked_at, answered_at };
        let resources = self.settle(&namespace, question, answer);
        self.announce(&resources);
        self.work.notify_one();
        self.resolve_doubt().await;
    }

    /// Takes an answer in, and gives those who wait for it.
    fn settle(&self, namespace: &str, question: Question, answer: Answer) -> HashSet<Key> {
        let mut guard = self.locked();
        let state = &mut *guard;
        if let Some(count) = state.in_flight.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                state.in_flight.remove(namespace);
            }
        }
        let (preflight, now) = (&answer.preflight, answer.answered_at);
        match (preflight.concern, preflight.obstacle()) {
            (Concern::Endpoint, Some(verdict)) => state.breaker.record_failure(namespace, verdict, now),
            (Concern::Token, Some(verdict)) => {
                state.limits.record(question.token(), verdict, preflight.retry_after, now);
                state.breaker.record_answer();
            }
            _ => state.breaker.record_answer(),
        }
        let resources = state.waiting.remove(&question).map(|it| it.resources).unwrap_or_default();
        state.answers.insert(question, answer);
        state.sweep(now);
        resources
    }

    /// Where only one namespace sees failures, a call that is about no repo tells whether it is the endpoint.
    async fn resolve_doubt(&self) {
        {
            let mut state = self.locked();
            if state.is_pinging || !state.breaker.is_in_doubt() {
                return;
            }
            state.is_pinging = true;
        }
        let is_up = self.hub.is_up().await;
        let mut state = self.locked();
        state.is_pinging = false;
        state.breaker.record_neutral(is_up, Timestamp::now());
    }

    fn announce(&self, resources: &HashSet<Key>) {
        for key in resources {
            self.listeners.announce(key);
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sweep(&mut self, now: Timestamp) {
        if now.duration_since(self.swept_at) < KEPT / 10 {
            return;
        }
        self.swept_at = now;
        self.answers.retain(|_, answer| now.duration_since(answer.answered_at) < KEPT);
    }
}
