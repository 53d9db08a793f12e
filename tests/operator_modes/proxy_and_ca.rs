//! An endpoint that only a proxy reaches, with certificates of a company: the operator's questions and the Job go there.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
};

use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use modelcache::reason::ConditionType;
use serde_json::json;

use crate::{
    cluster::{Cluster, eventually, message},
    operator::{Account, Operator, documented_rules, names},
    proxy::ForwardProxy,
    relay::{Door, hub_behind},
    tls::AUTHORITY,
    world::model,
};

/// The one address of this machine that pods reach.
const BRIDGE: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn preflight_and_job_go_to_the_endpoint_through_its_proxy_with_its_authority() {
    let cluster = Cluster::without_operator().await;
    let team = cluster.namespace("way").await;
    let account = Account::new(&cluster, "way").await;
    account.may(&documented_rules(), &team).await;

    // `localhost` is the Hub's name, and for a pod its own machine, where nobody listens: only the proxy leads there.
    let (hub_door, cdn_door) = (Door::tls(), Door::tls());
    let hub = hub_behind(Some(&hub_door), Some(&cdn_door));
    hub.add(model("acme/behind"));
    let (at_hub, at_cdn) = hub.listeners();
    let doors = [hub_door.before(at_hub), cdn_door.before(at_cdn)];
    let proxy = ForwardProxy::start(IpAddr::from(BRIDGE), |host| {
        Some((Ipv4Addr::LOCALHOST, host.strip_prefix("localhost:")?.parse().ok()?).into())
    });
    let folder = tempfile::tempdir().unwrap();
    let (file, bundle) = (folder.path().join("endpoints.yaml"), folder.path().join("ca.crt"));
    fs::write(&bundle, AUTHORITY).unwrap();
    let url = &doors[0].url;
    let arguments = ["--endpoints-file", file.to_str().unwrap(), "--namespace", &names(&[&team])];

    fs::write(&file, format!("- url: {url}\n  proxy: {}\n", proxy.url)).unwrap();
    let distrusting = Operator::with_endpoints(&account, &arguments).await;
    team.cache("behind", json!({ "source": { "repo": "acme/behind" } })).await;
    let cache = team.reason("behind", "HubUnreachable").await;
    assert!(
        message(&cache, ConditionType::Ready).contains("CA bundle"),
        "{}",
        message(&cache, ConditionType::Ready)
    );
    distrusting.stop();

    fs::write(&file, format!("- url: {url}\n  proxy: {}\n  caBundleFile: {}\n", proxy.url, bundle.display()))
        .unwrap();
    let operator = Operator::with_endpoints(&account, &arguments).await;
    let ready = team.ready("behind").await;
    for door in &doors {
        assert!(proxy.asked().iter().any(|host| door.url.ends_with(host)), "{:?}", proxy.asked());
    }
    let name = team.api::<Job>().list(&ListParams::default()).await.unwrap().items[0].metadata.name.clone();
    assert_eq!(operator.warnings(), Vec::<String>::new());
    operator.stop();

    // Another way to the same Hub: the data stay, and no other Job is made.
    fs::write(&file, format!("- url: {url}\n  caBundleFile: {}\n", bundle.display())).unwrap();
    let operator = Operator::with_endpoints(&account, &arguments).await;
    let looks = || operator.metric(r#"modelcache_reconcile_total{result="success"}"#);
    eventually("a look by the next operator", || async { (looks() > 0).then_some(()) }).await;
    let jobs = team.api::<Job>().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(jobs.iter().map(|job| job.metadata.name.clone()).collect::<Vec<_>>(), [name]);
    assert_eq!(team.get("behind").await.status.unwrap().snapshots, ready.status.unwrap().snapshots);
    operator.stop();
}
