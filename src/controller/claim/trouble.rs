//! Claims that no download can use: those of which the spec says so, and those that get no volume, by the words of Kubernetes and of
//! drivers. Pure.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;

use crate::{
    api::{AccessMode, ModelCache},
    controller::{
        complaint::Complaint,
        patience::{Help, help},
    },
    reason::Reason,
};

/// Why nothing can be written to a claim, where its spec says so.
#[must_use]
pub fn unusable(claim: &PersistentVolumeClaim) -> Option<String> {
    let (name, spec) = (claim.name_any(), claim.spec.as_ref()?);
    let why = if spec.volume_mode.as_deref() == Some("Block") {
        format!("The claim {name} has volumeMode Block, and a cache needs a file system.")
    } else if spec.access_modes.as_ref().is_some_and(|modes| is_read_only(modes)) {
        format!("The claim {name} has the access mode ReadOnlyMany alone, and nothing can be written to it.")
    } else {
        return None;
    };
    Some(format!(
        "{why} A claim keeps its modes: make another claim, with volumeMode Filesystem and a mode such as ReadWriteOnce, and \
         another ModelCache on it (spec.storage.existingClaim cannot be changed)."
    ))
}

fn is_read_only(modes: &[String]) -> bool {
    !modes.is_empty() && modes.iter().all(|mode| mode == AccessMode::ReadOnlyMany.as_str())
}

/// The command that makes a claim larger.
#[must_use]
pub fn grow(claim: &PersistentVolumeClaim) -> String {
    format!("kubectl edit pvc {} -n {}", claim.name_any(), claim.namespace().unwrap_or_default())
}

/// What an attempt has said of its volume, of which it does not know what it is called.
#[must_use]
pub fn of_attempt(claim: &PersistentVolumeClaim, reason: Reason, message: String) -> String {
    match reason {
        Reason::VolumeFull => {
            format!("{}. To grow the claim: {}", message.trim_end_matches('.'), grow(claim))
        }
        _ => message,
    }
}

/// Why a claim has no volume, and who ends it. Where no event is about the claim, the pod that waits for it may know.
#[must_use]
pub fn pending(cache: &ModelCache, said: Option<&Complaint>, of_pod: &str) -> (String, Help) {
    let (name, namespace) = (cache.claim_name(), cache.namespace().unwrap_or_default());
    let Some(said) = said else {
        return (format!("The claim {name} has no volume yet. {of_pod}"), help(Reason::ClaimPending));
    };
    let reported = format!("The claim {name} has no volume yet: {said}.");
    let (can, way) = match Trouble::of(&said.message) {
        Trouble::Other => return (reported, help(Reason::ClaimPending)),
        Trouble::NoClass => ("Make a volume that fits, or a default class. Or", "with a storageClassName"),
        Trouble::Class => ("Make that class. Or", "with the storageClassName of one that exists"),
        Trouble::Unsupported => {
            ("Class and access modes of a claim cannot be changed:", "with those that its driver offers")
        }
    };
    let remedy = if cache.spec.storage.existing_claim.is_some() {
        format!("{can} delete the claim (kubectl delete pvc {name} -n {namespace}) and make it again {way}.")
    } else {
        format!(
            "{can} delete the ModelCache and its claim (kubectl delete mcache/{name} pvc/{name} -n {namespace}) and make the \
             ModelCache again {way} in spec.storage.claim, which cannot be changed later."
        )
    };
    (format!("{reported} {remedy}"), Help::UserAction)
}

/// What is wrong with a claim that gets no volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It has no class, there is no default one, and no volume fits.
    NoClass,
    /// Its class is missing.
    Class,
    /// The driver cannot do what the claim asks for.
    Unsupported,
    /// Anything else.
    Other,
}

