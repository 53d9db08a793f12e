//! The Hub: its names, requests, answers and refusals. Knows no Kubernetes.

pub mod advice;
mod answer;
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
mod patterns;
mod preflight;
mod proxy;
mod rate_limit;
mod record;
mod refusal;
mod remote;
mod repo;
mod request;
mod timeouts;
mod token;
mod transport;
#[cfg(feature = "xet")]
mod xet;

pub use answer::{Identity, RevisionInfo};
pub use body::Body;
pub use ca_bundle::{CaBundle, CaBundleError};
pub use client::{Hub, Patience};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{HubError, Trouble};
pub use file::{Digest, RepoFile, RepoPath};
pub use patterns::{InvalidPattern, Patterns};
pub use preflight::{Concern, Preflight, Proof, Question, Snapshot, preflight};
pub use proxy::{Proxy, ProxyError};
pub use record::TokenRecord;
pub use refusal::{Evidence, Refusal, TokenState};
pub use remote::RemoteFile;
pub use repo::{Commit, Repo, RepoId, RepoType, Revision};
pub use timeouts::{Timeout, TimeoutError, Timeouts};
pub use token::{Fingerprint, Slip, Token, TokenError, TokenSource};
#[cfg(feature = "xet")]
pub use xet::{XetBody, XetFiles};

use crate::reason::Reason;

/// A name that cannot be one on the Hub, or cannot be written to a volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a repo ID. It is not repeated: what is none may be a secret in the wrong place.
    #[error("not a repo name: {why}")]
    Repo {
        /// The rule that it breaks.
        why: &'static str,
    },
    /// Not a revision. It is not repeated either.
    #[error("not a revision: {why}")]
    Revision {
        /// The rule that it breaks.
        why: &'static str,
    },
    /// Not a commit.
    #[error("`{hash}` is not a commit: 40 lower-case hexadecimal digits are needed")]
    Commit {
        /// What was given, made printable.
        hash: String,
    },
    /// Not a path that may be written.
    #[error("the file name `{path}` cannot be written safely: {why}")]
    Path {
        /// What was given, made printable.
        path: String,
        /// The rule that it breaks.
        why: &'static str,
        /// A pattern that it matches, made of nothing but what can be typed.
        pattern: String,
    },
    /// Not a content hash.
    #[error("`{digest}` is not a SHA-256 or git SHA-1 hash")]
    Digest {
        /// What was given, made printable.
        digest: String,
    },
}

impl NameError {
    /// The published word for it.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Repo { .. } => Reason::InvalidRepo,
            Self::Revision { .. } | Self::Commit { .. } => Reason::RevisionNotFound,
            Self::Path { .. } | Self::Digest { .. } => Reason::UnsafeFileName,
        }
    }
}
