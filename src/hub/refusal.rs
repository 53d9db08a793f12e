//! Classifies a refusal of the Hub by status, error code and text. Pure.
//!
//! The texts were recorded from the Hub and from `huggingface_hub.utils._http.hf_raise_for_status`; "disabled", an invalid
//! token and the state of an access request can be recognized only by the text. Knows no requests.

use std::fmt;

use modelcache_wire::ErrorBody;

use super::{Token, token::Slip};
use crate::{reason::Reason, text};

/// The longest message of the Hub that is shown, in characters.
const MAX_WORDS: usize = 300;

/// The Hub's response to an unauthenticated request.
const NOBODY: &str = "invalid username or password";

/// The relevant parts of an error response.
#[derive(Clone, Copy, Debug)]
pub struct ErrorResponse<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The header `X-Error-Code`.
    pub code: Option<&'a str>,
    /// The header `X-Error-Message`.
    pub message: Option<&'a str>,
    /// The body or its beginning: JSON with `error` below `/api`, text elsewhere.
    pub body: &'a str,
    /// The token sent with the request.
    pub token: Option<&'a Token>,
}

/// What a refusal shows about the token sent with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// None was sent.
    NotSent,
    /// It is valid.
    Good,
    /// It is unknown, expired or revoked.
    Bad,
    /// Uncertain: `whoami-v2` decides.
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
    /// What the token looks like, where that is a usual mistake.
    pub slip: Option<Slip>,
}

impl Refusal {
    /// Classifies an error response.
    #[must_use]
    pub fn new(evidence: &ErrorResponse<'_>) -> Self {
        let own_words = evidence.message.map(str::to_owned).or_else(|| json_error(evidence.body));
        let clean =
            |text: &str| clean(&evidence.token.map_or_else(|| text.to_owned(), |token| token.mask(text)));
        let words = clean(&own_words.or_else(|| plain_text(evidence.body)).unwrap_or_default());
        let (reason, token) = classify(evidence, &words);
        let token = if evidence.token.is_some() { token } else { TokenState::NotSent };
        let slip = evidence.token.and_then(Token::slip);
        Self { reason, status: evidence.status, code: evidence.code.map(clean), words, token, slip }
    }

    /// A listing with masked hashes (64 `*`), which the Hub returns to callers without access to a gated repo.
    #[must_use]
    pub fn masked(token_sent: bool) -> Self {
        Self {
            reason: if token_sent { Reason::AccessDenied } else { Reason::TokenRequired },
            status: 200,
            code: Some("GatedRepo".to_owned()),
            words: "the file hashes in the listing are masked".to_owned(),
            token: if token_sent { TokenState::Unclear } else { TokenState::NotSent },
            slip: None,
        }
    }

    /// The same refusal for a disabled repo, whose gate cannot be passed. That status is public.
    #[must_use]
    pub(super) fn disabled(self) -> Self {
        Self { reason: Reason::RepoDisabled, ..self }
    }

    /// The patterns select no files of a valid listing.
    #[must_use]
    pub(super) fn nothing_matches() -> Self {
        let words = String::new();
        let (reason, token) = (Reason::NoMatchingFiles, TokenState::Unclear);
        Self { reason, status: 200, code: None, words, token, slip: None }
    }

    /// The same refusal, if the token is known to be valid.
    #[must_use]
    pub fn with_good_token(mut self) -> Self {
        if self.reason == Reason::TokenInvalid {
            self.reason = match self.code.as_deref() {
                Some("GatedRepo") => gate(&self.words),
                Some("RepoNotFound") => Reason::RepoNotFoundOrPrivate,
                _ if says(&self.words, NOBODY) => Reason::RepoNotFoundOrPrivate,
                _ => Reason::AccessDenied,
            };
        }
        self.token = TokenState::Good;
        self
    }

    /// The same refusal, if the token is known to be invalid.
    #[must_use]
    pub fn with_bad_token(mut self) -> Self {
        self.reason = Reason::TokenInvalid;
        self.token = TokenState::Bad;
        self
    }

    /// Whether it specifies what is wrong with the token.
    pub(super) fn names_defect(&self) -> bool {
        says(&self.words, "signature") || says(&self.words, "expired")
    }

    /// Whether the Hub may respond like this to an invalid token. A mirror that does not forward the token has its own message for
    /// unauthenticated requests.
    pub(super) fn may_be_from_hub(&self) -> bool {
        self.token == TokenState::Bad || self.words.is_empty() || says(&self.words, NOBODY)
    }

    /// Whether only the Hub, or a server that implements its protocol, refuses like this: because of a gate or the token. Any other
    /// refusal of an optional call may come from a mirror that does not offer it.
    pub(super) fn is_specific(&self) -> bool {
        self.code.as_deref() == Some("GatedRepo")
            || matches!(self.reason, Reason::TokenLacksPermission | Reason::RepoDisabled)
            || self.token == TokenState::Bad
    }

