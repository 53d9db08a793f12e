//! When a verdict stays, and when it goes. Whole incidents are in `incidents.rs`.

use pretty_assertions::assert_eq;

use super::*;
use crate::{controller::fixtures::at, reason::Answer};

const PATIENCE: Help = Help::Time(Duration::from_secs(600));

fn verdict(reason: Reason) -> Verdict {
    Verdict::no(ConditionType::Downloaded, reason, "Because.")
}

/// The status after such a judgement.
fn status(judged: &Judged) -> ModelCacheStatus {
    let topic = if judged.stalled { ConditionType::Stalled } else { ConditionType::Reconciling };
    let verdicts = [
        Verdict { topic: ConditionType::Ready, ..judged.obstacle.clone() },
        Verdict { topic, status: Answer::True, ..judged.obstacle.clone() },
    ];
    ModelCacheStatus {
        conditions: condition::conditions(&[], &verdicts, 1, at(0)),
        furthest: Some(judged.furthest.clone()),
        ..ModelCacheStatus::default()
    }
}

fn failed(bytes: i64) -> Point {
    Point { step: Step::Download, runs: false, since: Some(at(0)), bytes: Some(bytes), bare: false }
}

fn runs(since: i64, bytes: Option<i64>) -> Point {
    Point { step: Step::Download, runs: true, since: Some(at(since)), bytes, bare: false }
}

/// A volume that was full at noon, with so many bytes on it.
fn full(bytes: i64) -> ModelCacheStatus {
    let first = ModelCacheStatus::default();
    status(&judge(&first, false, verdict(Reason::VolumeFull), Help::UserAction, &failed(bytes), at(0)))
}

/// Reason and Stalled, for the next attempt at a point.
fn next(old: &ModelCacheStatus, point: &Point, now: i64) -> (Reason, bool) {
    let (reason, help) =
        if point.runs { (Reason::Downloading, Help::Itself) } else { (Reason::JobPending, PATIENCE) };
    let judged = judge(old, false, verdict(reason), help, point, at(now));
    (judged.obstacle.reason, judged.stalled)
}

#[test]
fn a_verdict_stays_until_an_attempt_is_ahead_of_the_last() {
    let old = full(50);
    let waits = Point { since: Some(at(100)), ..Point::of(Reason::JobPending) };
    let (kept, gone) = ((Reason::VolumeFull, true), (Reason::Downloading, false));
    for (point, now, expected) in [
        (waits, 110, kept),
        (runs(110, Some(40)), 400, kept),
        (runs(110, Some(60)), 120, kept),
        (runs(110, Some(60)), 170, gone),
        // Without a log, time alone counts.
        (runs(110, None), 400, kept),
        (runs(110, None), 710, gone),
        // What keeps the attempt itself waiting is another cause in the end.
        (waits, 700, (Reason::JobPending, true)),
    ] {
        assert_eq!(next(&old, &point, now), expected, "{point:?} after {now} s");
    }
}

/// The furthest download was ahead of all that: it says nothing of what keeps a later attempt from its start.
#[test]
fn what_an_attempt_is_past_does_not_stand_in_its_way() {
    let first = ModelCacheStatus::default();
    let old = status(&judge(&first, false, verdict(Reason::TransferStalled), PATIENCE, &failed(50), at(0)));
    let refused = Point { since: Some(at(100)), ..Point::of(Reason::JobRejected) };
    let judged = judge(&old, false, verdict(Reason::JobRejected), Help::UserAction, &refused, at(110));
    assert_eq!((judged.obstacle.reason, judged.stalled), (Reason::JobRejected, true));
    let old = status(&judged);
    let starts = Point { step: Step::Pod, ..refused };
    for (point, expected) in [
        (refused, (Reason::JobRejected, true)),
        (starts, (Reason::JobPending, false)),
        (runs(120, Some(1)), (Reason::Downloading, false)),
    ] {
        assert_eq!(next(&old, &point, 130), expected, "{point:?}");
    }
}

