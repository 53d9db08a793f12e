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

#[allow(dead_code, reason = "shared with the story")]
#[path = "../story/cluster.rs"]
mod cluster;
#[path = "../support/cut.rs"]
mod cut;
#[path = "../support/proxy.rs"]
mod proxy;
#[allow(dead_code, reason = "shared with the tests of fetching")]
#[path = "../fetch/relay.rs"]
mod relay;
#[path = "../support/tls.rs"]
mod tls;
#[allow(dead_code, reason = "shared with the story")]
#[path = "../story/world.rs"]
mod world;

mod claims;
mod namespaces;
#[allow(dead_code, reason = "shared with the tests that run alone")]
mod operator;
mod outage;
mod rights;
mod way;
