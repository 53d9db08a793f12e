//! The token: where it comes from, and a value that cannot show itself by accident. Knows nothing of Kubernetes
//! Secrets: those arrive here as text or as a mounted file.

use std::{fmt, io, path::PathBuf, str::FromStr};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use crate::{
    files::{self, Unread},
    reason::Reason,
};

/// A shorter one could be a part of common words, and is no secret.
const MIN_MASKED: usize = 6;
/// Longer than any token of the Hub; a file beyond it is something else.
const MAX_LENGTH: usize = 8 * 1024;
/// With all the white space that may stand around it.
const MAX_FILE: u64 = 64 * 1024;

/// A token that may be sent: visible ASCII, neither empty nor endless. Its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Token(SecretString);

impl Token {
    /// Takes a token as people store it: white space around it, such as an editor's last newline, is dropped.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let refuse = |why| Err(TokenError::Malformed { why });
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > MAX_LENGTH {
            return refuse("it is longer than 8 KiB");
        }
        if text.chars().any(char::is_whitespace) {
            return refuse(spaced(text));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return refuse("it has characters other than visible ASCII");
        }
        Ok(Self(text.into()))
    }

    /// The value of the `Authorization` header, marked so that no log prints it.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        // Visible ASCII is always a header value, so the fallback is never taken.
        let text = SecretString::from(format!("Bearer {}", self.expose()));
        let mut value = HeaderValue::from_str(text.expose_secret())
            .unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
        value.set_sensitive(true);
        value
    }

    /// Tells it from other tokens.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(Sha256::digest(self.expose()).into())
    }

    /// Whether it was made for one run of a pipeline or one login: `whoami-v2` is not known to accept all of these.
    #[must_use]
    pub(super) fn is_short_lived(&self) -> bool {
        self.expose().starts_with("hf_jwt_") || self.expose().starts_with("hf_oauth_")
    }

    /// What it looks like, if that is a usual mistake. It may still be a token: those of mirrors have any form.
    #[must_use]
    pub(super) fn slip(&self) -> Option<Slip> {
        let text = self.expose();
        let within = |mark: char| text.len() > 1 && text.starts_with(mark) && text.ends_with(mark);
        Some(if within('"') || within('\'') || within('`') {
            Slip::Quotes
        } else if text.contains("$(") || text.contains("${") || text.starts_with('$') || text.contains("{{") {
            Slip::Placeholder
        } else if within_brackets(text) || is_sample(text) {
            Slip::Sample
        } else if is_assignment(text) {
            Slip::Assignment
        } else if text.starts_with("aGZf") {
            Slip::Base64
        } else if text.contains("://") {
            Slip::Address
        } else if text.starts_with('{') {
            Slip::Structure
        } else {
            return None;
        })
    }

    /// User name and password, where it is a login at a mirror. The Hub's own tokens have no colon.
    pub(super) fn login(&self) -> Option<(&str, &str)> {
        self.expose().split_once(':')
    }

    /// A text that may repeat the token, or a login's password alone, without it.
    pub(super) fn mask(&self, text: &str) -> String {
        let password = self.login().map(|(_, password)| password);
        let secrets = [self.expose()].into_iter().chain(password);
        secrets
            .filter(|secret| secret.len() >= MIN_MASKED)
            .fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
    }

    fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Token {}

/// Stands for a token where many are distinguished, so that the token itself need not be kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

/// A usual mistake in storing a token, by its form. Holds nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slip {
    /// Quotation marks around it.
    Quotes,
    /// A line of an environment file: `HF_TOKEN=…`.
    Assignment,
    /// A variable that was not substituted: `$(HF_TOKEN)`, `${HF_TOKEN}`, `{{ token }}`.
    Placeholder,
    /// An example from a manual: `<token>`, `hf_xxxx`.
    Sample,
    /// Encoded once more than a Secret is anyway.
    Base64,
    /// An address, such as that of a Secret store.
    Address,
    /// JSON: all keys of a Secret store's entry instead of one.
    Structure,
}

