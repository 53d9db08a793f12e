//! How long one tenant waits for its first condition while another floods the operator.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use modelcache::reason::ConditionType;
use serde_json::{Value, json};
use standin_hub::{Fault, FaultKind, StandinHub};

use crate::{
    cluster::{Cluster, Team, reason},
    measured::measured,
    operator::{Account, Operator, documented_rules},
    world::model,
};

/// New ModelCaches of the tenant that floods.
const FLOOD: usize = 1_000;
/// Until another tenant's first condition.
const BAR: Duration = Duration::from_secs(2);
/// What an endpoint that never answers may add to that.
const BAR_OF_DELAY: Duration = Duration::from_secs(1);

fn spec(repo: &str, endpoint: &str) -> Value {
    // Without a claim nothing follows the answer of the Hub.
    json!({ "source": { "repo": repo, "endpoint": endpoint }, "storage": { "existingClaim": "none" } })
}

/// The time from the creation of a ModelCache until its status has what the Hub answered.
async fn first_condition(team: &Team, name: &str, hub: &StandinHub) -> Duration {
    let created = Instant::now();
    team.cache(name, spec("acme/tiny", hub.url())).await;
    team.until(name, "granted", |cache| reason(cache, ConditionType::Authorized) == "AccessGranted").await;
    created.elapsed()
}

async fn create_many(team: &Team, count: usize, spec: impl Fn(usize) -> Value) {
    stream::iter(0..count)
        .for_each_concurrent(16, |number| {
            let spec = spec(number);
            async move {
                team.cache(&format!("flood-{number}"), spec).await;
            }
        })
        .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_flood_of_one_tenant_delays_the_first_condition_of_no_other() {
    let _alone = crate::ALONE.lock().await;
    let cluster = Cluster::without_operator().await;
    let [rival, hung_rival, team] =
        [cluster.namespace("flood").await, cluster.namespace("hung").await, cluster.namespace("other").await];
    let account = Account::new(&cluster, "flood").await;
    // All namespaces are one watch and one queue.
    account.may_everywhere(&documented_rules()).await;
    let (hub, hung) = (StandinHub::start().await, StandinHub::start().await);
    hub.add(model("acme/tiny"));
    // As far away as the Hub.
    hub.fault(Fault::new(FaultKind::Late(100)));
    hung.fault(Fault::new(FaultKind::Hang));
    let arguments = ["--endpoint", hub.url(), "--endpoint", hung.url()];
    let operator = Operator::with_endpoints(&account, &arguments).await;
    first_condition(&team, "warm-up", &hub).await;
    let at_rest = first_condition(&team, "at-rest", &hub).await;

    create_many(&hung_rival, 50, |number| spec(&format!("hung/repo-{number}"), hung.url())).await;
    hung.until(|requests| !requests.is_empty()).await;
    let beside_hung = first_condition(&team, "beside-hung", &hub).await;

    create_many(&rival, FLOOD, |number| spec(&format!("flood/repo-{number}"), hub.url())).await;
    let flooded = first_condition(&team, "flooded", &hub).await;

    let (bar, bar_of_delay) = (format!("{} s", BAR.as_secs()), format!("{} s", BAR_OF_DELAY.as_secs()));
    let ms = |time: Duration| format!("{} ms", time.as_millis());
    let what =
        format!("from apply to the answer about access, after {FLOOD} new ModelCaches of another namespace");
    measured(&what, &bar, format!("{}, at rest {}", ms(flooded), ms(at_rest)));
    let delay = beside_hung.saturating_sub(at_rest);
    let what = "what 50 ModelCaches at an endpoint that never answers add to that";
    measured(what, &bar_of_delay, ms(delay));
    assert!(flooded <= BAR, "{flooded:?}");
    assert!(delay <= BAR_OF_DELAY, "{beside_hung:?} instead of {at_rest:?}");
    operator.stop();
}
