//! The command-line tool, checked against the official client.
#![allow(clippy::unwrap_used, reason = "tests fail by it")]

mod arguments;
mod files;
mod foreign;
mod generated;
mod layout;
mod list;
mod mount;
mod patterns;
mod pipelines;
mod prune;
mod redirects;
mod terminal;

use test_support::{chance, client, listing, nasty, official, programs};
use test_world::stage;
