//! Parsers for the values of arguments.

use std::{net::SocketAddr, time::Duration};

use jiff::SignedDuration;

use crate::api::is_dns_label;

/// A value that an argument cannot have, as the rule that it breaks. Parsers of values use this error alone: the words of
/// those that come with clap repeat the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct InvalidValue(pub(super) &'static str);

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
