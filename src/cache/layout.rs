//! The paths of a Hub cache. Pure: nothing here touches the disk; only `Root` accesses what the paths name.

use std::{
    iter,
    path::{Path, PathBuf},
};

use super::root::Root;
use crate::hub::{Commit, Digest, Repo, RepoPath, RepoType, Revision};

/// The extension of a marker file that confirms a further name of a repo.
pub(super) const FURTHER_NAME: &str = "name";

/// A whole cache: what `HF_HUB_CACHE` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheDir(Root);

impl CacheDir {
    /// The cache below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(Root::new(root))
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// Access to the folder and everything below it.
    pub(super) fn reach(&self) -> &Root {
        &self.0
    }

    /// The folder of one repo.
    #[must_use]
    pub fn repo(&self, repo: &Repo) -> RepoDir {
        let name = format!("{}s--{}", repo.kind, repo.id.as_str().replace('/', "--"));
        RepoDir { cache: self.clone(), repo: repo.clone(), name }
    }

    /// The repo whose folder has this name, if it is a valid one.
    #[must_use]
    pub fn parse(&self, folder: &str) -> Option<RepoDir> {
        let (kind, id) = folder.split_once("s--")?;
        let kind = [RepoType::Model, RepoType::Dataset, RepoType::Space]
            .into_iter()
            .find(|candidate| candidate.as_str() == kind)?;
        // Names cannot contain `--`, so there is at most one.
        let id = id.replacen("--", "/", 1).parse().ok()?;
        Some(self.repo(&Repo { kind, id }))
    }
}

/// The folder of one repo in a cache, and the paths inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoDir {
    cache: CacheDir,
    repo: Repo,
    name: String,
}

impl RepoDir {
    /// The cache it belongs to.
    #[must_use]
    pub fn cache(&self) -> &CacheDir {
        &self.cache
    }

    /// Access to everything in it.
    pub(super) fn root(&self) -> &Root {
        &self.cache.0
    }

    /// The repo it is for.
    #[must_use]
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// The folder's name: `models--namespace--name`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.cache.root().join(&self.name)
    }

    /// The folder of the blobs, each named by its hash.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.path().join("blobs")
    }

    /// One blob.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.to_string())
    }

    /// A blob being downloaded. `huggingface_hub` recognizes the name as a stale download if it is left behind.
    #[must_use]
    pub fn incomplete(&self, digest: &Digest, unique: u32) -> PathBuf {
        self.blobs().join(format!("{digest}.{unique:08x}.incomplete"))
    }

    /// The snapshots: one folder per commit and nothing else, since readers treat any other entry as corruption.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.path().join("snapshots")
    }

    /// The files of one commit.
    #[must_use]
    pub fn snapshot(&self, commit: &Commit) -> PathBuf {
        self.snapshots().join(commit.as_str())
    }

    /// One file of one commit.
    #[must_use]
    pub fn entry(&self, commit: &Commit, path: &RepoPath) -> PathBuf {
        self.snapshot(commit).join(path.as_str())
    }

    /// A snapshot's path relative to the cache, with `/` as separator.
    #[must_use]
    pub fn snapshot_from_root(&self, commit: &Commit) -> String {
        format!("{}/snapshots/{commit}", self.name)
    }

    /// The refs. Every file in here counts as a ref, so nothing temporary may be created here.
    #[must_use]
    pub fn refs(&self) -> PathBuf {
        self.path().join("refs")
    }

    /// The file that holds the commit of a branch or tag.
    #[must_use]
    pub fn reference(&self, revision: &Revision) -> PathBuf {
        self.refs().join(revision.as_str())
    }

    /// The folder of the listings.
    #[must_use]
    pub fn trees(&self) -> PathBuf {
        self.path().join("trees")
    }

    /// The listing of a commit, from which `huggingface_hub` decides whether a snapshot is complete.
    #[must_use]
    pub fn tree(&self, commit: &Commit) -> PathBuf {
        self.trees().join(format!("{commit}.json"))
    }

    /// Where `huggingface_hub` caches which files a commit lacks: an empty marker file for each.
    #[must_use]
    pub fn absences(&self) -> PathBuf {
        self.path().join(".no_exist")
    }

    /// modelcache's own folder: records, and everything that must not be visible before it is complete.
    #[must_use]
    pub fn private_dir(&self) -> PathBuf {
        self.path().join(".modelcache")
    }

    /// The marker file that confirms that another name redirects to this folder.
    pub(super) fn name_of(&self, other: &Self) -> PathBuf {
        self.private_dir().join(format!("{}.{FURTHER_NAME}", other.name))
    }

    /// The record of one selection of one commit.
    #[must_use]
    pub fn record(&self, commit: &Commit, selection: &str) -> PathBuf {
        self.private_dir().join(format!("{commit}-{selection}.json"))
    }

    /// The sidecar with the progress of an incomplete blob; `unique` is that of the blob's name.
    #[must_use]
    pub fn parts(&self, digest: &Digest, unique: u32) -> PathBuf {
        self.private_dir().join(format!("{digest}.{unique:08x}.parts"))
    }

    /// Our own lock, held by writers that move blobs of the repo.
    #[must_use]
    pub fn repo_lock(&self) -> PathBuf {
        self.private_dir().join("moving.lock")
    }

    /// The lock that `huggingface_hub` takes while it downloads a blob.
    #[must_use]
    pub fn lock(&self, digest: &Digest) -> PathBuf {
        self.locks().join(format!("{digest}.lock"))
    }

    /// The lock that `hf-hub` before version 1 takes instead.
    #[must_use]
    pub fn old_lock(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(format!("{digest}.lock"))
    }

    /// The lock of one selection of a commit, between modelcache runs.
    #[must_use]
    pub fn selection_lock(&self, commit: &Commit, selection: &str) -> PathBuf {
        self.locks().join(format!("{commit}-{selection}.lock"))
    }

    fn locks(&self) -> PathBuf {
        self.cache.root().join(".locks").join(&self.name)
    }
}

