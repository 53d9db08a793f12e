//! The modelcache binary.

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

use modelcache::{
    cli::Cli,
    files::{self, Unread},
    telemetry::logs,
};

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(code) => return ExitCode::from(code),
    };
    logs::start();
    // The crypto provider of the whole process. Fails only if it is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Some(error) = endless_authorities() {
        tracing::error!(%error, "cannot use SSL_CERT_FILE");
        return ExitCode::FAILURE;
    }
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let code = runtime.block_on(cli.run());
            // Threads that still read files have nothing to report or to clean up.
            runtime.shutdown_background();
            ExitCode::from(code)
        }
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            ExitCode::FAILURE
        }
    }
}

/// Rejects an `SSL_CERT_FILE` that would block or exhaust memory, since the TLS libraries read it unconditionally. Any other
/// error is reported where the certificates are needed.
fn endless_authorities() -> Option<Unread> {
    const LONGEST: u64 = 16 << 20;
    let path =
        env::var_os("SSL_CERT_FILE").map(PathBuf::from).filter(|path| path != Path::new("/dev/null"))?;
    files::read(&path, LONGEST).err().filter(|error| matches!(error, Unread::Kind(_) | Unread::Large(_)))
}
