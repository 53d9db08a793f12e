//! What an operator's owner looks at from outside: metrics and probes. Knows nothing of how a download works.

mod metrics;
mod server;

pub use metrics::{Metrics, Timer};
pub use server::serve;
