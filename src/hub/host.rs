//! The host of an address, for messages.

use url::Url;

/// Host and port of an address, without any secrets.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
