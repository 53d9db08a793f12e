//! The pauses that an endpoint asks for with 429, each for the one token that got it; those without a token are one. Pure.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use super::pause::Pause;
use crate::{
    controller::backoff::{self, LONGEST_ASKED},
    hub::Fingerprint,
    reason::Verdict,
};

/// Where none is named.
const USUAL: Duration = Duration::from_secs(5);

/// The pauses of one endpoint.
#[derive(Debug, Default)]
pub struct RateLimits(HashMap<Option<Fingerprint>, Pause>);

impl RateLimits {
    /// The pause of a token, if there is one now.
    #[must_use]
    pub fn of(&self, token: Option<Fingerprint>, now: Timestamp) -> Option<&Pause> {
        self.0.get(&token).filter(|pause| pause.until > now)
    }

    /// A request with a token was answered with 429. Of two times that were asked for, the later one counts.
    pub fn record(
        &mut self,
        token: Option<Fingerprint>,
        verdict: &Verdict,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) {
        self.0.retain(|_, pause| pause.until > now);
        let until = backoff::after(now, retry_after.unwrap_or(USUAL).min(LONGEST_ASKED));
        let known = self.0.entry(token).or_insert_with(|| Pause::new(verdict, until));
        known.until = known.until.max(until);
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{
        controller::fixtures::at,
        reason::{ConditionType, Reason},
    };

    #[test]
    fn a_pause_is_for_the_token_that_was_limited_and_for_no_other() {
        let mut limits = RateLimits::default();
        let limited = Verdict::no(ConditionType::Authorized, Reason::RateLimited, "Wait.");
        let token = |text: &str| Some(text.parse::<crate::hub::Token>().unwrap().fingerprint());
        let until = |limits: &RateLimits, token, now| {
            limits.of(token, at(now)).map(|pause| pause.until.duration_since(at(0)).as_secs())
        };
        limits.record(token("hf_busy"), &limited, Some(Duration::from_secs(56)), at(0));
        // A shorter one, to a request that was on its way.
        limits.record(token("hf_busy"), &limited, Some(Duration::from_secs(9)), at(2));
        assert_eq!(until(&limits, token("hf_busy"), 55), Some(56));
        assert_eq!(until(&limits, token("hf_busy"), 56), None);
        assert_eq!(until(&limits, token("hf_other"), 1), None);
        assert_eq!(until(&limits, None, 1), None);
        limits.record(None, &limited, Some(Duration::from_secs(100_000)), at(100));
        assert_eq!(until(&limits, None, 101), Some(3700), "an hour at most");
        assert_eq!(limits.0.len(), 1, "what is over is forgotten");
    }
}
