//! The operator's settings on a real Kubernetes: it runs as a process of the test, with the token of a service account that
//! has the rights of the documentation and no more.
//!
//! Run inside the network of a test cluster, with the operator's image on its node for the Jobs: `make test` does both.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::large_futures,
    missing_docs,
    reason = "a story that cannot go on has to fail at that line, in the helpers as in the tests; nothing here is fast or public"
)]

mod claims;
mod namespaces;
mod outage;
mod proxy_and_ca;
mod rights;

use test_support::{cut, proxy, relay, tls};
use test_world::{cluster, operator, world};
