//! The state of a Hub in a JSON file.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    account::TokenSpec,
    content::Content,
    repo::{Access, Gate, Repo},
    server::StandinHub,
    state::{BadTokens, XetStore},
};

/// The desired state. Omitted parts are unchanged.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    bad_tokens: Option<BadTokens>,
    page_size: Option<usize>,
    resolve_cache: Option<bool>,
    /// Address of the Xet store.
    xet_store: Option<String>,
    users: BTreeMap<String, UserConfig>,
    repos: Vec<RepoConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UserConfig {
    orgs: Vec<String>,
    tokens: Vec<TokenSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent facts, not states")]
struct RepoConfig {
    /// As in an address: `acme/tiny`, `datasets/acme/words`.
    name: String,
    /// Relative to the file that names it.
    folder: Option<PathBuf>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    random: BTreeMap<String, RandomConfig>,
    gated: Option<Gate>,
    #[serde(default)]
    access: BTreeMap<String, Access>,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    members: Vec<String>,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    region_blocked: bool,
    #[serde(default)]
    formerly: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    lfs_above: Option<u64>,
    #[serde(default)]
    xet_hashes: bool,
    #[serde(default)]
    xet: BTreeMap<String, XetConfig>,
}

/// A file on disk that is also in the Xet store.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct XetConfig {
    /// Relative to the file that names it.
    file: PathBuf,
    hash: String,
}

/// An LFS file of bytes that look random.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RandomConfig {
    seed: u64,
    size: u64,
    /// Kept in memory, for benchmarks in which generating it while sending would count.
    #[serde(default)]
    held: bool,
    /// The Xet hash, if the content is also in the Xet store.
    xet: Option<String>,
}

impl RandomConfig {
    fn content(&self) -> Content {
        let make = if self.held { Content::random_held } else { Content::random };
        make(self.seed, self.size)
    }
}

/// Loads a state file into the Hub.
pub fn load(hub: &StandinHub, path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| format!("read {}: {error}", path.display()))?;
    let config: Config =
        serde_json::from_str(&text).map_err(|error| format!("parse {}: {error}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));

    // Folders are hashed before the lock is taken, so that the Hub stays responsive.
    let repos: Result<Vec<Repo>, String> = config.repos.into_iter().map(|repo| repo.build(folder)).collect();
    let repos = repos?;
    let mut state = hub.state();
    state.bad_tokens = config.bad_tokens.unwrap_or(state.bad_tokens);
    state.page_size = config.page_size.or(state.page_size);
    state.resolve_cache = config.resolve_cache.unwrap_or(state.resolve_cache);
    if let Some(url) = config.xet_store {
        state.xet_store = Some(XetStore::new(url, Duration::from_hours(1)));
    }
    for (name, user) in config.users {
        state.user(&name).orgs.extend(user.orgs);
        for token in user.tokens {
            state.add_token(&name, token.into());
        }
    }
    repos.into_iter().try_for_each(|repo| state.add(repo))
}

impl RepoConfig {
    fn build(self, base: &Path) -> Result<Repo, String> {
        let mut repo = Repo::named(&self.name)
            .private(self.private)
            .disabled(self.disabled)
            .region_blocked(self.region_blocked);
        if let Some(gate) = self.gated {
            repo = repo.gated(gate);
        }
        if let Some(bytes) = self.lfs_above {
            repo = repo.lfs_above(bytes);
        }
        if self.xet_hashes {
            repo = repo.xet_hashes();
        }
        if let Some(folder) = self.folder {
            repo = repo.folder(base.join(folder));
        }
        repo = self.files.into_iter().fold(repo, |repo, (path, text)| repo.file(&path, text));
        repo = self.random.into_iter().fold(repo, |repo, (path, random)| match &random.xet {
            Some(hash) => repo.xet(&path, random.content(), hash),
            None => repo.lfs(&path, random.content()),
        });
        for (path, XetConfig { file, hash }) in self.xet {
            let content = Content::disk(base.join(&file))
                .map_err(|error| format!("read {} for {}: {error}", file.display(), self.name))?;
            repo = repo.xet(&path, content, &hash);
        }
        repo = self.access.iter().fold(repo, |repo, (user, access)| repo.access(user, *access));
        repo = self.members.iter().fold(repo, |repo, user| repo.member(user));
        repo = self.formerly.iter().fold(repo, Repo::formerly);
        Ok(self.tags.iter().fold(repo.branch("main"), |repo, tag| repo.tag(tag)))
    }
}
