//! Logs, metrics and probes. Knows nothing of how a download works.

mod contact;
pub mod logs;
pub(crate) mod metrics;
mod server;

pub use contact::{Contact, Contacts, Observer};
pub use metrics::{DESCRIBED, Described, Metrics, Timer};
pub use server::serve;
