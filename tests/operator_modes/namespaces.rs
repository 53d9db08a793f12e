//! An operator that watches some namespaces, with Roles there and no right in the rest of the cluster.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use modelcache::{
    api::{ModelCache, condition},
    reason::{Answer, ConditionType, Reason},
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Team, eventually, holds, show},
    operator::{Account, Operator, documented_rules, names},
    world::{TOKEN, USER, gated, hub, spec},
};

fn gates(pod: &Pod) -> usize {
    pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref()).map_or(0, Vec::len)
}

fn server(name: &str, labels: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 43210, "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "server", "image": "localhost/modelcache-test/pause:1",
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    }))
    .unwrap()
}

/// Makes a pod that asks for a model, and waits behind its gate. The policies count a moment after they were made.
async fn waiting_pod(team: &Team, model: &str) -> String {
    let pod = server("server", &json!({ "modelcache.internal/mount": model }));
    let pods = team.api::<Pod>();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    eventually("the policies to count", || async {
        (gates(&pods.create(&dry, &pod).await.unwrap()) > 0).then_some(())
    })
    .await;
    pods.create(&PostParams::default(), &pod).await.unwrap().name_any()
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn an_operator_with_roles_in_two_namespaces_works_there_and_nowhere_else() {
    let cluster = Cluster::without_operator().await;
    let [one, two, closed, elsewhere] = [
        cluster.namespace("one").await,
        cluster.namespace("two").await,
        cluster.namespace("closed").await,
        cluster.namespace("elsewhere").await,
    ];
    let account = Account::new(&cluster, "roles").await;
    for team in [&one, &two] {
        account.may(&documented_rules(), team).await;
    }
    hub().add(gated("acme/some-namespaces"));
    for team in [&one, &two, &closed, &elsewhere] {
        team.secret("hf", TOKEN).await;
        team.cache("model", spec("acme/some-namespaces")).await;
    }
    let watched = format!("{},not-there-yet", names(&[&one, &two, &closed]));
    let operator = Operator::start(&account, &["--namespace", &watched]).await;
    let waits = [&one, &two].map(|team| team.reason("model", "TermsNotAccepted"));
    futures::future::join_all(waits).await;
    let pod = waiting_pod(&one, "model").await;

    hub().accept_terms(USER, "acme/some-namespaces");
    one.ready("model").await;
    two.ready("model").await;
    let pods = one.api::<Pod>();
    eventually("the gate to be gone", || async {
        (gates(&pods.get(&pod).await.unwrap()) == 0).then_some(())
    })
    .await;
    assert_eq!(operator.metric(r#"modelcache_resources{ready="True",reason="Ready",remedy="none"}"#), 2);

    assert!(
        operator.page("/readyz").unwrap().contains(" 200 "),
        "two namespaces that are missing hold nobody up"
    );
    assert_eq!(operator.metric(r#"modelcache_watch_connected{kind="modelcaches"}"#), 0, "but they are told");
    assert_eq!(operator.metric(r#"modelcache_watch_connected{kind="jobs"}"#), 1);

    // What is not watched, and what cannot be, is as nobody ever looked at it.
    for team in [&closed, &elsewhere] {
        let cache = team.get("model").await;
        assert_eq!(cache.status.as_ref().unwrap().observed_generation, Some(-1), "{}", show(&cache));
        let ready = condition::verdict(cache.conditions(), ConditionType::Ready).unwrap();
        assert_eq!((ready.status, ready.reason), (Answer::Unknown, Reason::NotChecked));
    }
    let warnings = operator.warnings();
    assert_eq!(warnings.len(), 2, "a line for each closed namespace: {warnings:#?}");
    for name in [&closed.namespace, "not-there-yet"] {
        let told = format!("cannot list modelcaches in the namespace {name}: ");
        let line = warnings.iter().find(|line| line.contains(&told)).unwrap();
        assert!(line.contains("is the operator's Role bound there?"), "{line}");
    }
    assert!(!warnings.iter().any(|line| line.contains(&elsewhere.namespace)), "{warnings:#?}");

    // The rights come, and nobody has to start it again.
    account.may(&documented_rules(), &closed).await;
    let cache: ModelCache = closed.ready("model").await;
    assert!(holds(&cache, ConditionType::Authorized));
    assert_eq!(operator.warnings().len(), 2, "{:#?}", operator.warnings());
    operator.stop();
}

/// As after an uninstallation: what asked for a model meanwhile runs without it, and so does what was labelled too late.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn pods_that_run_without_their_model_are_told_and_counted() {
    let cluster = Cluster::without_operator().await;
    let team = cluster.namespace("unmounted").await;
    let account = Account::new(&cluster, "unmounted").await;
    account.may(&documented_rules(), &team).await;
    let pods = team.api::<Pod>();
    let asks = json!({ "modelcache.internal/mount": "model" });
    for name in ["late", "later"] {
        pods.create(&PostParams::default(), &server(name, &json!({}))).await.unwrap();
        let label = json!({ "metadata": { "labels": asks } });
        pods.patch(name, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    }
    waiting_pod(&team, "model").await;

    let operator = Operator::start(&account, &["--namespace", &team.namespace]).await;
    let told = eventually("both to be told", || async {
        let events = team.api::<Event>().list(&ListParams::default()).await.unwrap();
        let found =
            events.items.into_iter().filter(|event| event.reason.as_deref() == Some("ModelNotMounted"));
        let mut found: Vec<_> =
            found.map(|event| (event.involved_object.name.unwrap(), event.message.unwrap())).collect();
        found.sort();
        (found.len() == 2).then_some(found)
    })
    .await;
    let names: Vec<_> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["late", "later"], "the one that waits is none of them");
    assert!(
        told[0].1.starts_with("This pod asks for the ModelCache model and has no volume of it:"),
        "{told:?}"
    );
    assert_eq!(operator.metric("modelcache_pods_without_model"), 2);
    operator.stop();
}
