//! Maps errors of the official client to ours. Its texts may contain signed addresses of the store: they are classified but
//! never repeated.

use xet::XetError;

use super::super::error::{ConnectFailure, HubError};

pub(super) fn of(error: &XetError, host: &str) -> HubError {
    let host = host.to_owned();
    let unreachable = |kind| HubError::Unreachable { host: host.clone(), kind, detail: String::new() };
    let bad = |what: &str| HubError::BadAnswer { host: host.clone(), what: what.to_owned() };
    let text = error.to_string();
    if let Some(status) = status_in(&text) {
        return HubError::Storage { host, status };
    }
    match error {
        XetError::Authentication(_) => HubError::Storage { host, status: 401 },
        XetError::NotFound(_) => HubError::Storage { host, status: 404 },
        XetError::RateLimited(_) => HubError::Storage { host, status: 429 },
        XetError::ServerError(_) => HubError::Storage { host, status: 500 },
        XetError::Timeout(_) => unreachable(ConnectFailure::Timeout),
        XetError::DataIntegrity(_) => bad("the file cannot be reconstructed from Xet"),
        XetError::Configuration(_) | XetError::WrongRuntimeMode(_) => unreachable(ConnectFailure::Setup),
        XetError::Network(_) | XetError::Io(_) => unreachable(trouble_in(&text)),
        _ => bad("the Xet client failed"),
    }
}

/// Whether the store rejects its token.
pub(super) fn is_refusal(error: &HubError) -> bool {
    matches!(error, HubError::Storage { status: 401 | 403, .. })
}

/// The HTTP status in a message of the official client's HTTP client.
fn status_in(text: &str) -> Option<u16> {
    let after = ["status client error (", "status server error ("]
        .iter()
        .find_map(|words| text.split_once(words).map(|(_, after)| after))?;
    after.get(..3)?.parse().ok()
}

fn trouble_in(text: &str) -> ConnectFailure {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["dns error", "failed to lookup address"]) {
        ConnectFailure::Dns
    } else if has(&["certificate", "InvalidCertificate"]) {
        ConnectFailure::Tls
    } else if has(&["timed out", "TimedOut"]) {
        ConnectFailure::Timeout
    } else if has(&["(Connect)", "Connection refused", "ConnectionRefused"]) {
        ConnectFailure::Connect
    } else {
        ConnectFailure::Cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str = "https://cdn.example/xorbs/ab?X-Amz-Signature=verysecret";

    #[test]
    fn statuses_are_extracted_from_messages() {
        let text =
            format!("Request error: HTTP status server error (503 Service Unavailable) for url ({SIGNED})");
        assert_eq!(status_in(&text), Some(503));
        assert_eq!(status_in("HTTP status client error (40"), None);
        assert_eq!(status_in("(503 something)"), None);
    }

    #[test]
    fn no_text_of_the_official_client_is_repeated() {
        let words = || format!("it failed for {SIGNED} with token xet_verysecret");
        for error in [
            XetError::Authentication(words()),
            XetError::Network(words()),
            XetError::RateLimited(words()),
            XetError::ServerError(words()),
            XetError::Timeout(words()),
            XetError::NotFound(words()),
            XetError::DataIntegrity(words()),
            XetError::Configuration(words()),
            XetError::Io(words()),
            XetError::Internal(words()),
            XetError::Cancelled(words()),
            XetError::TaskError(words()),
        ] {
            let ours = of(&error, "cas.example");
            let shown = format!("{ours} {ours:?}");
            assert!(shown.contains("cas.example"), "{shown}");
            assert!(!shown.contains("verysecret") && !shown.contains("cdn"), "{shown}");
        }
    }
}
