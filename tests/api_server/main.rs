//! What a real API server makes of the definition: what it takes, refuses, fills in, merges and prints.
//!
//! Runs on the cluster of `KUBECONFIG`, and only when asked for: it installs the definition there.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bounds;
mod broken;
mod documents;
mod fixed;
mod operator;
mod pods;
mod policies;
mod refused;
mod served;
mod support;
mod taken;

use test_support::{definitions, largest};