fn within_brackets(text: &str) -> bool {
    (text.starts_with('<') && text.ends_with('>')) || (text.starts_with('[') && text.ends_with(']'))
}

/// `hf_xxxxxxxx`, `hf_…`, `changeme`: a word instead of a token.
fn is_sample(text: &str) -> bool {
    let rest = text.strip_prefix("hf_").unwrap_or(text);
    let same = |mark: &[char]| !rest.is_empty() && rest.chars().all(|c| mark.contains(&c));
    let words = ["changeme", "replaceme", "yourtoken", "yourtokenhere", "yourhftoken", "token", "hftoken"];
    let letters: String = rest.chars().filter(char::is_ascii_alphanumeric).collect();
    same(&['x', 'X']) || same(&['.', '*']) || words.contains(&letters.to_ascii_lowercase().as_str())
}

/// A name in capitals, and `=`.
fn is_assignment(text: &str) -> bool {
    let name = text.split_once('=').map(|(name, _)| name).unwrap_or_default();
    let in_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    name.len() > 2 && name.contains('_') && name.chars().all(in_name)
}

/// Why a text with white space inside is no token, by its form.
fn spaced(text: &str) -> &'static str {
    let first = text.split_whitespace().next().unwrap_or_default();
    if first.eq_ignore_ascii_case("bearer") || first.eq_ignore_ascii_case("authorization:") {
        "it begins as a header does"
    } else if first == "export" || is_assignment(text) {
        "it is a line of a shell or environment file"
    } else if first.starts_with("-----") {
        "it is a key or a certificate"
    } else if first.starts_with('{') {
        "it is a structure, such as JSON"
    } else if text.lines().filter(|line| !line.trim().is_empty()).count() > 1 {
        "it has more than one line"
    } else {
        "it has white space inside"
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        Self::parse(text)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Where a token comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenSource {
    /// Nowhere: requests are anonymous.
    #[default]
    None,
    /// It is at hand.
    Fixed(Token),
    /// A file that may change under us, as a mounted Secret does.
    File(PathBuf),
    /// Something was given that cannot be a token. An error only for who needs one: a complete cache does not.
    Malformed(TokenError),
}

impl TokenSource {
    /// A token as text.
    #[must_use]
    pub fn fixed(text: &str) -> Self {
        Token::parse(text).map_or_else(Self::Malformed, Self::Fixed)
    }

    /// The token as it is now. A file is read anew on each call.
    pub fn read(&self) -> Result<Option<Token>, TokenError> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(token) => Ok(Some(token.clone())),
            Self::Malformed(error) => Err(error.clone()),
            Self::File(path) => match files::read_given(path, MAX_FILE).and_then(files::text) {
                Ok(text) => Token::parse(SecretString::from(text).expose_secret()).map(Some),
                Err(Unread::NoText) => Err(TokenError::Malformed { why: "it is not text" }),
                Err(Unread::Large(_)) => Err(TokenError::Malformed { why: "its file is longer than 64 KiB" }),
                Err(Unread::Kind(_)) => Err(TokenError::Malformed { why: "what holds it is no file" }),
                Err(Unread::Io(error)) if error.kind() == io::ErrorKind::NotFound => Err(TokenError::Missing),
                Err(Unread::Io(error)) => Err(TokenError::Unreadable { kind: error.kind() }),
            },
        }
    }
}

/// Why there is no usable token. Never holds any part of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// What was given cannot be a token.
    #[error("the token cannot be used: {why}")]
    Malformed {
        /// The rule that it breaks.
        why: &'static str,
    },
    /// The file is not there. Its name is not repeated: it may be the token, given in place of its file.
    #[error("the token file does not exist")]
    Missing,
    /// The file is there, but cannot be read.
    #[error("the token file cannot be read: {kind}")]
    Unreadable {
        /// The system's answer.
        kind: io::ErrorKind,
    },
}

