//! What is wanted from the Hub: the arguments that `fetch` and `check` share.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::env::Env;
use crate::{
    hub::{
        Endpoint, EndpointError, InvalidPattern, NameError, Patterns, Repo, RepoType, Revision, TokenSource,
    },
    reason::Reason,
};

/// Arguments that name files of a repo on the Hub.
#[derive(Debug, clap::Args)]
pub(super) struct SourceArgs {
    /// The repo: `namespace/name`
    pub(super) repo: String,
    #[command(flatten)]
    pub(super) kind: KindArg,
    /// Branch, tag or commit
    #[arg(long, default_value = "main")]
    pub(super) revision: String,
    /// Only files that match; may be repeated. `*` matches `/` as well
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Without files that match; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// The Hub, or a mirror of it
    #[arg(long, value_name = "URL", env = "HF_ENDPOINT", hide_env_values = true)]
    endpoint: Option<String>,
    /// File with the token, read again when it is refused. Else `HF_TOKEN`, the file `HF_TOKEN_PATH` or `$HF_HOME/token`
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The type of a repo.
#[derive(Debug, clap::Args)]
pub(super) struct KindArg {
    /// Type of the repo
    #[arg(
        id = "kind", long = "type", value_name = "TYPE", default_value = "model", ignore_case = true,
        value_parser = PossibleValuesParser::new(["model", "dataset", "space"]).map(|word| kind(&word))
    )]
    pub(super) kind: RepoType,
}

fn kind(word: &str) -> RepoType {
    let kinds = [RepoType::Model, RepoType::Dataset, RepoType::Space];
    kinds.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(word)).unwrap_or_default()
}

/// What the arguments mean.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) repo: Repo,
    pub(super) revision: Revision,
    pub(super) patterns: Patterns,
    pub(super) endpoint: Endpoint,
    pub(super) token: TokenSource,
}

/// Arguments that mean nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// A name that the Hub cannot have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A pattern that cannot be used.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// An address that cannot be a Hub's. Not read by `clap`, which would repeat it with a password in it.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl SourceError {
    /// The published word for it.
    pub(super) const fn reason(&self) -> Reason {
        match self {
            Self::Name(error) => error.reason(),
            Self::Pattern(error) => error.reason(),
            Self::Endpoint(_) => Reason::InvalidEndpoint,
        }
    }
}

impl SourceArgs {
    /// Reads them, and what the environment says where they say nothing.
    pub(super) fn read(&self, env: &Env) -> Result<Source, SourceError> {
        Ok(Source {
            repo: Repo { kind: self.kind.kind, id: self.repo.parse()? },
            revision: self.revision.parse()?,
            patterns: Patterns::parse(&self.include, &self.exclude)?,
            // An empty variable means the usual Hub.
            endpoint: match self.endpoint.as_deref() {
                None | Some("") => Endpoint::default(),
                Some(given) => given.parse()?,
            },
            token: match &self.token_file {
                Some(path) => TokenSource::File(path.clone()),
                None => env.token(),
            },
        })
    }
}
