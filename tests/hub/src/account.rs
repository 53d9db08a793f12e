//! Users, and their tokens in every state.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// An account.
#[derive(Clone, Debug, Default)]
pub(crate) struct User {
    pub(crate) orgs: BTreeSet<String>,
}

/// The kind of a token, as in state files and commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TokenWord {
    /// See [`Token::read`].
    #[default]
    Read,
    /// See [`Token::fine_grained`].
    FineGrained,
    /// See [`Token::fine_grained_without_gated`].
    FineGrainedWithoutGated,
    /// See [`Token::expired`].
    Expired,
    /// See [`Token::revoked_by`].
    Revoked,
    /// See [`Token::not_approved_by`].
    NotApproved,
}

/// A token, as in state files and commands.
#[derive(Clone, Debug, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// The token itself
    #[arg(long)]
    pub token: String,
    /// What it is
    #[serde(default)]
    #[arg(long, value_enum, default_value_t)]
    pub kind: TokenWord,
    /// The organisation that has revoked or not approved it
    #[serde(default)]
    #[arg(long, required_if_eq_any([("kind", "revoked"), ("kind", "not-approved")]))]
    pub org: Option<String>,
    /// Its name
    #[serde(default)]
    #[arg(long)]
    pub name: Option<String>,
}

impl From<TokenSpec> for Token {
    fn from(spec: TokenSpec) -> Self {
        let TokenSpec { token, kind, org, name } = spec;
        let token = match kind {
            TokenWord::Read => Self::read(&token),
            TokenWord::FineGrained => Self::fine_grained(&token),
            TokenWord::FineGrainedWithoutGated => Self::fine_grained_without_gated(&token),
            TokenWord::Expired => Self::expired(&token),
            TokenWord::Revoked => Self::revoked_by(&org.unwrap_or_default(), &token),
            TokenWord::NotApproved => Self::not_approved_by(&org.unwrap_or_default(), &token),
        };
        if let Some(name) = name { token.called(&name) } else { token }
    }
}

/// A user's access token. Plain text converts to a valid one with the read role.
#[derive(Clone, Debug)]
pub struct Token {
    pub(crate) secret: String,
    pub(crate) name: String,
    pub(crate) kind: TokenKind,
}

/// What a token can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Read,
    FineGrained { gated: bool },
    Expired,
    RevokedBy(String),
    NotApprovedBy(String),
}

impl Token {
    fn new(secret: &str, kind: TokenKind) -> Self {
        Self { secret: secret.to_owned(), name: "standin".to_owned(), kind }
    }

    /// A valid token with the read role.
    #[must_use]
    pub fn read(secret: &str) -> Self {
        Self::new(secret, TokenKind::Read)
    }

    /// A valid fine-grained token with permission to read public gated repos.
    #[must_use]
    pub fn fine_grained(secret: &str) -> Self {
        Self::new(secret, TokenKind::FineGrained { gated: true })
    }

    /// A valid fine-grained token without permission to read public gated repos: the Hub's default.
    #[must_use]
    pub fn fine_grained_without_gated(secret: &str) -> Self {
        Self::new(secret, TokenKind::FineGrained { gated: false })
    }

    /// An expired token.
    #[must_use]
    pub fn expired(secret: &str) -> Self {
        Self::new(secret, TokenKind::Expired)
    }

    /// A token that an organisation has revoked for its own repos; valid elsewhere.
    #[must_use]
    pub fn revoked_by(org: &str, secret: &str) -> Self {
        Self::new(secret, TokenKind::RevokedBy(org.to_owned()))
    }

    /// A token that an organisation has not yet approved for its own repos; valid elsewhere.
    #[must_use]
    pub fn not_approved_by(org: &str, secret: &str) -> Self {
        Self::new(secret, TokenKind::NotApprovedBy(org.to_owned()))
    }

    /// Sets its name, which the Hub's message about an expired one contains.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }
}

impl From<&str> for Token {
    fn from(secret: &str) -> Self {
        Self::read(secret)
    }
}
