//! What a test has measured, for the table that `make bench-operator` writes.

use std::fmt::Display;

/// Prints a row of the table: what it is, the bar it is held against, and the figure.
pub fn measured(what: &str, bar: &str, figure: impl Display) {
    println!("measured: | {what} | {bar} | {figure} |");
}
