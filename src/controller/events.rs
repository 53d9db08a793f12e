//! Which events a change of the conditions is worth. Pure; the vocabulary is that of the conditions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};

use crate::{
    api::condition,
    reason::{ConditionType, Reason, Remedy},
    text,
};

/// Notes longer than 1,024 bytes are refused by the API server.
const NOTE_LIMIT: usize = 1024;

/// The topics whose changes are reported. Ready only sums them up.
const TOLD: [ConditionType; 5] = [
    ConditionType::Authenticated,
    ConditionType::Authorized,
    ConditionType::Resolved,
    ConditionType::Downloaded,
    ConditionType::UpdateAvailable,
];

/// One event for each condition that changed its status, reason or cause, where it says something new; and one where nothing but
/// time has passed, and user action is required now.
#[must_use]
pub fn transitions(old: &[Condition], new: &[Condition]) -> Vec<Event> {
    let stalled = condition::verdict(new, ConditionType::Stalled);
    let is_stalled_by = |reason| stalled.as_ref().is_some_and(|stalled| stalled.reason == reason);
    let mut events: Vec<_> = TOLD
        .into_iter()
        .filter_map(|topic| {
            let now = condition::find(new, topic)?;
            let before = condition::find(old, topic);
            let reason = condition::verdict(new, topic)?.reason;
            let changed = before.is_none_or(|before| {
                before.status != now.status
                    || before.reason != now.reason
                    || (has_a_cause(reason, &now.message) && cause(&before.message) != cause(&now.message))
            });
            let healed =
                before.is_some_and(|before| before.status != "True" && before.reason != "NotChecked");
            let worth = match reason {
                Reason::NotChecked => false,
                // That a token is good is news only after it was bad; that a download is done is always.
                _ if now.status == "True" && topic < ConditionType::Downloaded => healed,
                _ => true,
            };
            (changed && worth).then(|| event(topic, reason, &now.message, is_stalled_by(reason)))
        })
        .collect();
    let stalls = stalled.filter(|stalled| {
        !condition::holds(old, ConditionType::Stalled)
            && !events.iter().any(|event| event.reason == stalled.reason.as_str())
    });
    events
        .extend(stalls.map(|stalled| event(ConditionType::Stalled, stalled.reason, &stalled.message, true)));
    events
}

/// Whether a message has a cause: the steps of what goes well are in one word, and what others say of it stands behind a colon.
fn has_a_cause(reason: Reason, message: &str) -> bool {
    match reason.remedy() {
        Remedy::None => false,
        Remedy::Wait => message.contains(": "),
        Remedy::UserAction | Remedy::Retry => true,
    }
}

/// The message without its numbers: times, counts of nodes and attempts change without being another cause.
fn cause(message: &str) -> String {
    message.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn event(topic: ConditionType, reason: Reason, message: &str, stalled: bool) -> Event {
    let type_ = match reason.remedy() {
        Remedy::None | Remedy::Wait if !stalled => EventType::Normal,
        _ => EventType::Warning,
    };
    let action = match topic {
        ConditionType::Downloaded | ConditionType::Stalled => "Download",
        ConditionType::Resolved | ConditionType::UpdateAvailable => "Resolve",
        _ => "CheckAccess",
    };
    Event {
        type_,
        reason: reason.as_str().to_owned(),
        note: Some(bounded(message)),
        action: action.to_owned(),
        secondary: None,
    }
}

/// The message, cleaned, and cut at what the API server takes.
pub fn bounded(message: &str) -> String {
    const MARK: &str = "…";
    let mut note = text::line(message, NOTE_LIMIT);
    if note.len() > NOTE_LIMIT {
        let end = (0..=NOTE_LIMIT - MARK.len()).rev().find(|end| note.is_char_boundary(*end));
        note.truncate(end.unwrap_or_default());
        note.push_str(MARK);
    }
    note
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{
        reason::Verdict,
        text::testing::{assert_safe, nasty},
    };

    fn conditions(verdicts: &[Verdict]) -> Vec<Condition> {
        condition::conditions(&[], verdicts, 1, Timestamp::UNIX_EPOCH)
    }

    /// Type, reason and note of the events of a change.
    fn reported(old: &[Verdict], new: &[Verdict]) -> Vec<(EventType, String, String)> {
        transitions(&conditions(old), &conditions(new))
            .into_iter()
            .map(|event| (event.type_, event.reason, event.note.unwrap()))
            .collect()
    }

    fn waits(message: &str) -> Verdict {
        Verdict::no(ConditionType::Downloaded, Reason::JobPending, message)
    }

    #[test]
    fn another_cause_of_the_same_reason_is_told_and_other_numbers_are_none() {
        let nodes = waits("The Job's pod is not scheduled: 0/3 nodes are available.");
        let more = waits("The Job's pod is not scheduled: 0/4 nodes are available.");
        let image = waits("The Job's container does not start: ImagePullBackOff");
        assert_eq!(reported(std::slice::from_ref(&nodes), &[more]), []);
        let said = (EventType::Normal, "JobPending".to_owned(), image.message.clone());
        assert_eq!(reported(&[nodes], &[image]), [said]);
        // A pod that starts is no news.
        assert_eq!(
            reported(&[waits("The Job is being made.")], &[waits("The Job's pod is not made yet.")]),
            []
        );
        let ready = |size: &str| Verdict::yes(ConditionType::Downloaded, Reason::Verified, size);
        assert_eq!(reported(&[ready("is on a")], &[ready("is on b")]), []);
    }

    #[test]
    fn what_has_stood_for_too_long_is_a_warning_and_what_stalls_at_once_is_told_once() {
        let stalled = |verdict: &Verdict| Verdict {
            topic: ConditionType::Stalled,
            ..Verdict::yes(ConditionType::Stalled, verdict.reason, &verdict.message)
        };
        let waits = waits("The Job's pod is not scheduled.");
        let events = reported(std::slice::from_ref(&waits), &[waits.clone(), stalled(&waits)]);
        assert_eq!(events, [(EventType::Warning, "JobPending".to_owned(), waits.message)]);
        let full = Verdict::no(ConditionType::Downloaded, Reason::VolumeFull, "No room.");
        let events = reported(&[], &[full.clone(), stalled(&full)]);
        assert_eq!(events, [(EventType::Warning, "VolumeFull".to_owned(), full.message)]);
    }

    #[test]
    fn a_note_is_safe_and_never_longer_than_the_api_server_takes() {
        for (case, words) in nasty(300).chain([(0, "x".repeat(NOTE_LIMIT)), (1, "模".repeat(NOTE_LIMIT))]) {
            let note = bounded(&words);
            assert_safe(&note, NOTE_LIMIT, case);
            assert!(note.len() <= NOTE_LIMIT, "case {case}: {} bytes", note.len());
        }
        assert_eq!(bounded(&"x".repeat(NOTE_LIMIT)), "x".repeat(NOTE_LIMIT));
    }
}