impl TokenError {
    /// The published word for it.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Malformed { .. } => Reason::TokenMalformed,
            Self::Missing | Self::Unreadable { .. } => Reason::SecretNotFound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_is_dropped_and_inside_refused() {
        assert_eq!(Token::parse(" hf_abc\r\n").unwrap(), Token::parse("hf_abc").unwrap());
        for bad in ["", " \n", "hf_a b", "hf_a\nhf_b", "hf_\u{1}", "hf_ä", "hf_\u{7f}", &"x".repeat(9000)] {
            let error = Token::parse(bad).unwrap_err();
            assert_eq!(error.reason(), Reason::TokenMalformed, "{bad:?}");
        }
    }

    #[test]
    fn usual_mistakes_are_known_by_their_form() {
        let slip = |text: &str| Token::parse(text).unwrap().slip();
        for (text, expected) in [
            ("\"hf_abc\"", Slip::Quotes),
            ("'hf_abc'", Slip::Quotes),
            ("HF_TOKEN=hf_abc", Slip::Assignment),
            ("HUGGING_FACE_HUB_TOKEN=abc", Slip::Assignment),
            ("HF_TOKEN=\"hf_abc\"", Slip::Assignment),
            ("$(HF_TOKEN)", Slip::Placeholder),
            ("${HF_TOKEN}", Slip::Placeholder),
            ("$HF_TOKEN", Slip::Placeholder),
            ("{{hf_token}}", Slip::Placeholder),
            ("<token>", Slip::Sample),
            ("hf_xxxxxxxxxxxx", Slip::Sample),
            ("hf_...", Slip::Sample),
            ("hf_your_token_here", Slip::Sample),
            ("CHANGE-ME", Slip::Sample),
            ("aGZfYWJjZGVmZ2g=", Slip::Base64),
            ("vault://secret/hf", Slip::Address),
            (r#"{"token":"hf_abc"}"#, Slip::Structure),
        ] {
            assert_eq!(slip(text), Some(expected), "{text}");
        }
        // Tokens, also those of mirrors.
        for text in ["hf_abc", "hf_oauth_a.b-c", "eyJh.bG", "dXNlcjpwYXNz", "AKCp8x=", "cmVmdGtuOjAxOjE3"] {
            assert_eq!(slip(text), None, "{text}");
        }
    }

    #[test]
    fn what_white_space_is_part_of_is_told_by_its_form() {
        for (text, form) in [
            ("Bearer hf_secret", "it begins as a header does"),
            ("Authorization: Bearer hf_secret", "it begins as a header does"),
            ("export HF_TOKEN=hf_secret", "it is a line of a shell or environment file"),
            ("HF_TOKEN = hf_secret", "it has white space inside"),
            ("-----BEGIN PRIVATE KEY-----\nsecret", "it is a key or a certificate"),
            ("{ \"token\": \"secret\" }", "it is a structure, such as JSON"),
            ("hf_secret\nhf_secret", "it has more than one line"),
            ("hf_secret secret", "it has white space inside"),
        ] {
            assert_eq!(Token::parse(text).unwrap_err(), TokenError::Malformed { why: form }, "{text}");
        }
    }

    #[test]
    fn nothing_prints_a_token() {
        let token = Token::parse("hf_verysecret").unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert_eq!(format!("{:?}", TokenSource::Fixed(token.clone())), "Fixed(Token(…))");
        assert_eq!(format!("{:?}", token.header()), "Sensitive");
        assert!(!Token::parse("hf_very secret").unwrap_err().to_string().contains("secret"));
        let login = Token::parse("ann:verysecret").unwrap();
        assert_eq!(login.mask("ann:verysecret or verysecret of ann"), "… or … of ann");
    }

    #[test]
    fn a_file_is_read_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let source = TokenSource::File(path.clone());
        let missing = source.read().unwrap_err();
        assert_eq!(missing.reason(), Reason::SecretNotFound);
        assert!(missing.to_string().ends_with("does not exist"));
        for text in ["hf_one\n", "hf_two\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(source.read().unwrap(), Some(Token::parse(text).unwrap()));
        }
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert_eq!(source.read().unwrap_err().reason(), Reason::TokenMalformed);
    }
}
