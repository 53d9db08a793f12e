//! `modelcache controller`: runs the operator.

use std::net::SocketAddr;

use super::tell;
use crate::{
    controller::{self, Settings},
    hub::EndpointError,
    reason::{Reason, exit},
};

/// Run the operator. In a cluster its settings come from the environment of its Deployment
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    modelcache controller --image registry.example/modelcache:v1\n  \
    modelcache controller --image IMAGE --endpoint https://mirror.example")]
pub(super) struct Args {
    /// Image of the download Jobs: the controller's own
    #[arg(long, env = "MODELCACHE_IMAGE")]
    image: String,
    /// A Hub that tokens may be sent to; the first one is the default. Several with commas between them
    // Not read by `clap`, which would repeat a wrong one with a password in it.
    #[arg(
        long = "endpoint",
        env = "MODELCACHE_ENDPOINTS",
        hide_env_values = true,
        value_delimiter = ',',
        default_value = "https://huggingface.co"
    )]
    endpoints: Vec<String>,
    /// Where probes and metrics are served
    #[arg(long, env = "MODELCACHE_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
}

impl Args {
    /// Runs until it is stopped, and gives the exit code.
    pub(super) async fn run(self) -> u8 {
        let Self { image, endpoints, listen } = self;
        let endpoints =
            match endpoints.iter().map(|given| given.parse()).collect::<Result<_, EndpointError>>() {
                Ok(endpoints) => endpoints,
                Err(error) => {
                    tell(&format!("{}: {error}.", Reason::InvalidEndpoint));
                    return exit::USAGE;
                }
            };
        match Box::pin(controller::run(Settings { image, endpoints, listen })).await {
            Ok(()) => exit::OK,
            Err(error) => {
                tracing::error!(%error, "the controller cannot run");
                exit::FAILURE
            }
        }
    }
}
