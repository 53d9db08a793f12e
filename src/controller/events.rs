//! Which events a change of the conditions is worth. Pure; the vocabulary is that of the conditions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};

use crate::{
    api::condition,
    reason::{Reason, Remedy, Topic},
    text,
};

/// Notes longer than 1,024 bytes are refused by the API server.
const NOTE_LIMIT: usize = 1024;

/// The topics whose changes are told. Ready only sums them up.
const TOLD: [Topic; 5] =
    [Topic::Authenticated, Topic::Authorized, Topic::Resolved, Topic::Downloaded, Topic::UpdateAvailable];

/// One event for each condition that changed its status or reason, where it tells something new.
#[must_use]
pub fn transitions(old: &[Condition], new: &[Condition]) -> Vec<Event> {
    TOLD.into_iter()
        .filter_map(|topic| {
            let now = condition::find(new, topic)?;
            let before = condition::find(old, topic);
            let changed =
                before.is_none_or(|before| before.status != now.status || before.reason != now.reason);
            let reason = condition::verdict(new, topic)?.reason;
            let healed =
                before.is_some_and(|before| before.status != "True" && before.reason != "NotChecked");
            let worth = match reason {
                Reason::NotChecked => false,
                // That a token is good is news only after it was bad; that a download is done is always.
                _ if now.status == "True" && topic < Topic::Downloaded => healed,
                _ => true,
            };
            (changed && worth).then(|| event(topic, reason, &now.message))
        })
        .collect()
}

fn event(topic: Topic, reason: Reason, message: &str) -> Event {
    let type_ = match reason.remedy() {
        Remedy::None | Remedy::Wait => EventType::Normal,
        Remedy::Person | Remedy::Retry => EventType::Warning,
    };
    let action = match topic {
        Topic::Downloaded => "Download",
        Topic::Resolved | Topic::UpdateAvailable => "Resolve",
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
    use super::*;
    use crate::text::testing::{assert_safe, nasty};

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
