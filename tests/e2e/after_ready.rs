//! After Ready: what is taken away at the Hub is told in its own time, takes no data away, and heals by itself.

use k8s_openapi::api::{batch::v1::Job, core::v1::Event};
use kube::{ResourceExt, api::ListParams};
use modelcache::{
    api::{CachedSnapshot, ModelCache, condition},
    reason::ConditionType,
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use standin_hub::{Access, Class, Fault, FaultKind, StandinHub};

use crate::{
    cluster::{Team, eventually, holds, leave_to_replace_the_operator, one_operator, reason, show},
    world::{USER, endpoint, gated, hub, hub_at, place, spec, team, with},
};

const TOKEN: &str = "hf_erin0123456789abcdefghijklmnopqrs";

/// Loads the weights through the official client, offline, and prints their size.
fn load(repo: &str) -> String {
    format!(
        "import os, huggingface_hub as h\nprint(os.path.getsize(h.hf_hub_download('{repo}', 'model.safetensors')))"
    )
}

/// A spec for a repo of a Hub of its own, looked at again every minute.
fn every_minute(port: u16, repo: &str) -> Value {
    let more = json!({ "source": { "endpoint": endpoint("http", port) }, "interval": "1m" });
    with(spec(repo), more)
}

/// When the operator asked whether it may read a repo, in milliseconds, and what the Hub answered.
fn looks(hub: &StandinHub, repo: &str) -> Vec<(u64, u16)> {
    let path = format!("/{repo}/auth-check");
    let mut all: Vec<_> = hub.requests().into_iter().filter(|it| it.path.ends_with(&path)).collect();
    // The Job asks for itself, once: after the operator's first look, which it comes from.
    all.remove(1);
    all.iter().map(|it| (it.millis, it.status)).collect()
}

fn current(cache: &ModelCache) -> CachedSnapshot {
    cache.status.clone().unwrap().current().cloned().unwrap()
}

/// Status and reason of a topic.
fn told(cache: &ModelCache, topic: ConditionType) -> (&str, &str) {
    let found = condition::find(&cache.status.as_ref().unwrap().conditions, topic).unwrap();
    (&found.status, &found.reason)
}

/// Waits until a topic is told so; Ready and the data stay as they were.
async fn until_told(team: &Team, before: &ModelCache, topic: ConditionType, word: &str) -> ModelCache {
    let name = before.name_any();
    let cache = team.until(&name, word, |cache| reason(cache, topic) == word).await;
    assert!(holds(&cache, ConditionType::Ready), "{}", show(&cache));
    assert_eq!(current(&cache), current(before));
    cache
}

async fn assert_event(team: &Team, cache: &ModelCache, kind: &str, word: &str) {
    let of_it = ListParams::default().fields(&format!("involvedObject.name={}", cache.name_any()));
    eventually(&format!("an event {word}"), || async {
        let all = team.api::<Event>().list(&of_it).await.unwrap();
        let event = all.iter().find(|event| event.reason.as_deref() == Some(word))?;
        assert_eq!(event.type_.as_deref(), Some(kind), "{event:?}");
        Some(())
    })
    .await;
}

/// After a good answer the interval passes, after a refusal a short time, and one refusal is not told.
#[track_caller]
fn assert_pace(looks: &[(u64, u16)]) {
    // How much later than it is due a request may come on a busy machine.
    const LATE: u64 = 5_000;

    let refusals = looks.iter().filter(|(_, status)| *status != 200).count();
    assert!(refusals >= 2, "it was told after one refusal: {looks:?}");
    for pair in looks.windows(2) {
        let due = if pair[0].1 == 200 { 60_000 } else { 15_000 };
        assert!((due..=due * 11 / 10 + LATE).contains(&(pair[1].0 - pair[0].0)), "{looks:?}");
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn access_and_tokens_that_are_taken_away_are_told_after_two_refusals_and_the_data_stay() {
    let (_cluster, team) = team("after-ready").await;
    let _same = one_operator().await;
    let hub = hub_at(place::AFTER_READY);
    // In the log a repo is one story's, also where an earlier run has left ModelCaches behind.
    let [withdrawn, revoked] = ["withdrawn", "revoked"].map(|name| format!("{}/{name}", team.namespace));
    hub.user("erin").token(TOKEN);
    hub.add(gated(&withdrawn).access(USER, Access::Accepted));
    hub.add(gated(&revoked).access("erin", Access::Accepted));
    team.secret("erin", TOKEN).await;
    let of_erin = json!({ "tokenSecretRef": { "name": "erin" } });
    team.cache("withdrawn", every_minute(place::AFTER_READY, &withdrawn)).await;
    team.cache("revoked", with(every_minute(place::AFTER_READY, &revoked), of_erin)).await;
    let (w, r) = (team.ready("withdrawn").await, team.ready("revoked").await);

    hub.set_access(USER, &*withdrawn, Access::NotRequested);
    hub.remove_token(TOKEN);
    let cache = until_told(&team, &w, ConditionType::Authorized, "TermsNotAccepted").await;
    assert_pace(&looks(&hub, &withdrawn));
    assert_eq!(told(&cache, ConditionType::Authenticated), ("True", "TokenValid"));
    assert_eq!(told(&cache, ConditionType::Authorized), ("False", "TermsNotAccepted"));
    assert_event(&team, &cache, "Warning", "TermsNotAccepted").await;
    let cache = until_told(&team, &r, ConditionType::Authenticated, "TokenInvalid").await;
    assert_pace(&looks(&hub, &revoked));
    assert_eq!(told(&cache, ConditionType::Authenticated), ("False", "TokenInvalid"));
    assert_event(&team, &cache, "Warning", "TokenInvalid").await;
    assert_eq!(team.python("withdrawn", &load(&withdrawn)).await.trim(), "3145728");

    hub.accept_terms(USER, &*withdrawn);
    hub.user("erin").token(TOKEN);
    for (before, topic, word) in
        [(&w, ConditionType::Authorized, "AccessGranted"), (&r, ConditionType::Authenticated, "TokenValid")]
    {
        let healed = until_told(&team, before, topic, word).await;
        assert_event(&team, &healed, "Normal", word).await;
        assert_eq!(healed.metadata.generation, before.metadata.generation, "the object was touched");
    }
    let jobs = team.api::<Job>().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(jobs.len(), 2, "nothing is downloaded again");
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn an_outage_after_ready_is_unknown_and_passes() {
    let (_cluster, team) = team("outage").await;
    let hub = hub_at(place::OUTAGE);
    let repo = format!("{}/outage", team.namespace);
    hub.add(gated(&repo).access(USER, Access::Accepted));
    team.cache("outage", every_minute(place::OUTAGE, &repo)).await;
    let ready = team.ready("outage").await;

    hub.off().await;
    // Either question may be the first that gets no answer.
    let cache = team
        .until("outage", "Unknown", |cache| {
            [ConditionType::Authenticated, ConditionType::Authorized]
                .iter()
                .any(|topic| told(cache, *topic) == ("Unknown", "HubUnreachable"))
        })
        .await;
    assert!(holds(&cache, ConditionType::Ready), "{}", show(&cache));
    assert_event(&team, &cache, "Warning", "HubUnreachable").await;
    assert_eq!(team.python("outage", &load(&repo)).await.trim(), "3145728");

    hub.on();
    let healed = until_told(&team, &ready, ConditionType::Authorized, "AccessGranted").await;
    assert_eq!(healed.metadata.generation, ready.metadata.generation, "the object was touched");
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_new_operator_does_not_believe_one_refusal_either() {
    let leave = leave_to_replace_the_operator().await;
    let (cluster, team) = team("one-refusal").await;
    let repo = format!("{}/one-refusal", team.namespace);
    hub().add(gated(&repo).access(USER, Access::Accepted));
    team.cache("one-refusal", spec(&repo)).await;
    team.ready("one-refusal").await;
    let settled = eventually("the progress to be gone", || async {
        let cache = team.get("one-refusal").await;
        cache.status.as_ref()?.progress.is_none().then(|| cache.resource_version().unwrap())
    })
    .await;

    let before = looks(hub(), &repo).len();
    // One look: the access probe alone is not believed, and the revision is asked about.
    hub().fault(Fault::new(FaultKind::Status(401)).on(Class::Api).path(&format!("/{repo}/")).times(2));
    cluster.restart_operator(&leave).await;
    let answers = eventually("the new operator to ask twice", || async {
        let answers: Vec<_> = looks(hub(), &repo)[before..].iter().map(|(_, status)| *status).collect();
        (answers.len() > 1).then_some(answers)
    })
    .await;
    assert_eq!(answers, [401, 200]);
    let cache = team.get("one-refusal").await;
    assert_eq!(cache.resource_version(), Some(settled), "a single refusal was told: {}", show(&cache));
}
