//! Hostile volumes. Whatever is in a cache, the program changes nothing outside of it, terminates, uses bounded memory, keeps
//! secrets and reports what is wrong.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by it")]

mod base;
mod canary;
mod forged;
mod generated;
mod judge;
mod kind;
mod medium;
mod names;
mod orders;
mod place;
mod program;
mod site;
mod stories;

use test_support::chance;
