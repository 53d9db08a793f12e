//! What went wrong below HTTP: from the client's error to a kind of trouble. Knows nothing of the Hub.

use std::{error::Error, io, time::Duration};

use tokio::time::timeout;

use super::error::{HubError, Trouble};

const SILENCE: &str = "nothing came for too long";

/// A failed request to `host`. The address is dropped, since a signed one is a secret.
pub(super) fn failed(error: reqwest::Error, host: String) -> HubError {
    let error = error.without_url();
    let (kind, detail) = classify(&error);
    HubError::Unreachable { host, kind, detail }
}

/// What comes from `host` within this time.
pub(super) async fn within<T>(
    time: Duration,
    host: &str,
    coming: impl Future<Output = Result<T, reqwest::Error>>,
) -> Result<T, HubError> {
    let came = timeout(time, coming).await.map_err(|_| HubError::Unreachable {
        host: host.to_owned(),
        kind: Trouble::Timeout,
        detail: SILENCE.to_owned(),
    })?;
    came.map_err(|error| failed(error, host.to_owned()))
}

fn classify(error: &reqwest::Error) -> (Trouble, String) {
    let causes = causes(error);
    let deepest = causes.last().map(ToString::to_string).unwrap_or_default();
    if error.is_builder() {
        return (Trouble::Setup, deepest);
    }
    // The tunnel's error type is not public; its text has been the same for years, and a test watches it.
    if let Some(tunnel) = causes.iter().find(|cause| cause.to_string().starts_with("tunnel error")) {
        let tunnel = tunnel.to_string();
        let detail = if tunnel == deepest { tunnel } else { format!("{tunnel}: {deepest}") };
        return (Trouble::Proxy, detail);
    }
    if let Some(tls) = causes.iter().find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        let kind = if is_about_trust(tls) { Trouble::Tls } else { Trouble::Handshake };
        return (kind, tls.to_string());
    }
    if error.is_timeout() {
        let what = if error.is_connect() { "connecting took too long" } else { SILENCE };
        return (Trouble::Timeout, what.to_owned());
    }
    if error.is_dns() {
        return (Trouble::Dns, deepest);
    }
    if error.is_connect() {
        return (Trouble::Connect, deepest);
    }
    (Trouble::Cut, deepest)
}

/// Whether a certificate, theirs or ours, is the cause. Nothing else needs a person: other alerts come from servers that
/// are overloaded or restart, and broken records from the way there.
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

/// An error and all below it. An `io::Error` hides the error that it wraps from `source`.
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
