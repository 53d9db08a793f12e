//! The token: where it comes from, and a value that cannot show itself by accident. Knows nothing of Kubernetes
//! Secrets: those arrive here as text or as a mounted file.

use std::{fmt, io, path::PathBuf, str::FromStr};

use reqwest::header::HeaderValue;

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

/// A token that may be sent: visible ASCII, neither empty nor endless.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

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
            return refuse("it has white space inside");
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return refuse("it has characters other than visible ASCII");
        }
        Ok(Self(text.to_owned()))
    }

    /// The value of the `Authorization` header, marked so that no log prints it.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        // Visible ASCII is always a header value, so the fallback is never taken.
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0))
            .unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
        value.set_sensitive(true);
        value
    }

    /// User name and password, where it is a login at a mirror. The Hub's own tokens have no colon.
    pub(super) fn login(&self) -> Option<(&str, &str)> {
        self.0.split_once(':')
    }

    /// A text that may repeat the token, or a login's password alone, without it.
    pub(super) fn mask(&self, text: &str) -> String {
        let password = self.login().map(|(_, password)| password);
        let secrets = [self.0.as_str()].into_iter().chain(password);
        secrets
            .filter(|secret| secret.len() >= MIN_MASKED)
            .fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
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
                Ok(text) => Token::parse(&text).map(Some),
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
