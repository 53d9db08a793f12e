//! Builds the claim of a ModelCache and reads what a claim says of itself. Pure.
//!
//! Our claims never have an owner reference: the garbage collector would take the data with the resource.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use kube::ResourceExt;

use crate::{
    api::{self, AccessMode, ModelCache},
    units,
};

pub(super) mod trouble;

const MIB: u64 = 1 << 20;

/// The size of a claim for so many bytes: a tenth more for the file system's own needs, at least 64 MiB more, whole MiB.
#[must_use]
pub const fn size_for(bytes: u64) -> u64 {
    let spare = if bytes / 10 > 64 * MIB { bytes / 10 } else { 64 * MIB };
    bytes.saturating_add(spare).div_ceil(MIB) * MIB
}

/// The claim to make for a ModelCache that wants `bytes` bytes.
#[must_use]
pub fn build(cache: &ModelCache, bytes: u64) -> PersistentVolumeClaim {
    let template = cache.spec.storage.claim.clone().unwrap_or_default();
    let size = template.size.unwrap_or_else(|| Quantity(format!("{}Mi", size_for(bytes) / MIB)));
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(cache.name_any()),
            namespace: cache.namespace(),
            labels: Some(BTreeMap::from([
                (api::LABEL_MANAGED_BY.to_owned(), api::MANAGED_BY.to_owned()),
                (api::LABEL_NAME.to_owned(), cache.name_any()),
            ])),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(template.access_modes.iter().map(|mode| mode.as_str().to_owned()).collect()),
            storage_class_name: template.storage_class_name,
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), size)])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// Whether the claim was made for this ModelCache, or for an earlier one of its name.
#[must_use]
pub fn is_ours(claim: &PersistentVolumeClaim, cache: &ModelCache) -> bool {
    is_made_by_operator(claim) && claim.labels().get(api::LABEL_NAME) == Some(&cache.name_any())
}

/// Whether the operator made the claim, for this ModelCache or for another one.
#[must_use]
pub fn is_made_by_operator(claim: &PersistentVolumeClaim) -> bool {
    claim.labels().get(api::LABEL_MANAGED_BY).is_some_and(|by| by == api::MANAGED_BY)
}

/// What the claim itself says about writes of the operator; none where it says nothing.
#[must_use]
pub fn allows_writes(claim: &PersistentVolumeClaim) -> Option<bool> {
    claim.annotations().get(api::ANNOTATION_ALLOW_WRITES).map(|value| value == "true")
}

/// Whether pods of several nodes can write the volume at once.
#[must_use]
pub fn is_shared(claim: &PersistentVolumeClaim) -> bool {
    let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_ref());
    modes.is_some_and(|modes| modes.iter().any(|mode| mode == AccessMode::ReadWriteMany.as_str()))
}

/// `Pending`, `Bound` or `Lost`.
#[must_use]
pub fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// What the claim's volume holds in bytes, or asks for while it has none.
#[must_use]
pub fn capacity(claim: &PersistentVolumeClaim) -> Option<u64> {
    let bound = claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
    bound.or_else(|| requested(claim)).and_then(|quantity| units::parse_quantity(&quantity.0))
}

fn requested(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_has_room_to_spare() {
        assert_eq!(size_for(0), 64 * MIB);
        assert_eq!(size_for(10 * 1024 * MIB), 11 * 1024 * MIB);
    }
}
