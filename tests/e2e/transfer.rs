//! A token that goes bad in the middle of a download, after the check has found it good.

use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job;
use kube::{ResourceExt, api::ListParams};
use modelcache::{
    api::{self, ModelCache},
    reason::ConditionType,
};
use serde_json::json;
use standin_hub::{Access, Class, Fault, FaultKind, client};

use crate::{
    cluster::{Team, eventually, one_operator, reason},
    world::{endpoint, gated, hub_at, place, spec, team, with},
};

const OLD: &str = "hf_carolOld0123456789abcdefghijklmno";
const NEW: &str = "hf_carolNew0123456789abcdefghijklmno";
/// The pause after a first failure that requires user action, in seconds.
const TIMER: i64 = 20;
/// In milliseconds: sooner than any timer could have it, the operator's own of 15 s among them.
const SOON: u64 = 8_000;

/// The Job of an attempt at a ModelCache.
async fn attempt(team: &Team, cache: &str, number: &str) -> Option<Job> {
    let selector = format!("{}={cache},{}={number}", api::LABEL_NAME, api::LABEL_ATTEMPT);
    team.api::<Job>().list(&ListParams::default().labels(&selector)).await.unwrap().items.pop()
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_corrected_secret_starts_all_failed_downloads_again_at_once() {
    // A new process asks twice before it believes a refusal, and takes longer than the timer for it.
    let _one = one_operator().await;
    let (_cluster, team) = team("transfer").await;
    let hub = hub_at(place::TRANSFER);
    hub.user("carol").token(OLD);
    team.secret("carol", OLD).await;
    let caches = ["one", "two"].map(|name| (name, format!("{}/{name}", team.namespace)));
    // Each connection to the storage is cut, so that the Hub is asked for the file again, with a token.
    hub.fault(Fault::new(FaultKind::Cut(1000)).on(Class::Cdn));
    for (name, repo) in &caches {
        hub.add(gated(repo).access("carol", Access::Accepted));
        let more = json!({
            "source": { "endpoint": endpoint("http", place::TRANSFER) },
            "tokenSecretRef": { "name": "carol" },
        });
        team.cache(name, with(spec(repo), more)).await;
    }
    eventually("both downloads to be under way", || async {
        let requests = hub.requests();
        let begun = |repo: &str| requests.iter().any(|it| it.class == Class::Cdn && it.path.contains(repo));
        caches.iter().all(|(_, repo)| begun(repo)).then_some(())
    })
    .await;
    hub.remove_token(OLD);
    // Both at one time: what the Job ended for is said of the download until the next attempt is due, and no longer.
    let refused = caches.iter().map(async |(name, _)| {
        let is = |cache: &ModelCache, topic| reason(cache, topic) == "TokenInvalid";
        team.until(name, "ended for its token", |cache| is(cache, ConditionType::Downloaded)).await;
        let both =
            |cache: &ModelCache| is(cache, ConditionType::Stalled) && is(cache, ConditionType::Authenticated);
        team.until(name, "refused for its token", both).await;
        let ended = eventually("the Job to be recorded as failed", || async {
            let conditions = attempt(&team, name, "1").await?.status?.conditions?;
            conditions.into_iter().find(|it| it.type_ == "Failed")
        })
        .await;
        ended.last_transition_time.unwrap().0
    });
    let failed_at = join_all(refused).await;

    hub.clear_faults();
    hub.user("carol").token(NEW);
    // The Hub's own clock tells how soon: this request is the mark in its log.
    client::get(&format!("{}/corrected", hub.url()), &[]).unwrap();
    team.secret("carol", NEW).await;
    for ((name, repo), failed_at) in caches.iter().zip(failed_at) {
        let again = eventually("a second attempt", || attempt(&team, name, "2")).await;
        let waited = again.creation_timestamp().unwrap().0.duration_since(failed_at).as_secs();
        assert!(waited < TIMER, "{name} waited {waited} s, as the timer has it");
        team.ready(name).await;
        let requests = hub.requests();
        let mark = requests.iter().position(|it| it.path == "/corrected").unwrap();
        let asked = requests[mark..].iter().find(|it| it.path.contains(repo) && it.status == 200).unwrap();
        let after = asked.millis - requests[mark].millis;
        println!("{name}: asked again {after} ms after the Secret was corrected");
        assert!(after < SOON, "{after} ms");
    }
}
