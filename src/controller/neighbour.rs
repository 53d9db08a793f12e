//! Other ModelCaches on the same claim, and whether two of them want one ref at two commits. Pure.

use std::{cmp::Ordering, collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    api::{ModelCache, SourceType, condition},
    hub::{Commit, Revision},
    reason::ConditionType,
};

/// Another resource that fills the same folder of the same claim from the same repo.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The refs that it writes.
    pub refs: BTreeSet<String>,
    /// The commit that it wants, once it is known.
    pub commit: Option<String>,
    /// Its data are on the volume, and its refs point to them.
    pub holds: bool,
    /// It is on its way there, without anybody's help.
    pub is_coming: bool,
}

impl Neighbour {
    /// The neighbours of `cache` among all that are known. One that is being deleted has no say any more, however long that takes.
    #[must_use]
    pub fn all(known: &[Arc<ModelCache>], cache: &ModelCache) -> Vec<Self> {
        known
            .iter()
            .filter(|other| {
                other.metadata.uid != cache.metadata.uid && other.metadata.deletion_timestamp.is_none()
            })
            .filter(|other| place(other) == place(cache))
            .filter(|other| !names(other).is_disjoint(&names(cache)))
            .map(|other| Self::of(other))
            .collect()
    }

    /// What a ModelCache is for its neighbours.
    #[must_use]
    pub fn of(other: &ModelCache) -> Self {
        let status = other.status.as_ref();
        let commit = status
            .and_then(|status| Some(status.resolved.as_ref()?.commit.clone()))
            .filter(|commit| !commit.is_empty());
        let current = status.and_then(|status| Some(&status.current()?.commit));
        let needs_help = condition::find(other.conditions(), ConditionType::Stalled).is_some();
        Self {
            name: other.name_any(),
            created: other.creation_timestamp().map(|time| time.0),
            refs: refs(other),
            holds: current.is_some() && current == commit.as_ref(),
            is_coming: !needs_help && !other.spec.suspend,
            commit,
        }
    }

    /// Whether it has a better right to a ref than `cache`: its data are there already, and would be Ready without being found;
    /// or neither's are, it is older, and only time holds it up.
    fn goes_first(&self, cache: &ModelCache) -> bool {
        let age = (cache.creation_timestamp().map(|time| time.0), cache.name_any());
        self.holds || (self.is_coming && (self.created, self.name.clone()).cmp(&age) == Ordering::Less)
    }
}

/// Whether a commit that has no name on the volume is to be found as `main`: programs that name no revision find it then. A
/// neighbour that says `main` has it, and among several commits without a name the one that goes first.
#[must_use]
pub fn takes_main(cache: &ModelCache, neighbours: &[Neighbour]) -> bool {
    is_nameless(&refs(cache))
        && !neighbours.iter().any(|other| {
            other.refs.contains(Revision::DEFAULT) || (is_nameless(&other.refs) && other.goes_first(cache))
        })
}

fn is_nameless(refs: &BTreeSet<String>) -> bool {
    refs.iter().all(|name| name.parse::<Commit>().is_ok())
}

fn place(cache: &ModelCache) -> (Option<String>, String, Option<&str>, SourceType) {
    (cache.namespace(), cache.claim_name(), cache.folder(), cache.spec.source.kind)
}

/// The names of its repo: the spec's, and the Hub's own once it is known. Letter case is none: the Hub has no two repos that
/// differ in it alone, and they are one folder on the volume.
#[must_use]
pub fn names(cache: &ModelCache) -> BTreeSet<String> {
    let resolved = cache.status.as_ref().and_then(|status| status.resolved.as_ref());
    let own = resolved.map(|resolved| resolved.repo.as_str()).filter(|name| !name.is_empty());
    own.into_iter().chain([cache.spec.source.repo.as_str()]).map(str::to_ascii_lowercase).collect()
}

fn refs(cache: &ModelCache) -> BTreeSet<String> {
    let source = &cache.spec.source;
    source.aliases.iter().chain([&source.revision]).cloned().collect()
}

/// The first ref that a neighbour wants at another commit and has a better right to.
#[must_use]
pub fn conflict<'a>(
    cache: &ModelCache,
    commit: &str,
    neighbours: &'a [Neighbour],
) -> Option<(&'a Neighbour, String)> {
    let ours = refs(cache);
    neighbours
        .iter()
        .filter(|other| other.commit.as_deref().is_some_and(|theirs| theirs != commit))
        .filter(|other| other.goes_first(cache))
        .find_map(|other| Some((other, other.refs.intersection(&ours).next()?.clone())))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{
        api::{ModelCacheStatus, Resolved},
        controller::fixtures,
    };

    /// Another ModelCache on the claim, of which the status says this much of its repo.
    fn other(repo: &str, resolved: Option<(&str, &str)>) -> ModelCache {
        let mut cache = fixtures::cache();
        cache.metadata.uid = Some("other".to_owned());
        cache.metadata.name = Some("other".to_owned());
        cache.spec.source.repo = repo.to_owned();
        cache.status = resolved.map(|(repo, commit)| ModelCacheStatus {
            resolved: Some(Resolved {
                repo: repo.to_owned(),
                commit: commit.to_owned(),
                ..Resolved::default()
            }),
            ..ModelCacheStatus::default()
        });
        cache
    }

    #[test]
    fn a_repo_is_one_whatever_it_is_called() {
        let mut cache = fixtures::cache();
        cache.spec.storage.existing_claim = Some("models".to_owned());
        for (repo, resolved, expected) in [
            ("acme/tiny", None, Some(None)),
            ("ACME/Tiny", Some(("acme/tiny", "")), Some(None)),
            ("acme/former-name", Some(("Acme/Tiny", "f")), Some(Some("f"))),
            ("acme/former-name", None, None),
            ("acme/another", Some(("acme/another", "f")), None),
        ] {
            let mut other = other(repo, resolved);
            other.spec.storage.existing_claim = Some("models".to_owned());
            let found = Neighbour::all(&[Arc::new(other.clone())], &cache);
            other.metadata.deletion_timestamp = Some(Time(fixtures::at(5)));
            assert_eq!(Neighbour::all(&[Arc::new(other)], &cache), [], "{repo} is being deleted");
            let found = found.first().map(|it| it.commit.as_deref());
            assert_eq!(found, expected, "{repo} {resolved:?}");
        }
    }
}
