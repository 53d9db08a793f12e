//! The names of the Hub: repo types, repo IDs, revisions and commits. Parsed, so that a value is always valid.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::NameError;
use crate::text::printable;

/// The kind of a repo on the Hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepoType {
    /// A model, the Hub's default.
    #[default]
    Model,
    /// A dataset.
    Dataset,
    /// A space.
    Space,
}

impl RepoType {
    /// The name in the singular: `model`. Folder names of the cache start with the plural.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
            Self::Space => "space",
        }
    }

    /// The prefix in web addresses and in `/resolve`: models have none.
    #[must_use]
    pub const fn url_prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
            Self::Space => "spaces/",
        }
    }
}

impl fmt::Display for RepoType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A repo ID, `name` or `namespace/name`, by the Hub's own rules (`huggingface_hub.utils.validate_repo_id`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RepoId(String);

impl RepoId {
    /// The ID as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepoId {
    type Err = NameError;

    fn from_str(id: &str) -> Result<Self, NameError> {
        let refuse = |why| Err(NameError::Repo { why });
        if id.is_empty() {
            return refuse("it is empty");
        }
        if id.len() > 96 {
            return refuse("it is longer than 96 characters");
        }
        if id.contains("://") {
            return refuse("it is an address; write only `namespace/name`");
        }
        if id.split('/').count() > 2 {
            // As in web addresses, and in messages of this tool about a dataset or a space.
            return refuse(
                if ["models/", "datasets/", "spaces/"].iter().any(|prefix| id.starts_with(prefix)) {
                    "it begins with its type, which is specified separately; write only `namespace/name`"
                } else {
                    "it has more than one `/`; the form is `name` or `namespace/name`"
                },
            );
        }
        if id.contains("--") || id.contains("..") {
            return refuse("`--` and `..` are not allowed");
        }
        if id.to_ascii_lowercase().ends_with(".git") {
            return refuse("it must not end with `.git`");
        }
        for part in id.split('/') {
            if part.is_empty() {
                return refuse("a part of it is empty");
            }
            if !part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
                return refuse("only letters, digits, `-`, `_` and `.` are allowed");
            }
            if part.starts_with(['-', '.']) || part.ends_with(['-', '.']) {
                return refuse("a part must not begin or end with `-` or `.`");
            }
        }
        Ok(Self(id.to_owned()))
    }
}

/// A repo: its type and its ID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Repo {
    /// Model, dataset or space.
    #[serde(rename = "type")]
    pub kind: RepoType,
    /// The ID within that type.
    pub id: RepoId,
}

impl fmt::Display for Repo {
    /// As in a web address: `datasets/namespace/name`, models without a prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind.url_prefix(), self.id)
    }
}

/// A commit: 40 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Commit(String);

impl Commit {
    /// The 40 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first seven digits, for display.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Commit {
    type Err = NameError;

    fn from_str(hash: &str) -> Result<Self, NameError> {
        if hash.len() == 40 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(hash.to_owned()))
        } else {
            Err(NameError::Commit { hash: printable(hash) })
        }
    }
}

/// A branch, tag, `refs/pr/N` or commit: a valid git name, and therefore safe as a path below `refs/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Revision(String);

impl Revision {
    /// The Hub's default branch, which programs use without an explicit revision.
    pub const DEFAULT: &str = "main";

    /// The revision as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The commit, if the revision is one.
    #[must_use]
    pub fn as_commit(&self) -> Option<Commit> {
        self.0.parse().ok()
    }
}

impl Default for Revision {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl From<Commit> for Revision {
    fn from(commit: Commit) -> Self {
        Self(commit.0)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Revision {
    type Err = NameError;

    /// The rules of `git check-ref-format --allow-onelevel`, and a length that every file system supports.
    fn from_str(name: &str) -> Result<Self, NameError> {
        let refuse = |why| Err(NameError::Revision { why });
        if name.is_empty() || name.len() > 200 {
            return refuse("it must have 1 to 200 characters");
        }
        if name
            .bytes()
            .any(|b| b <= b' ' || b == 0x7f || matches!(b, b'~' | b'^' | b':' | b'?' | b'*' | b'[' | b'\\'))
        {
            return refuse("white space, control characters and any of ~^:?*[\\ are not allowed");
        }
        if name.contains("..") || name.contains("@{") || name == "@" || name.starts_with('-') {
            return refuse("`..`, `@{`, a lone `@` and a leading `-` are not allowed");
        }
        for part in name.split('/') {
            if part.is_empty() || part.starts_with('.') || part.ends_with('.') || part.ends_with(".lock") {
                return refuse("no part may be empty, begin or end with `.`, or end with `.lock`");
            }
        }
        Ok(Self(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repo_ids_follow_the_hubs_rules() {
        for good in ["gpt2", "meta-llama/Llama-3.1-8B", "a/b_c.d", "0/1"] {
            assert_eq!(good.parse::<RepoId>().unwrap().as_str(), good);
        }
        for bad in [
            "", "a/b/c", "../etc", "a/..", "a--b/c", "a/b.git", "/a", "a/", "-a/b", "a/b.", "a b/c", "ä/b",
            "a/b\n",
        ] {
            assert!(bad.parse::<RepoId>().is_err(), "{bad:?} was taken");
        }
        for (bad, why) in [
            ("https://huggingface.co/a/b", "an address"),
            ("datasets/a/b", "begins with its type"),
            ("a/b/c", "more than one `/`"),
        ] {
            let error = bad.parse::<RepoId>().unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!("x".repeat(97).parse::<RepoId>().is_err());
    }

    #[test]
    fn revisions_are_safe_below_refs() {
        for good in ["main", "v1.0", "refs/pr/1", "feature/x", "2024-01-01"] {
            assert_eq!(good.parse::<Revision>().unwrap().as_str(), good);
        }
        for bad in
            ["", "a..b", "../x", "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a b", "a\n", "a~1", "@", "-x"]
        {
            assert!(bad.parse::<Revision>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn only_full_hashes_are_commits() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(hash.parse::<Revision>().unwrap().as_commit().unwrap().short(), "0123456");
        assert!("main".parse::<Revision>().unwrap().as_commit().is_none());
        assert!(hash.to_uppercase().parse::<Commit>().is_err());
    }
}
