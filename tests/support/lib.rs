//! What several suites use: other programs, servers in between, generated cases. Knows nothing of modelcache, so its own unit
//! tests can use it too.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    missing_docs,
    reason = "a test that cannot go on has to fail at that line, in the helpers as in the tests; nothing here is public"
)]

pub mod chance;
pub mod client;
pub mod cut;
pub mod definitions;
mod head;
pub mod largest;
pub mod listing;
pub mod measured;
pub mod models;
pub mod nasty;
pub mod official;
pub mod programs;
pub mod proxy;
pub mod relay;
pub mod tls;
