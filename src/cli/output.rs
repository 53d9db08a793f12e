//! What the commands print.

use std::io::{self, Write as _};

use clap::ValueEnum;

use crate::text;

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For a person.
    Text,
    /// For a program: one object a line.
    Json,
}

/// Prints exactly this, for a program: JSON, a path or a file. A closed pipe is not an error.
pub(super) fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line of the result for a person.
pub(super) fn show(line: &str) {
    print(&text::line(line, text::LINE));
}

/// A line on stderr, for a person or a log.
pub(super) fn eprint_line(line: &str) {
    let _ = writeln!(io::stderr(), "{}", text::line(line, text::LINE));
}
