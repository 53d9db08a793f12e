//! The circuit breaker of one endpoint. It opens when the endpoint itself fails: several namespaces see failures of several repos,
//! or a call that is about no repo fails too. What one tenant or one repo does cannot keep the others from asking. Pure.

use std::{collections::HashSet, mem, time::Duration};

use jiff::Timestamp;

use super::pause::Pause;
use crate::{
    controller::backoff::{self, Growing},
    hub::Repo,
    reason::Verdict,
};

/// So many failures in a row are investigated.
const FAILURES: u32 = 3;
/// The pauses while it is open. Short enough for a resource that is new.
const PAUSES: Growing = Growing::new(5, 60);
/// While it is half open, one asks, and the others wait so long for its answer.
const PROBE: Duration = Duration::from_secs(10);

/// Whether requests pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They pass.
    Closed,
    /// None passes until the pause is over.
    Open,
    /// One passes, and its answer decides.
    HalfOpen,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// As metrics call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The circuit breaker.
#[derive(Debug, Default)]
pub struct CircuitBreaker {
    pause: Option<Pause>,
    /// Whether one asks for all just now.
    is_probing: bool,
    /// How often it has opened since the last usable answer.
    openings: u32,
    /// Since the last answer.
    failures: Failures,
}

/// Failures in a row.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    namespaces: HashSet<String>,
    repos: HashSet<Repo>,
    last: Option<Verdict>,
}

impl Failures {
    /// Whether no single tenant and no single repo can be the cause.
    fn is_general(&self) -> bool {
        self.namespaces.len() > 1 && self.repos.len() > 1
    }
}

impl CircuitBreaker {
    /// Whether requests pass.
    #[must_use]
    pub const fn state(&self) -> State {
        match (&self.pause, self.is_probing) {
            (None, _) => State::Closed,
            (Some(_), true) => State::HalfOpen,
            (Some(_), false) => State::Open,
        }
    }

    /// The pause, as long as no request passes.
    #[must_use]
    pub fn pause(&self, now: Timestamp) -> Option<&Pause> {
        self.pause.as_ref().filter(|pause| pause.until > now)
    }

    /// Leave for one request. Of all who wait while it is open, the first gets it when the pause is over.
    pub fn try_acquire(&mut self, now: Timestamp) -> Result<(), Pause> {
        match &mut self.pause {
            None => Ok(()),
            Some(pause) if pause.until > now => Err(pause.clone()),
            Some(pause) => {
                pause.until = backoff::after(now, PROBE);
                self.is_probing = true;
                Ok(())
            }
        }
    }

    /// The endpoint has given an answer, whatever it is.
    pub fn record_answer(&mut self) {
        *self = Self::default();
    }

    /// The endpoint has failed for a namespace that asked about a repo.
    pub fn record_failure(&mut self, namespace: &str, repo: &Repo, verdict: &Verdict, now: Timestamp) {
        if self.pause.is_some() {
            // Of all that were on their way when it opened, none counts but the one that was let through since.
            if self.is_probing {
                self.open(verdict, now);
            }
            return;
        }
        let failures = &mut self.failures;
        failures.count = failures.count.saturating_add(1);
        failures.namespaces.insert(namespace.to_owned());
        failures.repos.insert(repo.clone());
        failures.last = Some(verdict.clone());
        if failures.count >= FAILURES && failures.is_general() {
            self.open(verdict, now);
        }
    }

