//! The timeouts configured for an endpoint: by the environment variables of the Hub's own client, or by the operator.

use std::{fmt, str::FromStr, time::Duration};

/// The longest timeout in seconds.
const LONGEST: u64 = 24 * 60 * 60;

/// Whole seconds, at least one and at most a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout(u64);

/// An invalid timeout. It is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number of seconds is needed, from 1 to {LONGEST}")]
pub struct TimeoutError;

/// The timeouts of an endpoint. `None`: the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// For a file: until the first and between two chunks.
    pub download: Option<Timeout>,
    /// For a response about a repo.
    pub metadata: Option<Timeout>,
}

impl Timeout {
    /// The duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl Timeouts {
    /// The environment variable for [`Timeouts::download`].
    pub const DOWNLOAD: &str = "HF_HUB_DOWNLOAD_TIMEOUT";
    /// The environment variable for [`Timeouts::metadata`].
    pub const METADATA: &str = "HF_HUB_ETAG_TIMEOUT";

    /// The same timeout for both.
    #[must_use]
    pub const fn both(timeout: Timeout) -> Self {
        Self { download: Some(timeout), metadata: Some(timeout) }
    }

    /// The longer of those that are set; zero if none is.
    #[must_use]
    pub fn longest(self) -> Duration {
        self.download.max(self.metadata).map_or(Duration::ZERO, Timeout::duration)
    }

    /// The environment variables for those that are set.
    pub fn variables(self) -> impl Iterator<Item = (&'static str, Timeout)> {
        let named = [(Self::DOWNLOAD, self.download), (Self::METADATA, self.metadata)];
        named.into_iter().filter_map(|(name, timeout)| Some((name, timeout?)))
    }
}

impl TryFrom<u64> for Timeout {
    type Error = TimeoutError;

    fn try_from(seconds: u64) -> Result<Self, TimeoutError> {
        (1..=LONGEST).contains(&seconds).then_some(Self(seconds)).ok_or(TimeoutError)
    }
}

impl FromStr for Timeout {
    type Err = TimeoutError;

    fn from_str(given: &str) -> Result<Self, TimeoutError> {
        given.trim().parse::<u64>().map_err(|_| TimeoutError)?.try_into()
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_number_of_seconds() {
        for (given, seconds) in [("1", 1), (" 600\n", 600), ("86400", 86400)] {
            assert_eq!(given.parse::<Timeout>().unwrap().duration(), Duration::from_secs(seconds));
        }
        for bad in ["", "0", "-1", "1.5", "10s", "86401", "99999999999999999999"] {
            assert_eq!(bad.parse::<Timeout>(), Err(TimeoutError), "{bad:?}");
        }
    }
}
