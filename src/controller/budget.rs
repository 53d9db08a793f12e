//! How often one endpoint may be asked, by all resources together: where it asks to wait or is down, they wait together.
//! Pure: the clock is given.

use std::{collections::HashSet, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::backoff::{Growing, LONGEST_ASKED};
use crate::reason::{Reason, Verdict};

/// So many resources in a row have to fail before it is the endpoint that is down, and not what they ask for.
const DOWN: usize = 3;
/// The pauses while it is down. Short enough for a resource that is new.
const PAUSES: Growing = Growing::new(5, 60);
/// While it is down, one resource asks, and the others wait so long for its answer.
const PROBE: Duration = Duration::from_secs(10);

/// Namespace and name of a resource.
pub type Key = (String, String);

/// What all resources know of one endpoint.
#[derive(Debug, Default)]
pub struct Budget {
    closed: Option<Closed>,
    /// Who failed since the last usable answer.
    failing: HashSet<Key>,
    pauses: u32,
    /// Whether one asks for all just now.
    probing: bool,
}

/// Nobody asks before a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// That time.
    pub until: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The sentence for it.
    pub message: String,
}

impl Budget {
    /// Leave to ask now, unless nobody may. Of all who wait for an endpoint that was down, the first gets it.
    pub fn take(&mut self, now: Timestamp) -> Result<(), Closed> {
        let down = self.failing.len() >= DOWN;
        match &mut self.closed {
            Some(closed) if closed.until > now => Err(closed.clone()),
            Some(closed) if down => {
                closed.until = after(now, PROBE);
                self.probing = true;
                Ok(())
            }
            _ => {
                self.closed = None;
                Ok(())
            }
        }
    }

    /// What the answer to a resource tells about the endpoint; `obstacle` is what stands in its way.
    pub fn learn(
        &mut self,
        who: &Key,
        obstacle: Option<&Verdict>,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) {
        match obstacle {
            Some(verdict) if verdict.reason == Reason::RateLimited => {
                self.close(verdict, after(now, retry_after.unwrap_or(PAUSES.first).min(LONGEST_ASKED)));
            }
            Some(verdict) if verdict.reason == Reason::HubUnreachable => {
                self.failing.insert(who.clone());
                // Of all that were on their way when it went down, only the first counts.
                let news = self.closed.is_none() || self.probing;
                if self.failing.len() >= DOWN && news {
                    self.probing = false;
                    self.pauses = self.pauses.saturating_add(1);
                    self.close(verdict, after(now, PAUSES.after(self.pauses)));
                }
            }
            _ => {
                (self.failing, self.pauses, self.probing) = (HashSet::new(), 0, false);
                // An answer that was on its way does not undo what the Hub asks for.
                self.closed = self.closed.take().filter(|closed| closed.reason == Reason::RateLimited);
            }
        }
    }

    fn close(&mut self, verdict: &Verdict, until: Timestamp) {
        // Of two times that were asked for, the later one counts.
        let later = self.closed.as_ref().filter(|closed| closed.reason == Reason::RateLimited);
        let until = later.map_or(until, |closed| closed.until.max(until));
        self.closed = Some(Closed { until, reason: verdict.reason, message: verdict.message.clone() });
    }
}

fn after(now: Timestamp, pause: Duration) -> Timestamp {
    SignedDuration::try_from(pause)
        .ok()
        .and_then(|pause| now.checked_add(pause).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{controller::fixtures::at, reason::Topic};

    fn verdict(reason: Reason) -> Verdict {
        Verdict::no(Topic::Authorized, reason, reason.as_str())
    }

    fn key(name: &str) -> Key {
        ("team".to_owned(), name.to_owned())
    }

    fn fail(budget: &mut Budget, who: &str, reason: Reason, now: i64) {
        budget.learn(&key(who), Some(&verdict(reason)), None, at(now));
    }

    fn closed(budget: &mut Budget, now: i64) -> Option<(Reason, i64)> {
        let closed = budget.take(at(now)).err()?;
        Some((closed.reason, closed.until.duration_since(at(0)).as_secs()))
    }

    #[test]
    fn a_pause_that_the_hub_asks_for_is_everybodys() {
        let mut budget = Budget::default();
        budget.learn(&key("a"), Some(&verdict(Reason::RateLimited)), Some(Duration::from_secs(56)), at(0));
        assert_eq!(closed(&mut budget, 1), Some((Reason::RateLimited, 56)));
        // Answers that were on their way change nothing, and neither does a shorter pause.
        budget.learn(&key("b"), None, None, at(2));
        budget.learn(&key("c"), Some(&verdict(Reason::RateLimited)), Some(Duration::from_secs(9)), at(2));
        assert_eq!(closed(&mut budget, 55), Some((Reason::RateLimited, 56)));
        assert_eq!(closed(&mut budget, 56), None);
    }

    #[test]
    fn one_repo_that_fails_is_no_outage() {
        let mut budget = Budget::default();
        for now in 0..10 {
            fail(&mut budget, "a", Reason::HubUnreachable, now);
            fail(&mut budget, "b", Reason::HubUnreachable, now);
        }
        assert_eq!(closed(&mut budget, 10), None);
        fail(&mut budget, "c", Reason::TermsNotAccepted, 10);
        fail(&mut budget, "d", Reason::HubUnreachable, 10);
        assert_eq!(closed(&mut budget, 10), None);
    }

    #[test]
    fn in_an_outage_one_asks_for_all() {
        let mut budget = Budget::default();
        for who in ["a", "b", "c"] {
            assert_eq!(closed(&mut budget, 0), None);
            fail(&mut budget, who, Reason::HubUnreachable, 0);
        }
        assert_eq!(closed(&mut budget, 4), Some((Reason::HubUnreachable, 5)));
        assert_eq!(closed(&mut budget, 5), None, "the probe");
        assert_eq!(closed(&mut budget, 5), Some((Reason::HubUnreachable, 15)), "all others");
        fail(&mut budget, "d", Reason::HubUnreachable, 6);
        // One that was on its way.
        fail(&mut budget, "e", Reason::HubUnreachable, 6);
        assert_eq!(closed(&mut budget, 7), Some((Reason::HubUnreachable, 16)));
        assert_eq!(closed(&mut budget, 16), None);
        budget.learn(&key("d"), None, None, at(17));
        assert_eq!(closed(&mut budget, 17), None);
        assert_eq!(closed(&mut budget, 17), None, "it is up again, for all");
    }
}
