//! What a refusal of the Hub means: pure, from status, error code and text to one reason.
//!
//! The texts were recorded from the Hub and from `huggingface_hub.utils._http.hf_raise_for_status`; "disabled", a bad
//! token and the state of an access request are told by text alone. Knows no requests.

use std::fmt;

use super::Token;
use crate::{reason::Reason, text};

/// The longest text of the Hub that is passed on, in characters.
const MAX_WORDS: usize = 300;

/// What came back with a refusal.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The header `X-Error-Code`.
    pub code: Option<&'a str>,
    /// The header `X-Error-Message`.
    pub message: Option<&'a str>,
    /// The body, or the beginning of it: JSON with `error` below `/api`, text elsewhere.
    pub body: &'a str,
    /// The token that went with the request.
    pub token: Option<&'a Token>,
}

/// What a refusal says about the token that went with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// None was sent.
    NotSent,
    /// The Hub knows it.
    Good,
    /// The Hub does not know it, or no more.
    Bad,
    /// Nothing certain: `whoami-v2` settles it.
    Unclear,
}

/// A refusal, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The cause.
    pub reason: Reason,
    /// The HTTP status.
    pub status: u16,
    /// The Hub's error code, where it gave one.
    pub code: Option<String>,
    /// The Hub's own text, fit for a message; empty where it gave none.
    pub words: String,
    /// What it says about the token.
    pub token: TokenState,
}

impl Refusal {
    /// Understands a refusal.
    #[must_use]
    pub fn new(evidence: &Evidence<'_>) -> Self {
        let own_words = evidence.message.map(str::to_owned).or_else(|| json_error(evidence.body));
        // A code or a text in the Hub's own form; a page of a proxy or firewall in between has neither.
        let hub_speaks = evidence.code.is_some() || own_words.is_some();
        let clean =
            |text: &str| clean(&evidence.token.map_or_else(|| text.to_owned(), |token| token.mask(text)));
        let words = clean(&own_words.or_else(|| plain_text(evidence.body)).unwrap_or_default());
        let (reason, token) = judge(evidence, &words, hub_speaks);
        let token = if evidence.token.is_some() { token } else { TokenState::NotSent };
        Self { reason, status: evidence.status, code: evidence.code.map(clean), words, token }
    }

    /// The listing hides its hashes (64 `*`), which the Hub does for callers without access to a gated repo.
    #[must_use]
    pub fn masked(token_sent: bool) -> Self {
        Self {
            reason: if token_sent { Reason::AccessDenied } else { Reason::TokenRequired },
            status: 200,
            code: Some("GatedRepo".to_owned()),
            words: "the file hashes in the listing are masked".to_owned(),
            token: if token_sent { TokenState::Unclear } else { TokenState::NotSent },
        }
    }

    /// The listing is fine, but the patterns select nothing of it.
    #[must_use]
    pub(super) fn nothing_matches() -> Self {
        let words = String::new();
        Self { reason: Reason::NoMatchingFiles, status: 200, code: None, words, token: TokenState::Unclear }
    }

    /// The same refusal, once it is known from elsewhere that the token is good.
    #[must_use]
    pub fn with_good_token(mut self) -> Self {
        if self.reason == Reason::TokenInvalid {
            self.reason = match self.code.as_deref() {
                Some("GatedRepo") => gate(&self.words),
                Some("RepoNotFound") => Reason::RepoNotFoundOrPrivate,
                _ if says(&self.words, "invalid username or password") => Reason::RepoNotFoundOrPrivate,
                _ => Reason::AccessDenied,
            };
        }
        self.token = TokenState::Good;
        self
    }

    /// The same refusal, once it is known from elsewhere that the token is bad.
    #[must_use]
    pub fn with_bad_token(mut self) -> Self {
        self.reason = Reason::TokenInvalid;
        self.token = TokenState::Bad;
        self
    }

