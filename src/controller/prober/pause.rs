//! A time before which an endpoint is not asked, or not with one token.

use jiff::Timestamp;

use crate::reason::{Reason, Verdict};

/// No request is made before this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// That time.
    pub until: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The sentence for it.
    pub message: String,
}

impl Pause {
    /// For the reason of a verdict.
    #[must_use]
    pub fn new(verdict: &Verdict, until: Timestamp) -> Self {
        Self { until, reason: verdict.reason, message: verdict.message.clone() }
    }
}
