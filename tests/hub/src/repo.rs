//! A repo with its history and its gate, built step by step.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::{
    content::{Content, hex},
    file::{File, Tree, ends_as_lfs, files_below},
    name::{Kind, RepoName},
};

/// How access is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// Automatically on request.
    Auto,
    /// By the owner, for each request.
    Manual,
}

/// The state of a user's access to a gated repo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Never requested.
    #[default]
    NotRequested,
    /// Requested; the owner has not decided yet.
    Pending,
    /// Granted.
    Accepted,
    /// Rejected permanently.
    Rejected,
    /// Reset by the owner; may be requested again.
    Reset,
}

/// A repo builder. Files are collected until [`Repo::branch`], [`Repo::tag`] or [`Repo::pull_request`] commits them; the next files
/// build on that commit.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent facts, not states")]
pub struct Repo {
    pub(crate) name: RepoName,
    pub(crate) gate: Option<Gate>,
    pub(crate) private: bool,
    pub(crate) disabled: bool,
    pub(crate) refused: Option<String>,
    pub(crate) region_blocked: bool,
    pub(crate) shows_xet: bool,
    pub(crate) members: BTreeSet<String>,
    pub(crate) access: BTreeMap<String, Access>,
    pub(crate) former_names: BTreeSet<RepoName>,
    pub(crate) refs: BTreeMap<String, String>,
    commits: BTreeMap<String, Tree>,
    tree: Tree,
    head: Option<String>,
    changed: bool,
    lfs_above: u64,
    error: Option<String>,
}

impl Repo {
    /// A repo by its name as in an address; see [`RepoName`].
    #[must_use]
    pub fn named(name: impl Into<RepoName>) -> Self {
        Self {
            name: name.into(),
            gate: None,
            private: false,
            disabled: false,
            refused: None,
            region_blocked: false,
            shows_xet: false,
            members: BTreeSet::new(),
            access: BTreeMap::new(),
            former_names: BTreeSet::new(),
            refs: BTreeMap::new(),
            commits: BTreeMap::new(),
            tree: Tree::new(),
            head: None,
            changed: true,
            lfs_above: 10 << 20,
            error: None,
        }
    }

    /// A model.
    #[must_use]
    pub fn model(id: &str) -> Self {
        Self::named(RepoName::new(Kind::Model, id))
    }

    /// A dataset.
    #[must_use]
    pub fn dataset(id: &str) -> Self {
        Self::named(RepoName::new(Kind::Dataset, id))
    }

    /// A space.
    #[must_use]
    pub fn space(id: &str) -> Self {
        Self::named(RepoName::new(Kind::Space, id))
    }

    /// Its content can be read only with granted access.
    #[must_use]
    pub fn gated(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Its content can be read by everyone who can see it.
    #[must_use]
    pub fn ungated(mut self) -> Self {
        self.gate = None;
        self
    }

    /// Only its owner and members can see it.
    #[must_use]
    pub fn private(mut self, private: bool) -> Self {
        self.private = private;
        self
    }

    /// A user who can see it when private, and read it when gated.
    #[must_use]
    pub fn member(mut self, user: &str) -> Self {
        self.members.insert(user.to_owned());
        self
    }

    /// Disabled by the Hub: its metadata can be read, but not its content.
    #[must_use]
    pub fn disabled(mut self, disabled: bool) -> Self {
        self.disabled = disabled;
        self
    }

    /// Its files are blocked in our region for everyone; its metadata can be read.
    #[must_use]
    pub fn region_blocked(mut self, blocked: bool) -> Self {
        self.region_blocked = blocked;
        self
    }

    /// All calls are refused with this message, such as for an IP range or a policy.
    #[must_use]
    pub fn refused(mut self, words: &str) -> Self {
        self.refused = Some(words.to_owned());
        self
    }

    /// Reverts [`Repo::refused`].
    #[must_use]
    pub fn allowed(mut self) -> Self {
        self.refused = None;
        self
    }

    /// Sets the access of a user.
    #[must_use]
    pub fn access(mut self, user: &str, access: Access) -> Self {
        self.access.insert(user.to_owned(), access);
        self
    }

    /// A former name, whose requests are redirected.
    #[must_use]
    pub fn formerly(mut self, name: impl Into<RepoName>) -> Self {
        self.former_names.insert(name.into());
        self
    }

    /// Listings contain Xet hashes of all LFS files; those of files not in a store ([`Repo::xet`]) are made up.
    #[must_use]
    pub fn xet_hashes(mut self) -> Self {
        self.shows_xet = true;
        self
    }

    /// A file in git itself.
    #[must_use]
    pub fn file(self, path: &str, content: impl Into<Content>) -> Self {
        self.put(path, content.into(), false)
    }

    /// A file in LFS, served by the CDN.
    #[must_use]
    pub fn lfs(self, path: &str, content: impl Into<Content>) -> Self {
        self.put(path, content.into(), true)
    }

    /// A file in LFS that is also in a Xet store, under this hash.
    #[must_use]
    pub fn xet(mut self, path: &str, content: impl Into<Content>, hash: &str) -> Self {
        self = self.put(path, content.into(), true);
        if let Some(file) = self.tree.get_mut(path) {
            file.xet_hash = Some(hash.to_owned());
        }
        self
    }

    /// Removes a file.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        self.changed |= self.tree.remove(path).is_some();
        self
    }

