//! Where a model comes from, and with whose token.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hub::{NameError, Repo, RepoType, Revision};

/// What to fetch from the Hugging Face Hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The repo on the Hub, as `name` or `namespace/name`: for example `meta-llama/Llama-3.1-8B`.
    /// It cannot be changed; make another ModelCache instead.
    #[schemars(length(min = 1, max = 96))]
    pub repo: String,

    /// What the repo is: Model, Dataset or Space. It cannot be changed.
    #[serde(rename = "type", default)]
    pub kind: SourceType,

    /// The branch, tag or commit to fetch. A branch or tag is pinned at the commit that it stands for when it is first
    /// seen, so that all replicas run the same bytes. Change this field to move to another commit. When you change a
    /// branch to a commit, put the branch into `aliases`.
    #[serde(default = "main")]
    #[schemars(length(min = 1, max = 200))]
    pub revision: String,

    /// Patterns of the files to fetch, in the Hub's own syntax: `*` matches any characters, also `/`. All files if none
    /// is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub include: Vec<String>,

    /// Patterns of files to leave out of those that `include` selects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub exclude: Vec<String>,

    /// Further branch or tag names that stand for the same commit on the volume. A program that loads the model offline by its
    /// ID asks for `main`: with `revision` set to another branch or a tag, put `main` here. If `revision` is a commit, it gets the ref `main`
    /// anyway, unless another ModelCache of the repo on the same claim has that ref. Newer commits of the first alias are reported
    /// as `UpdateAvailable`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 200)), extend("x-kubernetes-list-type" = "set"))]
    pub aliases: Vec<String>,

    /// Address of the Hub, such as `https://huggingface.co`. It must be one of the operator's endpoints; the default is
    /// the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub endpoint: Option<String>,
}

impl Source {
    /// The repo, checked by the Hub's rules.
    pub fn hub_repo(&self) -> Result<Repo, NameError> {
        Ok(Repo { kind: self.kind.into(), id: self.repo.parse()? })
    }

    /// The revision, checked by git's rules.
    pub fn hub_revision(&self) -> Result<Revision, NameError> {
        self.revision.parse()
    }
}

impl Default for Source {
    fn default() -> Self {
        Self {
            repo: String::new(),
            kind: SourceType::default(),
            revision: main(),
            include: Vec::new(),
            exclude: Vec::new(),
            aliases: Vec::new(),
            endpoint: None,
        }
    }
}

/// The Hub's default branch.
fn main() -> String {
    Revision::DEFAULT.to_owned()
}

/// What a repo on the Hub is.
// Variants without documentation: with it, the schema would be a list of alternatives instead of one enum.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SourceType {
    #[default]
    Model,
    Dataset,
    Space,
}

impl From<SourceType> for RepoType {
    fn from(kind: SourceType) -> Self {
        match kind {
            SourceType::Model => Self::Model,
            SourceType::Dataset => Self::Dataset,
            SourceType::Space => Self::Space,
        }
    }
}

impl From<RepoType> for SourceType {
    fn from(kind: RepoType) -> Self {
        match kind {
            RepoType::Model => Self::Model,
            RepoType::Dataset => Self::Dataset,
            RepoType::Space => Self::Space,
        }
    }
}

/// The key of a Secret in the same namespace that holds a token of the Hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The key in the Secret whose value is the token.
    #[serde(default = "token")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// The key that is read where none is named.
fn token() -> String {
    "token".to_owned()
}
