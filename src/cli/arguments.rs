//! Reads the command line. No error repeats what was given: in a Job, and in a pipeline, it may be a secret in the wrong place.

use std::ffi::OsString;

use clap::{
    FromArgMatches as _,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::command::Cli;

/// What stands in an error where a value was given.
const HIDDEN: &str = "…";

impl Cli {
    /// Reads the arguments of this process. Help and errors are printed, and the exit code is given.
    pub fn read() -> Result<Self, u8> {
        Self::read_from(std::env::args_os()).map_err(|error| {
            let _ = error.print();
            u8::try_from(error.exit_code()).unwrap_or(crate::reason::exit::USAGE)
        })
    }

    /// Reads these arguments, the first of which is the program's name.
    pub(super) fn read_from(
        words: impl IntoIterator<Item: Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let mut definition = Self::definition();
        let read = definition.try_get_matches_from_mut(words);
        read.and_then(|mut matches| Self::from_arg_matches_mut(&mut matches))
            .map_err(|error| without_values(error.format(&mut definition)))
    }
}

/// The same error with nothing in it that was given.
fn without_values(mut error: clap::Error) -> clap::Error {
    let has = |kind| matches!(error.get(kind), Some(ContextValue::String(text)) if !text.is_empty());
    // An empty value stands for one that is missing, and has a message of its own.
    let mut hide =
        [ContextKind::InvalidValue, ContextKind::InvalidSubcommand].map(|kind| (kind, has(kind))).to_vec();
    // In errors of other kinds this is the name of an argument of ours.
    hide.push((ContextKind::InvalidArg, error.kind() == ErrorKind::UnknownArgument));
    for (kind, _) in hide.into_iter().filter(|(_, given)| *given) {
        error.insert(kind, ContextValue::String(HIDDEN.to_owned()));
    }
    // "To pass X as a value, use -- X".
    error.remove(ContextKind::Suggested);
    error
}
