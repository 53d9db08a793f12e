//! `modelcache controller`: runs the operator.

use std::net::SocketAddr;

use crate::{
    controller::{self, Settings},
    hub::Endpoint,
    reason::exit,
};

/// Run the operator. In a cluster its settings come from the environment of its Deployment
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Image of the download Jobs: the controller's own
    #[arg(long, env = "MODELCACHE_IMAGE")]
    image: String,
    /// A Hub that tokens may be sent to; the first one is the default. Several with commas between them
    #[arg(
        long = "endpoint",
        env = "MODELCACHE_ENDPOINTS",
        value_delimiter = ',',
        default_value = "https://huggingface.co"
    )]
    endpoints: Vec<Endpoint>,
    /// Where probes and metrics are served
    #[arg(long, env = "MODELCACHE_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
}

impl Args {
    /// Runs until it is stopped, and gives the exit code.
    pub(super) async fn run(self) -> u8 {
        let Self { image, endpoints, listen } = self;
        match Box::pin(controller::run(Settings { image, endpoints, listen })).await {
            Ok(()) => exit::OK,
            Err(error) => {
                tracing::error!(%error, "the controller cannot run");
                exit::FAILURE
            }
        }
    }
}
