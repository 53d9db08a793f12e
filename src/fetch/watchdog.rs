//! Detects connections that receive almost no data.

use std::time::{Duration, Instant};

use super::Limits;

/// A rate below this many bytes per second counts as stalled.
const TRICKLE: u64 = 1024;

/// Counts the bytes of a connection in time windows.
pub(super) struct Watchdog {
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Watchdog {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { window: limits.stall, since: Instant::now(), bytes: 0 }
    }

    /// Adds received bytes. Returns whether the window that ends now had too few.
    pub(super) fn is_trickle(&mut self, bytes: u64, now: Instant) -> bool {
        self.bytes += bytes;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < self.window {
            return false;
        }
        let enough = self.bytes >= TRICKLE.saturating_mul(elapsed.as_secs().max(1));
        (self.since, self.bytes) = (now, 0);
        !enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_counts_as_a_stall() {
        let limits = Limits { stall: Duration::from_secs(60), ..Limits::default() };
        let mut watchdog = Watchdog::new(&limits);
        let at = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert!(!watchdog.is_trickle(1, at(30)));
        assert!(watchdog.is_trickle(1, at(61)));
        assert!(!watchdog.is_trickle(70 * TRICKLE, at(130)));
        assert!(!watchdog.is_trickle(1, at(140)), "a new window has begun");
    }
}
