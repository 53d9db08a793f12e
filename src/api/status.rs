//! What the operator reports about a `ModelCache`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Source, condition};

/// What is known about the model, the volume and the access. Written by the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelCacheStatus {
    /// The generation of the spec that this status was made for; -1 before the operator has checked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready` sums up `Authenticated`, `Authorized`, `Resolved` and `Downloaded`. `Available`: pods can load a snapshot. `Reconciling`, `Stalled` and `UpdateAvailable` exist only while they are True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,

    /// What `spec.source` stands for on the Hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolved>,

    /// The complete snapshots that were put on the volume, each file verified, the current one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub snapshots: Vec<CachedSnapshot>,

    /// What the current snapshot was downloaded with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_patterns: Option<CurrentPatterns>,

    /// The newest commit of the revision; of the first alias, if the revision is a commit. If it differs from that of the first of `snapshots`, an update is available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Latest>,

    /// How far the download is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,

    /// How far it has got while the model is not there: what `Stalled` is judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub furthest: Option<Furthest>,

    /// The value of the annotation `modelcache.internal/reconcile-at` that was last acted upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

impl ModelCacheStatus {
    /// The snapshot that pods load, if there is one.
    #[must_use]
    pub fn current(&self) -> Option<&CachedSnapshot> {
        self.snapshots.first().filter(|first| first.kept == Kept::Current)
    }

    /// Whether nothing can be missing of what the source asks for: the same revision, and no more of its files. Whether
    /// further patterns select further files, only the Hub knows.
    #[must_use]
    pub fn holds(&self, source: &Source) -> bool {
        let Some(CurrentPatterns { include, exclude }) = &self.current_patterns else { return false };
        let all = |some: &[String], of: &[String]| some.iter().all(|pattern| of.contains(pattern));
        self.current().is_some_and(|current| current.revision == source.revision)
            && (include.is_empty() || (!source.include.is_empty() && all(&source.include, include)))
            && all(exclude, &source.exclude)
    }
}

/// What a source stands for on the Hub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// The repo's own name on the Hub: another than in `spec.source.repo` where that is written in another case or is a name
    /// that the repo had before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 96), regex(pattern = r"^[ -~]*$"))]
    pub repo: String,

    /// The revision that was asked for.
    pub revision: String,

    /// The commit that it is pinned at; empty until it is known whether the volume holds another one from before.
    pub commit: String,

    /// The first seven digits of the commit, or of the one that the Hub names now, until one is pinned.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub short_commit: String,

    /// How many files match the patterns.
    pub files: i64,

    /// Total size of the files that match the patterns, in bytes.
    pub bytes: i64,

    /// `bytes` in a readable form, such as `25.1Gi`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub size: String,
}

/// A complete snapshot on a volume, with every file verified.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CachedSnapshot {
    /// The commit of the files.
    pub commit: String,

    /// The first seven digits of the commit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub short_commit: String,

    /// Why it is kept: `Current`, pods load it; `Previous`, pods loaded it before, and nothing has removed it.
    pub kept: Kept,

    /// The branches and tags that name it on the volume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(max = 200)))]
    pub refs: Vec<String>,

    /// The claim that holds it: mount this one.
    pub claim_name: String,

    /// The UID of that claim: another claim of the same name holds nothing.
    #[serde(rename = "claimUID")]
    pub claim_uid: String,

    /// The volume that the claim is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_name: Option<String>,

    /// The snapshot's folder, from the root of the volume.
    pub path: String,

    /// Names of the repo besides `spec.source.repo` by which programs find the snapshot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 96), regex(pattern = r"^[ -~]*$")))]
    pub names: Vec<String>,

    /// Hash of all that decides which bytes it has: repo, commit, patterns and volume.
    pub fill_hash: String,

    /// The revision that was asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revision: String,

    /// How many files it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,

    /// How many bytes the files have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,

    /// When every file's hash was last compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Time>,
}

/// The patterns that the current snapshot was downloaded with: a spec that asks for no more of its files is complete.
// Empty lists are written too. Where an apply leaves out all fields that an earlier one has set, the API server makes the object null, and
// refuses that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CurrentPatterns {
    /// Of the files that were asked for.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(max = 256)))]
    pub include: Vec<String>,

    /// Of the files that were left out.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(max = 256)))]
    pub exclude: Vec<String>,
}

impl From<&Source> for CurrentPatterns {
    fn from(source: &Source) -> Self {
        Self { include: source.include.clone(), exclude: source.exclude.clone() }
    }
}

/// Why a snapshot is kept on its volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kept {
    /// Pods load it: its refs name it.
    #[default]
    Current,
    /// Pods loaded it before, and nothing has removed it.
    Previous,
}

/// The newest commit of a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Latest {
    /// The commit.
    pub commit: String,

    /// When the Hub first listed it.
    pub observed_at: Time,
}

/// The furthest point that was reached, and since when nothing has passed it. Kept over failed attempts; begun anew when the spec
/// changes or a check is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Furthest {
    /// `Access`, `Claim`, `Job`, `Pod` or `Download`.
    #[schemars(length(max = 16))]
    pub step: String,

    /// Bytes on the volume when the last attempt ended, where its log has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,

    /// Since when nothing has passed this point; absent while the download advances or the ModelCache is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// How far a download is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Bytes on the volume so far.
    pub downloaded_bytes: i64,

    /// Bytes that there will be.
    pub total_bytes: i64,

    /// `downloadedBytes` as a percentage of `totalBytes`.
    #[schemars(range(min = 0, max = 100))]
    pub percent: i32,

    /// Bytes that come from the Hub in a second, at the time of `updatedAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<i64>,

    /// When the download last reported its progress; every two seconds while data arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Time>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(revision: &str, include: &[&str], exclude: &[&str]) -> Source {
        let owned = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Source {
            revision: revision.to_owned(),
            include: owned(include),
            exclude: owned(exclude),
            ..Source::default()
        }
    }

    #[test]
    fn what_is_cached_holds_all_that_asks_for_no_further_file() {
        let all = source("main", &[], &[]);
        let some = source("main", &["*.json", "*.safetensors"], &["original/*"]);
        for (cached, asked, expected) in [
            (&all, source("main", &[], &[]), true),
            (&all, source("v1", &[], &[]), false),
            (&all, source("main", &["*.json"], &[]), true),
            (&all, source("main", &[], &["*.bin"]), true),
            (&some, source("main", &["*.json"], &["original/*", "*.bin"]), true),
            (&some, source("main", &["*.json", "*.bin"], &["original/*"]), false),
            (&some, source("main", &["*.json"], &[]), false),
            (&some, source("main", &[], &["original/*"]), false),
        ] {
            let revision = cached.revision.clone();
            let status = ModelCacheStatus {
                snapshots: vec![CachedSnapshot { revision, ..CachedSnapshot::default() }],
                current_patterns: Some(CurrentPatterns::from(cached)),
                ..ModelCacheStatus::default()
            };
            assert_eq!(status.holds(&asked), expected, "{cached:?} {asked:?}");
        }
        assert!(!ModelCacheStatus::default().holds(&all), "nothing is there");
        let empty = serde_json::to_value(CurrentPatterns::default()).unwrap();
        assert_eq!(empty, serde_json::json!({ "include": [], "exclude": [] }));
    }
}
