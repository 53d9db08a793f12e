//! The command line: turns arguments into requests to the other modules, and their results into text and exit codes.

mod arguments;
mod cache_args;
mod check;
mod command;
mod controller;
mod crd;
mod endpoints;
mod env;
mod fetch;
mod fields;
mod list;
mod manifest;
mod metrics;
mod mount;
mod output;
mod prune;
mod reasons;
mod reference;
mod signals;
mod source;
mod table;
mod values;
mod verify;

pub use command::Cli;
