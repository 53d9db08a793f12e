//! The story on a real Kubernetes: the operator as it ships, a stand-in Hub, real volumes and the official client.
//!
//! Run inside the network of a test cluster, with the operator's image on its node: `make test` does both.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::large_futures,
    missing_docs,
    reason = "a story that cannot go on has to fail at that line, in the helpers as in the tests; nothing here is fast or public"
)]

mod access;
mod after_ready;
mod air_gap;
mod audit;
mod download;
mod gitops;
mod incidents;
mod init;
mod input;
mod kubectl;
mod libraries;
mod matrix;
mod pods;
mod requests;
mod samples;
mod transfer;
mod update;
mod upgrade;
mod volumes;
mod walls;

use test_support::{measured, models, tls};
use test_world::{cluster, containers, world};
