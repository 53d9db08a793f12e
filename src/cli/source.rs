//! The sources to fetch or check: from arguments, or from files with `ModelCache` objects.

use std::{path::PathBuf, str::FromStr};

use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::{
    env::Env,
    manifest::{Manifest, ManifestError, SecretLookup, name_of},
};
use crate::{
    api::ModelCache,
    hub::{
        CaBundle, CaBundleError, Endpoint, EndpointError, InvalidPattern, NameError, Patterns, Repo, RepoId,
        RepoType, Revision, TimeoutError, TokenSource,
    },
    reason::Reason,
    text::printable,
};

/// How files are interpreted, for the help of each command that accepts them.
pub(super) const FILES_HELP: &str = "Files (-f):\n  \
    ModelCache objects are read from YAML or JSON, and validated against their\n  \
    schema first. Other kinds are ignored, and so are fields that matter only\n  \
    in a cluster, such as storage and job. Several objects are processed in\n  \
    order; the exit code is that of the first failure. Files may have up to\n  \
    16 MiB. Pipes and devices in a folder are rejected.\n\n  \
    As in a cluster, a token is sent only for a ModelCache with a\n  \
    tokenSecretRef: the one of that Secret if it is in the files, otherwise\n  \
    that of --token-file or the environment. It is sent only to the Hub of\n  \
    --endpoint or HF_ENDPOINT: a ModelCache with a token and another\n  \
    spec.source.endpoint is rejected with EndpointNotAllowed.";

/// Arguments that select files of a repo on the Hub.
#[derive(Debug, clap::Args)]
pub(super) struct SourceArgs {
    /// The repo: `namespace/name`
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    repo: Option<String>,
    /// File with ModelCache objects and Secrets, or a folder of them, or `-` for standard input; may be repeated
    #[arg(short, long, value_name = "FILE", conflicts_with = "kind")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    kind: KindArg,
    /// Branch, tag or commit
    #[arg(long, default_value = "main", conflicts_with = "filename")]
    revision: String,
    /// Select only the files that match PATTERN; may be repeated. `*` matches `/` as well [default: all files]
    #[arg(long, value_name = "PATTERN", conflicts_with = "filename")]
    include: Vec<String>,
    /// Exclude the files that match PATTERN; may be repeated
    #[arg(long, value_name = "PATTERN", conflicts_with = "filename")]
    exclude: Vec<String>,
    /// Address of the Hub or of a mirror [default: `https://huggingface.co`]. Further settings are environment variables:
    /// `MODELCACHE_CA_BUNDLE`, additional CA certificates (PEM); `HF_HUB_DOWNLOAD_TIMEOUT`, the seconds to wait for the first byte of
    /// a file (default 300); `HF_HUB_ETAG_TIMEOUT`, for any other response (60 in `fetch`, 30 in `check`);
    /// `MODELCACHE_HTTP_STORAGE=1`, allow an endpoint with TLS to redirect downloads to storage without TLS
    #[arg(long, value_name = "URL", env = "HF_ENDPOINT", hide_env_values = true)]
    endpoint: Option<String>,
    /// File with the token, reread when the Hub rejects the token [default: `HF_TOKEN`, the file `HF_TOKEN_PATH` or `$HF_HOME/token`]
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

/// A requested repo, as given and as parsed.
#[derive(Debug)]
pub(super) struct FetchTarget {
    /// The name of the `ModelCache`, if it is from one.
    pub(super) name: Option<String>,
    pub(super) kind: RepoType,
    /// The repo's ID; `?` if invalid.
    pub(super) repo: String,
    /// The revision; `?` if invalid.
    pub(super) revision: String,
    pub(super) source: Result<Source, SourceError>,
}

/// The parsed arguments.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) repo: Repo,
    pub(super) revision: Revision,
    pub(super) aliases: Vec<Revision>,
    pub(super) patterns: Patterns,
    pub(super) endpoint: Endpoint,
    pub(super) token: TokenSource,
}

/// Invalid or forbidden arguments.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// A name that is invalid on the Hub.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An invalid alias, with its number.
    #[error("alias {0}: {1}")]
    Alias(usize, NameError),
    /// An invalid pattern.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// An invalid address. Not parsed by `clap`, which would repeat it, including a password.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// An invalid CA bundle.
    #[error("{name} is not usable: {0}", name = CaBundle::VARIABLE)]
    CaBundle(#[from] CaBundleError),
    /// An invalid timeout, with its variable.
    #[error("{0} is not usable: {1}")]
    Timeout(&'static str, TimeoutError),
    /// The token must not be sent there.
    #[error(
        "the token is for {ours}, and is not sent to {theirs}. To allow that, use --endpoint {theirs} or set HF_ENDPOINT; \
         otherwise remove spec.source.endpoint"
    )]
    OtherEndpoint { ours: Box<Endpoint>, theirs: Box<Endpoint> },
    /// The Secret is not in the files.
    #[error(
        "the Secret {0} is not in the files, and no other token is configured. Pass the Secret's file with -f too, or set HF_TOKEN"
    )]
    NoSecret(String),
    /// The Secret lacks the key.
    #[error(
        "the Secret {name} has no key {key}; it has {}. Add the token under that key, or set spec.tokenSecretRef.key",
        if .keys.is_empty() { "none".to_owned() } else { .keys.join(", ") }
    )]
    NoKey { name: String, key: String, keys: Vec<String> },
}