    /// Whether the address itself is unknown there: a mirror does not offer every call of the Hub.
    #[must_use]
    pub fn is_unknown_call(&self) -> bool {
        matches!(self.status, 404 | 405) && self.code.is_none()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (HTTP {}", self.reason, self.status)?;
        if self.words.is_empty() { f.write_str(")") } else { write!(f, ": {})", self.words) }
    }
}

/// The table: hub-protocol, "Error semantics" and "Telling authentication from authorisation".
fn judge(evidence: &Evidence<'_>, words: &str, hub_speaks: bool) -> (Reason, TokenState) {
    use TokenState::{Bad, Good, Unclear};
    match (evidence.status, evidence.code) {
        // Gated, private and missing look alike to those who do not say who they are.
        (401, _) if evidence.token.is_none() => (Reason::TokenRequired, TokenState::NotSent),
        (401, None) if bad_token(words) => (Reason::TokenInvalid, Bad),
        // The Hub takes us for nobody although a token was sent: most likely a bad one, but a mirror may have eaten it.
        (401, _) => (Reason::TokenInvalid, Unclear),
        (403, _) if says(words, "fine-grained token") => (Reason::TokenLacksPermission, Good),
        (403, Some("GatedRepo")) => (gate(words), Good),
        (403, _) if says(words, "access to this resource is disabled") => (Reason::RepoDisabled, Good),
        // The account keeps its access; this token has lost it.
        (403, _) if says(words, "revoked by the organization") => (Reason::TokenLacksPermission, Good),
        (404, Some("RepoNotFound")) => (Reason::RepoNotFoundOrPrivate, Good),
        (404, Some("RevisionNotFound")) => (Reason::RevisionNotFound, Unclear),
        (404, Some("EntryNotFound")) => (Reason::NoMatchingFiles, Unclear),
        (404, None) => (Reason::RepoNotFoundOrPrivate, Unclear),
        (403, _) if hub_speaks => (Reason::AccessDenied, Good),
        _ => (Reason::AccessDenied, Unclear),
    }
}

/// The state of a request for access to a gated repo, which the Hub tells by text alone.
fn gate(words: &str) -> Reason {
    if says(words, "awaiting a review") {
        Reason::AccessPending
    } else if says(words, "has been rejected") {
        Reason::AccessRejected
    } else if words.is_empty() || says(words, "authorized list") || says(words, "has been reset") {
        Reason::TermsNotAccepted
    } else {
        Reason::AccessDenied
    }
}

/// The texts with which the Hub refuses a token itself.
fn bad_token(words: &str) -> bool {
    says(words, "invalid credentials in authorization header")
        || (says(words, "token") && (says(words, "is expired") || says(words, "revoked")))
}

/// Whether a text has a phrase; letter case is no part of the protocol.
fn says(words: &str, phrase: &str) -> bool {
    words.to_ascii_lowercase().contains(phrase)
}

/// The `error` of a JSON body.
fn json_error(body: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(body).ok()?;
    value.get("error")?.as_str().map(str::to_owned)
}

/// A body that is a sentence, not a page or a structure.
fn plain_text(body: &str) -> Option<String> {
    let text = body.trim_start();
    (!text.is_empty() && !text.starts_with(['<', '{', '['])).then(|| text.to_owned())
}

/// A foreign text made fit for a message: one line, safe to show, no query strings or credentials of addresses, nothing
/// that looks like a token, and not endless.
#[must_use]
pub(super) fn clean(text: &str) -> String {
    let mut words = String::new();
    // Not as numbers: what hides between two words must not join them, or a token would look like none.
    let visible: String =
        text.chars().take(8 * MAX_WORDS).map(|c| if text::is_unseen(c) { ' ' } else { c }).collect();
    let mut after_bearer = false;
    for word in visible.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(&if after_bearer { "…".to_owned() } else { mask_tokens(&bare_address(word)) });
        after_bearer = is_bearer(word);
    }
    text::line(&words, MAX_WORDS)
}

/// An address without user name, query and fragment.
fn bare_address(word: &str) -> String {
    let Some(at) = word.find("://") else { return word.to_owned() };
    let (scheme, rest) = word.split_at(at + 3);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}{host}{path}")
}

/// Whether what follows is a token, as in a header that is quoted.
fn is_bearer(word: &str) -> bool {
    let name = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    name.rsplit(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .is_some_and(|last| last.eq_ignore_ascii_case("bearer"))
}

/// The Hub does not repeat tokens; something in between might, also those of others.
fn mask_tokens(word: &str) -> String {
    const PREFIX: &str = "hf_";
    let in_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let mut masked = String::new();
    let mut rest = word;
    while let Some((before, secret)) = rest.split_once(PREFIX) {
        let end = secret.find(|c| !in_token(c)).unwrap_or(secret.len());
        let shown = if end >= 16 { "…" } else { &secret[..end] };
        masked.extend([before, PREFIX, shown]);
        rest = &secret[end..];
    }
    masked + rest
}

#[cfg(test)]
mod tests;
