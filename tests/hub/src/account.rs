//! Users and their tokens in every state that the Hub knows.

use std::collections::BTreeSet;

/// An account.
#[derive(Clone, Debug, Default)]
pub(crate) struct User {
    pub(crate) orgs: BTreeSet<String>,
}

/// A user's access token. Plain text converts to a good one with the read role.
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
}

impl Token {
    fn new(secret: &str, kind: TokenKind) -> Self {
        Self { secret: secret.to_owned(), name: "standin".to_owned(), kind }
    }

    /// A good token with the read role.
    #[must_use]
    pub fn read(secret: &str) -> Self {
        Self::new(secret, TokenKind::Read)
    }

    /// A good fine-grained token with the permission to read public gated repos.
    #[must_use]
    pub fn fine_grained(secret: &str) -> Self {
        Self::new(secret, TokenKind::FineGrained { gated: true })
    }

    /// A good fine-grained token without the permission to read public gated repos: the Hub's default.
    #[must_use]
    pub fn fine_grained_without_gated(secret: &str) -> Self {
        Self::new(secret, TokenKind::FineGrained { gated: false })
    }

    /// A token whose time is over.
    #[must_use]
    pub fn expired(secret: &str) -> Self {
        Self::new(secret, TokenKind::Expired)
    }

    /// A token that an organisation has revoked for its own repos; elsewhere it is good.
    #[must_use]
    pub fn revoked_by(org: &str, secret: &str) -> Self {
        Self::new(secret, TokenKind::RevokedBy(org.to_owned()))
    }

    /// The name that its owner gave it, which the Hub tells of an expired one.
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
