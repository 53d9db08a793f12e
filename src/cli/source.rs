//! What is wanted from the Hub: the arguments that `fetch` and `check` share, or files with `ModelCache` objects.

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

/// How files are understood: said in the help of each command that takes them.
pub(super) const FILES_HELP: &str = "Files (-f):\n  \
    ModelCache objects are read from YAML or JSON, and validated against their\n  \
    schema first. Other kinds are ignored, and so are fields that only a\n  \
    cluster needs, such as storage and job. Several objects are processed one\n  \
    after another; the exit code is that of the first that failed.\n  \
    A file has at most 16 MiB. Pipes and devices in a folder are refused.\n\n  \
    As in a cluster, a token is sent only for a ModelCache with a\n  \
    tokenSecretRef. It comes from that Secret where it is in the files, else\n  \
    from --token-file or the environment. It goes to no other Hub than that of\n  \
    --endpoint or HF_ENDPOINT: a ModelCache with another spec.source.endpoint\n  \
    and a token is refused with EndpointNotAllowed.";

/// Arguments that name files of a repo on the Hub.
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
    /// Leave out the files that match PATTERN; may be repeated
    #[arg(long, value_name = "PATTERN", conflicts_with = "filename")]
    exclude: Vec<String>,
    /// Address of the Hub or of a mirror [default: `https://huggingface.co`]. Further settings are environment variables:
    /// `MODELCACHE_CA_BUNDLE`, additional CA certificates (PEM); `HF_HUB_DOWNLOAD_TIMEOUT`, the seconds to wait for a file to begin
    /// (300 by default); `HF_HUB_ETAG_TIMEOUT`, for any other answer (60 in `fetch`, 30 in `check`); `MODELCACHE_HTTP_STORAGE=1`,
    /// allow an endpoint with TLS to redirect downloads to a storage without TLS
    #[arg(long, value_name = "URL", env = "HF_ENDPOINT", hide_env_values = true)]
    endpoint: Option<String>,
    /// File with the token; it is read again when the Hub refuses the token [default: `HF_TOKEN`, the file `HF_TOKEN_PATH` or `$HF_HOME/token`]
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

/// Something that is wanted, as it was asked for and what that means.
#[derive(Debug)]
pub(super) struct FetchTarget {
    /// The name of the `ModelCache`, where it comes from one.
    pub(super) name: Option<String>,
    pub(super) kind: RepoType,
    /// The repo's ID; `?` where it cannot be one.
    pub(super) repo: String,
    /// The revision; `?` where it cannot be one.
    pub(super) revision: String,
    pub(super) source: Result<Source, SourceError>,
}

/// What the arguments mean.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) repo: Repo,
    pub(super) revision: Revision,
    pub(super) aliases: Vec<Revision>,
    pub(super) patterns: Patterns,
    pub(super) endpoint: Endpoint,
    pub(super) token: TokenSource,
}

/// Arguments that mean nothing, or that may not be followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// A name that the Hub cannot have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An alias is not a revision; with its number.
    #[error("alias {0}: {1}")]
    Alias(usize, NameError),
    /// A pattern that cannot be used.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// An address that cannot be a Hub's. Not read by `clap`, which would repeat it with a password in it.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Not certificates.
    #[error("{name} is not usable: {0}", name = CaBundle::VARIABLE)]
    CaBundle(#[from] CaBundleError),
    /// Not a time.
    #[error("{0} is not usable: {1}")]
    Timeout(&'static str, TimeoutError),
    /// A token must not go there.
    #[error(
        "the token is for {ours}, and is not sent to {theirs}. To allow that, give --endpoint {theirs} or set HF_ENDPOINT; \
         otherwise remove spec.source.endpoint"
    )]
    OtherEndpoint { ours: Box<Endpoint>, theirs: Box<Endpoint> },
    /// The Secret is nowhere.
    #[error(
        "the Secret {0} is not in the files, and no other token is given. Pass the file of the Secret with -f as well, or set HF_TOKEN"
    )]
    NoSecret(String),
    /// The Secret has not the key.
    #[error(
        "the Secret {name} has no key {key}; it has {}. Put the token there, or name the key in spec.tokenSecretRef.key",
        if .keys.is_empty() { "none".to_owned() } else { .keys.join(", ") }
    )]
    NoKey { name: String, key: String, keys: Vec<String> },
}

impl SourceError {
    /// The published word for it.
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
    /// What is wanted, with what the environment says where the arguments say nothing. `aliases` are further refs.
    pub(super) fn wanted(&self, env: &Env, aliases: &[String]) -> Result<Vec<FetchTarget>, ManifestError> {
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
                endpoint: reached(endpoint(self.endpoint.as_deref())?, env)?,
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
            // The author of the object must not decide where a token of ours goes.
            if token != TokenSource::None && theirs != ours {
                return Err(SourceError::OtherEndpoint { ours: Box::new(ours), theirs: Box::new(theirs) });
            }
            Ok(Source {
                repo: source.hub_repo()?,
                revision: source.hub_revision()?,
                aliases: parsed(&source.aliases)?,
                patterns: Patterns::parse(&source.include, &source.exclude)?,
                endpoint: reached(theirs, env)?,
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
            SecretLookup::Elsewhere => match self.token(env) {
                TokenSource::None => Err(SourceError::NoSecret(printable(&wanted.name))),
                token => Ok(token),
            },
        }
    }

    fn token(&self, env: &Env) -> TokenSource {
        self.token_file.clone().map_or_else(|| env.token(), TokenSource::File)
    }
}

/// Further refs.
fn parsed(aliases: &[String]) -> Result<Vec<Revision>, SourceError> {
    let read =
        |(number, alias): (usize, &String)| alias.parse().map_err(|error| SourceError::Alias(number, error));
    (1..).zip(aliases).map(read).collect()
}

/// A name as reports have it. What is not a name may be a secret in the wrong place, and endless.
fn shown<N: FromStr>(given: &str) -> String {
    given.parse::<N>().map_or_else(|_| "?".to_owned(), |_| given.to_owned())
}

/// The endpoint with the settings of the environment.
fn reached(endpoint: Endpoint, env: &Env) -> Result<Endpoint, SourceError> {
    let timeouts = env.timeouts().map_err(|(name, error)| SourceError::Timeout(name, error))?;
    let endpoint = endpoint.with_timeouts(timeouts).with_http_storage(env.http_storage());
    Ok(match env.ca_bundle()? {
        Some(bundle) => endpoint.with_ca_bundle(bundle),
        None => endpoint,
    })
}

/// The Hub that is meant. An empty variable means the usual one.
pub(super) fn endpoint(given: Option<&str>) -> Result<Endpoint, EndpointError> {
    given.filter(|given| !given.is_empty()).map_or_else(|| Ok(Endpoint::default()), str::parse)
}
