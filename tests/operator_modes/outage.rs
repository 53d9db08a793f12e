//! An API server that is away for a while.

use std::time::{Duration, Instant};

use modelcache::reason::ConditionType;

use crate::{
    cluster::{Cluster, eventually, reason},
    cut::Cut,
    operator::{Account, Operator, api_server, documented_rules, names},
    world::{TOKEN, hub, model, spec},
};

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn every_watch_is_back_within_ten_seconds_and_readiness_and_a_metric_tell_of_the_outage() {
    let cluster = Cluster::without_operator().await;
    let team = cluster.namespace("outage").await;
    let account = Account::new(&cluster, "outage").await;
    account.may(&documented_rules(), &team).await;
    hub().add(model("acme/outage"));
    team.secret("hf", TOKEN).await;
    let relay = Cut::before(api_server());
    let arguments = ["--endpoint", hub().url(), "--namespace", &names(&[&team])];
    let operator = Operator::through(&account, relay.address, &arguments).await;
    let granted =
        |cache: &modelcache::api::ModelCache| reason(cache, ConditionType::Authorized) == "AccessGranted";
    team.cache("before", spec("acme/outage")).await;
    team.until("before", "AccessGranted", granted).await;
    let connected = |kind: &str| operator.metric(&format!("modelcache_watch_connected{{kind=\"{kind}\"}}"));
    for kind in ["modelcaches", "jobs", "pods", "persistentvolumeclaims", "secrets"] {
        eventually("the watch", || async { (connected(kind) == 1).then_some(()) }).await;
    }

    relay.cut();
    team.cache("meanwhile", spec("acme/outage")).await;
    let mut wrong = spec("acme/outage");
    wrong["tokenSecretRef"]["name"] = "later".into();
    team.cache("wrong", wrong).await;
    eventually("the operator to be not ready", || async {
        let page = operator.page("/readyz")?;
        assert!(operator.page("/livez").unwrap().contains(" 200 "), "a restart would help nobody");
        (page.contains(" 503 ") && page.contains("modelcaches for 3")).then_some(())
    })
    .await;
    for kind in ["modelcaches", "jobs", "pods", "persistentvolumeclaims", "secrets"] {
        assert_eq!(connected(kind), 0, "{kind}");
    }

    relay.mend();
    let mended = Instant::now();
    team.until("meanwhile", "AccessGranted", granted).await;
    let seen = mended.elapsed();
    println!("a ModelCache of the outage was served {} ms after its end", seen.as_millis());
    assert!(seen < Duration::from_secs(10), "{seen:?}");
    eventually("the operator to be ready again", || async {
        operator.page("/readyz")?.contains(" 200 ").then_some(())
    })
    .await;
    assert!(mended.elapsed() < Duration::from_secs(12), "{:?}", mended.elapsed());
    // The other watches are back as well: a Secret is noticed at once.
    team.reason("wrong", "SecretNotFound").await;
    let made = Instant::now();
    team.secret("later", TOKEN).await;
    team.until("wrong", "AccessGranted", granted).await;
    assert!(made.elapsed() < Duration::from_secs(10), "{:?}", made.elapsed());
    operator.stop();
}
