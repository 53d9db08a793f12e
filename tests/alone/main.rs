//! Tests on a real Kubernetes that change what all others share, such as the definition: nothing else runs beside them.
//!
//! Run inside the network of a test cluster: `make test` does both.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::large_futures,
    missing_docs,
    reason = "a story that cannot go on has to fail at that line, in the helpers as in the tests; nothing here is fast or public"
)]

mod endless;
mod flood;
mod memory;
mod newer;

use test_support::{largest, measured};
use test_world::{cluster, operator, world};

/// Held by the one test that runs.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
