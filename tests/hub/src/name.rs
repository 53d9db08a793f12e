//! The names of repos: a kind and an ID, written as in a web address (`datasets/acme/words`).

use std::fmt;

/// The kind of a repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A model.
    Model,
    /// A dataset.
    Dataset,
    /// A space.
    Space,
}

impl Kind {
    /// The word in the Hub's messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
            Self::Space => "space",
        }
    }

    /// The word in API addresses.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
            Self::Space => "spaces",
        }
    }

    pub(crate) fn from_plural(word: &str) -> Option<Self> {
        [Self::Model, Self::Dataset, Self::Space].into_iter().find(|kind| kind.plural() == word)
    }
}

/// A repo's kind and id. Text converts: `acme/tiny` is a model, `datasets/acme/words` a dataset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoName {
    /// Model, dataset or space.
    pub kind: Kind,
    /// `name` or `namespace/name`.
    pub id: String,
}

impl RepoName {
    /// A name from its parts.
    #[must_use]
    pub fn new(kind: Kind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into() }
    }

    /// The owner; `None` for repos without a namespace.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.id.split_once('/').map(|(namespace, _)| namespace)
    }

    pub(crate) fn differs_in_case_only(&self, other: &Self) -> bool {
        self.kind == other.kind && self.id != other.id && self.id.eq_ignore_ascii_case(&other.id)
    }
}

impl From<&str> for RepoName {
    fn from(text: &str) -> Self {
        match text.split_once('/') {
            Some((first, rest)) if rest.contains('/') => match Kind::from_plural(first) {
                Some(kind) => Self::new(kind, rest),
                None => Self::new(Kind::Model, text),
            },
            _ => Self::new(Kind::Model, text),
        }
    }
}

impl From<&String> for RepoName {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<&Self> for RepoName {
    fn from(name: &Self) -> Self {
        name.clone()
    }
}

/// As in the path of an address: models have no prefix.
impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Model => f.write_str(&self.id),
            kind => write!(f, "{}/{}", kind.plural(), self.id),
        }
    }
}
