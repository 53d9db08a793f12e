//! What a person reads: for each reason one or two sentences, what is wrong and what to do. Pure, and the only place
//! with such sentences about the Hub, so that the controller, `fetch` and `check` say the same.

use std::{fmt::Write, io};

use super::{
    Endpoint, HubError, NameError, Patterns, Refusal, Repo, RepoId, Revision, Slip, TokenError, TokenState,
    Trouble, refusal,
};
use crate::{
    reason::Reason,
    units::{files, size},
};

/// What a sentence is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The repo.
    pub repo: &'a Repo,
    /// Its revision.
    pub revision: &'a Revision,
    /// Where the Hub is.
    pub endpoint: &'a Endpoint,
}

/// The sentence for a failed call.
#[must_use]
pub fn explain(error: &HubError, subject: &Subject<'_>) -> String {
    match error {
        HubError::Refused(refusal) => refused(refusal, subject),
        HubError::RateLimited { host, retry_after, named, words } => {
            let (seconds, words) = (retry_after.as_secs(), hub_says(words));
            if *named {
                format!("{host} asks to wait {seconds} s before the next request.{words}")
            } else {
                format!(
                    "{host} limits requests and does not say for how long; a pause of {seconds} s is made.{words}"
                )
            }
        }
        HubError::Unreachable { host, kind, detail } => unreachable(host, *kind, detail),
        HubError::Storage { host, status } => format!(
            "The storage host {host}, where the Hub keeps its files, answered HTTP {status}. It may pass by itself; \
             if it stays so, a firewall or proxy may not let downloads from that host through."
        ),
        HubError::WrongSize { host, expected, found } => format!(
            "The file at {host} has {found} bytes, and the Hub lists {expected}: it was cut there, or something else lies in \
             its place. Have that storage or mirror fetch it again."
        ),
        HubError::BadAnswer { host, what } => format!(
            "The answer of {host} cannot be used: {what}. Check whether {} is the address of the Hub or a \
             full mirror of it.",
            subject.endpoint
        ),
        HubError::Name(error @ NameError::Path { pattern, .. }) => format!(
            "{} cannot be used as a whole: {error}. Leave that file out with the exclude pattern `{pattern}`, or ask the \
             repo's authors to rename it.",
            subject.repo
        ),
        HubError::Name(error) => format!("{} cannot be used: {error}.", subject.repo),
        HubError::Token(error) => token(error),
    }
}

/// The sentence for an unusable token.
#[must_use]
pub fn token(error: &TokenError) -> String {
    match error {
        TokenError::Malformed { why } => {
            format!("The token cannot be one of the Hub: {why}. Store the token alone, as the Hub showed it.")
        }
        TokenError::Missing => {
            "The token file does not exist. Check what --token-file, HF_TOKEN_PATH or HF_HOME names: it must be a file \
             that holds the token, not the token itself."
                .to_owned()
        }
        TokenError::Unreadable { kind: io::ErrorKind::PermissionDenied } => {
            "The token file cannot be read by the user of this process. Check its owner and mode; in a pod, set \
             `fsGroup`, or the mode of the volume that it lies on."
                .to_owned()
        }
        TokenError::Unreadable { kind } => {
            format!("The token file cannot be read: {kind}. Name a file that can be.")
        }
    }
}

/// The sentence for a good answer to a topic, by its reason.
#[must_use]
pub fn fine(reason: Reason, subject: &Subject<'_>) -> String {
    match reason {
        Reason::TokenValid => "The Hub knows this token.".to_owned(),
        Reason::TokenUnconfirmed => format!(
            "Nothing shows whether this token is good: {} is open to everybody, and {} does not tell.",
            subject.repo,
            subject.endpoint.host()
        ),
        Reason::Anonymous => "Requests are made without a token.".to_owned(),
        _ => format!("{} may be read.", subject.repo),
    }
}

/// The sentence for patterns that select nothing.
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
            let _ = write!(text, " is left by exclude {}", quoted(exclude));
        }
        (_, 0) => {
            let _ = write!(text, " matches include {}", quoted(include));
        }
        _ => {
            let _ = write!(
                text,
                " matches include {} without those of exclude {}",
                quoted(include),
                quoted(exclude)
            );
        }
    }
    let hint = quoted(examples.iter().map(String::as_str));
    let _ = write!(text, ". It has {}, such as {hint}.", files(listed));
    text
}

/// The sentence for files that were found.
#[must_use]
pub fn resolved(subject: &Subject<'_>, commit: &str, moved: bool, count: usize, bytes: u64) -> String {
    let what = format!("{}, {}", files(count), size(bytes));
    match subject.revision.as_commit() {
        Some(_) => format!("Commit {commit}: {what}."),
        // The revision may stand for another commit now, or for none.
        None if moved => format!("{} is pinned at commit {commit}: {what}.", subject.revision),
        None => format!("{} is commit {commit}: {what}.", subject.revision),
    }
}

