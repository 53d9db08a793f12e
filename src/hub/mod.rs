//! A client for the Hub: names, requests, responses and refusals. Knows no Kubernetes.

mod body;
mod ca_bundle;
mod client;
mod coding;
mod endpoint;
mod error;
mod file;
mod host;
mod link;
mod listing;
pub mod messages;
mod patterns;
mod preflight;
mod proxy;
mod rate_limit;
mod refusal;
mod remote;
mod repo;
mod request;
mod response;
mod siblings;
mod timeouts;
mod token;
mod token_status;
mod transport;
#[cfg(feature = "xet")]
mod xet;

pub use body::Body;
pub use ca_bundle::{CaBundle, CaBundleError};
pub use client::{Hub, RequestTimeouts};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{ConnectFailure, HubError};
pub use file::{Digest, RepoFile, RepoPath};
pub use patterns::{InvalidPattern, Patterns};
pub use preflight::{Concern, Preflight, PreflightRequest, Proof, Snapshot, preflight};
pub use proxy::{Proxy, ProxyError};
pub use refusal::{ErrorResponse, Refusal, TokenState};
pub use remote::RemoteFile;
pub use repo::{Commit, Repo, RepoId, RepoType, Revision};
pub use response::{Identity, RevisionInfo};
pub use timeouts::{Timeout, TimeoutError, Timeouts};
pub use token::{Fingerprint, Slip, Token, TokenError, TokenSource};
pub use token_status::TokenStatusCache;
#[cfg(feature = "xet")]
pub use xet::{XetBody, XetFiles};

use crate::reason::Reason;

/// A name that is invalid on the Hub, or unsafe on a volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a repo ID. It is not repeated: it may be a misplaced secret.
    #[error("not a repo name: {why}")]
    Repo {
        /// The violated rule.
        why: &'static str,
    },
    /// Not a revision. It is not repeated either.
    #[error("not a revision: {why}")]
    Revision {
        /// The violated rule.
        why: &'static str,
    },
    /// Not a commit.
    #[error("`{hash}` is not a commit: 40 lower-case hexadecimal digits are needed")]
    Commit {
        /// The given text, made printable.
        hash: String,
    },
    /// Not a safe path.
    #[error("the file name `{path}` cannot be written safely: {why}")]
    Path {
        /// The given text, made printable.
        path: String,
        /// The violated rule.
        why: &'static str,
        /// A pattern that matches it and can be typed.
        pattern: String,
    },
    /// Not a hash of a file.
    #[error("`{digest}` is not a SHA-256 or git SHA-1 hash")]
    Digest {
        /// The given text, made printable.
        digest: String,
    },
}

impl NameError {
    /// The published reason code.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Repo { .. } => Reason::InvalidRepo,
            Self::Revision { .. } | Self::Commit { .. } => Reason::RevisionNotFound,
            Self::Path { .. } | Self::Digest { .. } => Reason::UnsafeFileName,
        }
    }
}
