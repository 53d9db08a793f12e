//! What a refusal of the Hub means: pure, from status, error code and text to one reason.
//!
//! The texts were recorded from the Hub and from `huggingface_hub.utils._http.hf_raise_for_status`; "disabled", a bad
//! token and the state of an access request are told by text alone. Knows no requests.

use std::fmt;

use modelcache_wire::ErrorBody;

use super::{Token, token::Slip};
use crate::{reason::Reason, text};

/// The longest text of the Hub that is passed on, in characters.
const MAX_WORDS: usize = 300;

/// What the Hub says to those whom it does not know.
const NOBODY: &str = "invalid username or password";

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
    /// What the token looks like, where that is a usual mistake.
    pub slip: Option<Slip>,
}

impl Refusal {
    /// Understands a refusal.
    #[must_use]
    pub fn new(evidence: &Evidence<'_>) -> Self {
        let own_words = evidence.message.map(str::to_owned).or_else(|| json_error(evidence.body));
        let clean =
            |text: &str| clean(&evidence.token.map_or_else(|| text.to_owned(), |token| token.mask(text)));
        let words = clean(&own_words.or_else(|| plain_text(evidence.body)).unwrap_or_default());
        let (reason, token) = judge(evidence, &words);
        let token = if evidence.token.is_some() { token } else { TokenState::NotSent };
        let slip = evidence.token.and_then(Token::slip);
        Self { reason, status: evidence.status, code: evidence.code.map(clean), words, token, slip }
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
            slip: None,
        }
    }

    /// What the repo says of itself: disabled, so that no gate leads in. That is told to everybody.
    #[must_use]
    pub(super) fn disabled(self) -> Self {
        Self { reason: Reason::RepoDisabled, ..self }
    }

    /// The listing is fine, but the patterns select nothing of it.
    #[must_use]
    pub(super) fn nothing_matches() -> Self {
        let words = String::new();
        let (reason, token) = (Reason::NoMatchingFiles, TokenState::Unclear);
        Self { reason, status: 200, code: None, words, token, slip: None }
    }

    /// The same refusal, once it is known from elsewhere that the token is good.
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

    /// The same refusal, once it is known from elsewhere that the token is bad.
    #[must_use]
    pub fn with_bad_token(mut self) -> Self {
        self.reason = Reason::TokenInvalid;
        self.token = TokenState::Bad;
        self
    }

    /// Whether it says what is wrong with the token, and not only that it is none.
    pub(super) fn names_a_flaw(&self) -> bool {
        says(&self.words, "signature") || says(&self.words, "expired")
    }

    /// Whether the Hub says so to bad tokens: in its words, or in none. A mirror that keeps the token to itself has words of its own
    /// for what the Hub says to strangers.
    pub(super) fn may_be_of_the_hub(&self) -> bool {
        self.token == TokenState::Bad || self.words.is_empty() || says(&self.words, NOBODY)
    }

    /// Whether only the Hub, or a server that knows its protocol, says so: about a gate or about the token. Any other refusal of
    /// an optional call may come from a mirror that does not offer it.
    pub(super) fn is_specific(&self) -> bool {
        self.code.as_deref() == Some("GatedRepo")
            || matches!(self.reason, Reason::TokenLacksPermission | Reason::RepoDisabled)
            || self.token == TokenState::Bad
    }

    /// Whether it leaves the token open that another refusal of the same repo takes for good.
    pub(super) fn doubts(&self, other: &Self) -> bool {
        self.status == 401 && self.token == TokenState::Unclear && other.token == TokenState::Good
    }

    /// Whether it is a listing that hides its hashes.
    pub(super) fn is_masked(&self) -> bool {
        self.status == 200 && self.code.is_some()
    }

    /// The same refusal, where it is about one file of a repo that answers.
    #[must_use]
    pub(super) fn of_a_file(self) -> Self {
        if self.is_unknown_call() { Self { reason: Reason::NoMatchingFiles, ..self } } else { self }
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

/// The table of what was recorded. A refusal is proof of a good token only if a stranger, or a malformed token, would not get
/// it: blocks of a region or a network come before the Hub looks who asks.
fn judge(evidence: &Evidence<'_>, words: &str) -> (Reason, TokenState) {
    use TokenState::{Bad, Good, Unclear};
    match (evidence.status, evidence.code) {
        // Gated, private and missing look alike to those who do not say who they are.
        (401, _) if evidence.token.is_none() => (Reason::TokenRequired, TokenState::NotSent),
        (401, None) if bad_token(words) => (Reason::TokenInvalid, Bad),
        // The Hub takes us for nobody although a token was sent: most likely a bad one, but a mirror may have eaten it.
        (401, _) => (Reason::TokenInvalid, Unclear),
        (403, _) if says(words, "fine-grained token") => (Reason::TokenLacksPermission, Good),
        (403, Some("GatedRepo")) => (gate(words), Good),
        (403, _) if says(words, "access to this resource is disabled") => (Reason::RepoDisabled, Unclear),
        // The account keeps its access; this token has lost it, or has not got it yet.
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

/// Whether the words are about where a request comes from, and not about who sends it.
pub(super) fn names_a_place(words: &str) -> bool {
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

/// Whether the words of a 401 speak of the token that was sent. Those of a 401 to nobody ask for one, or for a login.
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

/// Whether a text has a phrase; letter case is no part of the protocol.
fn says(words: &str, phrase: &str) -> bool {
    words.to_ascii_lowercase().contains(phrase)
}

/// The `error` of a JSON body.
fn json_error(body: &str) -> Option<String> {
    serde_json::from_str::<ErrorBody>(body).ok()?.error
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
