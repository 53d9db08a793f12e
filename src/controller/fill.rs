//! A fill: one content on one volume, and the hash that stands for it in names and in the status. Pure.
//!
//! Never the image, the resources or the Secret: an operator upgrade or a rotated token downloads nothing again. Nor the refs: to
//! point them at a snapshot that is there takes no download.

use kube::ResourceExt;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    api::ModelCache,
    hub::{Commit, Digest, Patterns, Repo, Revision},
};

/// Job names are label values too: 63 characters at most.
const NAME_LIMIT: usize = 63;
/// Hexadecimal digits of a hash in a name: 40 bits, among the few Jobs of one namespace.
const HASH_DIGITS: usize = 10;

/// Files of a repo on a volume, at whatever commit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// The repo.
    pub repo: Repo,
    /// Which files are taken.
    pub patterns: Patterns,
    /// The claim that holds them; a claim made again is another one.
    pub claim_uid: String,
    /// Where in the volume the cache lies, if not at its root.
    pub sub_path: Option<String>,
}

impl Target {
    /// Stands for an inspection of the volume: it finds the commit that a revision stands for there.
    #[must_use]
    pub fn inspection_hash(&self, revision: &Revision) -> String {
        hash(&("inspect", self, revision))
    }
}

/// All that decides what a complete download is. Equal fills, equal bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    /// What is filled.
    pub target: Target,
    /// The commit of which the files are taken.
    pub commit: Commit,
    hash: String,
}

impl Fill {
    /// A fill with this commit.
    #[must_use]
    pub fn new(target: Target, commit: Commit) -> Self {
        let hash = hash(&(&target, &commit));
        Self { target, commit, hash }
    }

    /// Ten hexadecimal digits that stand for the fill.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Stands for the update of refs to the snapshot that the fill has made.
    #[must_use]
    pub fn refs_hash(&self, refs: &[Revision]) -> String {
        hash(&("refs", &self.hash, refs))
    }
}

/// The name of the Job of one attempt for a ModelCache, at what the hash stands for: a DNS label, unique within a namespace.
#[must_use]
pub fn job_name(cache: &ModelCache, hash: &str, attempt: u32) -> String {
    // Two ModelCaches `a.b` and `a-b` on one claim must not share a Job, nor must one and its predecessor.
    let name = cache.name_any();
    let uid = cache.uid().unwrap_or_default();
    let hash = short_hash(format!("{name}/{uid}/{hash}").as_bytes());
    let tail = format!("-{hash}-{attempt}");
    let stem: String = name.replace('.', "-").chars().take(NAME_LIMIT - tail.len()).collect();
    format!("{}{tail}", stem.trim_end_matches('-'))
}

/// Ten hexadecimal digits of the SHA-256.
#[must_use]
pub fn short_hash(bytes: &[u8]) -> String {
    let mut hex = Digest::Sha256(Sha256::digest(bytes).into()).to_string();
    hex.truncate(HASH_DIGITS);
    hex
}

fn hash(value: &impl Serialize) -> String {
    // A value of strings and lists always serialises; an empty text would still be a stable one.
    short_hash(&serde_json::to_vec(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::RepoType;

    fn fill() -> Fill {
        let target = Target {
            repo: Repo { kind: RepoType::Model, id: "acme/tiny".parse().unwrap() },
            patterns: Patterns::parse(["*.json"], ["original/*"]).unwrap(),
            claim_uid: "claim-uid".to_owned(),
            sub_path: Some("hub".to_owned()),
        };
        Fill::new(target, "0123456789abcdef0123456789abcdef01234567".parse().unwrap())
    }

    /// The hash is in the status of every cache there is: another one for the same fill makes all of them unready at the next
    /// upgrade. This value must never change.
    #[test]
    fn the_hash_of_the_same_fill_stays_the_same_forever() {
        assert_eq!(fill().hash(), "2507cabc15");
    }

    #[test]
    fn a_download_an_update_of_refs_and_an_inspection_have_hashes_of_their_own() {
        let fill = fill();
        let refs: [Revision; 2] = ["main".parse().unwrap(), "v1".parse().unwrap()];
        let all = [
            fill.hash().to_owned(),
            fill.refs_hash(&refs),
            fill.refs_hash(&refs[..1]),
            fill.target.inspection_hash(&refs[0]),
            fill.target.inspection_hash(&refs[1]),
            Target { sub_path: None, ..fill.target.clone() }.inspection_hash(&refs[0]),
        ];
        assert_eq!(std::collections::BTreeSet::from(all.clone()).len(), all.len(), "{all:?}");
    }
}