impl SourceError {
    /// The published reason code.
    pub(super) const fn reason(&self) -> Reason {
        match self {
            Self::Name(error) | Self::Alias(_, error) => error.reason(),
            Self::Pattern(error) => error.reason(),
            Self::Endpoint(_) | Self::CaBundle(_) | Self::Timeout(..) => Reason::InvalidEndpoint,
            Self::OtherEndpoint { .. } => Reason::EndpointNotAllowed,
            Self::NoSecret(_) => Reason::SecretNotFound,
            Self::NoKey { .. } => Reason::SecretKeyNotFound,
        }
    }
}

impl SourceArgs {
    /// Parses the arguments, with defaults from the environment. `aliases` are further refs.
    pub(super) fn targets(&self, env: &Env, aliases: &[String]) -> Result<Vec<FetchTarget>, ManifestError> {
        let Some(repo) = &self.repo else {
            let manifest = Manifest::read(&self.filename)?;
            return Ok(manifest.caches.iter().map(|cache| self.of_cache(&manifest, cache, env)).collect());
        };
        let read = || {
            Ok(Source {
                repo: Repo { kind: self.kind.kind, id: repo.parse()? },
                revision: self.revision.parse()?,
                aliases: parsed(aliases)?,
                patterns: Patterns::parse(&self.include, &self.exclude)?,
                endpoint: configured(endpoint(self.endpoint.as_deref())?, env)?,
                token: self.token(env),
            })
        };
        let (repo, revision) = (shown::<RepoId>(repo), shown::<Revision>(&self.revision));
        Ok(vec![FetchTarget { name: None, kind: self.kind.kind, repo, revision, source: read() }])
    }

    fn of_cache(&self, manifest: &Manifest, cache: &ModelCache, env: &Env) -> FetchTarget {
        let source = &cache.spec.source;
        let read = || {
            let ours = endpoint(self.endpoint.as_deref())?;
            let theirs = match &source.endpoint {
                Some(given) => given.parse()?,
                None => ours.clone(),
            };
            let token = self.token_of_cache(manifest, cache, env)?;
            // The author of the object must not decide where our token is sent.
            if token != TokenSource::None && theirs != ours {
                return Err(SourceError::OtherEndpoint { ours: Box::new(ours), theirs: Box::new(theirs) });
            }
            Ok(Source {
                repo: source.hub_repo()?,
                revision: source.hub_revision()?,
                aliases: parsed(&source.aliases)?,
                patterns: Patterns::parse(&source.include, &source.exclude)?,
                endpoint: configured(theirs, env)?,
                token,
            })
        };
        FetchTarget {
            name: Some(name_of(cache)),
            kind: source.kind.into(),
            repo: shown::<RepoId>(&source.repo),
            revision: shown::<Revision>(&source.revision),
            source: read(),
        }
    }

    fn token_of_cache(
        &self,
        manifest: &Manifest,
        cache: &ModelCache,
        env: &Env,
    ) -> Result<TokenSource, SourceError> {
        let Some(wanted) = &cache.spec.token_secret_ref else { return Ok(TokenSource::None) };
        match manifest.token(cache, wanted) {
            SecretLookup::Token(token) => Ok(token),
            SecretLookup::OtherKeys(keys) => Err(SourceError::NoKey {
                name: printable(&wanted.name),
                key: printable(&wanted.key),
                keys: keys.iter().map(|key| printable(key)).collect(),
            }),
            SecretLookup::NotInFiles => match self.token(env) {
                TokenSource::None => Err(SourceError::NoSecret(printable(&wanted.name))),
                token => Ok(token),
            },
        }
    }

    fn token(&self, env: &Env) -> TokenSource {
        self.token_file.clone().map_or_else(|| env.token(), TokenSource::File)
    }
}

/// Parses aliases.
fn parsed(aliases: &[String]) -> Result<Vec<Revision>, SourceError> {
    let read =
        |(number, alias): (usize, &String)| alias.parse().map_err(|error| SourceError::Alias(number, error));
    (1..).zip(aliases).map(read).collect()
}

/// A name for reports. An invalid one may be a misplaced secret, or endless.
fn shown<N: FromStr>(given: &str) -> String {
    given.parse::<N>().map_or_else(|_| "?".to_owned(), |_| given.to_owned())
}

/// Applies the settings of the environment to an endpoint.
fn configured(endpoint: Endpoint, env: &Env) -> Result<Endpoint, SourceError> {
    let timeouts = env.timeouts().map_err(|(name, error)| SourceError::Timeout(name, error))?;
    let endpoint = endpoint.with_timeouts(timeouts).with_http_storage(env.http_storage());
    Ok(match env.ca_bundle()? {
        Some(bundle) => endpoint.with_ca_bundle(bundle),
        None => endpoint,
    })
}

/// Parses the endpoint. Empty means the default.
pub(super) fn endpoint(given: Option<&str>) -> Result<Endpoint, EndpointError> {
    given.filter(|given| !given.is_empty()).map_or_else(|| Ok(Endpoint::default()), str::parse)
}
