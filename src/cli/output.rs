//! Output of the commands.

use std::io::{self, Write as _};

use clap::ValueEnum;

use crate::text;

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For humans.
    Text,
    /// For programs: one object per line.
    Json,
}

/// Prints a line verbatim, for programs: JSON, a path or a file. A closed pipe is not an error.
pub(super) fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints a sanitized line of the result, for humans.
pub(super) fn show(line: &str) {
    print(&text::line(line, text::LINE));
}

/// Prints a sanitized line to stderr.
pub(super) fn eprint_line(line: &str) {
    let _ = writeln!(io::stderr(), "{}", text::line(line, text::LINE));
}
