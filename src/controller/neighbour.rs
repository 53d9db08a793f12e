//! Other ModelCaches on the same claim, and whether two of them want one ref at two commits. Pure.

use std::{cmp::Ordering, collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::{ModelCache, SourceType};

/// Another resource that fills the same folder of the same claim from the same repo.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The refs that it writes.
    pub refs: BTreeSet<String>,
    /// The commit that it wants.
    pub commit: String,
    /// Its data are on the volume, and its refs point to them.
    pub holds: bool,
}

impl Neighbour {
    /// The neighbours of `cache` among all that are known.
    #[must_use]
    pub fn all(known: &[Arc<ModelCache>], cache: &ModelCache) -> Vec<Self> {
        known
            .iter()
            .filter(|other| other.metadata.uid != cache.metadata.uid && place(other) == place(cache))
            .filter_map(|other| {
                let status = other.status.as_ref()?;
                let commit = status.resolved.as_ref()?.commit.clone();
                Some(Self {
                    name: other.name_any(),
                    created: other.creation_timestamp().map(|time| time.0),
                    refs: refs(other),
                    holds: status.cached.as_ref().is_some_and(|cached| cached.commit == commit),
                    commit,
                })
            })
            .collect()
    }
}

fn place(cache: &ModelCache) -> (Option<String>, String, Option<&str>, &str, SourceType) {
    let spec = &cache.spec;
    (cache.namespace(), cache.claim_name(), cache.folder(), &spec.source.repo, spec.source.kind)
}

fn refs(cache: &ModelCache) -> BTreeSet<String> {
    let source = &cache.spec.source;
    source.aliases.iter().chain([&source.revision]).cloned().collect()
}

/// The first ref that a neighbour wants at another commit and has a better right to: its data are there already, and would
/// be Ready without being found; or nobody's are, and it is older.
#[must_use]
pub fn conflict<'a>(
    cache: &ModelCache,
    commit: &str,
    neighbours: &'a [Neighbour],
) -> Option<(&'a Neighbour, String)> {
    let ours = refs(cache);
    let age = (cache.creation_timestamp().map(|time| time.0), cache.name_any());
    neighbours
        .iter()
        .filter(|other| other.commit != commit)
        .filter(|other| other.holds || (other.created, other.name.clone()).cmp(&age) == Ordering::Less)
        .find_map(|other| Some((other, other.refs.intersection(&ours).next()?.clone())))
}
