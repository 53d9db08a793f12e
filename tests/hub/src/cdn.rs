//! The CDN: another origin, which checks signatures and accepts no tokens.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};

use crate::{
    answer,
    content::hex,
    name::{Kind, RepoName},
    refusal::text,
    route::{decoded, query_value},
    state::State,
};

/// Signs addresses with an expiry.
#[derive(Debug)]
pub(crate) struct Signer {
    key: String,
}

impl Signer {
    pub(crate) fn new() -> Self {
        Self { key: format!("{}-{:?}", std::process::id(), SystemTime::now()) }
    }

    /// Path and query of an address that is valid for `lifetime`.
    pub(crate) fn sign(&self, path: &str, lifetime: Duration) -> String {
        let expires = now() + lifetime.as_secs();
        format!("{path}?Expires={expires}&Signature={}&Key-Pair-Id=STANDIN", self.signature(path, expires))
    }

    fn signature(&self, path: &str, expires: u64) -> String {
        hex(&Sha256::digest(format!("{} {path} {expires}", self.key)))
    }

    fn check(&self, path: &str, query: &str) -> Result<(), &'static str> {
        let expires = query_value(query, "Expires").and_then(|value| value.parse().ok());
        let Some(expires) = expires else {
            return Err("Missing Key-Pair-Id query parameter or cookie value");
        };
        if query_value(query, "Signature") != Some(self.signature(path, expires)) {
            return Err("Access denied");
        }
        if expires <= now() { Err("Request has expired") } else { Ok(()) }
    }
}

/// The path of an object. Unlike on the real CDN, it contains the file's name so that faults can match it.
pub(crate) fn path_of(repo: &RepoName, sha256: &str, path: &str) -> String {
    let mut encoded = format!("/{}/{}/{sha256}/", repo.kind.plural(), repo.id);
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}"); // writing to a String cannot fail
        }
    }
    encoded
}

/// Answers for the CDN.
pub(crate) fn answer(
    state: &State,
    signer: &Signer,
    path: &str,
    query: &str,
    headers: &HeaderMap,
) -> Response {
    if let Err(why) = signer.check(path, query) {
        return denied(why);
    }
    let words: Vec<&str> = path.split('/').collect();
    let found = words.iter().position(|word| word.len() == 64).and_then(|at| {
        let kind = Kind::from_plural(words.get(1)?)?;
        let name = RepoName::new(kind, decoded(&words.get(2..at)?.join("/")));
        let sha256 = *words.get(at)?;
        Some((state.object(&name, sha256)?, sha256))
    });
    match found {
        // As on the real CDN, this `ETag` is the Xet hash: as long as the SHA-256 but different.
        Some((content, sha256)) => {
            let etag: String = sha256.chars().rev().collect();
            answer::content(&content, &etag, headers)
        }
        None => denied("Access Denied"),
    }
}

/// A refusal in the format of object stores.
pub(crate) fn denied(why: &str) -> Response {
    xml(StatusCode::FORBIDDEN, "AccessDenied", why)
}

/// The response of object stores to two kinds of authentication; here it also means that a token has leaked.
pub(crate) fn token_leaked() -> Response {
    xml(StatusCode::BAD_REQUEST, "InvalidArgument", "Only one auth mechanism allowed")
}

fn xml(status: StatusCode, code: &str, message: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, text("application/xml"));
    (status, headers, body).into_response()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_valid_for_its_path_and_time_only() {
        let signer = Signer::new();
        let address = signer.sign("/a", Duration::from_mins(1));
        let query = address.split_once('?').unwrap().1;
        assert_eq!(signer.check("/a", query), Ok(()));
        assert_eq!(signer.check("/b", query), Err("Access denied"));
        let address = signer.sign("/a", Duration::ZERO);
        assert_eq!(signer.check("/a", address.split_once('?').unwrap().1), Err("Request has expired"));
    }
}
