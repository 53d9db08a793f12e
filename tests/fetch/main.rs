//! Filling caches from a stand-in Hub. The judge of what comes out is the official client.
#![allow(clippy::unwrap_used, reason = "tests fail by it")]

#[path = "../hub/tests/common/mod.rs"]
mod common;
#[path = "../support/listing.rs"]
mod listing;

mod command;
mod downloads;
mod faults;
mod support;
mod volume;