/// The target of the link at `path` of a snapshot: the blob, relative to the link.
#[must_use]
pub fn link_target(path: &RepoPath, digest: &Digest) -> PathBuf {
    let up = iter::repeat_n("..", path.depth() + 2);
    up.chain(["blobs", &digest.to_string()]).collect()
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn paths_match_those_of_the_hub_libraries() {
        let commit: Commit = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
        let digest: Digest = "ab".repeat(20).parse().unwrap();
        let repo = Repo { kind: RepoType::Dataset, id: "org/name.v1".parse().unwrap() };
        let dir = CacheDir::new("/c").repo(&repo);
        let at = "/c/datasets--org--name.v1";
        for (path, expected) in [
            (dir.path(), String::new()),
            (dir.blob(&digest), format!("/blobs/{digest}")),
            (dir.incomplete(&digest, 0xbeef), format!("/blobs/{digest}.0000beef.incomplete")),
            (dir.entry(&commit, &"a/b.txt".parse().unwrap()), format!("/snapshots/{commit}/a/b.txt")),
            (dir.reference(&"refs/pr/1".parse().unwrap()), "/refs/refs/pr/1".to_owned()),
            (dir.tree(&commit), format!("/trees/{commit}.json")),
            (dir.record(&commit, "00ff"), format!("/.modelcache/{commit}-00ff.json")),
        ] {
            assert_eq!(path.to_str().unwrap(), format!("{at}{expected}"));
        }
        assert_eq!(
            dir.lock(&digest).to_str().unwrap(),
            format!("/c/.locks/datasets--org--name.v1/{digest}.lock")
        );
        assert_eq!(
            dir.selection_lock(&commit, "00ff").to_str().unwrap(),
            format!("/c/.locks/datasets--org--name.v1/{commit}-00ff.lock")
        );
        assert_eq!(dir.snapshot_from_root(&commit), format!("datasets--org--name.v1/snapshots/{commit}"));
    }

    #[test]
    fn a_repo_without_namespace_has_one_part() {
        let repo = Repo { kind: RepoType::Model, id: "gpt2".parse().unwrap() };
        assert_eq!(CacheDir::new("/c").repo(&repo).path(), Path::new("/c/models--gpt2"));
    }

    #[test]
    fn folder_names_round_trip() {
        let cache = CacheDir::new("/c");
        for (kind, id) in
            [(RepoType::Model, "gpt2"), (RepoType::Dataset, "a-b/c_d"), (RepoType::Space, "s/s")]
        {
            let dir = cache.repo(&Repo { kind, id: id.parse().unwrap() });
            assert_eq!(cache.parse(&dir.name), Some(dir));
        }
        for other in ["blobs", ".locks", "models--", "models--a--b--c", "kernels--a--b", "lost+found"] {
            assert_eq!(cache.parse(other), None, "{other}");
        }
    }

    #[test]
    fn links_climb_out_of_every_folder() {
        let digest: Digest = "ab".repeat(32).parse().unwrap();
        let target = |path: &str| link_target(&path.parse().unwrap(), &digest).display().to_string();
        assert_eq!(target("config.json"), format!("../../blobs/{digest}"));
        assert_eq!(target("a/b/c"), format!("../../../../blobs/{digest}"));
    }
}