impl Trouble {
    /// By the words of Kubernetes and of the driver. Each driver has its own: they have in common what they call it.
    fn of(words: &str) -> Self {
        const UNSUPPORTED: [&str; 7] = [
            "not supported",
            " unsupported",
            "not support ",
            "only support",
            "multi_node",
            "code = invalidargument",
            "invalid accessmode",
        ];
        let words = words.to_lowercase();
        if words.contains("no storage class is set") {
            Self::NoClass
        } else if is_missing_class(&words) {
            Self::Class
        } else if UNSUPPORTED.iter().any(|phrase| words.contains(phrase)) {
            Self::Unsupported
        } else {
            Self::Other
        }
    }
}

/// `storageclass.storage.k8s.io "fast" not found`. A driver that misses something else names the class as well.
fn is_missing_class(words: &str) -> bool {
    let name = words.split_once(".storage.k8s.io \"").and_then(|(_, rest)| rest.split_once('"'));
    name.is_some_and(|(_, rest)| rest.starts_with(" not found"))
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::controller::fixtures::{bound_claim, cache};

    #[test]
    fn a_claim_without_volume_is_told_by_what_drivers_say() {
        for (words, trouble) in [
            (r#"storageclass.storage.k8s.io "fast" not found"#, Trouble::Class),
            ("no persistent volumes available for this claim and no storage class is set", Trouble::NoClass),
            (
                r#"failed to provision volume with StorageClass "local-path": NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes"#,
                Trouble::Unsupported,
            ),
            (
                r#"failed to provision volume with StorageClass "gp3": rpc error: code = InvalidArgument desc = Volume capabilities MULTI_NODE_MULTI_WRITER not supported."#,
                Trouble::Unsupported,
            ),
            (
                r#"failed to provision volume with StorageClass "x": rpc error: code = ResourceExhausted"#,
                Trouble::Other,
            ),
            (
                r#"failed to provision volume with StorageClass "rbd": rpc error: code = NotFound desc = pool not found"#,
                Trouble::Other,
            ),
            (
                r#"failed to provision volume with StorageClass "unsupported-yet": rpc error: code = Unavailable"#,
                Trouble::Other,
            ),
            (
                r#"Waiting for a volume to be created either by the external provisioner "x" or manually"#,
                Trouble::Other,
            ),
        ] {
            assert_eq!(Trouble::of(words), trouble, "{words}");
        }
    }

    #[test]
    fn the_remedy_can_be_followed() {
        let said = Complaint {
            reason: "ProvisioningFailed".to_owned(),
            message: r#"storageclass.storage.k8s.io "fast" not found"#.to_owned(),
        };
        assert_eq!(
            pending(&cache(), Some(&said), ""),
            (
                "The claim tiny has no volume yet: ProvisioningFailed: storageclass.storage.k8s.io \"fast\" not found. Make that \
                 class. Or delete the ModelCache and its claim (kubectl delete mcache/tiny pvc/tiny -n team) and make the ModelCache \
                 again with the storageClassName of one that exists in spec.storage.claim, which cannot be changed later."
                    .to_owned(),
                Help::UserAction
            )
        );
        let mut theirs = cache();
        theirs.spec.storage.existing_claim = Some("models".to_owned());
        let (message, _) = pending(&theirs, Some(&said), "");
        assert!(message.contains("kubectl delete pvc models -n team"), "{message}");
        assert!(!message.contains("mcache"), "{message}");
    }

    #[test]
    fn a_claim_that_has_no_files_or_takes_none_is_refused() {
        let with = |mode: Option<&str>, modes: &[&str]| {
            let mut claim = bound_claim(&cache());
            let spec = claim.spec.as_mut().unwrap();
            spec.volume_mode = mode.map(ToOwned::to_owned);
            spec.access_modes = Some(modes.iter().map(|&mode| mode.to_owned()).collect());
            unusable(&claim)
        };
        assert!(with(Some("Block"), &["ReadWriteOnce"]).unwrap().contains("volumeMode Block"));
        assert!(with(None, &["ReadOnlyMany"]).unwrap().contains("ReadOnlyMany alone"));
        assert_eq!(with(Some("Filesystem"), &["ReadOnlyMany", "ReadWriteOnce"]), None);
        assert_eq!(with(None, &[]), None);
    }
}
