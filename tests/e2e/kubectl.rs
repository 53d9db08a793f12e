//! What a person sees in kubectl, which knows nothing of us but the CRD.

use std::process::{Command, Output};

use modelcache::reason::ConditionType;
use pretty_assertions::assert_eq;
use standin_hub::Access;

use crate::{
    cluster::{Team, eventually, message},
    world::{USER, gated, hub, spec, team},
};

fn kubectl(team: &Team, line: &str) -> Output {
    let command =
        Command::new("kubectl").args(["--namespace", &team.namespace]).args(line.split(' ')).output();
    command.expect("kubectl is in the PATH")
}

/// What it prints when it ends well.
#[track_caller]
fn said(team: &Team, line: &str) -> String {
    let output = kubectl(team, line);
    assert!(output.status.success(), "kubectl {line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The cells of a table; those that are empty are left out.
fn cells(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn kubectl_alone_tells_the_story() {
    let (_cluster, team) = team("kubectl").await;
    hub().add(gated("acme/kubectl-good").access(USER, Access::Accepted));
    hub().add(gated("acme/kubectl-bad"));
    team.cache("good", spec("acme/kubectl-good")).await;
    team.cache("bad", spec("acme/kubectl-bad")).await;
    let wait = "wait --for=condition=Ready --timeout=180s mcache/good";
    assert_eq!(said(&team, wait), "modelcache.modelcache.internal/good condition met\n");
    eventually("the progress to be gone", || async {
        team.get("good").await.status?.progress.is_none().then_some(())
    })
    .await;
    let bad = team.reason("bad", "TermsNotAccepted").await;

    let commit = &hub().commit("acme/kubectl-good", "main")[..7];
    for table in ["get mcache", "get modelcaches", "get models"] {
        let table = said(&team, table);
        let mut rows = cells(&table);
        let ages: Vec<_> = rows[1..].iter_mut().filter_map(Vec::pop).collect();
        assert!(ages.iter().all(|age| age.ends_with('s')), "{table}");
        assert_eq!(
            rows,
            [
                vec!["NAME", "READY", "REASON", "REPO", "COMMIT", "SIZE", "PROGRESS", "CLAIM", "AGE"],
                vec!["bad", "False", "TermsNotAccepted", "acme/kubectl-bad"],
                vec!["good", "True", "Ready", "acme/kubectl-good", commit, "3Mi", "good"],
            ]
        );
    }

    let remedy = message(&bad, ConditionType::Authorized);
    assert!(remedy.contains("agree. The cache continues by itself."), "{remedy}");
    eventually("condition and event in the description", || async {
        let text = said(&team, "describe mcache bad");
        let (status, events) = text.split_once("\nEvents:\n")?;
        let condition = status.contains(&format!("Message:               {remedy}\n"));
        let event = events.lines().any(|line| {
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            line.starts_with("Warning TermsNotAccepted") && line.ends_with(&remedy)
        });
        (condition && event).then_some(())
    })
    .await;

    // A timeout of nothing looks once: what is to be waited for is there already.
    for what in [
        "condition=Stalled",
        "condition=Ready=false",
        "jsonpath={.status.conditions[0].reason}=TermsNotAccepted",
    ] {
        let line = format!("wait --for={what} --timeout=0 mcache/bad");
        assert_eq!(said(&team, &line), "modelcache.modelcache.internal/bad condition met\n");
    }
    let ready = kubectl(&team, "wait --for=condition=Ready --timeout=0 mcache/bad");
    assert!(!ready.status.success(), "{ready:?}");
}
