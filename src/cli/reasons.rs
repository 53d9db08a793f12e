//! The reference of reasons, in Markdown, made of what the code itself goes by.

use std::fmt::Write as _;

use jiff::SignedDuration;

use crate::{
    controller::{Again, Help, again, help},
    reason::{Reason, Remedy, Topic},
    units,
};

/// What each condition asks, in the order in which they are answered.
const TOPICS: [(Topic, &str); 7] = [
    (Topic::Authenticated, "Is the token one that the Hub knows?"),
    (Topic::Authorized, "May the token's account read this repo?"),
    (Topic::Resolved, "Is there such a revision, with files that match the patterns?"),
    (Topic::Downloaded, "Are the files on the volume, complete and verified?"),
    (Topic::Ready, "All of the above. The reason is that of the first condition that is not True."),
    (
        Topic::Available,
        "Is a complete, verified snapshot on the volume, of this spec or of one before it? Pods with the label start once it is True.",
    ),
    (Topic::UpdateAvailable, "Is there a newer commit than the one on the volume?"),
];

/// The page.
pub(super) fn page() -> String {
    let mut text = String::from(
        "<!-- Generated from src/reason.rs and src/reason/guide.rs by `make generate`: change it there. -->\n\n# Reasons\n\n\
         There is one word for each cause. It is the `reason` of a condition and of an event, the label of a metric, the last line on stderr \
         of `fetch`, `check` and `verify`, and part of a Job's report. A word is never renamed. To start from a symptom instead of a word, see \
         [Troubleshooting](../guides/troubleshooting.md).\n\n\
         `Stalled` is True while user action is required. `Reconciling` is True while the operator continues on its own. Neither exists once \
         `Ready` is True.\n\n\
         Some causes may end without user action. If nothing has moved for the time that the reason's entry below names, `Stalled` replaces \
         `Reconciling`. A cause that only a person can end is `Stalled` at once, even if its reason normally waits: for example a missing \
         storage class, or a driver that does not support what the claim asks for. A quota that other workloads use up is given 10 minutes. \
         `Stalled` and its reason stay while further attempts run, until one of them gets further than the last, the spec is changed or \
         a check is requested; `status.furthest` records how far that was.\n\n\
         Beside the times below, the operator checks a ModelCache at once when its spec, its Secret, its claim or its Job changes, and when \
         the annotation `modelcache.internal/reconcile-at` gets a new value. That ends the pause after a failed download, too, and so do \
         other settings of the Job. It does not cut short the time that the Hub itself has asked to wait, nor the time after which the \
         operator asks a Hub again that is down.\n",
    );
    for (topic, question) in TOPICS {
        section(&mut text, topic.as_str(), question, Some(topic));
    }
    section(
        &mut text,
        "Any condition",
        "Reasons that do not answer the question itself. The status of the condition is Unknown.",
        None,
    );
    text
}

fn section(text: &mut String, title: &str, question: &str, topic: Option<Topic>) {
    let _ = write!(text, "\n## {title}\n\n{question}\n");
    for reason in Reason::ALL.iter().filter(|reason| reason.topic() == topic) {
        let guide = reason.guide();
        let _ = write!(text, "\n### {reason}\n\n{}\n\n- Cause: {}\n", reason.meaning(), guide.cause);
        if let Some(fix) = guide.fix {
            let _ = writeln!(text, "- Fix: {fix}");
        }
        let _ = writeln!(text, "- {}", heals(*reason));
        if reason.remedy() != Remedy::None {
            let _ =
                writeln!(text, "- Exit code, if a command ends with this reason: {}.", reason.exit_code());
        }
    }
}

/// Whether it goes away by itself, and when it is looked at again.
fn heals(reason: Reason) -> String {
    let by_itself = match reason.remedy() {
        Remedy::None => {
            return "Nothing is wrong. Access and newest commit are checked again after `spec.interval`."
                .to_owned();
        }
        Remedy::Person => "User action required (`Stalled`)",
        Remedy::Wait => "Continues when what it waits for is there (`Reconciling`)",
        Remedy::Retry => "Retried automatically (`Reconciling`)",
    };
    let bound = match help(reason) {
        Help::Time(patience) => {
            let span = units::age(SignedDuration::try_from(patience).unwrap_or_default());
            format!("; `Stalled` where nothing has moved for {span}")
        }
        Help::Itself | Help::Person => String::new(),
    };
    let again = match again(reason) {
        Again::Interval => "checked again when something changes, and after `spec.interval`".to_owned(),
        Again::Every(pause) => format!("checked again every {} s", pause.as_secs()),
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
    format!("{by_itself}{bound}; {again}{told}.")
}
