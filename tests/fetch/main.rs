//! Filling caches from a stand-in Hub. The judge of what comes out is the official client.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by it")]

#[path = "../hub/tests/common/mod.rs"]
mod common;
#[path = "../support/listing.rs"]
mod listing;

#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/tls.rs"]
mod tls;

mod access;
mod aimirror;
mod command;
mod downloads;
mod faults;
mod interrupted;
mod memory;
mod mirror;
mod network;
mod olah;
mod outside;
mod relay;
mod support;
mod volume;
mod volumes;
mod way;
