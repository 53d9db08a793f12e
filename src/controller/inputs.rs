//! What decides which bytes lie on a volume, and the hash that stands for it in names and in the status.
//!
//! Never the image, the resources or the Secret: an operator upgrade or a rotated token downloads nothing again.

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

/// All that decides what a complete download is. Equal inputs, equal volume.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inputs {
    /// The repo.
    pub repo: Repo,
    /// The commit of which the files are taken; none where only the volume can tell it.
    pub commit: Option<Commit>,
    /// The refs to point to the commit, sorted.
    pub refs: Vec<Revision>,
    /// Which files are taken.
    pub patterns: Patterns,
    /// The claim that holds them; a claim made again is another one.
    pub claim_uid: String,
    /// Where in the volume the cache lies, if not at its root.
    pub sub_path: Option<String>,
    #[serde(skip)]
    hash: String,
}

impl Inputs {
    /// Settles the inputs: sorts what has no order and takes the hash.
    #[must_use]
    pub fn new(
        repo: Repo,
        commit: Option<Commit>,
        mut refs: Vec<Revision>,
        patterns: Patterns,
        claim_uid: String,
        sub_path: Option<String>,
    ) -> Self {
        refs.sort();
        refs.dedup();
        let mut inputs = Self { repo, commit, refs, patterns, claim_uid, sub_path, hash: String::new() };
        // A value of strings and lists always serialises; an empty text would still be a stable one.
        let text = serde_json::to_vec(&inputs).unwrap_or_default();
        inputs.hash = short_hash(&text);
        inputs
    }

    /// Ten hexadecimal digits that stand for the inputs.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The name of the Job of one attempt for a ModelCache: a DNS label, unique within a namespace.
    #[must_use]
    pub fn job_name(&self, cache: &ModelCache, attempt: u32) -> String {
        // Two ModelCaches `a.b` and `a-b` on one claim must not share a Job, nor must one and its predecessor.
        let name = cache.name_any();
        let uid = cache.uid().unwrap_or_default();
        let hash = short_hash(format!("{name}/{uid}/{}", self.hash).as_bytes());
        let tail = format!("-{hash}-{attempt}");
        let stem: String = name.replace('.', "-").chars().take(NAME_LIMIT - tail.len()).collect();
        format!("{}{tail}", stem.trim_end_matches('-'))
    }
}

/// Ten hexadecimal digits of the SHA-256.
#[must_use]
pub fn short_hash(bytes: &[u8]) -> String {
    let mut hex = Digest::Sha256(Sha256::digest(bytes).into()).to_string();
    hex.truncate(HASH_DIGITS);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::RepoType;

    /// The hash is in the status of every cache there is: another one for the same inputs makes all of them unready at
    /// the next upgrade. This value must never change.
    #[test]
    fn the_hash_of_the_same_inputs_stays_the_same_for_ever() {
        let inputs = Inputs::new(
            Repo { kind: RepoType::Model, id: "acme/tiny".parse().unwrap() },
            Some("0123456789abcdef0123456789abcdef01234567".parse().unwrap()),
            vec!["v1".parse().unwrap(), "main".parse().unwrap(), "v1".parse().unwrap()],
            Patterns::parse(["*.json"], ["original/*"]).unwrap(),
            "claim-uid".to_owned(),
            Some("hub".to_owned()),
        );
        assert_eq!(inputs.hash(), "97a1ae8607");
    }
}
