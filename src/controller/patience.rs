//! Who can end what keeps a ModelCache from its model, and how long is waited where time may. By the reason as a rule; the words
//! of Kubernetes and of drivers know some cases better. Pure.

use std::time::Duration;

use crate::{
    reason::{Reason, Remedy},
    units::parse_quantity,
};

/// What takes seconds as a rule: a node, an image, a volume, room in a quota. Some clusters make a node first.
const START: Duration = Duration::from_secs(600);
/// Attempts that fail without having got further than the last.
const ATTEMPTS: Duration = Duration::from_secs(1800);
/// A Hub that gives no answer.
const OUTAGE: Duration = Duration::from_secs(3600);
/// A Hub may ask for a pause of an hour, and once more.
const RATE_LIMIT: Duration = Duration::from_secs(7200);

/// What the API server says of a quota.
const QUOTA: &str = "exceeded quota";

/// Who ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Help {
    /// No one: it advances, or stands still because the spec says so.
    Itself,
    /// Time may. Where nothing has moved for so long, user action is required.
    Time(Duration),
    /// A person, and no time.
    UserAction,
}

/// Who ends what a reason reports, where nothing more is known.
#[must_use]
pub const fn help(reason: Reason) -> Help {
    use Reason as R;
    match (reason, reason.remedy()) {
        (_, Remedy::UserAction) => Help::UserAction,
        (_, Remedy::None) | (R::NotChecked | R::Suspended | R::Downloading, _) => Help::Itself,
        (R::HubUnreachable | R::InvalidResponse, _) => Help::Time(OUTAGE),
        (R::RateLimited, _) => Help::Time(RATE_LIMIT),
        (_, Remedy::Wait) => Help::Time(START),
        (_, Remedy::Retry) => Help::Time(ATTEMPTS),
    }
}

/// What the API server says where it does not get to an answer, and of what comes with a new namespace or a new quota by itself.
const PASSING: [&str; 10] = [
    "failed calling webhook",
    "Internal error occurred",
    "the object has been modified",
    "Too many requests",
    "unable to handle the request",
    "timed out",
    "context deadline exceeded",
    "connection refused",
    "status unknown for quota",
    "serviceaccount \"default\" not found",
];

/// Who ends a refusal of the API server, by its words. A quota that others fill may get room, and a webhook may come back.
fn of_refusal(words: &str) -> Help {
    let may_pass = (words.contains(QUOTA) && !is_never_enough(words))
        || PASSING.iter().any(|phrase| words.contains(phrase));
    if may_pass { Help::Time(START) } else { Help::UserAction }
}

/// A refusal in a sentence with its remedy, and who ends it. `what` is refused, and `spec` may be changed instead of what refuses it.
#[must_use]
pub fn refusal(what: &str, words: &str, spec: &str) -> (String, Help) {
    let help = of_refusal(words);
    let remedy = match help {
        Help::UserAction => format!("Change what refuses it, or {spec}: it goes on by itself then."),
        _ if words.contains(QUOTA) => "It goes on by itself where others make room.".to_owned(),
        _ => "It goes on by itself once that passes.".to_owned(),
    };
    (format!("{what}: {}. {remedy}", words.trim_end_matches('.')), help)
}

/// A quota that is exceeded by the request alone, whatever others use: `exceeded quota: small, requested:
/// requests.storage=2Gi, used: requests.storage=1Mi, limited: requests.storage=1Gi`.
fn is_never_enough(words: &str) -> bool {
    let Some((requested, rest)) =
        words.split_once("requested: ").and_then(|(_, rest)| rest.split_once(", used: "))
    else {
        return false;
    };
    let Some((used, limited)) = rest.split_once(", limited: ") else { return false };
    let is_unused = used.split(',').all(|pair| pair.ends_with("=0"));
    let amount = |pair: &str| parse_quantity(pair.split_once('=')?.1);
    let is_too_much =
        |(requested, limited)| amount(limited).is_some_and(|most| amount(requested) > Some(most));
    is_unused || requested.split(',').zip(limited.split(',')).any(is_too_much)
}

/// Who ends what keeps a container from its start, by the kubelet's word and words.
#[must_use]
pub fn of_container(word: &str, words: &str) -> Help {
    if word == "InvalidImageName" || words.contains("runAsNonRoot") {
        Help::UserAction
    } else {
        Help::Time(START)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What time may end has an end; what goes on by itself is one of few.
    #[test]
    fn every_reason_that_is_not_well_is_a_persons_or_has_a_bound() {
        let unbounded: Vec<_> = Reason::ALL
            .iter()
            .filter(|reason| reason.remedy() != Remedy::None && help(**reason) == Help::Itself)
            .collect();
        assert_eq!(unbounded, [&Reason::NotChecked, &Reason::Suspended, &Reason::Downloading]);
        let longest = Reason::ALL.iter().filter_map(|reason| match help(*reason) {
            Help::Time(patience) => Some(patience),
            _ => None,
        });
        assert_eq!(longest.max(), Some(RATE_LIMIT));
    }

    #[test]
    fn a_refusal_is_a_persons_unless_others_can_make_room() {
        for (words, help) in [
            (
                r#"pods "x" is forbidden: error looking up service account a/none: serviceaccount "none" not found"#,
                Help::UserAction,
            ),
            (r#"pods "x" is forbidden: no PriorityClass with name none was found"#, Help::UserAction),
            (r#"pod rejected: RuntimeClass "none" not found"#, Help::UserAction),
            (
                r#"pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsUser=0"#,
                Help::UserAction,
            ),
            (
                r#"pods "x" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0"#,
                Help::UserAction,
            ),
            (
                r#"pods "x" is forbidden: exceeded quota: few, requested: pods=1,requests.cpu=100m, used: pods=4,requests.cpu=0, limited: pods=4"#,
                Help::Time(START),
            ),
            (
                r#"persistentvolumeclaims "x" is forbidden: exceeded quota: small, requested: requests.storage=2Gi, used: requests.storage=67Mi, limited: requests.storage=1Gi"#,
                Help::UserAction,
            ),
            (
                r#"persistentvolumeclaims "x" is forbidden: exceeded quota: full, requested: requests.storage=2Gi, used: requests.storage=67Gi, limited: requests.storage=68Gi"#,
                Help::Time(START),
            ),
            (r#"Internal error occurred: failed calling webhook "x": no endpoints"#, Help::Time(START)),
            ("Internal error occurred: resource quota evaluation timed out", Help::Time(START)),
            (
                r#"Operation cannot be fulfilled on resourcequotas "few": the object has been modified; please apply your changes to the latest version and try again"#,
                Help::Time(START),
            ),
            (
                "Timeout: request did not complete within requested timeout - context deadline exceeded",
                Help::Time(START),
            ),
            (
                r#"Post "https://10.96.0.1:443/api/v1": dial tcp 10.96.0.1:443: connect: connection refused"#,
                Help::Time(START),
            ),
            ("etcdserver: request timed out", Help::Time(START)),
            // A namespace, an account and a quota that were made together with the ModelCache.
            (r#"pods "x" is forbidden: status unknown for quota: few, resources: pods"#, Help::Time(START)),
            (
                r#"pods "x" is forbidden: error looking up service account a/default: serviceaccount "default" not found"#,
                Help::Time(START),
            ),
            (r#"admission webhook "x" denied the request: no"#, Help::UserAction),
        ] {
            assert_eq!(of_refusal(words), help, "{words}");
        }
    }
}
