//! The snapshots that a ModelCache has put on its claim, as its status lists them. Pure.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::{
    api::{CachedSnapshot, Kept, ModelCache},
    hub::Commit,
};

/// Snapshots that the status lists. Earlier ones stay on the volume unlisted.
const MOST: usize = 8;

/// Those that are known to be on this claim, the current one first. Another claim of its name holds none.
#[must_use]
pub fn on(claim: &PersistentVolumeClaim, cache: &ModelCache) -> Vec<CachedSnapshot> {
    let uid = claim.metadata.uid.as_deref().unwrap_or_default();
    let all = cache.status.iter().flat_map(|status| &status.snapshots);
    all.filter(|snapshot| snapshot.claim_uid == uid).cloned().collect()
}

/// The list where Jobs have moved refs, or are about to: what they write is not taken for another snapshot's any more, whether they were
/// recorded or not.
pub fn without_moved(known: &mut [CachedSnapshot], jobs: impl Iterator<Item = (Commit, Vec<String>)>) {
    for (commit, moved) in jobs {
        for other in known.iter_mut().filter(|other| other.commit != commit.as_str()) {
            other.refs.retain(|name| !moved.contains(name));
        }
    }
}

/// The list once this one is current: complete, and named by its refs.
#[must_use]
pub fn with_current(mut known: Vec<CachedSnapshot>, current: CachedSnapshot) -> Vec<CachedSnapshot> {
    // A commit has one folder, whichever of its files were asked for.
    known.retain(|other| other.path != current.path);
    for other in &mut known {
        other.kept = Kept::Previous;
        other.refs.retain(|name| !current.refs.contains(name));
    }
    known.insert(0, CachedSnapshot { kept: Kept::Current, ..current });
    known.truncate(MOST);
    known
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn snapshot(commit: &str, refs: &[&str]) -> CachedSnapshot {
        CachedSnapshot {
            commit: commit.to_owned(),
            path: format!("models--acme--tiny/snapshots/{commit}"),
            refs: refs.iter().map(|name| (*name).to_owned()).collect(),
            ..CachedSnapshot::default()
        }
    }

    #[test]
    fn a_new_snapshot_takes_the_refs_and_the_one_before_it_is_listed_after_it() {
        let first = with_current(Vec::new(), snapshot("a", &["main", "v1"]));
        assert_eq!(first, [snapshot("a", &["main", "v1"])]);
        let second = with_current(first, snapshot("b", &["main"]));
        let previous = CachedSnapshot { kept: Kept::Previous, ..snapshot("a", &["v1"]) };
        assert_eq!(second, [snapshot("b", &["main"]), previous]);
        let back = with_current(second, snapshot("a", &["main", "v1"]));
        let previous = CachedSnapshot { kept: Kept::Previous, ..snapshot("b", &[]) };
        assert_eq!(back, [snapshot("a", &["main", "v1"]), previous]);
    }

    #[test]
    fn the_list_has_an_end() {
        let all = (0..20).fold(Vec::new(), |all, n| with_current(all, snapshot(&n.to_string(), &["main"])));
        let commits: Vec<_> = all.iter().map(|it| it.commit.as_str()).collect();
        assert_eq!(commits, ["19", "18", "17", "16", "15", "14", "13", "12"]);
    }
}
