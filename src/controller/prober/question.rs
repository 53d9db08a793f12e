//! What the Hub is asked for a ModelCache, as far as the answer depends on it: the same question has the same answer. Pure.

use crate::{
    controller::source::Wanted,
    hub::{self, Commit, Fingerprint, Patterns, Repo, Revision, Snapshot, Token, TokenStatusCache},
};

/// A question, and who asks it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    repo: Repo,
    revision: Revision,
    patterns: Patterns,
    pinned: Option<Commit>,
    followed: Option<Revision>,
    token: Option<Fingerprint>,
}

impl Question {
    /// What is asked for a source.
    #[must_use]
    pub fn new(wanted: &Wanted, pinned: Option<Commit>, token: Option<Fingerprint>) -> Self {
        let Wanted { repo, revision, aliases, patterns } = wanted.clone();
        Self { repo, revision, patterns, pinned, followed: aliases.into_iter().next(), token }
    }

    /// Whose token it is asked with.
    #[must_use]
    pub const fn token(&self) -> Option<Fingerprint> {
        self.token
    }

    /// The repo.
    #[must_use]
    pub const fn repo(&self) -> &Repo {
        &self.repo
    }

    /// As the Hub is asked. The token is that of the fingerprint; `known` is an earlier snapshot for the same source.
    #[must_use]
    pub fn to_the_hub<'a>(
        &'a self,
        token: Option<&'a Token>,
        record: &'a TokenStatusCache,
        known: Option<&'a Snapshot>,
    ) -> hub::PreflightRequest<'a> {
        hub::PreflightRequest {
            repo: &self.repo,
            revision: &self.revision,
            patterns: &self.patterns,
            pinned: self.pinned.as_ref(),
            followed: self.followed.as_ref(),
            token,
            record,
            known,
            files: false,
            confirm: true,
        }
    }
}
