//! Who may read what: how it is told while it changes, and how soon. The causes are in the matrix.

use std::time::Instant;

use futures::{StreamExt as _, stream};
use modelcache::{api::ModelCache, reason::ConditionType};
use serde_json::json;
use standin_hub::Access;

use crate::{
    cluster::{Team, holds, message, one_operator, reason, show},
    measured::measured,
    world::{USER, gated, hub, spec, team, with},
};

/// The verdict of one topic: reason, and a part of the message.
fn assert_told(cache: &ModelCache, topic: ConditionType, word: &str, part: &str) {
    assert_eq!(reason(cache, topic), word, "{}", show(cache));
    assert!(message(cache, topic).contains(part), "{:?} does not say {part:?}", message(cache, topic));
}

/// No object may be touched between the refusal and Ready: the spec's generation tells.
async fn heals(team: &Team, name: &str) {
    let cache = team.ready(name).await;
    assert_eq!(cache.metadata.generation, Some(1));
    assert!(holds(&cache, ConditionType::Authorized), "{}", show(&cache));
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn terms_that_are_not_accepted_are_told_and_accepting_them_is_enough() {
    let (_cluster, team) = team("terms").await;
    hub().add(gated("acme/terms"));
    team.cache("terms", spec("acme/terms")).await;
    let cache = team.reason("terms", "TermsNotAccepted").await;
    assert!(holds(&cache, ConditionType::Authenticated), "the token itself is good");
    let page = format!("{}/acme/terms", hub().url());
    assert_told(&cache, ConditionType::Authorized, "TermsNotAccepted", &page);
    assert_eq!(reason(&cache, ConditionType::Stalled), "TermsNotAccepted");
    let claims = team.api::<k8s_openapi::api::core::v1::PersistentVolumeClaim>();
    assert!(claims.get_opt("terms").await.unwrap().is_none(), "nothing is made before access is granted");

    hub().set_access(USER, "acme/terms", Access::Pending);
    let cache = team.reason("terms", "AccessPending").await;
    assert_told(&cache, ConditionType::Authorized, "AccessPending", "not yet decided");
    hub().accept_terms(USER, "acme/terms");
    heals(&team, "terms").await;
}

/// The bound is wide, for machines that are busy with other tests.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn the_answer_about_access_comes_at_once_among_many() {
    const OTHERS: usize = 200;
    let _same = one_operator().await;
    let (_cluster, team) = team("at-once").await;
    hub().add(gated("acme/at-once"));
    let asleep = with(spec("acme/at-once"), json!({ "suspend": true }));
    let others = (0..OTHERS).map(|n| {
        let (team, asleep) = (&team, asleep.clone());
        async move {
            let name = format!("other-{n}");
            team.cache(&name, asleep).await;
            team.reason(&name, "Suspended").await;
        }
    });
    stream::iter(others).buffer_unordered(16).collect::<()>().await;

    let mut times = Vec::new();
    for number in 0..20 {
        let name = format!("at-once-{number}");
        let applied = Instant::now();
        team.cache(&name, spec("acme/at-once")).await;
        team.reason(&name, "TermsNotAccepted").await;
        times.push(applied.elapsed().as_millis());
    }
    times.sort_unstable();
    let (median, worst) = (times[10], times[19]);
    let what = format!("from apply to the answer about access in the status, with {OTHERS} others");
    measured(&what, "3 s", format!("median {median} ms of 20, worst {worst} ms"));
    assert!(median < 3000, "{times:?}");
}