/// The sentence for a repo that has another name on the Hub than it was asked for by.
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
        "with an account that may read it, and give a token of that account"
    } else {
        "with the account of this token"
    };
    match refusal.reason {
        Reason::TokenInvalid => match refusal.slip {
            Some(slip) => format!(
                "The Hub refuses this token.{words} It looks like {}: store the token alone, as {tokens} showed it.",
                look(slip)
            ),
            None if refusal.token == TokenState::Unclear => format!(
                "The Hub refuses this token: it is wrong, expired or revoked, or a mirror on the way does not pass it on.{words} \
                 Make a new one at {tokens} and replace it, or have the mirror pass it on."
            ),
            None => format!(
                "The Hub refuses this token: it is wrong, expired or revoked.{words} Make a new one at {tokens} and \
                 replace it."
            ),
        },
        Reason::TokenRequired if refusal.code.as_deref() == Some("GatedRepo") => format!(
            "{repo} is gated, and no token is given. Accept its terms at {page} and give a token of that \
             account."
        ),
        Reason::TokenRequired => format!(
            "{repo} cannot be seen without a token: it is private, or it does not exist. Check its \
             name and type at {page}, or give a token of an account that may read it."
        ),
        Reason::TermsNotAccepted if refusal.words.contains("has been reset") => format!(
            "The authors of {repo} have reset the access of the account of this token. Open {page} with \
             that account and ask again."
        ),
        Reason::TermsNotAccepted => format!(
            "The account of this token has not accepted the terms of {repo}. Open {page} with that \
             account and agree."
        ),
        Reason::AccessPending => format!(
            "The authors of {repo} have not yet decided on the access request of this token's account. Wait for \
             them, or write to them at {page}."
        ),
        Reason::AccessRejected => format!(
            "The authors of {repo} have rejected the access of the account of this token, and asking \
             again does not help. Talk to them at {page}, or give a token of another account."
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
            "This token may not be used for {repo}.{words} Give another one of the account, from \
             {tokens}."
        ),
        Reason::RepoNotFoundOrPrivate if refusal.token == TokenState::NotSent => format!(
            "{repo} does not exist at {endpoint}, or it is private. Check its name and type, or give a \
             token of an account that may read it."
        ),
        Reason::RepoNotFoundOrPrivate => format!(
            "{repo} does not exist, or it is private and the account of this token may not see it: the \
             Hub does not tell which. Check its name and type, and open {page} with that account."
        ),
        Reason::RepoDisabled => format!(
            "The Hub has disabled {repo}: no token and no terms open it.{} See {page}.",
            if refusal.code.is_some() { String::new() } else { words }
        ),
        Reason::RevisionNotFound => format!(
            "{repo} has no branch, tag or commit `{revision}`. Its branches and tags are at \
             {page}/tree/main."
        ),
        Reason::NoMatchingFiles => format!("{repo} no longer has a file that it lists at {revision}.{words}"),
        Reason::AccessDenied if refusal.is_masked() => format!(
            "The listing of {repo} hides its hashes, as from an account without access. Open {page} {with_account}, and have a \
             mirror on the way ask for the listing again: it may keep one that somebody else was given."
        ),
        _ if refusal.words.is_empty() => format!(
            "Access to {repo} is refused with HTTP {} and no word why: a proxy or firewall on the way \
             may have answered. Open {page} {with_account}.",
            refusal.status
        ),
        _ if refusal::names_a_place(&refusal.words) => format!(
            "The Hub does not give {repo} to where this request comes from.{words} No token changes that: ask the authors at \
             {page}, or whoever looks after this network."
        ),
        _ => format!("The Hub refuses access to {repo}.{words} Open {page} {with_account}."),
    }
}

/// What a text that the Hub does not take for a token looks like.
const fn look(slip: Slip) -> &'static str {
    match slip {
        Slip::Quotes => "a text in quotation marks",
        Slip::Assignment => "a line of an environment file",
        Slip::Placeholder => "the name of a variable that was not replaced",
        Slip::Sample => "an example from a manual",
        Slip::Base64 => "a token that is encoded in base64 once more than the Secret does by itself",
        Slip::Address => "an address",
        Slip::Structure => "a structure, such as JSON",
    }
}

fn unreachable(host: &str, kind: Trouble, detail: &str) -> String {
    let because = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    let remedy = match kind {
        Trouble::Dns => "Check the name, and the DNS where this runs",
        Trouble::Connect => "Check whether a firewall or network policy is in the way, or a proxy is needed",
        Trouble::Tls => "Check the certificate; a proxy or mirror with its own authority needs a CA bundle",
        Trouble::Proxy => "Check the proxy's address, password and rules",
        Trouble::Setup => "Correct the proxy or CA bundle of this endpoint",
        Trouble::Handshake => "It may pass by itself; if it stays so, check whether that address speaks TLS",
        Trouble::Timeout | Trouble::Cut | Trouble::Server(_) => "It may pass by itself",
    };
    format!("{host} cannot be reached: {kind}{because}. {remedy}.")
}

/// The Hub's own words as a sentence of its own.
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
