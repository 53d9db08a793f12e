//! The columns of `kubectl get modelcaches`, from left to right.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;

/// A column: its name, its type, where its value lies, whether it is there only with `-o wide`, and what it means.
type Column = (&'static str, &'static str, &'static str, bool, &'static str);

const COLUMNS: [Column; 14] = [
    (
        "Ready",
        "string",
        r#".status.conditions[?(@.type=="Ready")].status"#,
        false,
        "Whether the model is complete and verified on its volume",
    ),
    ("Reason", "string", r#".status.conditions[?(@.type=="Ready")].reason"#, false, "Why, in one word"),
    ("Repo", "string", ".spec.source.repo", false, "The repo on the Hub"),
    ("Revision", "string", ".spec.source.revision", true, "The branch, tag or commit that is asked for"),
    ("Commit", "string", ".status.resolved.shortCommit", false, "The commit that the revision is pinned at"),
    ("Size", "string", ".status.resolved.size", false, "The size of the files"),
    ("Progress", "integer", ".status.progress.percent", false, "Percent of the bytes that are on the volume"),
    (
        "Claim",
        "string",
        ".status.snapshots[0].claimName",
        false,
        "The claim to mount, once the model is on it",
    ),
    (
        "Token",
        "string",
        r#".status.conditions[?(@.type=="Authenticated")].reason"#,
        true,
        "What is known of the token, in one word",
    ),
    (
        "Access",
        "string",
        r#".status.conditions[?(@.type=="Authorized")].reason"#,
        true,
        "Whether the repo may be read, in one word",
    ),
    (
        "Update",
        "string",
        r#".status.conditions[?(@.type=="UpdateAvailable")].reason"#,
        true,
        "Whether the Hub has a newer commit",
    ),
    ("Suspended", "boolean", ".spec.suspend", true, "Whether the Hub is not asked and nothing is made"),
    ("Age", "date", ".metadata.creationTimestamp", false, "Time since the object was made"),
    (
        "Message",
        "string",
        r#".status.conditions[?(@.type=="Ready")].message"#,
        true,
        "What is so, and what to do about it",
    ),
];

/// The columns, as the definition has them.
pub(super) fn all() -> Vec<CustomResourceColumnDefinition> {
    COLUMNS
        .iter()
        .map(|&(name, type_, json_path, wide, description)| CustomResourceColumnDefinition {
            name: name.to_owned(),
            type_: type_.to_owned(),
            json_path: json_path.to_owned(),
            priority: wide.then_some(1),
            description: Some(description.to_owned()),
            format: None,
        })
        .collect()
}
