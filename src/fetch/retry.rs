//! Decides when a failed download is retried. Knows nothing of what is downloaded.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::Limits;
use crate::{hub::HubError, sync::locked};

/// An attempt that downloads this many bytes resets the count of failures.
const PROGRESS: u64 = 8 * 1024 * 1024;
/// The longest backoff.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// The failures of one download so far.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
}

/// The total time that a fetch has waited for the Hub's rate limits. Simultaneous waits of its downloads count once.
#[derive(Debug, Default)]
pub(super) struct RateLimitBudget(Mutex<Waited>);

#[derive(Debug, Default)]
struct Waited {
    all: Duration,
    until: Option<Instant>,
}

impl RateLimitBudget {
    /// Whether the budget allows waiting for `pause` from `now` on. If so, it is charged.
    pub(super) fn take(&self, pause: Duration, limit: Duration, now: Instant) -> bool {
        let mut waited = locked(&self.0);
        let begin = waited.until.map_or(now, |until| until.max(now));
        let Some(end) = now.checked_add(pause) else { return false };
        let all = waited.all.saturating_add(end.saturating_duration_since(begin));
        if all > limit {
            return false;
        }
        *waited = Waited { all, until: Some(end.max(begin)) };
        true
    }
}

impl Retry {
    /// The pause before the next attempt, or `None` to give up. `jitter` is in 0..1 and spreads the attempts of many
    /// downloads.
    pub(super) fn after(
        &mut self,
        error: &HubError,
        gained: u64,
        limits: &Limits,
        rate_limit: &RateLimitBudget,
        jitter: f64,
    ) -> Option<Duration> {
        if !error.is_transient() {
            return None;
        }
        if let Some(pause) = error.retry_after() {
            let pause = pause + limits.pause.mul_f64(jitter);
            return rate_limit.take(pause, limits.rate_limit, Instant::now()).then_some(pause);
        }
        if gained >= PROGRESS {
            self.failures = 0;
        }
        self.failures += 1;
        if self.failures >= limits.attempts {
            return None;
        }
        Some(backoff(limits.pause, self.failures).mul_f64(0.5 + jitter / 2.0))
    }
}

/// The pause after `failures` consecutive failures, at least 1: doubles from `first` up to a limit.
pub(super) fn backoff(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(1 << (failures.max(1) - 1).min(16)).min(MAX_BACKOFF)
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::hub::ConnectFailure;

    fn cut() -> HubError {
        HubError::Unreachable { host: "h".to_owned(), kind: ConnectFailure::Cut, detail: String::new() }
    }

    fn limited(seconds: u64) -> HubError {
        let retry_after = Duration::from_secs(seconds);
        HubError::RateLimited { host: "h".to_owned(), retry_after, named: true, words: String::new() }
    }

    #[test]
    fn pauses_grow_and_end() {
        let limits = Limits { attempts: 4, pause: Duration::from_secs(1), ..Limits::default() };
        let mut retry = Retry::default();
        let pauses = [0.0, 1.0, 0.5, 0.5]
            .map(|jitter| retry.after(&cut(), 0, &limits, &RateLimitBudget::default(), jitter));
        let seconds = |seconds| Some(Duration::from_secs_f64(seconds));
        assert_eq!(pauses, [seconds(0.5), seconds(2.0), seconds(3.0), None]);
    }

    #[test]
    fn an_attempt_with_progress_resets_the_count() {
        let limits = Limits { attempts: 2, ..Limits::default() };
        let mut retry = Retry::default();
        for _ in 0..9 {
            assert!(retry.after(&cut(), PROGRESS, &limits, &RateLimitBudget::default(), 0.5).is_some());
        }
        assert_eq!(retry.after(&cut(), 0, &limits, &RateLimitBudget::default(), 0.5), None);
    }

    #[test]
    fn waiting_for_rate_limits_is_bounded() {
        let limits = Limits { rate_limit: Duration::from_secs(300), ..Limits::default() };
        let waiting = RateLimitBudget::default();
        let after = |seconds, waiting| Retry::default().after(&limited(seconds), 0, &limits, waiting, 0.0);
        assert_eq!(after(200, &waiting), Some(Duration::from_secs(200)));
        // At the same time, and a little longer.
        assert_eq!(after(200, &waiting), Some(Duration::from_secs(200)));
        assert_eq!(after(250, &waiting), Some(Duration::from_secs(250)));
        assert_eq!(after(301, &waiting), None);
        assert_eq!(after(3600, &RateLimitBudget::default()), None);
    }

    #[test]
    fn all_downloads_share_one_budget() {
        let (waiting, began) = (RateLimitBudget::default(), Instant::now());
        let take = |pause, at| {
            let [pause, limit, at] = [pause, 300, at].map(Duration::from_secs);
            waiting.take(pause, limit, began + at)
        };
        assert!(take(200, 0) && take(150, 100));
        assert!(!take(60, 260));
        assert!(take(50, 260));
        assert!(!take(1, 400));
    }

    #[test]
    fn permanent_errors_are_not_retried() {
        let error =
            HubError::Unreachable { host: "h".to_owned(), kind: ConnectFailure::Tls, detail: String::new() };
        assert_eq!(
            Retry::default().after(&error, 0, &Limits::default(), &RateLimitBudget::default(), 0.5),
            None
        );
    }
}
