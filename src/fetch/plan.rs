//! Determines which files are missing on the volume. Files without a record are verified first: a name proves nothing.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::task::spawn_blocking;

use super::FetchError;
use crate::{
    cache::{Inventory, Links, RepoDir, State, verify_blob},
    hub::{Commit, Digest, RepoFile},
    units::size,
};

/// What a fetch has to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    /// One file per missing blob, the largest first, so that the last ones to finish are short.
    pub(super) missing: Vec<Missing<'a>>,
    /// The number of files that are present and verified.
    pub(super) present_files: u64,
    /// Their bytes.
    pub(super) present_bytes: u64,
    /// The additional bytes that files sharing a blob take without links: one of them gets the blob itself, the others
    /// copies.
    copied_bytes: u64,
}

/// A blob that must be downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing<'a> {
    /// One of its files.
    pub(super) file: &'a RepoFile,
    /// The number of files that share it.
    pub(super) copies: u64,
    /// Whether a file of this size but another hash is in its place.
    pub(super) corrupt: bool,
}

impl Plan<'_> {
    /// The bytes to download.
    pub(super) fn bytes(&self) -> u64 {
        self.missing.iter().fold(0, |sum, missing| sum.saturating_add(missing.file.size))
    }

    /// The free bytes that the volume must have, given the resumable bytes of each blob.
    pub(super) fn needed(&self, links: Links, resumable: &HashMap<Digest, u64>) -> u64 {
        let left = self.missing.iter().fold(0u64, |sum, Missing { file, .. }| {
            let there = resumable.get(&file.digest).copied().unwrap_or_default();
            sum.saturating_add(file.size.saturating_sub(there))
        });
        match links {
            Links::Symlinks => left,
            Links::Files => left.saturating_add(self.copied_bytes),
        }
    }

    /// The blobs to download.
    pub(super) fn digests(&self) -> HashSet<Digest> {
        self.missing.iter().map(|missing| missing.file.digest.clone()).collect()
    }
}

/// Checks every file of a selection, `at_once` at a time.
pub(super) async fn plan<'a>(
    dir: &RepoDir,
    commit: &Commit,
    files: &'a Arc<[RepoFile]>,
    at_once: usize,
) -> Result<Plan<'a>, FetchError> {
    let (states, unproven) = {
        let (dir, commit, files) = (dir.clone(), commit.clone(), Arc::clone(files));
        spawn_blocking(move || take_stock(&dir, &commit, &files)).await?
    };
    if !unproven.is_empty() {
        let bytes = unproven.values().fold(0u64, |sum, file| sum.saturating_add(file.size));
        tracing::info!(files = unproven.len(), size = size(bytes), "verifying files without a record");
    }
    let proofs = unproven.into_iter().map(|(place, file)| async move {
        let right = spawn_blocking({
            let (dir, place, file) = (dir.clone(), place.clone(), file.clone());
            move || verify_blob(&dir, &place, &file)
        });
        let right = right.await??;
        if !right {
            tracing::warn!(path = %place.display(), "the file is corrupt: fetching it again");
        }
        Ok::<_, FetchError>(right.then_some((place, file.digest)))
    });
    let proven: HashSet<_> = stream::iter(proofs)
        .buffer_unordered(at_once)
        .try_filter_map(|proof| async { Ok(proof) })
        .try_collect()
        .await?;
    Ok(sum(files, states, &dir.blobs(), |place, digest| proven.contains(&(place.clone(), digest.clone()))))
}

type Place = PathBuf;

fn take_stock(dir: &RepoDir, commit: &Commit, files: &[RepoFile]) -> (Vec<State>, HashMap<Place, RepoFile>) {
    let inventory = Inventory::of(dir, files);
    let mut unproven = HashMap::new();
    let states = files.iter().map(|file| {
        let state = inventory.state(dir, commit, file);
        if let State::Unproven(place) = &state {
            unproven.insert(place.clone(), file.clone());
        }
        state
    });
    (states.collect(), unproven)
}

fn sum<'a>(
    files: &'a [RepoFile],
    states: Vec<State>,
    blobs: &Path,
    is_proven: impl Fn(&Place, &Digest) -> bool,
) -> Plan<'a> {
    let mut plan = Plan::default();
    // The index of each missing blob in the plan: there may be very many.
    let mut missing: HashMap<&Digest, usize> = HashMap::new();
    let mut in_blobs = HashSet::new();
    for (file, state) in files.iter().zip(states) {
        let corrupt = matches!(state, State::Unproven(_));
        let place = match state {
            State::Trusted(place) => Some(place),
            State::Unproven(place) => Some(place).filter(|place| is_proven(place, &file.digest)),
            State::Absent => None,
        };
        // A file that is not in the snapshot yet needs a copy, except for the first one of each blob.
        if place.as_ref().is_none_or(|place| place.parent() == Some(blobs)) && !in_blobs.insert(&file.digest)
        {
            plan.copied_bytes = plan.copied_bytes.saturating_add(file.size);
        }
        if place.is_some() {
            plan.present_files += 1;
            plan.present_bytes = plan.present_bytes.saturating_add(file.size);
        } else {
            let at = *missing.entry(&file.digest).or_insert_with(|| {
                plan.missing.push(Missing { file, copies: 0, corrupt });
                plan.missing.len() - 1
            });
            plan.missing[at].copies += 1;
        }
    }
    plan.missing.sort_unstable_by(|a, b| (b.file.size, &a.file.path).cmp(&(a.file.size, &b.file.path)));
    plan
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn file(path: &str, size: u64, digit: &str) -> RepoFile {
        let digest = digit.repeat(40).parse().unwrap();
        RepoFile { path: path.parse().unwrap(), size, digest, pointer: None, xet_hash: None }
    }

    #[test]
    fn each_missing_blob_is_planned_once_and_the_largest_first() {
        let place = |name: &str| State::Unproven(name.into());
        let states = vec![
            (file("a", 1, "a"), State::Absent),
            (file("b", 9, "b"), State::Absent),
            (file("c", 1, "a"), State::Absent),
            (file("d", 5, "d"), State::Trusted("blobs/d".into())),
            (file("d2", 5, "d"), State::Trusted("blobs/d".into())),
            (file("s", 3, "0"), State::Trusted("snapshots/s".into())),
            (file("s2", 3, "0"), State::Trusted("snapshots/s2".into())),
            (file("e", 6, "e"), place("right")),
            (file("f", 7, "f"), place("wrong")),
        ];
        let (files, states): (Vec<RepoFile>, _) = states.into_iter().unzip();
        let plan = sum(&files, states, Path::new("blobs"), |place, _| place.ends_with("right"));
        let missing = |path: &str, copies| Missing {
            file: files.iter().find(|file| file.path.as_str() == path).unwrap(),
            copies,
            corrupt: path == "f",
        };
        assert_eq!(
            plan,
            Plan {
                missing: vec![missing("b", 1), missing("f", 1), missing("a", 2)],
                present_files: 5,
                present_bytes: 22,
                copied_bytes: 6,
            }
        );
        let (none, some) = (HashMap::new(), HashMap::from([("b".repeat(40).parse().unwrap(), 5)]));
        let needed = |links, resumable| plan.needed(links, resumable);
        assert_eq!((needed(Links::Symlinks, &none), needed(Links::Files, &none)), (17, 23));
        assert_eq!(needed(Links::Symlinks, &some), 12);
    }
}
