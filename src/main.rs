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
    // The one crypto provider of the whole program. It can only be there already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Some(error) = endless_authorities() {
        tracing::error!(%error, "SSL_CERT_FILE cannot be used");
        return ExitCode::FAILURE;
    }
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let code = runtime.block_on(cli.run());
            // What is still reading a file has nothing to say any more, and nothing to tidy up.
            runtime.shutdown_background();
            ExitCode::from(code)
        }
        Err(error) => {
            tracing::error!(%error, "cannot start");
            ExitCode::FAILURE
        }
    }
}

/// Why the authorities of the system would be waited for, or fill the memory: the TLS libraries read what the variable names as it is.
/// Whatever else is wrong with them is told by who needs them.
fn endless_authorities() -> Option<Unread> {
    const LONGEST: u64 = 16 << 20;
    let path =
        env::var_os("SSL_CERT_FILE").map(PathBuf::from).filter(|path| path != Path::new("/dev/null"))?;
    files::read(&path, LONGEST).err().filter(|error| matches!(error, Unread::Kind(_) | Unread::Large(_)))
}
