//! The errors of calls to the Hub. Contain neither tokens nor query strings, so that they can be shown anywhere.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::{NameError, Refusal, TokenError};
use crate::reason::Reason;

/// A failed call to the Hub.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// The Hub refused the request.
    #[error("request refused: {0}")]
    Refused(Refusal),
    /// The Hub, or the storage behind it, limits the rate.
    #[error("request to {host} was rate limited: retry in {} s", retry_after.as_secs())]
    RateLimited {
        /// The host that limits.
        host: String,
        /// The requested delay, or a default if the response has none.
        retry_after: Duration,
        /// Whether the response specified the delay.
        named: bool,
        /// Its message, sanitized; may be empty.
        words: String,
    },
    /// No usable response.
    #[error("request to {host} failed: {kind}{}", after_colon(detail))]
    Unreachable {
        /// The requested host.
        host: String,
        /// How it failed.
        kind: ConnectFailure,
        /// The system's message; may be empty.
        detail: String,
    },
    /// The storage that the Hub redirects to refused. Signed URLs expire, so a new one from the Hub may help. Says nothing
    /// about the token.
    #[error("download from the storage host {host} failed: HTTP {status}")]
    Storage {
        /// The storage's host.
        host: String,
        /// Its HTTP status.
        status: u16,
    },
    /// A file has another size than the Hub lists: it is truncated, or another file. Another replica of the storage may be
    /// intact.
    #[error("download from {host} failed: the file there has {found} bytes instead of {expected}")]
    WrongSize {
        /// The host that serves it.
        host: String,
        /// The listed size in bytes.
        expected: u64,
        /// The actual size in bytes.
        found: u64,
    },
    /// A response that violates the Hub's protocol.
    #[error("response from {host} is not usable: {what}")]
    BadAnswer {
        /// The responding host.
        host: String,
        /// What is wrong with it.
        what: String,
    },
    /// The response contains a name that must not be used.
    #[error("response from the hub is not usable: {0}")]
    Name(#[from] NameError),
    /// The token is unusable.
    #[error("no usable token: {0}")]
    Token(#[from] TokenError),
}

/// How the Hub could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// The name does not resolve.
    Dns,
    /// The connection was refused, or there is no route.
    Connect,
    /// The certificate is not trusted.
    Tls,
    /// The TLS handshake failed for another reason than a certificate, as with an overloaded server.
    Handshake,
    /// No response in time.
    Timeout,
    /// The proxy refused.
    Proxy,
    /// The connection was closed early.
    Cut,
    /// A server error, with its HTTP status.
    Server(u16),
    /// The client cannot be set up: an unusable CA bundle or proxy.
    Setup,
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns => f.write_str("its name does not resolve"),
            Self::Connect => f.write_str("no connection"),
            Self::Tls => f.write_str("the TLS certificate is not trusted"),
            Self::Handshake => f.write_str("the TLS handshake failed"),
            Self::Timeout => f.write_str("no response in time"),
            Self::Proxy => f.write_str("the proxy refused the connection"),
            Self::Cut => f.write_str("the connection was closed early"),
            Self::Server(status) => write!(f, "server error, HTTP {status}"),
            Self::Setup => f.write_str("the connection cannot be set up"),
        }
    }
}

impl HubError {
    /// The published reason code.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Refused(refusal) => refusal.reason,
            Self::RateLimited { .. } => Reason::RateLimited,
            Self::Unreachable { .. } | Self::Storage { .. } => Reason::HubUnreachable,
            Self::BadAnswer { .. } => Reason::InvalidResponse,
            Self::WrongSize { .. } => Reason::HashMismatch,
            Self::Name(error) => error.reason(),
            Self::Token(error) => error.reason(),
        }
    }

    /// Whether the same call may succeed later without anyone changing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Storage { .. } | Self::WrongSize { .. } => true,
            Self::Unreachable { kind, .. } => !matches!(kind, ConnectFailure::Tls | ConnectFailure::Setup),
            Self::Refused(_) | Self::BadAnswer { .. } | Self::Name(_) | Self::Token(_) => false,
        }
    }

    /// The requested delay before the next call.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// The same rate limit with the remaining delay until `end`.
    pub(super) fn until(mut self, end: Instant) -> Self {
        if let Self::RateLimited { retry_after, .. } = &mut self {
            *retry_after = end.saturating_duration_since(Instant::now());
        }
        self
    }

    /// Whether the server responded, but not with an answer: it may not offer the call.
    pub(super) const fn is_response(&self) -> bool {
        matches!(self, Self::Unreachable { kind: ConnectFailure::Server(_), .. } | Self::BadAnswer { .. })
    }

    /// Whether servers without support for ranges may respond like this to a range request.
    pub(super) const fn may_reject_range(&self) -> bool {
        match self {
            Self::Storage { status, .. } => matches!(status, 400 | 403 | 501),
            Self::Unreachable { kind, .. } => matches!(kind, ConnectFailure::Server(501)),
            Self::Refused(refusal) => matches!(refusal.status, 400 | 403) && refusal.code.is_none(),
            _ => false,
        }
    }

    /// Whether it is likely to be gone a moment later.
    pub(super) const fn is_momentary(&self) -> bool {
        matches!(
            self,
            Self::Unreachable {
                kind: ConnectFailure::Cut | ConnectFailure::Handshake | ConnectFailure::Server(502..=504),
                ..
            } | Self::Storage { status: 502..=504, .. }
        )
    }
}

fn after_colon(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}
