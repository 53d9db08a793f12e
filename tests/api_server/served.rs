//! How the definition is kept, and what the server does with the status: merges it and prints it.

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition, jiff::Timestamp,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use modelcache::{
    api::{self, CachedSnapshot, ModelCacheStatus, Progress, Resolved, condition},
    reason::{ConditionType, Reason, Verdict},
};
use pretty_assertions::assert_eq;
use serde_json::json;

use crate::support::{Server, refusal, spec};

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn the_definition_is_kept_as_it_is_written() {
    let server = Server::new().await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/modelcaches.modelcache.internal.yaml");
    let read: CustomResourceDefinition =
        serde_json::from_str(&server.kubectl(&["create", "--dry-run=client", "-o", "json", "-f", file]))
            .unwrap();
    assert!(read.spec == api::crd().spec, "kubectl reads other things from the YAML than were written");

    let definitions: Api<CustomResourceDefinition> = Api::all(server.client.clone());
    let stored = definitions.get("modelcaches.modelcache.internal").await.unwrap();
    assert!(
        stored.spec.versions == api::crd().spec.versions,
        "the API server drops or changes a part of the schema"
    );
    let unwell: Vec<_> = stored
        .status
        .and_then(|status| status.conditions)
        .unwrap_or_default()
        .into_iter()
        .filter(|it| {
            !matches!((it.type_.as_str(), it.status.as_str()), ("Established" | "NamesAccepted", "True"))
        })
        .collect();
    assert_eq!(unwell, []);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn conditions_of_several_managers_live_side_by_side() {
    let server = Server::new().await;
    server.create("shared", &spec(&json!({}))).await.unwrap();
    let ours = |verdicts: &[Verdict]| json!({ "conditions": condition::conditions(&[], verdicts, 1, Timestamp::now()) });
    let theirs = json!({ "conditions": [{
        "type": "example.com/Reviewed", "status": "True", "reason": "Seen", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }] });

    let first = [
        Verdict::no(ConditionType::Ready, Reason::Downloading, "Under way."),
        Verdict::yes(ConditionType::Reconciling, Reason::Downloading, "Under way."),
    ];
    server.apply_status("modelcache", "shared", &ours(&first)).await;
    server.apply_status("reviewer", "shared", &theirs).await;
    let progress = json!({ "progress": Progress { downloaded_bytes: 1, total_bytes: 4, percent: 25, ..Progress::default() } });
    server.apply_status("modelcache-progress", "shared", &progress).await;
    let done = [Verdict::yes(ConditionType::Ready, Reason::Ready, "All is there.")];
    let status = server.apply_status("modelcache", "shared", &ours(&done)).await.status.unwrap();

    let mut types: Vec<_> = status.conditions.iter().map(|it| it.type_.as_str()).collect();
    types.sort_unstable();
    assert_eq!(types, ["Ready", "example.com/Reviewed"], "Reconciling is gone, the other manager's is not");
    assert!(condition::holds(&status.conditions, ConditionType::Ready));
    assert_eq!(status.progress.map(|it| it.percent), Some(25), "progress has a manager of its own");
    assert_eq!(status.observed_generation, Some(-1), "the default holds where no manager says otherwise");

    for (field, value) in [("status", "yes"), ("reason", "two words"), ("reason", ""), ("type", "a b")] {
        let mut bad = theirs.clone();
        bad["conditions"][0][field] = value.into();
        let patch = Patch::Merge(json!({ "status": bad }));
        let answer = server.typed().patch_status("shared", &PatchParams::default(), &patch).await;
        let message = refusal(answer);
        assert!(message.contains(&format!("status.conditions[0].{field}")), "{message}");
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn the_table_alone_tells_the_story() {
    let server = Server::new().await;
    server.create("llama", &spec(&json!({}))).await.unwrap();
    let verdict = Verdict::no(ConditionType::Ready, Reason::Downloading, "2 of 4 files.");
    let status = ModelCacheStatus {
        observed_generation: Some(1),
        conditions: condition::conditions(&[], &[verdict], 1, Timestamp::now()),
        resolved: Some(Resolved {
            short_commit: "0123456".to_owned(),
            size: "25.1Gi".to_owned(),
            ..Resolved::default()
        }),
        snapshots: vec![CachedSnapshot { claim_name: "models".to_owned(), ..CachedSnapshot::default() }],
        progress: Some(Progress { percent: 40, ..Progress::default() }),
        ..ModelCacheStatus::default()
    };
    server.apply_status("modelcache", "llama", &serde_json::to_value(status).unwrap()).await;

    let cells = |text: String| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let table = cells(server.kubectl(&["get", "mcache"]));
    assert_eq!(table[0].join(" "), "NAME READY REASON REPO COMMIT SIZE PROGRESS CLAIM AGE");
    assert_eq!(table[1][..8].join(" "), "llama False Downloading org/name 0123456 25.1Gi 40 models");
    let wide = server.kubectl(&["get", "models", "-o", "wide"]);
    assert!(
        wide.contains("REVISION")
            && wide.contains("TOKEN")
            && wide.contains("UPDATE")
            && wide.contains("main")
            && wide.contains("2 of 4 files."),
        "{wide}"
    );

    let explained = server.kubectl(&["explain", "mcache.spec.source.revision"]);
    assert!(explained.contains("The branch, tag or commit to fetch."), "{explained}");
}
