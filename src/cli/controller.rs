//! `modelcache controller`: runs the operator.

use std::{net::SocketAddr, path::PathBuf};

use clap::ValueEnum;

use super::{endpoints, output::eprint_line, signals::stopped, values};
use crate::{
    controller::{self, Namespace, Secrets, Settings},
    hub::{Endpoint, EndpointError},
    reason::{Reason, exit},
};

/// Run the operator. In a cluster, it is configured by the environment of its Deployment
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    modelcache controller --image registry.example/modelcache:v1\n  \
    modelcache controller --image IMAGE --endpoint https://mirror.example\n  \
    modelcache controller --image IMAGE --namespace team-a,team-b --secrets poll")]
pub(super) struct Args {
    /// Image of the download Jobs; set it to the image of the operator itself
    #[arg(long, env = "MODELCACHE_IMAGE")]
    image: String,
    /// Hub that tokens may be sent to; comma-separated, the first one is the default
    // Not parsed by `clap`, which would repeat an invalid one, including a password.
    #[arg(
        long = "endpoint",
        env = "MODELCACHE_ENDPOINTS",
        hide_env_values = true,
        value_delimiter = ',',
        default_value = "https://huggingface.co"
    )]
    endpoints: Vec<String>,
    /// YAML file with a list of endpoints, each with its proxy, certificates and timeout; replaces `--endpoint`
    #[arg(long, value_name = "FILE", env = "MODELCACHE_ENDPOINTS_FILE", conflicts_with = "endpoints")]
    endpoints_file: Option<PathBuf>,
    /// Namespaces to watch, comma-separated [default: all]
    #[arg(long = "namespace", value_name = "NAME", env = "MODELCACHE_NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<Namespace>,
    /// How changed Secrets are detected: `watch`, immediately; `poll`, which needs only the right to `get`, within half a minute while a ModelCache is not Ready or its token is refused, otherwise after `spec.interval`
    #[arg(long, value_name = "HOW", env = "MODELCACHE_SECRETS", default_value = "watch")]
    secrets: SecretsArg,
    /// Address that serves probes and metrics
    #[arg(long, env = "MODELCACHE_LISTEN", default_value = "0.0.0.0:8080", value_parser = values::listen)]
    listen: SocketAddr,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SecretsArg {
    Watch,
    Poll,
}

impl From<SecretsArg> for Secrets {
    fn from(given: SecretsArg) -> Self {
        match given {
            SecretsArg::Watch => Self::Watch,
            SecretsArg::Poll => Self::Poll,
        }
    }
}

impl Args {
    /// Runs until it is terminated, and returns the exit code.
    pub(super) async fn run(self) -> u8 {
        let endpoints = match self.endpoints() {
            Ok(endpoints) => endpoints,
            Err(error) => {
                eprint_line(&format!("{}: {error}.", Reason::InvalidEndpoint));
                return exit::USAGE;
            }
        };
        let Self { image, namespaces, secrets, listen, .. } = self;
        let settings = Settings { image, endpoints, namespaces, secrets: secrets.into(), listen };
        match Box::pin(controller::run(settings, stopped())).await {
            Ok(()) => exit::OK,
            Err(error) => {
                tracing::error!(%error, "the controller failed");
                exit::FAILURE
            }
        }
    }

    fn endpoints(&self) -> Result<Vec<Endpoint>, String> {
        let read = match &self.endpoints_file {
            Some(file) => return endpoints::read(file).map_err(|error| error.to_string()),
            None => self.endpoints.iter().map(|given| given.parse()),
        };
        read.collect::<Result<_, EndpointError>>().map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command::{Cli, Command};

    fn given(arguments: &[&str]) -> Result<Args, String> {
        let words = [&["modelcache", "controller", "--image", "i"], arguments].concat();
        match Cli::read_from(words).map_err(|error| error.to_string())?.command {
            Command::Controller(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lists_are_comma_separated_and_endpoints_have_one_source() {
        let args = given(&["--namespace", "a,b", "--endpoint", "https://a/,https://b"]).unwrap();
        assert_eq!(args.namespaces, ["a", "b"].map(|name| name.parse().unwrap()));
        let endpoints = args.endpoints().unwrap();
        assert_eq!(endpoints.iter().map(Endpoint::as_str).collect::<Vec<_>>(), ["https://a", "https://b"]);

        let none = given(&[]).unwrap();
        assert_eq!((none.namespaces.len(), none.endpoints().unwrap()), (0, vec![Endpoint::default()]));
        let file = given(&["--endpoints-file", "/none/endpoints.yaml"]).unwrap();
        assert!(file.endpoints().unwrap_err().starts_with("cannot use the endpoints file /none/"));

        let both = given(&["--endpoints-file", "f", "--endpoint", "https://me:verysecret@hub"]).unwrap_err();
        assert!(both.contains("--endpoint <") && both.contains("--endpoints-file"), "{both}");
        assert!(!both.contains("verysecret"), "{both}");
        assert!(given(&["--namespace", "a_b"]).unwrap_err().contains("lower-case letters"));
    }
}
