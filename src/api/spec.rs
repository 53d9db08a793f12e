//! The kind itself: what a user asks for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Interval, JobTemplate, ModelCacheStatus, Source, Storage, TokenSecretRef};

/// What to keep on the volume, and how it gets there.
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

    /// How often the access and the newest commit are checked again, such as `30m` or `24h`; at least `1m`.
    #[serde(default)]
    pub interval: Interval,

    /// Settings of the Job that downloads the model. Environment variables cannot be set. Use `logLevel` for the log and
    /// `spec.tokenSecretRef` for the token; endpoint, proxy and certificates are settings of the operator.
    #[serde(default)]
    pub job: JobTemplate,

    /// Ask the Hub nothing and start no download. What is on the volume stays, and a running download continues.
    #[serde(default)]
    pub suspend: bool,
}

impl ModelCache {
    /// Its conditions; none before the first reconcile.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}
