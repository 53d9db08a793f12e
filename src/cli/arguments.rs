//! Parses the command line. Errors never repeat a given value: in a Job or a pipeline it may be a misplaced secret.

use std::ffi::OsString;

use clap::{
    FromArgMatches as _,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::command::Cli;

/// Replaces a given value in errors.
const HIDDEN: &str = "…";

impl Cli {
    /// Parses the arguments of this process. Prints help and errors, and returns the exit code for them.
    pub fn read() -> Result<Self, u8> {
        Self::read_from(std::env::args_os()).map_err(|error| {
            let _ = error.print();
            u8::try_from(error.exit_code()).unwrap_or(crate::reason::exit::USAGE)
        })
    }

    /// Parses arguments, the first of which is the program's name.
    pub(super) fn read_from(
        words: impl IntoIterator<Item: Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let mut definition = Self::definition();
        let read = definition.try_get_matches_from_mut(words);
        read.and_then(|mut matches| Self::from_arg_matches_mut(&mut matches))
            .map_err(|error| without_values(error.format(&mut definition)))
    }
}

/// Removes all given values from an error.
fn without_values(mut error: clap::Error) -> clap::Error {
    let has = |kind| matches!(error.get(kind), Some(ContextValue::String(text)) if !text.is_empty());
    // An empty value means a missing one, which has its own message.
    let mut hide =
        [ContextKind::InvalidValue, ContextKind::InvalidSubcommand].map(|kind| (kind, has(kind))).to_vec();
    // In errors of other kinds, this is the name of a defined argument.
    hide.push((ContextKind::InvalidArg, error.kind() == ErrorKind::UnknownArgument));
    for (kind, _) in hide.into_iter().filter(|(_, given)| *given) {
        error.insert(kind, ContextValue::String(HIDDEN.to_owned()));
    }
    // "To pass X as a value, use -- X".
    error.remove(ContextKind::Suggested);
    error
}
