//! The user-facing messages about the Hub: for each reason, what is wrong and what to do. Pure, and the only place with
//! such messages, so that the controller, `fetch` and `check` agree.

use std::{fmt::Write, io};

use super::{
    ConnectFailure, Endpoint, HubError, NameError, Patterns, Refusal, Repo, RepoId, Revision, Slip,
    TokenError, TokenState, refusal,
};
use crate::{
    reason::Reason,
    units::{files, size},
};

/// What a message is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The repo.
    pub repo: &'a Repo,
    /// Its revision.
    pub revision: &'a Revision,
    /// The Hub's address.
    pub endpoint: &'a Endpoint,
}

/// The message for a failed call.
#[must_use]
pub fn explain(error: &HubError, subject: &Subject<'_>) -> String {
    match error {
        HubError::Refused(refusal) => refused(refusal, subject),
        HubError::RateLimited { host, retry_after, named, words } => {
            let (seconds, words) = (retry_after.as_secs(), hub_says(words));
            if *named {
                format!("{host} asks to wait {seconds} s before the next request.{words}")
            } else {
                format!("{host} limits requests without saying for how long; waiting {seconds} s.{words}")
            }
        }
        HubError::Unreachable { host, kind, detail } => unreachable(host, *kind, detail),
        HubError::Storage { host, status } => format!(
            "The storage host {host}, where the Hub keeps its files, answered HTTP {status}. This may be temporary; if it \
            persists, a firewall or proxy may be blocking downloads from that host."
        ),
        HubError::WrongSize { host, expected, found } => format!(
            "The file at {host} has {found} bytes, but the Hub lists {expected}: it is truncated there, or has been \
            replaced. Have that storage or mirror fetch it again."
        ),
        HubError::BadAnswer { host, what } => format!(
            "The response from {host} cannot be used: {what}. Check whether {} is the address of the Hub or of a \
            full mirror.",
            subject.endpoint
        ),
        HubError::Name(error @ NameError::Path { pattern, .. }) => format!(
            "{} cannot be used as a whole: {error}. Exclude that file with the pattern `{pattern}`, or ask the \
             repo's authors to rename it.",
            subject.repo
        ),
        HubError::Name(error) => format!("{} cannot be used: {error}.", subject.repo),
        HubError::Token(error) => token(error),
    }
}

/// The message for an unusable token.
#[must_use]
pub fn token(error: &TokenError) -> String {
    match error {
        TokenError::Malformed { why } => {
            format!("This is not a token of the Hub: {why}. Store the token alone, as the Hub showed it.")
        }
        TokenError::Missing => {
            "The token file does not exist. Check --token-file, HF_TOKEN_PATH and HF_HOME: they name a file that contains \
            the token, not the token itself."
                .to_owned()
        }
        TokenError::Unreadable { kind: io::ErrorKind::PermissionDenied } => {
            "The token file cannot be read by the user of this process. Check its owner and mode; in a pod, set \
             `fsGroup`, or the mode of its volume."
                .to_owned()
        }
        TokenError::Unreadable { kind } => {
            format!("The token file cannot be read: {kind}. Use a readable file.")
        }
    }
}

/// The message for a successful check, by its reason.
#[must_use]
pub fn success(reason: Reason, subject: &Subject<'_>) -> String {
    match reason {
        Reason::TokenValid => "The Hub accepts this token.".to_owned(),
        Reason::TokenUnconfirmed => format!(
            "This token could not be checked: {} is public, and {} offers no way to check a token.",
            subject.repo,
            subject.endpoint.host()
        ),
        Reason::Anonymous => "Requests are sent without a token.".to_owned(),
        _ => format!("Access to {} is granted.", subject.repo),
    }
}

