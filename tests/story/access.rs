//! Who may read what: each refusal is told with its remedy, and heals when the remedy was carried out.

use modelcache::{api::ModelCache, reason::Topic};
use serde_json::json;
use standin_hub::{Access, Token};

use crate::{
    cluster::{Team, holds, message, reason, show},
    world::{TOKEN, USER, gated, hub, model, spec, team},
};

/// The verdict of one topic: reason, and a part of the message.
fn assert_told(cache: &ModelCache, topic: Topic, word: &str, part: &str) {
    assert_eq!(reason(cache, topic), word, "{}", show(cache));
    assert!(message(cache, topic).contains(part), "{:?} does not say {part:?}", message(cache, topic));
}

/// No object may be touched between the refusal and Ready: the spec's generation tells.
async fn heals(team: &Team, name: &str) {
    let cache = team.ready(name).await;
    assert_eq!(cache.metadata.generation, Some(1));
    assert!(holds(&cache, Topic::Authorized), "{}", show(&cache));
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn terms_that_are_not_accepted_are_told_and_accepting_them_is_enough() {
    let (_cluster, team) = team("terms").await;
    hub().add(gated("acme/terms"));
    team.cache("terms", spec("acme/terms")).await;
    let cache = team.reason("terms", "TermsNotAccepted").await;
    assert!(holds(&cache, Topic::Authenticated), "the token itself is good");
    let page = format!("{}/acme/terms", hub().url());
    assert_told(&cache, Topic::Authorized, "TermsNotAccepted", &page);
    assert_eq!(reason(&cache, Topic::Stalled), "TermsNotAccepted");
    let claims = team.api::<k8s_openapi::api::core::v1::PersistentVolumeClaim>();
    assert!(claims.get_opt("terms").await.unwrap().is_none(), "nothing is made before access is granted");

    hub().set_access(USER, "acme/terms", Access::Pending);
    let cache = team.reason("terms", "AccessPending").await;
    assert_told(&cache, Topic::Authorized, "AccessPending", "not yet decided");
    hub().accept_terms(USER, "acme/terms");
    heals(&team, "terms").await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_wrong_token_is_told_and_correcting_the_secret_is_enough() {
    let (_cluster, team) = team("token").await;
    hub().add(gated("acme/token").access(USER, Access::Accepted));
    team.secret("hf", "hf_nobody0123456789abcdefghijklmnop").await;
    team.cache("token", spec("acme/token")).await;
    let cache = team.reason("token", "TokenInvalid").await;
    assert_told(&cache, Topic::Authenticated, "TokenInvalid", "/settings/tokens");
    assert_eq!(reason(&cache, Topic::Authorized), "NotChecked");

    team.secret("hf", &format!("\n  {TOKEN} \n")).await;
    heals(&team, "token").await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn an_expired_token_is_no_better_than_a_wrong_one_even_for_a_public_repo() {
    let (_cluster, team) = team("expired").await;
    hub().add(model("acme/expired"));
    hub().user("bob").token(Token::expired("hf_bob_expired0123456789abcdefghij"));
    team.secret("hf", "hf_bob_expired0123456789abcdefghij").await;
    team.cache("expired", spec("acme/expired")).await;
    let cache = team.reason("expired", "TokenInvalid").await;
    assert_told(&cache, Topic::Authenticated, "TokenInvalid", "expired");
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_missing_secret_a_missing_key_and_a_malformed_token_are_told_apart() {
    let (_cluster, team) = team("secret").await;
    hub().add(gated("acme/secret").access(USER, Access::Accepted));
    let spec = |name: &str, key: &str| json!({ "source": { "repo": "acme/secret" }, "tokenSecretRef": { "name": name, "key": key } });
    team.cache("no-secret", spec("later", "token")).await;
    team.cache("no-key", spec("hf", "TOKEN")).await;
    team.secret("two-words", "hf_one hf_two").await;
    team.cache("malformed", spec("two-words", "token")).await;

    let cache = team.reason("no-secret", "SecretNotFound").await;
    assert_told(&cache, Topic::Authenticated, "SecretNotFound", "kubectl create secret generic later");
    let cache = team.reason("no-key", "SecretKeyNotFound").await;
    assert_told(&cache, Topic::Authenticated, "SecretKeyNotFound", "it has token");
    let cache = team.reason("malformed", "TokenMalformed").await;
    assert!(!message(&cache, Topic::Authenticated).contains("hf_one"));

    team.secret("later", TOKEN).await;
    heals(&team, "no-secret").await;
    team.secret("two-words", TOKEN).await;
    heals(&team, "malformed").await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_private_repo_without_access_is_told_and_granting_it_is_enough() {
    let (_cluster, team) = team("private").await;
    hub().add(model("rival/private").private(true));
    team.cache("private", spec("rival/private")).await;
    let cache = team.reason("private", "RepoNotFoundOrPrivate").await;
    assert!(holds(&cache, Topic::Authenticated));
    assert_told(&cache, Topic::Authorized, "RepoNotFoundOrPrivate", "does not exist, or it is private");

    team.cache("nobody", json!({ "source": { "repo": "rival/private" } })).await;
    let cache = team.reason("nobody", "TokenRequired").await;
    assert_told(&cache, Topic::Authorized, "TokenRequired", "give a token");

    hub().update("rival/private", |repo| repo.member(USER));
    heals(&team, "private").await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn every_other_refusal_has_its_word() {
    let (_cluster, team) = team("refusals").await;
    hub().add(gated("acme/rejected").access(USER, Access::Rejected));
    hub().add(gated("acme/reset").access(USER, Access::Reset));
    hub().add(model("acme/disabled").disabled(true));
    hub().add(gated("acme/narrow").access("carol", Access::Accepted));
    hub().user("carol").token(Token::fine_grained_without_gated("hf_carol0123456789abcdefghijklmnopq"));
    team.secret("narrow", "hf_carol0123456789abcdefghijklmnopq").await;

    team.cache("rejected", spec("acme/rejected")).await;
    team.cache("reset", spec("acme/reset")).await;
    team.cache("disabled", spec("acme/disabled")).await;
    let narrow = json!({ "source": { "repo": "acme/narrow" }, "tokenSecretRef": { "name": "narrow" } });
    team.cache("narrow", narrow).await;
    let elsewhere = json!({ "source": { "repo": "acme/x", "endpoint": "https://example.com" } });
    team.cache("elsewhere", elsewhere).await;

    for (name, word) in [
        ("rejected", "AccessRejected"),
        ("reset", "TermsNotAccepted"),
        ("disabled", "RepoDisabled"),
        ("narrow", "TokenLacksPermission"),
        ("elsewhere", "EndpointNotAllowed"),
    ] {
        let cache = team.reason(name, word).await;
        assert_eq!(reason(&cache, Topic::Stalled), word);
    }
}

/// The figure of the README. The bound is wide, for machines that are busy with other tests.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn the_answer_about_access_comes_at_once() {
    let (_cluster, team) = team("at-once").await;
    hub().add(gated("acme/at-once"));
    let mut times = Vec::new();
    for number in 0..20 {
        let name = format!("at-once-{number}");
        let applied = std::time::Instant::now();
        team.cache(&name, spec("acme/at-once")).await;
        team.reason(&name, "TermsNotAccepted").await;
        times.push(applied.elapsed().as_millis());
    }
    times.sort_unstable();
    println!("from apply to the auth condition: median {} ms, worst {} ms of 20", times[10], times[19]);
    assert!(times[10] < 3000, "{times:?}");
}
