//! How a call to the Hub can fail. Holds neither tokens nor query strings, so that it may be shown anywhere.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::{NameError, Refusal, TokenError};
use crate::reason::Reason;

/// A call to the Hub that gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// The Hub answered, and the answer is no.
    #[error("request refused: {0}")]
    Refused(Refusal),
    /// The Hub, or the storage behind it, asks to wait.
    #[error("request to {host} was rate limited: try again in {} s", retry_after.as_secs())]
    RateLimited {
        /// Who asks.
        host: String,
        /// For how long: what it asks for, or what is usual where it names no time.
        retry_after: Duration,
        /// Whether it named that time.
        named: bool,
        /// What it says besides, fit for a message; may be empty.
        words: String,
    },
    /// There is no usable answer from the Hub.
    #[error("request to {host} failed: {kind}{}", after_colon(detail))]
    Unreachable {
        /// Who was asked.
        host: String,
        /// In which way it failed.
        kind: Trouble,
        /// The system's own words; may be empty.
        detail: String,
    },
    /// The storage that the Hub redirects to refuses. A signed address expires, so asking the Hub for a new one may
    /// help; it is never a statement about the token.
    #[error("download from the storage host {host} failed: HTTP {status}")]
    Storage {
        /// The storage's host.
        host: String,
        /// Its answer.
        status: u16,
    },
    /// A file is there, but not of the size that the Hub lists: it was cut where it is kept, or is another one. It may be
    /// whole at another place of the storage.
    #[error("download from {host} failed: the file there has {found} bytes instead of {expected}")]
    WrongSize {
        /// Who has it.
        host: String,
        /// Its size as listed.
        expected: u64,
        /// Its size there.
        found: u64,
    },
    /// An answer came, but not one that the Hub's protocol knows.
    #[error("answer of {host} is not usable: {what}")]
    BadAnswer {
        /// Who answered.
        host: String,
        /// What is wrong with it.
        what: String,
    },
    /// The Hub names something that may not be used.
    #[error("answer of the hub is not usable: {0}")]
    Name(#[from] NameError),
    /// There is no usable token to send.
    #[error("no usable token: {0}")]
    Token(#[from] TokenError),
}

/// In which way the Hub could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The name does not resolve.
    Dns,
    /// No connection: refused, or no route.
    Connect,
    /// The connection cannot be trusted.
    Tls,
    /// TLS ended in another way than by a certificate, as it does at an overloaded server.
    Handshake,
    /// No answer in time.
    Timeout,
    /// The proxy on the way refuses.
    Proxy,
    /// The connection ended in the middle.
    Cut,
    /// A server error, with its HTTP status.
    Server(u16),
    /// Our own side is not set up for it: a CA bundle or proxy that cannot be used.
    Setup,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns => f.write_str("its name does not resolve"),
            Self::Connect => f.write_str("no connection"),
            Self::Tls => f.write_str("no trusted TLS connection"),
            Self::Handshake => f.write_str("the TLS connection failed"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Proxy => f.write_str("the proxy does not let it through"),
            Self::Cut => f.write_str("the connection was cut"),
            Self::Server(status) => write!(f, "it answered HTTP {status}"),
            Self::Setup => f.write_str("the connection cannot be set up"),
        }
    }
}

impl HubError {
    /// The published word for it.
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

    /// Whether the same call may succeed after a pause, with nobody changing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Storage { .. } | Self::WrongSize { .. } => true,
            Self::Unreachable { kind, .. } => !matches!(kind, Trouble::Tls | Trouble::Setup),
            Self::Refused(_) | Self::BadAnswer { .. } | Self::Name(_) | Self::Token(_) => false,
        }
    }

    /// The pause that was asked for.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// The same rate limit, as far as it still lasts.
    pub(super) fn until(mut self, end: Instant) -> Self {
        if let Self::RateLimited { retry_after, .. } = &mut self {
            *retry_after = end.saturating_duration_since(Instant::now());
        }
        self
    }

    /// Whether the server itself answered, and not what was asked: it may not offer the call.
    pub(super) const fn is_an_answer(&self) -> bool {
        matches!(self, Self::Unreachable { kind: Trouble::Server(_), .. } | Self::BadAnswer { .. })
    }

    /// Whether some servers answer so to a request for a part, when they give the whole only.
    pub(super) const fn may_mean_the_part(&self) -> bool {
        match self {
            Self::Storage { status, .. } => matches!(status, 400 | 403 | 501),
            Self::Unreachable { kind, .. } => matches!(kind, Trouble::Server(501)),
            Self::Refused(refusal) => matches!(refusal.status, 400 | 403) && refusal.code.is_none(),
            _ => false,
        }
    }

    /// Whether it is of the kind that is often gone a moment later.
    pub(super) const fn is_brief(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { kind: Trouble::Cut | Trouble::Handshake | Trouble::Server(502..=504), .. }
                | Self::Storage { status: 502..=504, .. }
        )
    }
}

fn after_colon(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}