/// The message for patterns that select no files.
#[must_use]
pub fn no_matching_files(
    subject: &Subject<'_>,
    patterns: &Patterns,
    listed: usize,
    examples: &[String],
) -> String {
    let Subject { repo, revision, .. } = subject;
    if listed == 0 {
        return format!("{repo} has no files at {revision}.");
    }
    let include = patterns.include();
    let exclude = patterns.exclude();
    let mut text = format!("No file of {repo} at {revision}");
    match (include.len(), exclude.len()) {
        (0, _) => {
            let _ = write!(text, " remains after exclude {}", quoted(exclude));
        }
        (_, 0) => {
            let _ = write!(text, " matches include {}", quoted(include));
        }
        _ => {
            let _ = write!(text, " matches include {} after exclude {}", quoted(include), quoted(exclude));
        }
    }
    let hint = quoted(examples.iter().map(String::as_str));
    let _ = write!(text, ". It has {}, such as {hint}.", files(listed));
    text
}

/// The message for a resolved revision.
#[must_use]
pub fn resolved(subject: &Subject<'_>, commit: &str, moved: bool, count: usize, bytes: u64) -> String {
    let what = format!("{}, {}", files(count), size(bytes));
    match subject.revision.as_commit() {
        Some(_) => format!("Commit {commit}: {what}."),
        // The revision may point to another commit now, or no longer exist.
        None if moved => format!("{} is pinned at commit {commit}: {what}.", subject.revision),
        None => format!("{} is commit {commit}: {what}.", subject.revision),
    }
}

/// The addition for a repo that the Hub knows under another name than the requested one.
#[must_use]
pub fn own_name(subject: &Subject<'_>, own: &RepoId) -> Option<String> {
    (*own != subject.repo.id).then(|| format!(" The Hub calls the repo {own}."))
}

fn refused(refusal: &Refusal, subject: &Subject<'_>) -> String {
    let Subject { repo, revision, endpoint } = subject;
    let page = endpoint.page(repo);
    let tokens = endpoint.token_page();
    let words = hub_says(&refusal.words);
    let with_account = if refusal.token == TokenState::NotSent {
        "with an account that has access, and use a token of that account"
    } else {
        "with the account of this token"
    };
    match refusal.reason {
        Reason::TokenInvalid => match refusal.slip {
            Some(slip) => format!(
                "The Hub rejects this token.{words} It looks like {}: store the token alone, as {tokens} showed it.",
                description(slip)
            ),
            None if refusal.token == TokenState::Unclear => format!(
                "The Hub rejects this token: it is wrong, expired or revoked, or a mirror in between does not forward it.{words} \
                Create a new one at {tokens} and replace it, or configure the mirror to forward it."
            ),
            None => format!(
                "The Hub rejects this token: it is wrong, expired or revoked.{words} Create a new one at {tokens} and \
                 replace it."
            ),
        },
        Reason::TokenRequired if refusal.code.as_deref() == Some("GatedRepo") => format!(
            "{repo} is gated, and no token is configured. Accept its terms at {page} and use a token of that \
             account."
        ),
        Reason::TokenRequired => format!(
            "{repo} cannot be accessed without a token: it is private, or it does not exist. Check its \
            name and type at {page}, or use a token of an account that has access."
        ),
        Reason::TermsNotAccepted if refusal.words.contains("has been reset") => format!(
            "The authors of {repo} have reset the access of this token's account. Open {page} with \
            that account and request access again."
        ),
        Reason::TermsNotAccepted => format!(
            "The account of this token has not accepted the terms of {repo}. Open {page} with that \
             account and agree."
        ),
        Reason::AccessPending => format!(
            "The authors of {repo} have not yet decided on the access request of this token's account. Wait, \
            or contact them at {page}."
        ),
        Reason::AccessRejected => format!(
            "The authors of {repo} have rejected the access request of this token's account; requesting it \
            again does not help. Contact them at {page}, or use a token of another account."
        ),
        Reason::TokenLacksPermission if refusal.words.to_ascii_lowercase().contains("fine-grained") => {
            format!(
                "This fine-grained token may not read gated repos such as {repo}. Edit it at {tokens}: \
             enable access to public gated repositories."
            )
        }
        Reason::TokenLacksPermission if refusal::needs_approval(&refusal.words) => format!(
            "The organization of {repo} has not approved this token.{words} Ask one of its administrators to approve it."
        ),
        Reason::TokenLacksPermission => format!(
            "This token may not be used for {repo}.{words} Use another one of the account, from \
            {tokens}."
        ),
        Reason::RepoNotFoundOrPrivate if refusal.token == TokenState::NotSent => format!(
            "{repo} does not exist at {endpoint}, or it is private. Check its name and type, or use a \
            token of an account that has access."
        ),
        Reason::RepoNotFoundOrPrivate => format!(
            "{repo} does not exist, or it is private and the account of this token has no access: the \
            Hub does not say which. Check its name and type, and open {page} with that account."
        ),
        Reason::RepoDisabled => format!(
            "The Hub has disabled {repo}: no token and no accepted terms give access.{} See {page}.",
            if refusal.code.is_some() { String::new() } else { words }
        ),
        Reason::RevisionNotFound => format!(
            "{repo} has no branch, tag or commit `{revision}`. Its branches and tags are at \
             {page}/tree/main."
        ),
        Reason::NoMatchingFiles => format!("{repo} no longer has a file that it lists at {revision}.{words}"),
        Reason::AccessDenied if refusal.is_masked() => format!(
            "The listing of {repo} masks its hashes, as for an account without access. Open {page} {with_account}, and have any \
            mirror in between fetch the listing again: it may have cached another account's."
        ),
        _ if refusal.words.is_empty() => format!(
            "Access to {repo} is refused with HTTP {} without an explanation: a proxy or firewall in between \
            may have answered. Open {page} {with_account}.",
            refusal.status
        ),
        _ if refusal::names_location(&refusal.words) => format!(
            "The Hub does not serve {repo} to the location of this request.{words} No token changes that: ask the authors at \
            {page}, or the administrator of this network."
        ),
        _ => format!("The Hub refuses access to {repo}.{words} Open {page} {with_account}."),
    }
}

