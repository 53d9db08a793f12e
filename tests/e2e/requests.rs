//! What the operator asks of the API server, counted by that server.

use std::time::Instant;

use standin_hub::{Class, Fault, FaultKind};

use crate::{
    audit::Audit,
    cluster::{Team, eventually, leave_to_replace_the_operator, one_operator},
    measured::measured,
    world::{TOKEN, hub, model, spec, team},
};

/// Of a download that runs.
const MOST_A_MINUTE: f64 = 20.0;
/// Of a Ready object, when the operator starts.
const MOST_AT_START: usize = 2;

/// Waits until nothing is left to be written about a ModelCache.
async fn at_rest(team: &Team, name: &str) {
    team.ready(name).await;
    team.until(name, "at rest", |cache| cache.status.as_ref().is_some_and(|it| it.progress.is_none())).await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_running_download_costs_at_most_20_requests_a_minute_and_a_ready_one_none() {
    let _one = one_operator().await;
    let (cluster, team) = team("requests").await;
    let idle = cluster.namespace("requests-idle").await;
    idle.secret("hf", TOKEN).await;
    let [slow, ready] = [&team, &idle].map(|team| format!("{}/model", team.namespace));
    for repo in [&slow, &ready] {
        hub().add(model(repo));
    }
    idle.cache("ready", spec(&ready)).await;
    at_rest(&idle, "ready").await;

    // One file of 3 MiB that takes 77 seconds.
    hub().fault(Fault::new(FaultKind::Slow(40 << 10)).on(Class::Cdn).path(&slow));
    team.cache("slow", spec(&slow)).await;
    team.until("slow", "under way", |cache| cache.status.as_ref().is_some_and(|it| it.progress.is_some()))
        .await;
    let (running, at_rest) = (Audit::of(&team.namespace), Audit::of(&idle.namespace));
    let (before, before_at_rest, began) = (running.requests(), at_rest.requests(), Instant::now());
    team.ready("slow").await;
    let seconds = began.elapsed().as_secs_f64();
    let asked = running.requests().split_off(before.len());
    let asked_at_rest = at_rest.requests().split_off(before_at_rest.len());

    #[expect(clippy::cast_precision_loss, reason = "some dozens")]
    let a_minute = asked.len() as f64 * 60.0 / seconds;
    measured("API requests a minute of a running download", "≤ 20", format!("{a_minute:.1}"));
    measured("API requests of a Ready ModelCache in that minute", "0", asked_at_rest.len());
    assert!(seconds > 60.0, "the download took {seconds} s, which says little about a minute");
    assert!(a_minute <= MOST_A_MINUTE, "{a_minute} requests a minute: {asked:#?}");
    assert_eq!(asked_at_rest, []);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_restart_costs_at_most_2_requests_a_ready_object_and_writes_nothing() {
    const OBJECTS: usize = 5;
    let leave = leave_to_replace_the_operator().await;
    let (cluster, team) = team("restart").await;
    let repos: Vec<_> = (0..OBJECTS).map(|number| format!("{}/model-{number}", team.namespace)).collect();
    for (number, repo) in repos.iter().enumerate() {
        hub().add(model(repo));
        team.cache(&format!("ready-{number}"), spec(repo)).await;
    }
    for number in 0..OBJECTS {
        at_rest(&team, &format!("ready-{number}")).await;
    }
    let audit = Audit::of(&team.namespace);
    let (before, asked) = (audit.requests(), hub().requests().len());
    cluster.restart_operator(&leave).await;
    eventually("the new operator to ask about each repo", || async {
        let requests = hub().requests().split_off(asked);
        repos.iter().all(|repo| requests.iter().any(|it| it.path.contains(repo))).then_some(())
    })
    .await;
    // Whatever it does about the others is done when a new one has gone all its way.
    let later = cluster.namespace("restart-later").await;
    later.secret("hf", TOKEN).await;
    let repo = format!("{}/model", later.namespace);
    hub().add(model(&repo));
    later.cache("later", spec(&repo)).await;
    later.ready("later").await;

    let requests = audit.requests().split_off(before.len());
    let figure = format!("{} for {OBJECTS} of one Secret", requests.len());
    measured("API requests for each Ready ModelCache when the operator starts", "≤ 2", figure);
    assert!(requests.len() <= OBJECTS * MOST_AT_START, "{} requests: {requests:#?}", requests.len());
    let writes: Vec<_> = requests.iter().filter(|request| request.is_write()).collect();
    assert!(writes.is_empty(), "{writes:#?}");
}
