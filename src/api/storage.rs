//! Where the files of a model lie.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the model is kept: a claim that is made for it, or one that exists already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// The `PersistentVolumeClaim` (the claim) to make, under the name of the ModelCache. With neither this nor
    /// `existingClaim`, it is a `ReadWriteOnce` claim of the default storage class, as large as the files plus a tenth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimTemplate>,

    /// Name of a claim of yours in the same namespace, instead of `claim`. Several ModelCaches may share it; it is
    /// never resized or deleted. It cannot be changed. If pods of others write to the claim, it needs the annotation
    /// `modelcache.internal/allow-writes: "true"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub existing_claim: Option<String>,

    /// Folder in the volume that holds the Hub cache, such as `hub`; the root of the volume if none is given. It cannot
    /// be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub sub_path: Option<String>,
}

/// A claim that is made for a ModelCache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimTemplate {
    /// Storage class of the claim; the cluster's default class if none is given. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,

    /// How the volume may be mounted. Choose `ReadWriteMany` if pods on several nodes load the model. It cannot be
    /// changed.
    #[serde(default = "read_write_once")]
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub access_modes: Vec<AccessMode>,

    /// Size of the volume, such as `40Gi`. The default is the size of the files plus a tenth, at least 64 MiB more: room
    /// for one commit, not for two that differ much. It is used only when the claim is created. To grow an existing claim, use
    /// `kubectl edit pvc NAME -n NAMESPACE`, if its storage class allows that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,
}

impl Default for ClaimTemplate {
    fn default() -> Self {
        Self { storage_class_name: None, access_modes: read_write_once(), size: None }
    }
}

/// What every storage class can do.
fn read_write_once() -> Vec<AccessMode> {
    vec![AccessMode::ReadWriteOnce]
}

/// How a volume may be mounted.
// Variants without documentation: with it, the schema would be a list of alternatives instead of one enum.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    ReadWriteOnce,
    ReadOnlyMany,
    ReadWriteMany,
    ReadWriteOncePod,
}

impl AccessMode {
    /// The word, as a claim has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadOnlyMany => "ReadOnlyMany",
            Self::ReadWriteMany => "ReadWriteMany",
            Self::ReadWriteOncePod => "ReadWriteOncePod",
        }
    }
}
