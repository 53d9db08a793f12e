//! Reads the command line. No error repeats what was given: in a Job, and in a pipeline, it may be a secret in the wrong place.

use std::{ffi::OsString, net::SocketAddr, time::Duration};

use clap::{
    Command, CommandFactory as _, FromArgMatches as _,
    error::{ContextKind, ContextValue, ErrorKind},
};
use jiff::SignedDuration;

use super::Cli;
use crate::api::is_dns_label;

/// What stands in an error where a value was given.
const HIDDEN: &str = "…";

/// A value that an argument cannot have, as the rule that it breaks. Parsers of values use this error alone: the words of
/// those that come with clap repeat the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct InvalidValue(pub(super) &'static str);

/// The definition of the command line. Help shows the names of variables, and not their values.
pub(super) fn definition() -> Command {
    let plain = |command: Command| command.mut_args(|arg| arg.hide_env_values(true));
    plain(Cli::command()).mut_subcommands(plain)
}

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
        let mut definition = definition();
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

/// How many connections there may be at the same time.
pub(super) fn connections(given: &str) -> Result<usize, InvalidValue> {
    let number = given.parse().ok().filter(|number| (1..=64).contains(number));
    number.ok_or(InvalidValue("give a number from 1 to 64"))
}

/// An address to listen at.
pub(super) fn listen(given: &str) -> Result<SocketAddr, InvalidValue> {
    given.parse().map_err(|_| InvalidValue("give an address and a port, such as `0.0.0.0:8080`"))
}

/// The name of an object of Kubernetes.
pub(super) fn object_name(given: &str) -> Result<String, InvalidValue> {
    let good = given.len() <= 253 && given.split('.').all(is_dns_label);
    good.then(|| given.to_owned()).ok_or(InvalidValue(
        "give the name of an object: lower-case letters, digits, `-` and `.`, with a letter or digit at both ends of \
         each part",
    ))
}

/// The name of a container.
pub(super) fn container_name(given: &str) -> Result<String, InvalidValue> {
    let rule = "give the name of a container: lower-case letters, digits and `-`, with a letter or digit at both ends";
    is_dns_label(given).then(|| given.to_owned()).ok_or(InvalidValue(rule))
}

/// A time such as `10m`.
pub(super) fn duration(text: &str) -> Result<Duration, InvalidValue> {
    let duration: SignedDuration = text.parse().map_err(|_| InvalidValue("give a time such as `10m`"))?;
    duration.try_into().map_err(|_| InvalidValue("a time cannot be negative"))
}
