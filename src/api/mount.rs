//! How a pod asks for a model and where it finds it: the words that the admission policies (`deploy/pods.yaml`) and the
//! controller share.

use kube::ResourceExt as _;

use super::{GROUP, ModelCache, condition};
use crate::reason::ConditionType;

/// Label on a pod: the name of the `ModelCache` that it wants mounted.
pub const LABEL_MOUNT: &str = "modelcache.internal/mount";

/// Annotation on a pod: names of further ones on the same claim, with commas between them. A label value holds none.
pub const ANNOTATION_ALSO_MOUNT: &str = "modelcache.internal/also-mount";

/// Annotation on a pod: with the value `Ready` it waits for what the spec asks for now, and not for any complete snapshot.
pub const ANNOTATION_WAIT_FOR: &str = "modelcache.internal/wait-for";

/// The folder that libraries call `HF_HOME`, unless the pod says otherwise. It can be written; the cache in it cannot.
pub const MOUNT_PATH: &str = "/modelcache";

/// The volume with the cache that a pod gets.
pub const VOLUME: &str = "modelcache";

/// The volume of the folder around it, an emptyDir.
pub const HOME_VOLUME: &str = "modelcache-home";

/// The cache's folder in an `HF_HOME`: the same for all libraries.
#[must_use]
pub fn hub(home: &str) -> String {
    format!("{home}/hub")
}

/// The variables by which libraries find the cache and stay offline. `HF_HUB_CACHE` alone is not enough: older Python libraries
/// and the images of TGI and TEI read `HUGGINGFACE_HUB_CACHE`, the Rust client before 1.0 `HF_HOME` only, and what
/// writes beside the cache does so below `HF_HOME`.
#[must_use]
pub fn variables(home: &str) -> [(&'static str, String); 6] {
    let yes = || "1".to_owned();
    [
        ("HF_HOME", home.to_owned()),
        ("HF_HUB_CACHE", hub(home)),
        ("HUGGINGFACE_HUB_CACHE", hub(home)),
        ("HF_HUB_OFFLINE", yes()),
        ("TRANSFORMERS_OFFLINE", yes()),
        ("HF_DATASETS_OFFLINE", yes()),
    ]
}

/// Those for programs that write into the home directory or a temporary one, where the root file system is read-only.
#[must_use]
pub fn writable(home: &str) -> [(&'static str, String); 2] {
    [("HOME", home.to_owned()), ("TMPDIR", home.to_owned())]
}

/// Prefix of the annotations by which admission says what it mounted.
const MOUNTED: &str = "mounted.modelcache.internal/";

/// The scheduling gate of pods that wait for the `ModelCache` of this name.
#[must_use]
pub fn gate(name: &str) -> String {
    format!("{GROUP}/{name}")
}

/// The name of the `ModelCache` that a scheduling gate stands for, if it is one of ours.
#[must_use]
pub fn gate_name(gate: &str) -> Option<&str> {
    gate.strip_prefix(GROUP)?.strip_prefix('/')
}

/// The annotation by which admission says that the `ModelCache` of this name is mounted, with its place as the value.
#[must_use]
pub fn mounted(name: &str) -> String {
    format!("{MOUNTED}{name}")
}

impl ModelCache {
    /// The name of the claim: the user's, or one of the `ModelCache`'s own name.
    #[must_use]
    pub fn claim_name(&self) -> String {
        self.spec.storage.existing_claim.clone().unwrap_or_else(|| self.name_any())
    }

    /// The folder of the volume that holds the Hub cache; none for its root.
    #[must_use]
    pub fn folder(&self) -> Option<&str> {
        self.spec.storage.sub_path.as_deref().map(|path| path.trim_end_matches('/'))
    }

    /// Where the Hub cache lies: `claim`, or `claim/folder`. Caches of one place can be mounted together.
    #[must_use]
    pub fn place(&self) -> String {
        match self.folder() {
            None => self.claim_name(),
            Some(folder) => format!("{}/{folder}", self.claim_name()),
        }
    }

    /// Whether a complete, verified snapshot is on the volume, of this spec or of one before it.
    #[must_use]
    pub fn is_available(&self) -> bool {
        condition::holds(self.conditions(), ConditionType::Available)
    }

    /// Whether a pod finds what the spec asks for. By content and not by generation: a change that needs no further file keeps
    /// no pod waiting, also where no operator runs.
    #[must_use]
    pub fn is_loadable(&self) -> bool {
        self.is_ready() || self.status.as_ref().is_some_and(|status| status.holds(&self.spec.source))
    }

    /// Whether the data for the spec as it is now are complete and verified.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        condition::find(self.conditions(), ConditionType::Ready).is_some_and(|ready| {
            ready.status == "True" && ready.observed_generation == self.metadata.generation
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_tells_the_name_of_its_modelcache() {
        assert_eq!(gate_name(&gate("llama-3.1-8b")), Some("llama-3.1-8b"));
        for other in ["kueue.x-k8s.io/admission", "modelcache.internal", "modelcache.internals/x"] {
            assert_eq!(gate_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_place_is_the_claim_and_the_folder_in_it() {
        let mut cache = ModelCache::new("llama", super::super::ModelCacheSpec::default());
        assert_eq!(cache.place(), "llama");
        cache.spec.storage.existing_claim = Some("models".to_owned());
        cache.spec.storage.sub_path = Some("a/hub".to_owned());
        assert_eq!(cache.place(), "models/a/hub");
    }
}