/// What a rejected token looks like.
const fn description(slip: Slip) -> &'static str {
    match slip {
        Slip::Quotes => "text in quotation marks",
        Slip::Assignment => "a line of an environment file",
        Slip::Placeholder => "a variable that was not expanded",
        Slip::Sample => "an example from documentation",
        Slip::Base64 => "a token that is base64-encoded once more than the Secret does itself",
        Slip::Address => "an address",
        Slip::Structure => "structured data, such as JSON",
    }
}

fn unreachable(host: &str, kind: ConnectFailure, detail: &str) -> String {
    let because = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    let remedy = match kind {
        ConnectFailure::Dns => "Check the name, and the DNS where this runs",
        ConnectFailure::Connect => {
            "Check whether a firewall or network policy blocks it, or a proxy is needed"
        }
        ConnectFailure::Tls => {
            "Check the certificate; a proxy or mirror with its own authority needs a CA bundle"
        }
        ConnectFailure::Proxy => "Check the proxy's address, password and rules",
        ConnectFailure::Setup => "Correct the proxy or CA bundle of this endpoint",
        ConnectFailure::Handshake => {
            "This may be temporary; if it persists, check whether that address speaks TLS"
        }
        ConnectFailure::Timeout | ConnectFailure::Cut | ConnectFailure::Server(_) => "This may be temporary",
    };
    format!("{host} cannot be reached: {kind}{because}. {remedy}.")
}

/// The Hub's message as a sentence.
fn hub_says(words: &str) -> String {
    let words = words.trim_end_matches('.');
    if words.is_empty() { String::new() } else { format!(" The Hub says: {words}.") }
}

fn quoted<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 5;
    let more = names.len().saturating_sub(SHOWN);
    let mut text = names.take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}

#[cfg(test)]
mod tests;
