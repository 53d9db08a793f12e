//! When to try again. Pure: the jitter comes from a name, so that the same state gives the same time.

use std::time::Duration;

use crate::reason::{Reason, Remedy};

/// The longest pause that somebody else may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// The pause before the attempt after `number`, which failed for `reason`.
#[must_use]
pub fn attempt(reason: Reason, number: u32, retry_after: Option<u64>, name: &str) -> Duration {
    let first = match reason.remedy() {
        Remedy::Person => Duration::from_secs(20),
        _ => Duration::from_secs(10),
    };
    let pause = exponential(first, number.saturating_sub(1), Duration::from_secs(600));
    // What a report asks for is bounded: it comes from a pod, and pods can be forged.
    let asked = Duration::from_secs(retry_after.unwrap_or(0)).min(LONGEST_ASKED);
    jittered(pause.max(asked), name)
}

/// The pause after `failures` looks in a row that failed between us and the API server.
#[must_use]
pub fn look(failures: u32, name: &str) -> Duration {
    jittered(exponential(Duration::from_secs(1), failures.saturating_sub(1), Duration::from_secs(120)), name)
}

/// The pause before the Hub is asked again after `failures` refusals or outages in a row.
///
/// Terms are accepted on a web page, which no watch sees: a person who waits looks every few seconds at first.
#[must_use]
pub fn hub(
    remedy: Remedy,
    failures: u32,
    retry_after: Option<Duration>,
    interval: Duration,
    name: &str,
) -> Duration {
    let pause = match remedy {
        Remedy::None => interval,
        Remedy::Person => {
            exponential(Duration::from_secs(15), failures.saturating_sub(1), Duration::from_secs(300))
        }
        Remedy::Wait | Remedy::Retry => {
            exponential(Duration::from_secs(5), failures.saturating_sub(1), Duration::from_secs(300))
        }
    };
    jittered(pause.max(retry_after.unwrap_or_default().min(LONGEST_ASKED)), name)
}

fn exponential(first: Duration, doublings: u32, most: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(doublings.min(16))).min(most)
}

/// Up to a tenth more, so that many resources do not come back at one moment.
fn jittered(pause: Duration, name: &str) -> Duration {
    let spread =
        name.bytes().fold(17_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))) % 100;
    pause.saturating_add(pause / 1000 * u32::try_from(spread).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let pauses: Vec<u64> =
            (1..=8).map(|n| attempt(Reason::DownloadFailed, n, None, "").as_secs()).collect();
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(pauses[0] >= 10 && pauses[7] <= 660);
        assert!(attempt(Reason::HashMismatch, u32::MAX, None, "x") <= Duration::from_secs(660));
    }

    #[test]
    fn the_hubs_own_time_is_kept_within_reason() {
        assert!(attempt(Reason::RateLimited, 1, Some(u64::MAX), "x") <= Duration::from_secs(4000));
        assert!(attempt(Reason::RateLimited, 1, Some(3000), "x") >= Duration::from_secs(3000));
        assert!(
            hub(Remedy::Wait, 1, Some(Duration::from_secs(99)), Duration::ZERO, "x")
                >= Duration::from_secs(99)
        );
    }

    #[test]
    fn a_good_answer_is_asked_for_again_after_the_interval() {
        let hour = Duration::from_secs(3600);
        let pause = hub(Remedy::None, 0, None, hour, "llama");
        assert!(pause >= hour && pause <= hour * 11 / 10);
    }
}
