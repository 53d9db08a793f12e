//! What a real API server makes of the definition: what it takes, refuses, fills in, merges and prints.
//!
//! Runs on the cluster of `KUBECONFIG`, and only when asked for: it installs the definition there.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bounds;
mod broken;
#[path = "../support/definitions.rs"]
mod definitions;
mod documents;
mod fixed;
#[path = "../support/largest.rs"]
mod largest;
mod operator;
mod pods;
mod policies;
#[allow(dead_code, reason = "another test program uses the rest")]
#[path = "../support/programs.rs"]
mod programs;
mod refused;
mod served;
mod support;
mod taken;
