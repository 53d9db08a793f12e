//! The chart. The output for each set of values is in `rendered/`, written by `make generate`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a story that cannot go on has to fail at that line, in the helpers as in the tests"
)]

mod commands;
mod life;
mod rendered;
mod values;

use test_support::{definitions, programs};
