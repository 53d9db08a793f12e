//! An operator with fewer rights: without the watch on Secrets, and without the logs of pods.

use std::time::Instant;

use modelcache::reason::ConditionType;
use standin_hub::{Class, Content, Fault, FaultKind};

use crate::{
    cluster::{Cluster, eventually, reason},
    operator::{Account, Operator, documented_rules, names, without},
    world::{TOKEN, hub, model, spec},
};

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_corrected_secret_is_noticed_with_the_right_to_get_it_alone() {
    let cluster = Cluster::without_operator().await;
    let team = cluster.namespace("poll").await;
    let account = Account::new(&cluster, "poller").await;
    account.may(&without(documented_rules(), "secrets", &["list", "watch"]), &team).await;
    hub().add(model("acme/poll"));
    team.secret("hf", "hf_nobody0123456789abcdefghijklmnop").await;
    team.cache("wrong", spec("acme/poll")).await;
    let mut missing = spec("acme/poll");
    missing["tokenSecretRef"]["name"] = "later".into();
    team.cache("missing", missing).await;

    let operator = Operator::start(&account, &["--namespace", &names(&[&team]), "--secrets", "poll"]).await;
    team.reason("wrong", "TokenInvalid").await;
    team.reason("missing", "SecretNotFound").await;
    // Each is looked at twice, the second time because its status was written. From then on nothing but time leads to a look.
    let looks = || operator.metric(r#"modelcache_reconcile_total{result="success"}"#);
    eventually("the second looks", || async { (looks() >= 4).then_some(()) }).await;
    let mended = Instant::now();
    team.secret("hf", TOKEN).await;
    team.secret("later", TOKEN).await;
    for name in ["wrong", "missing"] {
        let cache = team
            .until(name, "AccessGranted", |cache| reason(cache, ConditionType::Authorized) == "AccessGranted")
            .await;
        assert_eq!(reason(&cache, ConditionType::Authenticated), "TokenValid");
        // Without polling, the missing one would be looked at after five minutes, and this would have failed.
        println!("{name}: noticed after {} s", mended.elapsed().as_secs());
        team.ready(name).await;
    }
    assert_eq!(operator.warnings(), Vec::<String>::new(), "nothing that it lacks is missed");
    operator.stop();
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn without_the_logs_of_pods_only_progress_is_missing_and_nothing_is_said_of_it() {
    let cluster = Cluster::without_operator().await;
    let team = cluster.namespace("logless").await;
    let account = Account::new(&cluster, "logless").await;
    let rules = without(without(documented_rules(), "pods/log", &["get"]), "secrets", &["list", "watch"]);
    account.may(&rules, &team).await;
    team.secret("hf", TOKEN).await;
    hub().add(model("acme/logless").lfs("slow.bin", Content::random(8, 1 << 20)));
    // Slow enough for several looks at the running download.
    hub().fault(Fault::new(FaultKind::Slow(50 << 10)).on(Class::Cdn).path("slow.bin"));
    team.cache("slow", spec("acme/logless")).await;

    let operator = Operator::start(&account, &["--namespace", &names(&[&team]), "--secrets", "poll"]).await;
    team.reason("slow", "Downloading").await;
    let looks = || operator.metric(r#"modelcache_reconcile_total{result="success"}"#);
    let before = looks();
    eventually("some looks at the running download", || async { (looks() >= before + 3).then_some(()) })
        .await;
    let cache = team.ready("slow").await;
    assert!(cache.status.as_ref().unwrap().progress.is_none());
    assert_eq!(operator.warnings(), Vec::<String>::new());
    operator.stop();
}
