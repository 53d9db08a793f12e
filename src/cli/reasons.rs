//! The reference of reasons, in Markdown, made of what the code itself goes by.

use std::fmt::Write as _;

use crate::{
    controller::{Again, again},
    reason::{Reason, Remedy, Topic},
};

/// What each condition asks, in the order in which they are answered.
const TOPICS: [(Topic, &str); 6] = [
    (Topic::Authenticated, "Is the token one that the Hub knows?"),
    (Topic::Authorized, "May the token's account read this repo?"),
    (Topic::Resolved, "Is there such a revision, with files that match the patterns?"),
    (Topic::Downloaded, "Are the files on the volume, complete and verified?"),
    (Topic::Ready, "All of it; the reason is that of the first condition that is not True."),
    (Topic::UpdateAvailable, "Is there a newer commit than the one on the volume?"),
];

/// The page.
pub(super) fn page() -> String {
    let mut text = String::from(
        "<!-- Generated from src/reason.rs and src/reason/guide.rs by `make generate`: change it there. -->\n\n# Reasons\n\n\
         One word for each cause: the `reason` of a condition and of an event, the label of a metric, the last line of the command \
         line and the report of a Job. A word is never renamed.\n\n\
         `Stalled` is True while a person must act, `Reconciling` while it goes on by itself; neither is there once `Ready` is \
         True. Whatever is said here about trying again: a change of the spec, the Secret, the claim or the Job is acted on at once, and so is the \
         annotation `modelcache.internal/reconcile-at` with a new value.\n",
    );
    for (topic, question) in TOPICS {
        section(&mut text, topic.as_str(), question, Some(topic));
    }
    section(
        &mut text,
        "Any condition",
        "What says nothing about the question itself: the status is Unknown.",
        None,
    );
    text
}

fn section(text: &mut String, title: &str, question: &str, topic: Option<Topic>) {
    let _ = write!(text, "\n## {title}\n\n{question}\n");
    for reason in Reason::ALL.iter().filter(|reason| reason.topic() == topic) {
        let guide = reason.guide();
        let _ = write!(text, "\n### {reason}\n\n{}\n\n- Seen: {}\n", reason.meaning(), guide.seen);
        if let Some(action) = guide.action {
            let _ = writeln!(text, "- To do: {action}");
        }
        let _ = writeln!(text, "- {}", heals(*reason));
        if reason.remedy() != Remedy::None {
            let _ = writeln!(text, "- Exit code of the command line: {}.", reason.exit_code());
        }
    }
}

/// Whether it goes away by itself, and when it is looked at again.
fn heals(reason: Reason) -> String {
    let by_itself = match reason.remedy() {
        Remedy::None => {
            return "Nothing is wrong; access and newest commit are looked at again after `spec.interval`."
                .to_owned();
        }
        Remedy::Person => "A person must act (`Stalled`)",
        Remedy::Wait => "It goes on once what it waits for is there (`Reconciling`)",
        Remedy::Retry => "It may pass by itself (`Reconciling`)",
    };
    let again = match again(reason) {
        Again::Interval => "looked at again when something changes, and after `spec.interval`".to_owned(),
        Again::Every(pause) => format!("looked at again every {} s", pause.as_secs()),
        Again::Growing(pauses) => {
            format!(
                "tried again after {} s, then after pauses that double up to {} s",
                pauses.first.as_secs(),
                pauses.most.as_secs()
            )
        }
    };
    let told =
        if reason == Reason::RateLimited { ", and never before the time that the Hub asks for" } else { "" };
    format!("{by_itself}; {again}{told}.")
}
