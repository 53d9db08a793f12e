//! Classifies failures below HTTP. Knows nothing of the Hub.

use std::{error::Error, io, time::Duration};

use tokio::time::timeout;

use super::error::{ConnectFailure, HubError};

const SILENCE: &str = "no data received for too long";

/// The error of a failed request to `host`. Drops the URL, since a signed one is a secret.
pub(super) fn failed(error: reqwest::Error, host: String) -> HubError {
    let error = error.without_url();
    let (kind, detail) = classify(&error);
    HubError::Unreachable { host, kind, detail }
}

/// Awaits a response, or the next part of one, from `host` with a timeout.
pub(super) async fn within<T>(
    time: Duration,
    host: &str,
    received: impl Future<Output = Result<T, reqwest::Error>>,
) -> Result<T, HubError> {
    let result = timeout(time, received).await.map_err(|_| HubError::Unreachable {
        host: host.to_owned(),
        kind: ConnectFailure::Timeout,
        detail: SILENCE.to_owned(),
    })?;
    result.map_err(|error| failed(error, host.to_owned()))
}

fn classify(error: &reqwest::Error) -> (ConnectFailure, String) {
    let causes = causes(error);
    let deepest = causes.last().map(ToString::to_string).unwrap_or_default();
    if error.is_builder() {
        return (ConnectFailure::Setup, deepest);
    }
    // The tunnel's error type is private; its text has been stable for years, and a test checks it.
    if let Some(tunnel) = causes.iter().find(|cause| cause.to_string().starts_with("tunnel error")) {
        let tunnel = tunnel.to_string();
        let detail = if tunnel == deepest { tunnel } else { format!("{tunnel}: {deepest}") };
        return (ConnectFailure::Proxy, detail);
    }
    if let Some(tls) = causes.iter().find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        let kind = if is_about_trust(tls) { ConnectFailure::Tls } else { ConnectFailure::Handshake };
        return (kind, tls.to_string());
    }
    if error.is_timeout() {
        let what = if error.is_connect() { "connecting took too long" } else { SILENCE };
        return (ConnectFailure::Timeout, what.to_owned());
    }
    if error.is_dns() {
        return (ConnectFailure::Dns, deepest);
    }
    if error.is_connect() {
        return (ConnectFailure::Connect, deepest);
    }
    (ConnectFailure::Cut, deepest)
}

/// Whether a certificate, the server's or ours, is the cause. Only that requires user action: other alerts come from servers
/// that are overloaded or restarting, and corrupt records from the network.
fn is_about_trust(error: &rustls::Error) -> bool {
    use rustls::AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::UnsupportedNameType
        | rustls::Error::InvalidCertRevocationList(_) => true,
        rustls::Error::AlertReceived(alert) => matches!(
            alert,
            Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::CertificateRequired
                | Alert::UnknownCA
        ),
        _ => false,
    }
}

/// The chain of an error and its sources. An `io::Error` hides the wrapped error from `source`.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut causes = vec![error];
    let mut next = Some(error);
    while let Some(current) = next {
        next = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => current.source(),
        };
        causes.extend(next);
    }
    causes
}