/// As the clock of another node may have it.
#[test]
fn a_time_in_the_future_ends_no_later_than_one_of_now() {
    let wait = |old: &ModelCacheStatus, now| {
        let waits = verdict(Reason::ClaimPending);
        judge(old, false, waits, PATIENCE, &Point::of(Reason::ClaimPending), at(now))
    };
    let ahead = wait(&ModelCacheStatus::default(), 1_000_000);
    let old = status(&wait(&status(&ahead), 0));
    assert_eq!((wait(&old, 599).stalled, wait(&old, 600).stalled), (false, true));
}

#[test]
fn what_a_person_does_begins_anew() {
    let judged =
        judge(&full(50), true, verdict(Reason::JobPending), PATIENCE, &Point::of(Reason::JobPending), at(60));
    assert_eq!((judged.obstacle.reason, judged.stalled), (Reason::JobPending, false));
    let furthest = Furthest { step: "Job".to_owned(), bytes: None, since: Some(Time(at(60))) };
    assert_eq!(judged.furthest, furthest);
}

#[test]
fn what_the_hub_said_is_not_kept() {
    let judge = |old: &ModelCacheStatus, reason, help, now| {
        judge(old, false, verdict(reason), help, &Point::of(Reason::NotChecked), at(now))
    };
    let refused = judge(&ModelCacheStatus::default(), Reason::TermsNotAccepted, Help::UserAction, 0);
    let away = judge(&status(&refused), Reason::HubUnreachable, PATIENCE, 10);
    assert_eq!((away.obstacle.reason, away.stalled), (Reason::HubUnreachable, false));
}

#[test]
fn time_ends_where_nothing_moves_and_is_looked_at_then() {
    let point = Point::of(Reason::ClaimPending);
    let wait = |old: &ModelCacheStatus, now| {
        judge(old, false, verdict(Reason::ClaimPending), PATIENCE, &point, at(now))
    };
    let first = wait(&ModelCacheStatus::default(), 0);
    assert!(!first.stalled);
    let old = status(&first);
    assert_eq!(left(&old, PATIENCE, at(1)), Some(Duration::from_secs(599)));
    assert_eq!(wait(&old, 599), first, "an unchanged state gives an unchanged status");
    let last = wait(&old, 600);
    assert!(last.stalled);
    assert_eq!(last.obstacle.message, "Because. Nothing has moved for 10m: user action is required.");
    assert_eq!(left(&status(&last), PATIENCE, at(700)), None);
    // The claim is bound: the Job has time of its own.
    assert_eq!(next(&status(&last), &Point::of(Reason::JobPending), 700), (Reason::JobPending, false));
}

/// The attempt is old, and the outage is not.
#[test]
fn an_outage_in_between_takes_no_verdict_away() {
    let old = full(50);
    let mut away = verdict(Reason::HubUnreachable);
    away.topic = ConditionType::Authorized;
    let judged = judge(&old, false, away, PATIENCE, &failed(50), at(5000));
    assert_eq!((judged.obstacle.reason, judged.stalled), (Reason::VolumeFull, true));
}

/// The mark of a volume that is gone would be far ahead of an empty one.
#[test]
fn another_volume_begins_anew() {
    let old = full(50);
    let lost =
        judge(&old, false, verdict(Reason::ClaimPending), PATIENCE, &Point::of(Reason::ClaimPending), at(60));
    assert_eq!(
        (lost.obstacle.reason, lost.stalled, lost.furthest.bytes),
        (Reason::ClaimPending, false, None)
    );
    assert_eq!(next(&status(&lost), &runs(70, Some(1)), 80), (Reason::Downloading, false));
}

#[test]
fn a_word_that_nobody_knows_is_no_step() {
    let mut old = full(50);
    old.furthest.as_mut().unwrap().step = "Novel".to_owned();
    assert_eq!(next(&old, &Point::of(Reason::JobPending), 60), (Reason::JobPending, false));
}
