//! Fills caches from a stand-in Hub. The official client checks the results.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by it")]

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
mod proxy_and_ca;
mod volume;
mod volumes;

use test_support::{client, programs, proxy, relay, tls};
use test_world::stage;
