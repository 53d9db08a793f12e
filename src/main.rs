//! The modelcache binary.

use std::process::ExitCode;

use modelcache::{cli::Cli, telemetry::logs};

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(code) => return ExitCode::from(code),
    };
    logs::start();
    // The one crypto provider of the whole program. It can only be there already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
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
