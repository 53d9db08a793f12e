//! When to try again. Pure: the jitter comes from a name, so that the same state gives the same time.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    api::condition,
    reason::{ConditionType, Reason, Remedy},
};

/// The longest pause that the Hub may ask for.
pub const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// The Hub refuses. Terms are accepted on a web page, which no watch sees: whoever waits for that should see it within seconds at first.
const REFUSED: Growing = Growing::new(15, 300);
/// The Hub gives no answer, or none that can be used.
const TROUBLE: Growing = Growing::new(5, 300);
/// A download failed for a reason that requires user action.
const FAILED: Growing = Growing::new(20, 600);
/// A download failed otherwise.
const INTERRUPTED: Growing = Growing::new(10, 600);

/// A safety net below the watches, for changes of a claim or a Job that come with no event.
pub const WAITING: Duration = Duration::from_secs(30);
/// A claim that pods of others write to: that they have ended is no event.
pub const IN_USE: Duration = Duration::from_secs(300);
/// Where the creation of a Secret comes with no event: reconciled again after this time at the latest.
pub const WITHOUT_TOKEN: Duration = Duration::from_secs(300);

/// Where Secrets are not watched: how often one that a resource waits for is read.
const POLLED: Duration = Duration::from_secs(30);
/// A namespace cannot be watched yet.
const CLOSED: Growing = Growing::new(5, 60);

/// Pauses that double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growing {
    /// The first.
    pub first: Duration,
    /// None is longer.
    pub most: Duration,
}

impl Growing {
    /// From and to so many seconds.
    #[must_use]
    pub const fn new(first: u64, most: u64) -> Self {
        Self { first: Duration::from_secs(first), most: Duration::from_secs(most) }
    }

    /// The pause after so many failures.
    #[must_use]
    pub fn after(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.first.saturating_mul(2_u32.saturating_pow(doublings)).min(self.most)
    }
}

/// When to reconcile again for a reason, beside the changes that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// After the spec's interval: it is well, or only another spec can change it.
    Interval,
    /// Every time after the same pause.
    Every(Duration),
    /// After pauses that double.
    Growing(Growing),
}

/// When it is checked again, for the reference.
#[must_use]
#[allow(clippy::match_same_arms, clippy::unnested_or_patterns, reason = "a table")]
pub fn again(reason: Reason) -> Again {
    use Reason as R;
    match (reason, reason.topic(), reason.remedy()) {
        (_, _, Remedy::None) => Again::Interval,
        (
            R::EndpointNotAllowed
            | R::InvalidRepo
            | R::InvalidEndpoint
            | R::InvalidPattern
            | R::InvalidSpec
            | R::Suspended
            | R::NotChecked,
            ..,
        ) => Again::Interval,
        (R::SecretNotFound | R::SecretKeyNotFound | R::TokenMalformed, ..) => Again::Every(WITHOUT_TOKEN),
        (R::ClaimInUse, ..) => Again::Every(IN_USE),
        (R::ClaimNotFound | R::ClaimConflict | R::ClaimLost | R::RefConflict | R::JobRejected, ..) => {
            Again::Every(WAITING)
        }
        (_, Some(ConditionType::Downloaded), Remedy::Wait) => Again::Every(WAITING),
        (_, Some(ConditionType::Downloaded), remedy) => Again::Growing(of_attempts(remedy)),
        (_, _, remedy) => Again::Growing(of_questions(remedy)),
    }
}

const fn of_attempts(remedy: Remedy) -> Growing {
    match remedy {
        Remedy::UserAction => FAILED,
        _ => INTERRUPTED,
    }
}

const fn of_questions(remedy: Remedy) -> Growing {
    match remedy {
        Remedy::UserAction => REFUSED,
        _ => TROUBLE,
    }
}

/// The pause before the attempt after `number`, which failed for `reason`.
#[must_use]
pub fn attempt(reason: Reason, number: u32, retry_after: Option<u64>, name: &str) -> Duration {
    let pause = of_attempts(reason.remedy()).after(number);
    // What a report asks for is bounded: it comes from a pod, and pods can be forged.
    let asked = Duration::from_secs(retry_after.unwrap_or(0)).min(LONGEST_ASKED);
    jittered(pause.max(asked), name)
}

/// The pause after so many failed reconciles in a row: an error between us and the API server.
#[must_use]
pub fn failed(failures: u32, name: &str) -> Duration {
    jittered(Growing::new(1, 120).after(failures), name)
}

/// The pause before a Secret is read again.
#[must_use]
pub fn polled(name: &str) -> Duration {
    jittered(POLLED, name)
}

/// The pause after `failures` tries in a row to watch a namespace.
#[must_use]
pub fn scope(failures: u32, namespace: &str) -> Duration {
    jittered(CLOSED.after(failures), namespace)
}

/// The pause before the Hub is asked again after `failures` refusals or outages in a row.
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
        remedy => of_questions(remedy).after(failures),
    };
    jittered(pause.max(retry_after.unwrap_or_default().min(LONGEST_ASKED)), name)
}

/// A moment of up to ten seconds, the same for the same name: many who wait for one time do not come at once.
#[must_use]
pub fn spread(name: &str) -> Duration {
    jittered(Duration::from_secs(100), name).saturating_sub(Duration::from_secs(100))
}

/// A sentence with the time of the next attempt, where nothing but time helps: who waits wants to know until when.
#[must_use]
pub fn with_time(message: String, reason: Reason, next: Timestamp) -> String {
    match reason {
        Reason::RateLimited | Reason::HubUnreachable | Reason::InvalidResponse => {
            let reported = message.trim_end_matches('.');
            format!("{reported}. The next attempt is at {}.", condition::whole_seconds(next))
        }
        _ => message,
    }
}

/// A time after another; the last one there is, where there is none.
#[must_use]
pub fn after(now: Timestamp, pause: Duration) -> Timestamp {
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// The time from one moment to a later one; none where it is no later.
#[must_use]
pub fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// The longest jitter: answers are kept no longer than that for those who ask the same.
const LONGEST_JITTER: Duration = Duration::from_secs(1800);

/// Up to a tenth more, and no more than [`LONGEST_JITTER`], so that many resources do not come back at one moment.
fn jittered(pause: Duration, name: &str) -> Duration {
    let spread =
        name.bytes().fold(17_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))) % 100;
    let jitter = pause / 1000 * u32::try_from(spread).unwrap_or_default();
    pause.saturating_add(jitter.min(LONGEST_JITTER))
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
