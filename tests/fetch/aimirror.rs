//! aimirror 0.3.4: it forwards requests without the query, and fetches large files itself, in parts.

use std::fs;

use modelcache::reason::Reason;
use pretty_assertions::assert_eq;
use standin_hub::{Content, Gate, Repo};

use crate::{
    mirror::{FINE, Mirror, many},
    outside::assert_unseen,
    stage::{Stage, tiny},
};

const UNUSABLE: [&str; 3] = ["Anonymous", "AccessGranted", "InvalidResponse"];

/// A model without folders and with a file that is fetched in parts.
fn flat() -> Repo {
    let model =
        Repo::model("acme/tiny").file("config.json", "{}").file("größe 1.txt", "déjà vu").file("empty", "");
    model.lfs("model.safetensors", Content::random(11, 20 << 20)).branch("main")
}

#[tokio::test]
async fn a_model_without_folders_is_fetched() {
    let stage = Stage::with(flat()).await;
    let mirror = Mirror::aimirror(&stage);
    mirror.check(&stage, &["acme/tiny"], None).assert(FINE, "4 files, 20 MiB");
    let report = mirror.fetch(&stage, None).await;
    assert_eq!(report.reason, Reason::Verified, "{report:?}");
    stage.assert_loads(|_| true);

    // It caches large files but no metadata.
    fs::remove_dir_all(stage.cache()).unwrap();
    stage.hub.off().await;
    let report = mirror.fetch(&stage, None).await;
    assert_eq!(report.reason, Reason::HubUnreachable, "{report:?}");
    assert!(report.message.contains("server error, HTTP 500"), "{}", report.message);
    assert_unseen(&stage);
}

#[tokio::test]
async fn corrupt_cached_bytes_are_rejected() {
    let stage = Stage::with(flat()).await;
    let mirror = Mirror::aimirror(&stage);
    mirror.assert_wrong_bytes_stay_unseen(&stage).await;
}

#[tokio::test]
async fn unsupported_requests_are_reported() {
    let stage = Stage::with(tiny()).await;
    stage.hub.add(many());
    stage.hub.add(Repo::dataset("acme/words").file("a.txt", "a").branch("main"));
    let mirror = Mirror::aimirror(&stage);
    mirror
        .check(&stage, &["acme/tiny"], None)
        .assert(UNUSABLE, "the listing has folders but none of their files");
    let report = mirror.fetch(&stage, None).await;
    assert_eq!(report.reason, Reason::InvalidResponse, "{report:?}");
    assert_unseen(&stage);
    mirror
        .check(&stage, &["acme/many"], None)
        .assert(UNUSABLE, "the listing's next page is the same page again");
    let missing = ["Anonymous", "TokenRequired", "NotChecked"];
    mirror
        .check(&stage, &["acme/none"], None)
        .assert(missing, "acme/none cannot be accessed without a token");
    // The rules of its manual are for models.
    let missing = ["Anonymous", "RepoNotFoundOrPrivate", "NotChecked"];
    mirror
        .check(&stage, &["acme/words", "--type", "dataset"], None)
        .assert(missing, "datasets/acme/words does not");
}

#[tokio::test]
async fn a_gate_is_respected_and_large_gated_files_fail() {
    let small = Repo::model("acme/tiny").gated(Gate::Manual).file("config.json", "{}").branch("main");
    let stage = Stage::with(small).await;
    let (alice, bob) = (Some("hf_alice"), Some("hf_bob"));
    stage.hub.user("alice").token("hf_alice");
    stage.hub.user("bob").token("hf_bob");
    stage.hub.accept_terms("alice", "acme/tiny");
    let mirror = Mirror::aimirror(&stage);
    mirror.check(&stage, &["acme/tiny"], alice).assert(["TokenValid", "AccessGranted", "Resolved"], "1 file");
    mirror
        .check(&stage, &["acme/tiny"], bob)
        .assert(["TokenValid", "TermsNotAccepted", "NotChecked"], "has not accepted the terms of acme/tiny");
    mirror.check(&stage, &["acme/tiny"], None).assert(
        ["Anonymous", "TokenRequired", "NotChecked"],
        "acme/tiny is gated, and no token is configured",
    );
    mirror
        .check(&stage, &["acme/tiny"], Some("hf_bad"))
        .assert(["TokenInvalid", "NotChecked", "NotChecked"], "rejects");
    let report = mirror.fetch(&stage, alice).await;
    assert_eq!(report.reason, Reason::Verified, "{report:?}");
    stage.assert_loads(|_| true);
    assert_eq!(stage.hub.token_leaks(), [""; 0]);

    // It forwards the token to the storage, which rejects it.
    stage.hub.update("acme/tiny", |repo| repo.lfs("large.bin", Content::random(11, 1 << 20)).branch("main"));
    mirror
        .check(&stage, &["acme/tiny"], alice)
        .assert(["TokenValid", "AccessGranted", "HubUnreachable"], "server error, HTTP 502");
    let leaks = stage.hub.token_leaks();
    assert!(!leaks.is_empty() && leaks.iter().all(|leak| leak.contains("to the CDN: HEAD")), "{leaks:?}");
    stage.hub.clear_token_leaks();
}
