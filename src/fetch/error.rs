//! How a fetch can fail, each way with its one reason and a message for a person.

use std::time::Duration;

use tokio::task::JoinError;

use crate::{
    cache::CacheError,
    hub::{HubError, RepoPath, TokenError, advice},
    reason::{Reason, Verdict},
};

/// A fetch that has not filled the cache.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no usable token to send.
    #[error("{}", advice::token(.0))]
    Token(TokenError),
    /// The Hub cannot be asked at all.
    #[error("{advice}")]
    Hub {
        /// The failure.
        error: HubError,
        /// It and its remedy, for a person.
        advice: String,
    },
    /// What the Hub said before anything was downloaded.
    #[error("{}", verdict.message)]
    Preflight {
        /// The answer that stands in the way.
        verdict: Verdict,
        /// When the Hub wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The Hub may not be asked, and the cache has not all of it.
    #[error(
        "{what} is not complete in the cache, and HF_HUB_OFFLINE forbids asking the Hub for it. Unset HF_HUB_OFFLINE, \
         or fetch a revision that is complete: `modelcache list` shows them"
    )]
    Offline {
        /// The repo and its revision.
        what: String,
    },
    /// The volume does not take it.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// One file cannot be had from the Hub.
    #[error("cannot download {path}: {advice}")]
    File {
        /// The file.
        path: RepoPath,
        /// The last failure.
        error: HubError,
        /// It and its remedy, for a person.
        advice: String,
    },
    /// One file has other bytes than the Hub lists, even after another attempt.
    #[error(
        "cannot download {path}: {error}, twice. A proxy, a mirror or the storage delivers wrong bytes: have a mirror fetch the file again"
    )]
    Mismatch {
        /// The file.
        path: RepoPath,
        /// What was found.
        error: CacheError,
    },
    /// No byte came for too long, several times.
    #[error("cannot download {path}: no byte came for {} s, several times", quiet.as_secs_f32())]
    Stalled {
        /// The file.
        path: RepoPath,
        /// How long each time.
        quiet: Duration,
    },
    /// It was stopped from outside.
    #[error(
        "stopped before the download was done. What was there is kept, and the next attempt continues with it"
    )]
    Stopped,
    /// A part of our own program ended in a way that it should not.
    #[error("a part of the download ended unexpectedly: {0}")]
    Broken(JoinError),
}

// Their words are in the message. As sources they would be printed a second time.
impl From<TokenError> for FetchError {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<JoinError> for FetchError {
    fn from(error: JoinError) -> Self {
        Self::Broken(error)
    }
}

impl FetchError {
    /// One file that cannot be had from the Hub, with the remedy for the last failure.
    pub(super) fn of_file(path: &RepoPath, error: HubError, subject: &advice::Subject<'_>) -> Self {
        Self::File { path: path.clone(), advice: advice::explain(&error, subject), error }
    }

    /// What is wrong with the bytes of a file, if that is what failed.
    pub(super) fn into_content_error(self) -> Result<CacheError, Self> {
        match self {
            Self::Cache(error @ (CacheError::Mismatch { .. } | CacheError::WrongSize { .. })) => Ok(error),
            other => Err(other),
        }
    }

    /// The published word for it.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Token(error) => error.reason(),
            Self::Hub { error, .. } | Self::File { error, .. } => error.reason(),
            Self::Preflight { verdict, .. } => verdict.reason,
            Self::Offline { .. } => Reason::HubUnreachable,
            Self::Cache(error) => error.reason(),
            Self::Mismatch { .. } => Reason::HashMismatch,
            Self::Stalled { .. } => Reason::TransferStalled,
            Self::Stopped => Reason::Stopped,
            Self::Broken(_) => Reason::DownloadFailed,
        }
    }

    /// The pause that the Hub asks for.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Preflight { retry_after, .. } => *retry_after,
            Self::Hub { error, .. } | Self::File { error, .. } => error.retry_after(),
            _ => None,
        }
    }
}
