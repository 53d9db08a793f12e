//! Verdicts as Kubernetes conditions: what is kept of the old ones, in what order, and within which bounds.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use schemars::{Schema, SchemaGenerator, json_schema};

use crate::{
    reason::{Answer, ConditionType, Reason, Verdict},
    text,
};

/// The longest message that is written, in characters. The schema takes 32,768, as Kubernetes does; people read less.
const MAX_MESSAGE: usize = 2_000;

/// The order on the resource: the summary first, then in the order in which things are checked.
const ORDER: [ConditionType; 9] = [
    ConditionType::Ready,
    ConditionType::Available,
    ConditionType::Reconciling,
    ConditionType::Stalled,
    ConditionType::Authenticated,
    ConditionType::Authorized,
    ConditionType::Resolved,
    ConditionType::Downloaded,
    ConditionType::UpdateAvailable,
];

/// The conditions for these verdicts, and no others: a topic that is left out goes away, as `Reconciling`, `Stalled` and
/// `UpdateAvailable` must while they are not True. Of two verdicts on one topic the last one counts.
///
/// The time of an old condition is kept while its status is the same, so that an unchanged state gives unchanged
/// conditions.
#[must_use]
pub fn conditions(
    old: &[Condition],
    verdicts: &[Verdict],
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let now = whole_seconds(now);
    ORDER
        .into_iter()
        .filter_map(|topic| verdicts.iter().rfind(|verdict| verdict.topic == topic))
        .map(|verdict| Condition {
            type_: verdict.topic.as_str().to_owned(),
            status: verdict.status.as_str().to_owned(),
            reason: verdict.reason.as_str().to_owned(),
            message: text::line(&verdict.message, MAX_MESSAGE),
            observed_generation: Some(generation),
            last_transition_time: find(old, verdict.topic)
                .filter(|before| before.status == verdict.status.as_str())
                .map_or(Time(now), |before| before.last_transition_time.clone()),
        })
        .collect()
}

/// The condition on this topic.
#[must_use]
pub fn find(conditions: &[Condition], topic: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == topic.as_str())
}

/// Whether the condition on this topic is there and True.
#[must_use]
pub fn holds(conditions: &[Condition], topic: ConditionType) -> bool {
    find(conditions, topic).is_some_and(|condition| condition.status == "True")
}

/// The verdict that a condition was made from, if its reason is one of ours.
#[must_use]
pub fn verdict(conditions: &[Condition], topic: ConditionType) -> Option<Verdict> {
    let found = find(conditions, topic)?;
    let reason = Reason::ALL.iter().copied().find(|reason| reason.as_str() == found.reason)?;
    let status = match found.status.as_str() {
        "True" => Answer::True,
        "False" => Answer::False,
        _ => Answer::Unknown,
    };
    Some(Verdict { topic, status, reason, message: found.message.clone() })
}

/// Kubernetes writes times in whole seconds; a finer one would differ from itself after a round trip.
#[must_use]
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The schema of Kubernetes' own condition, with the bounds that its Go type has and the generated Rust type lacks.
pub(super) fn list_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "The answer to one question.",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When the status last changed.",
                },
                "message": {
                    "type": "string",
                    "maxLength": 32768,
                    "description": "What is so, and what to do about it.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "The generation of the spec that this was found for.",
                },
                "reason": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                    "description": "Why, in one word; the reference lists them all.",
                },
                "status": {
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                    "description": "The answer: True, False or Unknown.",
                },
                "type": {
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                    "description": "The question.",
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{
        reason::Reason,
        text::testing::{assert_safe, nasty},
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::new(second, 123_456_789).unwrap()
    }

    fn types(conditions: &[Condition]) -> Vec<&str> {
        conditions.iter().map(|condition| condition.type_.as_str()).collect()
    }

    #[test]
    fn ready_comes_first_and_what_is_left_out_goes_away() {
        let verdicts = [
            Verdict::yes(ConditionType::Authenticated, Reason::TokenValid, ""),
            Verdict::no(ConditionType::Ready, Reason::Downloading, ""),
            Verdict::yes(ConditionType::Reconciling, Reason::Downloading, ""),
        ];
        let first = conditions(&[], &verdicts, 1, at(1));
        assert_eq!(types(&first), ["Ready", "Reconciling", "Authenticated"]);

        let later = conditions(&first, &[Verdict::yes(ConditionType::Ready, Reason::Ready, "")], 1, at(2));
        assert_eq!(types(&later), ["Ready"]);
    }

    #[test]
    fn the_time_moves_only_with_the_status() {
        let downloading = Verdict::no(ConditionType::Ready, Reason::Downloading, "1 of 2");
        let first = conditions(&[], std::slice::from_ref(&downloading), 1, at(1));
        assert_eq!(
            conditions(&first, std::slice::from_ref(&downloading), 1, at(2)),
            first,
            "nothing changed"
        );

        let stalled = Verdict::no(ConditionType::Ready, Reason::TransferStalled, "no byte for a minute");
        let second = conditions(&first, &[stalled], 2, at(3));
        assert_eq!(second[0].last_transition_time, first[0].last_transition_time);
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("TransferStalled", Some(2)));

        let third = conditions(&second, &[Verdict::yes(ConditionType::Ready, Reason::Ready, "")], 2, at(4));
        assert_eq!(third[0].last_transition_time, Time(Timestamp::from_second(4).unwrap()));
    }

    #[test]
    fn a_written_condition_is_read_back_the_same() {
        let written = conditions(&[], &[Verdict::yes(ConditionType::Ready, Reason::Ready, "done")], 1, at(1));
        let read: Vec<Condition> = serde_json::from_str(&serde_json::to_string(&written).unwrap()).unwrap();
        assert_eq!(read, written);
    }

    #[test]
    fn the_last_of_two_verdicts_counts() {
        let verdicts = [
            Verdict::no(ConditionType::Resolved, Reason::NotChecked, ""),
            Verdict::yes(ConditionType::Resolved, Reason::Resolved, ""),
        ];
        let made = conditions(&[], &verdicts, 1, at(1));
        assert_eq!(types(&made), ["Resolved"]);
        assert!(holds(&made, ConditionType::Resolved) && !holds(&made, ConditionType::Ready));
    }

    #[test]
    fn what_others_write_is_safe_and_bounded_in_a_message() {
        for (case, words) in nasty(300) {
            let said = |words: &str, old: &[Condition]| {
                conditions(old, &[Verdict::no(ConditionType::Ready, Reason::Downloading, words)], 1, at(1))
            };
            let made = said(&words, &[]);
            assert_safe(&made[0].message, MAX_MESSAGE, case);
            let again = verdict(&made, ConditionType::Ready).unwrap();
            assert_eq!(said(&again.message, &made), made, "case {case} moves by itself");
        }
    }

    #[test]
    fn every_word_fits_the_schema() {
        let good = |word: &str| word.len() <= 316 && word.bytes().all(|b| b.is_ascii_alphabetic());
        assert!(ORDER.iter().all(|topic| good(topic.as_str())));
        assert!(Reason::ALL.iter().all(|reason| good(reason.as_str())));
    }
}
