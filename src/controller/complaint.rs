//! The words of others about an object that does not get on: of a provisioner, the kubelet or the API server. Knows no client.

use std::fmt;

use k8s_openapi::api::core::v1::Event;

use crate::text;

/// Words of others in a message, in characters. Drivers repeat themselves; the rest of a message has to be seen, too.
pub const LONGEST: usize = 600;
/// What was said last of what matters most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The reason, such as `FailedMount`.
    pub reason: String,
    /// The sentence, cleaned and bounded.
    pub message: String,
}

impl Complaint {
    /// What an event says.
    #[must_use]
    pub fn by(event: Event) -> Self {
        let message = text::line(event.message.unwrap_or_default().trim(), LONGEST);
        Self { reason: text::printable(&event.reason.unwrap_or_default()), message }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message.trim_end_matches('.'))
    }
}
