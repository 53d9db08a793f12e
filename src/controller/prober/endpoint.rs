//! The prober of one endpoint: asks what is queued, some questions at a time, and keeps the answers. Runs outside of the
//! reconciles, so that an endpoint that hangs keeps none of them waiting.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use super::{
    circuit_breaker::{CircuitBreaker, State as Circuit},
    listeners::{Key, Listeners},
    pause::Pause,
    question::Question,
    queue::{FairQueue, Priority},
    rate_limits::RateLimits,
};
use crate::hub::{self, Concern, Fingerprint, Hub, Preflight, Token, TokenStatusCache};

use crate::sync::locked;

/// Questions at one time.
const IN_FLIGHT: usize = 16;
/// Of these, questions of one namespace: one whose answers are slow leaves room for the others.
pub const IN_FLIGHT_OF_ONE: usize = 4;
/// How long an answer is kept for others who ask the same; the jitter of their refreshes is shorter.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

/// What a question is asked with, beside what it is.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The token.
    pub token: Option<Token>,
    /// What is known of it.
    pub record: Arc<TokenStatusCache>,
    /// The last answer to it with a snapshot.
    pub listed: Option<Arc<Preflight>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the Hub said.
    pub preflight: Arc<Preflight>,
    /// The answer is at least as new as this.
    pub asked_at: Timestamp,
    /// When it had come.
    pub answered_at: Timestamp,
}

/// A question that is queued or in flight.
#[derive(Debug)]
struct Waiting {
    asker: Asker,
    /// The lines of the queue that it stands in.
    lines: HashSet<(String, Priority)>,
    is_in_flight: bool,
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
    /// How many are in flight, by the namespace whose turn it was.
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

/// A question whose turn it is.
struct Turn {
    namespace: String,
    question: Question,
    asker: Asker,
    since: Timestamp,
}

/// What the dispatcher does next.
enum Next {
    Ask(Box<Turn>),
    /// The question may not be asked now: those who wait for it are reconciled.
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

    /// Queues a question. Whoever asks the same joins in, and it is asked when the first of their namespaces has its turn.
    pub fn ask(&self, who: &Key, question: Question, asker: Asker, priority: Priority, since: Timestamp) {
        let mut guard = self.locked();
        let state = &mut *guard;
        let waiting = state.waiting.entry(question.clone()).or_insert_with(|| Waiting::new(asker, since));
        waiting.resources.insert(who.clone());
        if !waiting.is_in_flight && waiting.lines.insert((who.0.clone(), priority)) {
            state.queue.push(&who.0, priority, question);
            self.work.notify_one();
        }
    }

    /// Asks until the process ends.
    pub async fn run(self: Arc<Self>) {
        loop {
            match self.next(Timestamp::now()) {
                Next::Ask(turn) => {
                    let prober = self.clone();
                    tokio::spawn(async move { prober.put(*turn).await });
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
        loop {
            let Some((namespace, question)) = state.queue.pop(has_room) else { return Next::Wait };
            // It may have been asked in another namespace's turn.
            let Some(waiting) = state.waiting.get_mut(&question).filter(|waiting| !waiting.is_in_flight)
            else {
                continue;
            };
            let is_limited = state.limits.of(question.token(), now).is_some();
            if is_limited || state.breaker.try_acquire(now).is_err() {
                let postponed = state.waiting.remove(&question);
                return Next::Postpone(postponed.map(|waiting| waiting.resources).unwrap_or_default());
            }
            waiting.is_in_flight = true;
            let (asker, since) = (waiting.asker.clone(), waiting.since);
            *state.in_flight.entry(namespace.clone()).or_default() += 1;
            return Next::Ask(Box::new(Turn { namespace, question, asker, since }));
        }
    }

    async fn put(&self, turn: Turn) {
        let Turn { namespace, question, asker, since } = turn;
        let asked_at = since.max(Timestamp::now());
        let Asker { token, record, listed } = &asker;
        let known = listed.as_ref().and_then(|answer| answer.snapshot.as_ref());
        let preflight = hub::preflight(&self.hub, &question.to_the_hub(token.as_ref(), record, known)).await;
        let answered_at = asked_at.max(Timestamp::now());
        let answer = Answer { preflight: Arc::new(preflight), asked_at, answered_at };
        let resources = self.settle(&namespace, question, answer);
        self.announce(&resources);
        self.work.notify_one();
        self.resolve_doubt().await;
    }

    /// Takes an answer in, and returns those who wait for it.
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
            (Concern::Endpoint, Some(verdict)) => {
                state.breaker.record_failure(namespace, question.repo(), verdict, now);
            }
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

    /// Where only one namespace or one repo sees failures, a call that is about no repo shows whether it is the endpoint.
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
        locked(&self.state)
    }
}

impl Waiting {
    fn new(asker: Asker, since: Timestamp) -> Self {
        let (lines, resources) = (HashSet::new(), HashSet::new());
        Self { asker, lines, is_in_flight: false, resources, since }
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