    /// The size above which [`Repo::folder`] puts a file into LFS; the usual extensions are in LFS at any size.
    #[must_use]
    pub fn lfs_above(mut self, bytes: u64) -> Self {
        self.lfs_above = bytes;
        self
    }

    /// Adds all files of a folder on disk, including hidden ones.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref();
        match files_below(folder) {
            Ok(files) => {
                for (path, content) in files {
                    let lfs = content.size() > self.lfs_above || ends_as_lfs(&path);
                    self = self.put(&path, content, lfs);
                }
            }
            Err(error) => self.fail(&format!("read {}", folder.display()), &error),
        }
        self
    }

    /// Commits the files so far to this branch.
    #[must_use]
    pub fn branch(self, name: &str) -> Self {
        self.commit_to(format!("refs/heads/{name}"))
    }

    /// Commits the files so far, if they are new, and tags the commit.
    #[must_use]
    pub fn tag(self, name: &str) -> Self {
        self.commit_to(format!("refs/tags/{name}"))
    }

    /// Commits the files so far to the ref of a pull request: `refs/pr/N`.
    #[must_use]
    pub fn pull_request(self, number: u32) -> Self {
        self.commit_to(format!("refs/pr/{number}"))
    }

    /// Continues from another revision: the next files build on its commit.
    #[must_use]
    pub fn checkout(mut self, revision: &str) -> Self {
        match self.resolve(revision).map(str::to_owned) {
            Some(commit) => {
                self.tree = self.commits.get(&commit).cloned().unwrap_or_default();
                self.head = Some(commit);
                self.changed = false;
            }
            None => self.fail(&format!("check out {revision}"), &io::ErrorKind::NotFound.into()),
        }
        self
    }

    fn put(mut self, path: &str, content: Content, lfs: bool) -> Self {
        match File::new(content, lfs) {
            Ok(file) => {
                self.tree.insert(path.to_owned(), file);
                self.changed = true;
            }
            Err(error) => self.fail(&format!("hash {path}"), &error),
        }
        self
    }

    /// Records an error, which is reported when the repo is added, so that builders can be chained.
    fn fail(&mut self, action: &str, error: &io::Error) {
        self.error.get_or_insert_with(|| format!("{action} for {}: {error}", self.name));
    }

    fn commit_to(mut self, reference: String) -> Self {
        let commit = match self.head.clone() {
            Some(head) if !self.changed => head,
            parent => self.commit(parent.as_deref()),
        };
        self.refs.insert(reference, commit);
        self
    }

    fn commit(&mut self, parent: Option<&str>) -> String {
        let mut hash = Sha1::new();
        hash.update(format!("{} after {}\n", self.name, parent.unwrap_or("nothing")));
        for (path, file) in &self.tree {
            hash.update(format!("{} {path}\n", file.git_oid));
        }
        let commit = hex(&hash.finalize());
        self.commits.insert(commit.clone(), self.tree.clone());
        self.head = Some(commit.clone());
        self.changed = false;
        commit
    }

    /// The finished repo: with everything committed, and a `main`.
    pub(crate) fn finished(mut self) -> Result<Self, String> {
        if self.changed || !self.refs.contains_key("refs/heads/main") {
            self = self.branch("main");
        }
        match self.error {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    /// Resolves a branch, tag, full ref or commit hash.
    #[must_use]
    pub fn resolve(&self, revision: &str) -> Option<&str> {
        if let Some((commit, _)) = self.commits.get_key_value(revision) {
            return Some(commit);
        }
        [format!("refs/heads/{revision}"), format!("refs/tags/{revision}"), revision.to_owned()]
            .iter()
            .find_map(|name| self.refs.get(name))
            .map(String::as_str)
            .or_else(|| self.shortened(revision))
    }

    /// The only commit with this prefix.
    fn shortened(&self, digits: &str) -> Option<&str> {
        let short = (7..40).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let mut all = self.commits.keys().filter(|commit| short && commit.starts_with(digits));
        let first = all.next()?;
        all.next().is_none().then_some(first)
    }

    /// The files of a commit.
    #[must_use]
    pub fn tree(&self, commit: &str) -> Option<&Tree> {
        self.commits.get(commit)
    }

    /// The LFS object with this hash, in any commit.
    pub(crate) fn object(&self, sha256: &str) -> Option<&Content> {
        self.commits
            .values()
            .flat_map(Tree::values)
            .find(|file| file.lfs.as_ref().is_some_and(|lfs| lfs.sha256 == sha256))
            .map(|file| &file.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_depends_only_on_content_and_history() {
        let story =
            || Repo::model("a/b").file("x", "1").branch("main").file("x", "2").branch("main").tag("v2");
        let repo = story().finished().unwrap();
        let main = repo.resolve("main").unwrap();
        assert_eq!(story().finished().unwrap().resolve("v2"), Some(main));
        assert_eq!(repo.resolve(main), Some(main));
        assert_eq!(repo.commits.len(), 2);
        assert_ne!(Repo::model("a/b").file("x", "2").finished().unwrap().resolve("main"), Some(main));
    }

    #[test]
    fn a_missing_folder_is_reported_when_the_repo_is_added() {
        let error = Repo::model("a/b").folder("/does/not/exist").finished().unwrap_err();
        assert!(error.starts_with("read /does/not/exist for a/b: "), "{error}");
    }
}
