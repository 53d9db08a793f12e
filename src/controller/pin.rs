//! The commit that a ModelCache stays at. Its status pins it once; before that the volume is asked, where it may hold an earlier
//! one, and then the Hub. Only a change of the spec moves it. Pure.

use super::access::Snapshot;
use crate::{
    api::{ModelCache, ModelCacheStatus, Resolved},
    hub::Commit,
    units,
};

/// Where the commit comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Pin {
    /// From the status, or from the Hub where nothing is pinned yet.
    FromHub,
    /// From nowhere yet: the volume is asked first.
    Undecided,
    /// From the volume.
    FromVolume(Snapshot),
}

impl Pin {
    /// What the revision stands for, given what the Hub says.
    pub fn snapshot<'a>(&'a self, from_hub: Option<&'a Snapshot>) -> Option<&'a Snapshot> {
        match self {
            Self::FromHub => from_hub,
            Self::Undecided => None,
            Self::FromVolume(snapshot) => Some(snapshot),
        }
    }

    /// What the status says of it. While it is undecided, the Hub's numbers are reported and no commit is pinned.
    #[must_use]
    pub fn resolved(
        &self,
        cache: &ModelCache,
        old: &ModelCacheStatus,
        from_hub: Option<&Snapshot>,
    ) -> Option<Resolved> {
        if let (Self::Undecided, Some(reported)) = (self, from_hub) {
            return Some(Resolved { commit: String::new(), ..resolved(cache, old, reported) });
        }
        match self.snapshot(from_hub) {
            Some(snapshot) => Some(resolved(cache, old, snapshot)),
            None => old.resolved.clone().filter(|it| it.revision == cache.spec.source.revision),
        }
    }
}

/// The commit that the status is pinned at, as long as the spec asks for the same revision.
#[must_use]
pub fn pinned(cache: &ModelCache) -> Option<Commit> {
    let resolved = cache.status.as_ref()?.resolved.as_ref()?;
    if resolved.revision != cache.spec.source.revision {
        return None;
    }
    resolved.commit.parse().ok()
}

/// The commit to fill the volume with: the pinned one, or else the Hub's of today.
#[must_use]
pub fn commit(cache: &ModelCache, from_hub: Option<&Snapshot>) -> Option<Commit> {
    pinned(cache).or_else(|| Some(from_hub?.commit.clone()))
}

fn resolved(cache: &ModelCache, old: &ModelCacheStatus, snapshot: &Snapshot) -> Resolved {
    let reported = snapshot.repo.as_ref().map(ToString::to_string);
    let before = || old.resolved.as_ref().map(|it| it.repo.clone()).filter(|repo| !repo.is_empty());
    Resolved {
        repo: reported.or_else(before).unwrap_or_else(|| cache.spec.source.repo.clone()),
        revision: cache.spec.source.revision.clone(),
        commit: snapshot.commit.to_string(),
        short_commit: snapshot.commit.short().to_owned(),
        files: i64::try_from(snapshot.files).unwrap_or(i64::MAX),
        bytes: i64::try_from(snapshot.bytes).unwrap_or(i64::MAX),
        size: units::quantity(snapshot.bytes),
    }
}
