//! The command-line tool and the rooms that it shows, judged by the official client.
#![allow(clippy::unwrap_used, reason = "tests fail by it")]

#[path = "../support/chance.rs"]
mod chance;
#[path = "../hub/tests/common/mod.rs"]
mod common;
#[path = "../support/listing.rs"]
mod listing;
#[path = "../support/official.rs"]
mod official;
#[path = "../fetch/support.rs"]
#[allow(dead_code, reason = "another test program uses the rest")]
mod support;

#[path = "../../src/text/testing.rs"]
mod nasty;

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