    /// Whether a call that is about no repo has to show if it is the endpoint that fails, or what one namespace asks for, or one repo.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.pause.is_none() && self.failures.count >= FAILURES
    }

    /// The result of that call.
    pub fn record_neutral(&mut self, is_up: bool, now: Timestamp) {
        let failures = mem::take(&mut self.failures);
        if let Some(verdict) = failures.last.filter(|_| !is_up && self.pause.is_none()) {
            self.open(&verdict, now);
        }
    }

    fn open(&mut self, verdict: &Verdict, now: Timestamp) {
        self.failures = Failures::default();
        self.is_probing = false;
        self.openings = self.openings.saturating_add(1);
        self.pause = Some(Pause::new(verdict, backoff::after(now, PAUSES.after(self.openings))));
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{
        controller::fixtures::at,
        hub::RepoType,
        reason::{ConditionType, Reason},
    };

    /// A namespace asks about a repo of its own.
    fn fail(breaker: &mut CircuitBreaker, namespace: &str, now: i64) {
        fail_at(breaker, namespace, &format!("acme/{namespace}"), now);
    }

    fn fail_at(breaker: &mut CircuitBreaker, namespace: &str, repo: &str, now: i64) {
        let verdict = Verdict::no(ConditionType::Authorized, Reason::HubUnreachable, "No answer.");
        let repo = Repo { kind: RepoType::Model, id: repo.parse().unwrap() };
        breaker.record_failure(namespace, &repo, &verdict, at(now));
    }

    /// Until when nobody asks, in seconds; what asks now if somebody may.
    fn acquire(breaker: &mut CircuitBreaker, now: i64) -> Option<i64> {
        breaker.try_acquire(at(now)).err().map(|pause| pause.until.duration_since(at(0)).as_secs())
    }

    #[test]
    fn what_several_namespaces_see_is_an_outage_and_then_one_asks_for_all() {
        let mut breaker = CircuitBreaker::default();
        for namespace in ["a", "a", "b"] {
            assert_eq!((acquire(&mut breaker, 0), breaker.state()), (None, State::Closed));
            fail(&mut breaker, namespace, 0);
        }
        assert_eq!((acquire(&mut breaker, 4), breaker.state()), (Some(5), State::Open));
        // One that was on its way.
        fail(&mut breaker, "c", 4);
        assert_eq!((acquire(&mut breaker, 5), breaker.state()), (None, State::HalfOpen));
        assert_eq!(acquire(&mut breaker, 5), Some(15), "all others");
        fail(&mut breaker, "d", 6);
        assert_eq!((acquire(&mut breaker, 7), breaker.state()), (Some(16), State::Open));
        assert_eq!(acquire(&mut breaker, 16), None);
        breaker.record_answer();
        assert_eq!((acquire(&mut breaker, 17), breaker.state()), (None, State::Closed));
    }

    #[test]
    fn a_probe_that_never_comes_back_is_followed_by_another() {
        let mut breaker = CircuitBreaker::default();
        for namespace in ["a", "b", "c"] {
            fail(&mut breaker, namespace, 0);
        }
        assert_eq!(
            [acquire(&mut breaker, 5), acquire(&mut breaker, 14), acquire(&mut breaker, 15)],
            [None, Some(15), None]
        );
    }

    #[test]
    fn one_namespace_opens_it_only_if_a_call_about_no_repo_fails_too() {
        let mut breaker = CircuitBreaker::default();
        for now in 0..10 {
            fail(&mut breaker, "a", now);
        }
        assert_eq!((breaker.state(), breaker.is_in_doubt()), (State::Closed, true));
        breaker.record_neutral(true, at(10));
        assert_eq!(
            (breaker.state(), breaker.is_in_doubt()),
            (State::Closed, false),
            "it is what they ask for"
        );
        for now in 11..14 {
            fail(&mut breaker, "a", now);
        }
        breaker.record_neutral(false, at(14));
        assert_eq!((breaker.state(), acquire(&mut breaker, 18)), (State::Open, Some(19)));
    }

    #[test]
    fn a_repo_that_fails_for_all_is_no_outage() {
        let mut breaker = CircuitBreaker::default();
        for namespace in ["a", "b", "c", "d"] {
            fail_at(&mut breaker, namespace, "acme/broken", 0);
        }
        assert_eq!((breaker.state(), breaker.is_in_doubt()), (State::Closed, true));
        breaker.record_neutral(true, at(1));
        fail_at(&mut breaker, "a", "acme/other", 2);
        assert_eq!((breaker.state(), breaker.is_in_doubt()), (State::Closed, false));
    }

    #[test]
    fn an_answer_in_between_ends_the_count() {
        let mut breaker = CircuitBreaker::default();
        for namespace in ["a", "b"] {
            fail(&mut breaker, namespace, 0);
        }
        breaker.record_answer();
        fail(&mut breaker, "c", 1);
        assert_eq!(breaker.state(), State::Closed);
    }
}
