//! The kind itself: what a user asks for.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Interval, JobTemplate, ModelCacheStatus, Source, Storage, TokenSecretRef};

/// What shall be on the volume, and how it gets there.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "modelcache.internal",
    version = "v1alpha1",
    kind = "ModelCache",
    plural = "modelcaches",
    shortname = "mcache",
    category = "models",
    namespaced,
    status = "ModelCacheStatus",
    selectable = ".spec.source.repo",
    selectable = ".spec.tokenSecretRef.name",
    selectable = ".spec.storage.existingClaim",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the model is complete and verified on its volume"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why, in one word"
    ),
    printcolumn(
        name = "Repo",
        type_ = "string",
        json_path = ".spec.source.repo",
        description = "The repo on the Hub"
    ),
    printcolumn(
        name = "Revision",
        type_ = "string",
        json_path = ".spec.source.revision",
        description = "The branch, tag or commit that was asked for",
        priority = 1
    ),
    printcolumn(
        name = "Commit",
        type_ = "string",
        json_path = ".status.resolved.shortCommit",
        description = "The commit that the revision is pinned at"
    ),
    printcolumn(
        name = "Size",
        type_ = "string",
        json_path = ".status.resolved.size",
        description = "The size of the files"
    ),
    printcolumn(
        name = "Progress",
        type_ = "integer",
        format = "int32",
        json_path = ".status.progress.percent",
        description = "Percent of the bytes that are on the volume"
    ),
    printcolumn(
        name = "Claim",
        type_ = "string",
        json_path = ".status.cached.claimName",
        description = "The claim to mount, once the model is on it"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        description = "What is so, and what to do about it",
        priority = 1
    ),
    derive = "PartialEq",
    derive = "Default",
    doc = "A model, dataset or space of the Hugging Face Hub, kept complete and verified on a volume."
)]
#[serde(rename_all = "camelCase")]
pub struct ModelCacheSpec {
    /// What to fetch from the Hugging Face Hub.
    pub source: Source,

    /// The Secret with the token for a private or gated repo. Public repos need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<TokenSecretRef>,

    /// Where the model is kept. A claim of its own by default.
    #[serde(default)]
    pub storage: Storage,

    /// How often the access and the newest commit are looked at again, such as `30m` or `24h`; at least `1m`.
    #[serde(default)]
    pub interval: Interval,

    /// Settings of the Job that downloads the model.
    #[serde(default)]
    pub job: JobTemplate,

    /// Stop looking at the Hub and starting downloads. What is on the volume stays, and so does a running download.
    #[serde(default)]
    pub suspend: bool,
}
