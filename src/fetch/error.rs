//! The errors of a fetch, each with one reason and a message for the user.

use std::time::Duration;

use tokio::task::JoinError;

use crate::{
    cache::CacheError,
    hub::{HubError, RepoPath, TokenError, messages},
    reason::{Reason, Verdict},
};

/// A fetch that did not complete the cache.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no usable token to send.
    #[error("{}", messages::token(.0))]
    Token(TokenError),
    /// The Hub client cannot be set up.
    #[error("{message}")]
    Hub {
        /// The failure.
        error: HubError,
        /// The message for the user, with the remedy.
        message: String,
    },
    /// The preflight failed.
    #[error("{}", verdict.message)]
    Preflight {
        /// The failed condition.
        verdict: Verdict,
        /// The delay that the Hub requested.
        retry_after: Option<Duration>,
    },
    /// Offline, and the cache is incomplete.
    #[error(
        "{what} is not complete in the cache, and HF_HUB_OFFLINE disables access to the Hub. Unset HF_HUB_OFFLINE, \
         or fetch a revision that is complete: `modelcache list` shows them"
    )]
    Offline {
        /// The repo and its revision.
        what: String,
    },
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A file cannot be downloaded.
    #[error("cannot download {path}: {message}")]
    File {
        /// The file.
        path: RepoPath,
        /// The last failure.
        error: HubError,
        /// The message for the user, with the remedy.
        message: String,
    },
    /// A file does not match the Hub's listing, even after a second download.
    #[error(
        "cannot download {path}: {error}, twice. A proxy, a mirror or the storage delivers wrong bytes: have a mirror fetch the file again"
    )]
    Mismatch {
        /// The file.
        path: RepoPath,
        /// The mismatch.
        error: CacheError,
    },
    /// A connection stalled repeatedly.
    #[error("cannot download {path}: no data received for {} s, several times", timeout.as_secs_f32())]
    Stalled {
        /// The file.
        path: RepoPath,
        /// The time without data, each time.
        timeout: Duration,
    },
    /// The process was asked to stop.
    #[error("stopped before the download was complete. The next attempt resumes it")]
    Stopped,
    /// A task panicked or was cancelled.
    #[error("a download task failed unexpectedly: {0}")]
    Broken(JoinError),
}

// Not as a source: its text is already part of the message.
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
    /// A file that cannot be downloaded, with the remedy for the last error.
    pub(super) fn of_file(path: &RepoPath, error: HubError, subject: &messages::Subject<'_>) -> Self {
        Self::File { path: path.clone(), message: messages::explain(&error, subject), error }
    }

    /// The underlying error if the content of a file is wrong.
    pub(super) fn into_content_error(self) -> Result<CacheError, Self> {
        match self {
            Self::Cache(error @ (CacheError::Mismatch { .. } | CacheError::WrongSize { .. })) => Ok(error),
            other => Err(other),
        }
    }

    /// The published reason code.
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

    /// The delay that the Hub requests.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Preflight { retry_after, .. } => *retry_after,
            Self::Hub { error, .. } | Self::File { error, .. } => error.retry_after(),
            _ => None,
        }
    }
}