    /// Whether it casts doubt on the token that another refusal for the same repo treats as valid.
    pub(super) fn doubts(&self, other: &Self) -> bool {
        self.status == 401 && self.token == TokenState::Unclear && other.token == TokenState::Good
    }

    /// Whether it is a listing with masked hashes.
    pub(super) fn is_masked(&self) -> bool {
        self.status == 200 && self.code.is_some()
    }

    /// The same refusal for one file of an accessible repo.
    #[must_use]
    pub(super) fn for_file(self) -> Self {
        if self.is_unknown_call() { Self { reason: Reason::NoMatchingFiles, ..self } } else { self }
    }

    /// Whether the server does not know the address itself: mirrors do not offer every call of the Hub.
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

/// The table of recorded refusals. A refusal proves a valid token only if a request without a token, or with a malformed one,
/// would not get it: the Hub blocks regions and networks before it authenticates.
fn classify(evidence: &ErrorResponse<'_>, words: &str) -> (Reason, TokenState) {
    use TokenState::{Bad, Good, Unclear};
    match (evidence.status, evidence.code) {
        // Gated, private and missing repos are indistinguishable without a token.
        (401, _) if evidence.token.is_none() => (Reason::TokenRequired, TokenState::NotSent),
        (401, None) if bad_token(words) => (Reason::TokenInvalid, Bad),
        // The request counts as unauthenticated despite a token: probably invalid, unless a mirror did not forward it.
        (401, _) => (Reason::TokenInvalid, Unclear),
        (403, _) if says(words, "fine-grained token") => (Reason::TokenLacksPermission, Good),
        (403, Some("GatedRepo")) => (gate(words), Good),
        (403, _) if says(words, "access to this resource is disabled") => (Reason::RepoDisabled, Unclear),
        // The account has access; this token has lost it, or has not been granted it yet.
        (403, _) if says(words, "revoked by the organization") || needs_approval(words) => {
            (Reason::TokenLacksPermission, Good)
        }
        (404, Some("RepoNotFound")) => (Reason::RepoNotFoundOrPrivate, Good),
        (404, Some("RevisionNotFound")) => (Reason::RevisionNotFound, Unclear),
        (404, Some("EntryNotFound")) => (Reason::NoMatchingFiles, Unclear),
        (404, None) => (Reason::RepoNotFoundOrPrivate, Unclear),
        _ => (Reason::AccessDenied, Unclear),
    }
}

/// Whether an administrator of an organization has to approve the token first.
pub(super) fn needs_approval(words: &str) -> bool {
    says(words, "approved by the organization")
}

/// Whether the message is about the location of the request, not about its sender.
pub(super) fn names_location(words: &str) -> bool {
    const PLACES: [&str; 12] = [
        "region",
        "country",
        "countries",
        "location",
        "territor",
        "jurisdiction",
        "geograph",
        "geo-",
        "sanction",
        "embargo",
        "european union",
        "ip address",
    ];
    PLACES.iter().any(|place| says(words, place)) || has_word(words, "ip") || has_word(words, "eu")
}

fn has_word(words: &str, wanted: &str) -> bool {
    words.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word.eq_ignore_ascii_case(wanted))
}

/// The state of an access request to a gated repo, which only the text shows.
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

/// Whether the message of a 401 is about the token sent, rather than asking for a token or a login.
fn bad_token(words: &str) -> bool {
    const NAMES: [&str; 3] = ["token", "credentials", "jwt"];
    const FLAWS: [&str; 9] = [
        "expired",
        "revoked",
        "invalid",
        "not valid",
        "verification failed",
        "malformed",
        "unknown",
        "not recognized",
        "deleted",
    ];
    NAMES.iter().any(|name| says(words, name)) && FLAWS.iter().any(|flaw| says(words, flaw))
}

/// Whether a text contains a phrase, ignoring case.
fn says(words: &str, phrase: &str) -> bool {
    words.to_ascii_lowercase().contains(phrase)
}

/// The `error` of a JSON body.
fn json_error(body: &str) -> Option<String> {
    serde_json::from_str::<ErrorBody>(body).ok()?.error
}

/// A body that is plain text, not HTML or JSON.
fn plain_text(body: &str) -> Option<String> {
    let text = body.trim_start();
    (!text.is_empty() && !text.starts_with(['<', '{', '['])).then(|| text.to_owned())
}

/// Sanitizes a foreign text for messages: one line of bounded length, safe to display, without query strings, credentials in
/// addresses, and anything that looks like a token.
#[must_use]
pub(super) fn clean(text: &str) -> String {
    let mut words = String::new();
    // As spaces: an invisible character between two words must not join them, or a token might not be recognized.
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

/// Whether a token follows, as in a quoted header.
fn is_bearer(word: &str) -> bool {
    let name = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    name.rsplit(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .is_some_and(|last| last.eq_ignore_ascii_case("bearer"))
}

/// Masks tokens: the Hub does not repeat them, but something in between might, including those of others.
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
