//! Certificate authorities to trust in addition to the system's, such as that of a corporate proxy or a mirror.

use std::{str::FromStr, sync::Arc};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// A Job receives the text in an environment variable, which the kernel limits to 128 KiB.
const MAX_KIB: usize = 64;

/// Valid certificates in PEM form, and nothing else. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaBundle(Arc<str>);

/// A text that is not a CA bundle. Repeats nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaBundleError {
    /// No certificates.
    #[error("it contains no certificate in PEM form, which begins with {BEGIN}")]
    Empty,
    /// Truncated, or not a certificate.
    #[error("its certificate {0} cannot be parsed")]
    Broken(usize),
    /// The bundle of a whole system.
    #[error(
        "its certificates have {0} KiB, but at most {MAX_KIB} can be passed to a Job: include only the authorities of this \
        endpoint, since those of the system are trusted anyway"
    )]
    TooLarge(usize),
}

impl CaBundle {
    /// The environment variable with the bundle for `fetch` and `check`.
    pub const VARIABLE: &str = "MODELCACHE_CA_BUNDLE";

    /// The text.
    #[must_use]
    pub fn as_pem(&self) -> &str {
        &self.0
    }
}

impl FromStr for CaBundle {
    type Err = CaBundleError;

    /// Keeps only the certificates: a private key in the same file must not be passed to a Job.
    fn from_str(text: &str) -> Result<Self, CaBundleError> {
        let mut pem = String::new();
        let mut rest = text;
        for number in 1.. {
            let Some(begin) = rest.find(BEGIN) else { break };
            let length = rest[begin..].find(END).ok_or(CaBundleError::Broken(number))? + END.len();
            let (block, after) = rest[begin..].split_at(length);
            let certificate = CertificateDer::from_pem_slice(block.as_bytes()).ok();
            certificate
                .and_then(|certificate| RootCertStore::empty().add(certificate).ok())
                .ok_or(CaBundleError::Broken(number))?;
            pem.push_str(block);
            pem.push('\n');
            rest = after;
        }
        match pem.len().div_ceil(1024) {
            0 => Err(CaBundleError::Empty),
            kib if kib > MAX_KIB => Err(CaBundleError::TooLarge(kib)),
            _ => Ok(Self(pem.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORITY: &str = include_str!("../../tests/hub_client/tls/ca.pem");
    const KEY: &str = include_str!("../../tests/hub_client/tls/server.key");

    #[test]
    fn only_certificates_are_kept() {
        let alone: CaBundle = AUTHORITY.parse().unwrap();
        assert_eq!(format!("# ours\n{KEY}{AUTHORITY}\n# end").parse(), Ok(alone.clone()));
        assert_eq!(alone.as_pem().parse(), Ok(alone.clone()));
        let two: CaBundle = format!("{AUTHORITY}{AUTHORITY}").parse().unwrap();
        assert_eq!(two.as_pem(), alone.as_pem().repeat(2));
    }

    #[test]
    fn invalid_bundles_are_rejected_with_the_cause() {
        let cut = &AUTHORITY.trim()[..AUTHORITY.trim().len() - 9];
        let other = format!("{BEGIN}\nbm8gY2VydGlmaWNhdGU=\n{END}\n");
        for (text, expected) in [
            ("", CaBundleError::Empty),
            (KEY, CaBundleError::Empty),
            ("/etc/ssl/ca.pem", CaBundleError::Empty),
            (cut, CaBundleError::Broken(1)),
            (&format!("{AUTHORITY}{other}"), CaBundleError::Broken(2)),
        ] {
            assert_eq!(text.parse::<CaBundle>(), Err(expected), "{text}");
        }
        let many = AUTHORITY.repeat(MAX_KIB * 1024 / AUTHORITY.len() + 2);
        assert!(matches!(many.parse::<CaBundle>(), Err(CaBundleError::TooLarge(kib)) if kib > MAX_KIB));
    }
}
