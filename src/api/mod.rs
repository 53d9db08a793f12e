//! The kind `ModelCache`: its fields, its conditions, and the CRD made from them. Knows no client.

mod bounds;
mod columns;
pub mod condition;
mod crd;
mod interval;
mod job;
pub mod mount;
mod rules;
mod source;
mod spec;
mod status;
mod storage;

pub use crd::{CrdError, crd, crd_yaml};
pub use interval::Interval;
pub use job::{JobTemplate, LogLevel};
pub use source::{Source, SourceType, TokenSecretRef};
pub use spec::{ModelCache, ModelCacheSpec};
pub use status::{
    CachedSnapshot, CurrentPatterns, Furthest, Kept, Latest, ModelCacheStatus, Progress, Resolved,
};
pub use storage::{AccessMode, ClaimTemplate, Storage};

/// The API group; also the prefix of all our labels, annotations and finalizers.
pub const GROUP: &str = "modelcache.internal";

/// The longest name of a `ModelCache`: it is used as a label value.
pub const MAX_NAME: usize = 63;

/// Label on everything made for a `ModelCache`: its name.
pub const LABEL_NAME: &str = "modelcache.internal/name";

/// Label on a Job: the UID of the claim that it writes to, so that the Jobs of a shared claim find each other.
pub const LABEL_CLAIM_UID: &str = "modelcache.internal/claim-uid";

/// Label on a Job: its number among the attempts at the same task, from 1.
pub const LABEL_ATTEMPT: &str = "modelcache.internal/attempt";

/// Label on a Job: the hash of its task, which is a fill, an update of refs or an inspection.
pub const LABEL_TASK: &str = "modelcache.internal/task";

/// Annotation on a Job: the version of the Secret that its token was from.
pub const ANNOTATION_SECRET_VERSION: &str = "modelcache.internal/secret-version";

/// Annotation on a Job: the hash of its pod template, to see whether it would be made differently today.
pub const ANNOTATION_TEMPLATE: &str = "modelcache.internal/template";

/// Label that says what manages an object, with the value [`MANAGED_BY`].
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The value of [`LABEL_MANAGED_BY`].
pub const MANAGED_BY: &str = "modelcache";

/// Label on a Secret: with `true` it is for ModelCaches, and their status may list its keys.
pub const LABEL_TOKEN: &str = "modelcache.internal/token";

/// Annotation on a claim: with `true`, the operator may write to it although pods of others do, too; with any other value, it
/// never does. For whoever may change the claim.
pub const ANNOTATION_ALLOW_WRITES: &str = "modelcache.internal/allow-writes";

/// So many characters of [`ANNOTATION_RECONCILE_AT`] count.
const MAX_RECONCILE_AT: usize = 128;

/// Annotation on a `ModelCache`: a new value asks the Hub again now. Echoed in `status.lastHandledReconcileAt`.
pub const ANNOTATION_RECONCILE_AT: &str = "modelcache.internal/reconcile-at";

/// Whether a text has the form of a DNS label, of whatever length: lower-case letters, digits and `-`, with a letter or digit at
/// both ends. Names of namespaces are one, and other names are several with dots between them
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>).
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

impl ModelCache {
    /// The value of [`ANNOTATION_RECONCILE_AT`]. What is longer than anything that tools write is cut: it is copied to Jobs
    /// and to the status.
    #[must_use]
    pub fn reconcile_at(&self) -> Option<String> {
        let given = self.metadata.annotations.as_ref()?.get(ANNOTATION_RECONCILE_AT)?;
        Some(given.chars().take(MAX_RECONCILE_AT).collect())
    }
}
