//! Parsers for the values of arguments.

use std::{net::SocketAddr, time::Duration};

use jiff::SignedDuration;

use crate::api::is_dns_label;

/// An invalid value, as the rule that it violates. All value parsers use this error, since those of clap would repeat the
/// value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct InvalidValue(pub(super) &'static str);

/// The number of concurrent connections.
pub(super) fn connections(given: &str) -> Result<usize, InvalidValue> {
    let number = given.parse().ok().filter(|number| (1..=64).contains(number));
    number.ok_or(InvalidValue("it must be a number from 1 to 64"))
}

/// An address to listen on.
pub(super) fn listen(given: &str) -> Result<SocketAddr, InvalidValue> {
    given.parse().map_err(|_| InvalidValue("it must be an address and a port, such as `0.0.0.0:8080`"))
}

/// The name of a Kubernetes object.
pub(super) fn object_name(given: &str) -> Result<String, InvalidValue> {
    let good = given.len() <= 253 && given.split('.').all(is_dns_label);
    good.then(|| given.to_owned()).ok_or(InvalidValue(
        "it must be an object name: lower-case letters, digits, `-` and `.`, with a letter or digit at both ends of \
        each part",
    ))
}

/// The name of a container.
pub(super) fn container_name(given: &str) -> Result<String, InvalidValue> {
    let rule = "it must be a container name: lower-case letters, digits and `-`, with a letter or digit at both ends";
    is_dns_label(given).then(|| given.to_owned()).ok_or(InvalidValue(rule))
}

/// A duration such as `10m`.
pub(super) fn duration(text: &str) -> Result<Duration, InvalidValue> {
    let duration: SignedDuration =
        text.parse().map_err(|_| InvalidValue("it must be a duration such as `10m`"))?;
    duration.try_into().map_err(|_| InvalidValue("it must not be negative"))
}
