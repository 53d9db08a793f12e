//! TLS for tests, with the certificate of an authority that no system knows.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// The authority that signed the certificate. Made for these tests alone; its key is gone.
pub const AUTHORITY: &str = include_str!("../hub_client/tls/ca.pem");

/// A server with a certificate for `localhost`, signed by [`AUTHORITY`].
pub fn server() -> Arc<ServerConfig> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../hub_client/tls/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../hub_client/tls/server.key")).unwrap();
    Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}
