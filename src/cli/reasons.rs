//! The reference of reasons, in Markdown, generated from the code that uses them.

use std::fmt::Write as _;

use jiff::SignedDuration;

use crate::{
    controller::{Again, Help, again, help},
    reason::{ConditionType, Reason, Remedy},
    units,
};

/// The question that each condition answers, in order of evaluation.
const TOPICS: [(ConditionType, &str); 7] = [
    (ConditionType::Authenticated, "Does the Hub accept the token?"),
    (ConditionType::Authorized, "May the token's account read this repo?"),
    (ConditionType::Resolved, "Does the revision exist, with files that match the patterns?"),
    (ConditionType::Downloaded, "Are the files on the volume, complete and verified?"),
    (ConditionType::Ready, "All of the above. The reason is that of the first condition that is not True."),
    (
        ConditionType::Available,
        "Is a complete, verified snapshot on the volume, of this spec or an earlier one? Pods with the label start once it is True.",
    ),
    (ConditionType::UpdateAvailable, "Is there a newer commit than the one on the volume?"),
];

/// Renders the page.
pub(super) fn page() -> String {
    let mut text = String::from(
        "<!-- Generated from src/reason.rs and src/reason/guide.rs by `make generate`: change it there. -->\n\n# Reasons\n\n\
         Each cause has one reason code. It is the `reason` of conditions and events, a label of metrics, part of a Job's report, and on the \
         last line on stderr of `fetch`, `check` and `verify`. Codes are never renamed. To start from a symptom instead of a code, see \
         [Troubleshooting](../guides/troubleshooting.md).\n\n\
         `Stalled` is True while user action is required. `Reconciling` is True while the operator continues on its own. Neither exists once \
         `Ready` is True.\n\n\
         Some causes may end without user action. If there is no progress for the time given in the reason's entry below, `Stalled` replaces \
         `Reconciling`. A cause that only the user can remove is `Stalled` at once, even if its reason normally waits: for example a missing \
         storage class, or a driver that does not support what the claim asks for. A quota that other workloads use up is given 10 minutes. \
         `Stalled` and its reason stay while further attempts run, until one of them gets further than the last, the spec is changed or \
         a check is requested; `status.furthest` records how far that was.\n\n\
         Beside the times below, the operator checks a ModelCache at once when its spec, its Secret, its claim or its Job changes, and when \
         the annotation `modelcache.internal/reconcile-at` gets a new value. That also ends the pause after a failed download, and so does a \
         change of the Job's settings. It does not shorten a delay that the Hub has requested, nor the time after which the operator \
         retries a Hub that is down.\n",
    );
    for (topic, question) in TOPICS {
        section(&mut text, topic.as_str(), question, Some(topic));
    }
    section(
        &mut text,
        "Any condition",
        "Reasons for which the condition cannot be determined. Its status is Unknown.",
        None,
    );
    text
}

fn section(text: &mut String, title: &str, question: &str, topic: Option<ConditionType>) {
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

/// Whether it resolves without user action, and when it is checked again.
fn heals(reason: Reason) -> String {
    let by_itself = match reason.remedy() {
        Remedy::None => {
            return "Nothing is wrong. Access and newest commit are checked again after `spec.interval`."
                .to_owned();
        }
        Remedy::UserAction => "User action required (`Stalled`)",
        Remedy::Wait => "Continues when what it waits for is available (`Reconciling`)",
        Remedy::Retry => "Retried automatically (`Reconciling`)",
    };
    let bound = match help(reason) {
        Help::Time(patience) => {
            let span = units::age(SignedDuration::try_from(patience).unwrap_or_default());
            format!("; `Stalled` after {span} without progress")
        }
        Help::Itself | Help::UserAction => String::new(),
    };
    let again = match again(reason) {
        Again::Interval => "checked again when something changes, and after `spec.interval`".to_owned(),
        Again::Every(pause) => format!("checked again every {} s", pause.as_secs()),
        Again::Growing(pauses) => {
            format!(
                "retried after {} s, then after pauses that double up to {} s",
                pauses.first.as_secs(),
                pauses.most.as_secs()
            )
        }
    };
    let limit =
        if reason == Reason::RateLimited { ", and never before the delay that the Hub requests" } else { "" };
    format!("{by_itself}{bound}; {again}{limit}.")
}
