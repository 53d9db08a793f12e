//! modelcache: fills volumes with models from the Hugging Face Hub, and explains what is wrong if it cannot.

pub mod activity;
pub mod api;
pub mod cache;
pub mod cli;
pub mod controller;
pub mod fetch;
pub mod files;
pub mod hub;
pub mod reason;
mod sync;
pub mod telemetry;
pub mod terminal;
pub mod text;
pub mod units;

#[cfg(test)]
use test_support::chance;
