//! Whether a ModelCache that is not Ready moves. A verdict of the download stays until an attempt has got further than the last:
//! attempts come and go, and what stands in their way does not. And what time may end requires user action once it has taken too long.
//! Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{backoff, patience::Help};
use crate::{
    api::{Furthest, ModelCacheStatus, condition},
    reason::{ConditionType, Reason, Verdict},
    units,
};

/// A download that is ahead of the last one for so long has got further. A volume that is full stops one sooner.
const AHEAD: SignedDuration = SignedDuration::from_mins(1);
/// The same where the number of bytes is not known.
const AT_WORK: SignedDuration = SignedDuration::from_mins(10);

/// The steps to a model, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The questions to the Hub.
    Access,
    /// The claim.
    Claim,
    /// The Job, until it has a pod.
    Job,
    /// The pod, until it runs.
    Pod,
    /// The download.
    Download,
}

impl Step {
    const ALL: [Self; 5] = [Self::Access, Self::Claim, Self::Job, Self::Pod, Self::Download];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "Access",
            Self::Claim => "Claim",
            Self::Job => "Job",
            Self::Pod => "Pod",
            Self::Download => "Download",
        }
    }

    /// The step that a reason of the condition Downloaded is about, where no attempt has reported one.
    const fn of(reason: Reason) -> Self {
        match reason {
            Reason::NotChecked | Reason::Suspended => Self::Access,
            Reason::JobRejected | Reason::JobPending => Self::Job,
            _ => Self::Claim,
        }
    }
}

/// Where a ModelCache is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// At which step.
    pub step: Step,
    /// Whether a download runs.
    pub runs: bool,
    /// Since when the attempt runs or waits, if there is one that has not ended before it ran.
    pub since: Option<Timestamp>,
    /// Bytes on the volume, where the log of the attempt has them.
    pub bytes: Option<i64>,
    /// Whether there is no volume: what was reached on another one does not count.
    pub bare: bool,
}

impl Point {
    /// Before there is an attempt.
    #[must_use]
    pub const fn of(reason: Reason) -> Self {
        use Reason as R;
        let bare = matches!(reason, R::ClaimNotFound | R::ClaimPending | R::ClaimTerminating | R::ClaimLost);
        Self { step: Step::of(reason), runs: false, since: None, bytes: None, bare }
    }

    /// Whether an attempt is past what such a verdict says stands in its way. What a download ends for, only another that gets
    /// further is past.
    fn is_past(&self, verdict: &Verdict) -> bool {
        use Reason as R;
        let held_at = match verdict.reason {
            R::ClaimConflict | R::ClaimInUse => Step::Claim,
            R::ClaimPending | R::JobRejected => Step::Job,
            R::JobPending => Step::Pod,
            _ => return false,
        };
        self.step > held_at
    }

    /// Whether an attempt has got further than the furthest one.
    fn is_beyond(&self, mark: &Furthest, now: Timestamp) -> bool {
        if reached(mark).is_none_or(|reached| self.step > reached) {
            return true;
        }
        let more = self.bytes.is_some_and(|bytes| bytes > mark.bytes.unwrap_or_default());
        if !self.runs {
            return more;
        }
        let runs_for = |span| self.since.is_some_and(|since| now.duration_since(since) >= span);
        if self.bytes.is_some() { more && runs_for(AHEAD) } else { runs_for(AT_WORK) }
    }
}

/// What is said of a ModelCache that is not Ready.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// What stands in its way.
    pub obstacle: Verdict,
    /// Whether user action is required.
    pub stalled: bool,
    /// How far it has got.
    pub furthest: Furthest,
}

/// Judges by what was so the last time. `anew` is whether the user has done something since: then nothing of it counts.
#[must_use]
pub fn judge(
    old: &ModelCacheStatus,
    anew: bool,
    obstacle: Verdict,
    help: Help,
    point: &Point,
    now: Timestamp,
) -> Judged {
    let now = condition::whole_seconds(now);
    let is_of_another_volume = |mark: &Furthest| point.bare && reached(mark) > Some(Step::Claim);
    let mark = old.furthest.as_ref().filter(|mark| !anew && !is_of_another_volume(mark));
    let further = mark.is_none_or(|mark| point.is_beyond(mark, now));
    let known = mark.and_then(|mark| mark.since.clone()).filter(|_| !further);
    // Where a clock was ahead, patience would have no end.
    let since = known.as_ref().map_or(now, |since| since.0.min(now));
    // An attempt that is on its way again has its own time for that.
    let again = point.since.filter(|_| mark.and_then(reached).is_some_and(|reached| point.step < reached));
    let stands_since = again.map_or(since, |again| again.max(since));
    let kept = kept(old).filter(|kept| !further && !point.is_past(kept));
    let waits_for = point.since.filter(|_| obstacle.topic == ConditionType::Downloaded);
    let (obstacle, stalled, since) = match (help, kept) {
        (Help::UserAction, _) => (obstacle, true, Some(since)),
        _ if point.runs && further => (obstacle, false, None),
        // The attempt itself waits for something else.
        (Help::Time(patience), Some(_)) if waits_for.is_some_and(|since| is_over(since, patience, now)) => {
            (overdue(obstacle, patience), true, Some(since))
        }
        (_, Some(kept)) => (kept, true, Some(since)),
        (Help::Time(patience), None) if is_over(stands_since, patience, now) => {
            (overdue(obstacle, patience), true, Some(since))
        }
        (Help::Time(_), None) => (obstacle, false, Some(since)),
        (Help::Itself, None) => (obstacle, false, known.filter(|_| point.runs).map(|since| since.0)),
    };
    let before = mark.cloned().unwrap_or_default();
    let (step, bytes) = match further {
        // Its bytes are taken when it has ended: until then they are in the progress.
        true if point.runs && mark.is_some() => (before.step, before.bytes),
        true => (point.step.as_str().to_owned(), point.bytes.filter(|_| !point.runs).max(before.bytes)),
        false => (before.step, before.bytes),
    };
    Judged { obstacle, stalled, furthest: Furthest { step, bytes, since: since.map(Time) } }
}

/// In how long patience ends, where it has not.
#[must_use]
pub fn left(status: &ModelCacheStatus, help: Help, now: Timestamp) -> Option<Duration> {
    let Help::Time(patience) = help else { return None };
    let since = status.furthest.as_ref()?.since.as_ref()?.0;
    let left = patience.checked_sub(backoff::elapsed(since, now))?;
    Some(left.max(Duration::from_secs(1)))
}

fn reached(mark: &Furthest) -> Option<Step> {
    Step::ALL.into_iter().find(|step| step.as_str() == mark.step)
}

fn is_over(since: Timestamp, patience: Duration, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(since)).is_ok_and(|stood| stood >= patience)
}

/// The verdict on a download that stands, whatever the next attempt is at. What the Hub said is the Hub's to say again.
fn kept(old: &ModelCacheStatus) -> Option<Verdict> {
    let ready = condition::verdict(&old.conditions, ConditionType::Ready)?;
    let stands = condition::holds(&old.conditions, ConditionType::Stalled)
        && ready.reason.topic() == Some(ConditionType::Downloaded);
    stands.then_some(ready)
}

fn overdue(mut obstacle: Verdict, patience: Duration) -> Verdict {
    let span = units::age(SignedDuration::try_from(patience).unwrap_or_default());
    obstacle.message = format!("{} Nothing has moved for {span}: user action is required.", obstacle.message);
    obstacle
}

#[cfg(test)]
mod tests;
