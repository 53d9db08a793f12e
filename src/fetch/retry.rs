//! When a failed download is tried again. Pure: knows neither the clock nor what is downloaded.

use std::time::Duration;

use super::Limits;
use crate::hub::HubError;

/// A try that brought so many bytes was not in vain: the count of failures begins anew.
const PROGRESS: u64 = 8 * 1024 * 1024;
/// No pause of our own is longer.
const LONGEST: Duration = Duration::from_secs(30);

/// The failures of one download so far.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
    limited: Duration,
}

impl Retry {
    /// The pause before the next try, or `None` when there shall be none. `luck` lies in 0..1 and spreads the tries of
    /// many downloads.
    pub(super) fn after(
        &mut self,
        error: &HubError,
        gained: u64,
        limits: &Limits,
        luck: f64,
    ) -> Option<Duration> {
        if !error.is_transient() {
            return None;
        }
        if let Some(pause) = error.retry_after() {
            let pause = pause + limits.pause.mul_f64(luck);
            self.limited += pause;
            return (self.limited <= limits.rate_limit).then_some(pause);
        }
        if gained >= PROGRESS {
            self.failures = 0;
        }
        self.failures += 1;
        if self.failures >= limits.attempts {
            return None;
        }
        let doubled = limits.pause.saturating_mul(1 << (self.failures - 1).min(16)).min(LONGEST);
        Some(doubled.mul_f64(0.5 + luck / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::hub::Trouble;

    fn cut() -> HubError {
        HubError::Unreachable { host: "h".to_owned(), kind: Trouble::Cut, detail: String::new() }
    }

    fn limited(seconds: u64) -> HubError {
        HubError::RateLimited { host: "h".to_owned(), retry_after: Duration::from_secs(seconds) }
    }

    #[test]
    fn pauses_grow_and_end() {
        let limits = Limits { attempts: 4, pause: Duration::from_secs(1), ..Limits::default() };
        let mut retry = Retry::default();
        let pauses = [0.0, 1.0, 0.5, 0.5].map(|luck| retry.after(&cut(), 0, &limits, luck));
        let seconds = |seconds| Some(Duration::from_secs_f64(seconds));
        assert_eq!(pauses, [seconds(0.5), seconds(2.0), seconds(3.0), None]);
    }

    #[test]
    fn a_try_that_brought_much_starts_the_count_anew() {
        let limits = Limits { attempts: 2, ..Limits::default() };
        let mut retry = Retry::default();
        for _ in 0..9 {
            assert!(retry.after(&cut(), PROGRESS, &limits, 0.5).is_some());
        }
        assert_eq!(retry.after(&cut(), 0, &limits, 0.5), None);
    }

    #[test]
    fn the_hub_is_waited_for_only_so_long() {
        let limits = Limits { rate_limit: Duration::from_secs(300), ..Limits::default() };
        let mut retry = Retry::default();
        assert_eq!(retry.after(&limited(200), 0, &limits, 0.0), Some(Duration::from_secs(200)));
        assert_eq!(retry.after(&limited(200), 0, &limits, 0.0), None);
        assert_eq!(Retry::default().after(&limited(3600), 0, &limits, 0.0), None);
    }

    #[test]
    fn what_a_person_must_settle_is_not_tried_again() {
        let error = HubError::Unreachable { host: "h".to_owned(), kind: Trouble::Tls, detail: String::new() };
        assert_eq!(Retry::default().after(&error, 0, &Limits::default(), 0.5), None);
    }
}
