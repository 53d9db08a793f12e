//! olah 0.5.4: it forwards requests to the Hub, caches the responses, and has its own responses for unknown requests.

use std::fs;

use modelcache::{
    hub::{Repo as RepoName, RepoType},
    reason::Reason,
};
use pretty_assertions::assert_eq;
use standin_hub::{Content, Gate, Repo};

use crate::{
    mirror::{FINE, Mirror, many},
    outside::assert_unseen,
    stage::{SIZE, Stage, run, tiny},
};

/// Large enough for parts.
const LARGE: u64 = 20 << 20;

#[tokio::test]
async fn a_model_is_fetched_and_cached_by_the_mirror() {
    let stage = Stage::with(tiny().lfs("large.bin", Content::random(11, LARGE)).branch("main")).await;
    let resolved = format!("main is commit {}: 6 files, 23 MiB.", &stage.commit()[..7]);
    for offline in [false, true] {
        let mirror = Mirror::olah(&stage, offline);
        mirror.check(&stage, &["acme/tiny"], None).assert(FINE, &resolved);
        let report = mirror.fetch(&stage, None).await;
        assert_eq!((report.reason, report.bytes), (Reason::Verified, SIZE + LARGE), "{report:?}");
        stage.assert_loads(|_| true);

        fs::remove_dir_all(stage.cache()).unwrap();
        stage.hub.off().await;
        if !offline {
            // It asks the Hub for permission for each file, even a cached one.
            let report = mirror.fetch(&stage, None).await;
            assert_eq!(report.reason, Reason::HubUnreachable, "{report:?}");
            assert!(report.message.contains("server error, HTTP 504"), "{}", report.message);
            assert_unseen(&stage);
        }
    }
}

#[tokio::test]
async fn a_gate_is_respected_and_a_cached_masked_listing_fails_for_all() {
    let gated =
        |id| Repo::model(id).gated(Gate::Manual).lfs("a.bin", Content::random(3, 1000)).branch("main");
    let stage = Stage::with(gated("acme/tiny")).await;
    stage.hub.add(gated("acme/other"));
    let (alice, bob) = (Some("hf_alice"), Some("hf_bob"));
    stage.hub.user("alice").token("hf_alice");
    stage.hub.user("bob").token("hf_bob");
    stage.hub.accept_terms("alice", "acme/tiny");
    stage.hub.accept_terms("alice", "acme/other");
    let mirror = Mirror::olah(&stage, false);

    mirror.check(&stage, &["acme/tiny"], alice).assert(["TokenValid", "AccessGranted", "Resolved"], "1 file");
    let report = mirror.fetch(&stage, alice).await;
    assert_eq!(report.reason, Reason::Verified, "{report:?}");
    stage.assert_loads(|_| true);
    mirror
        .check(&stage, &["acme/tiny"], bob)
        .assert(["TokenValid", "TermsNotAccepted", "NotChecked"], "has not accepted the terms of acme/tiny");
    let anonymous = ["Anonymous", "TokenRequired", "NotChecked"];
    mirror
        .check(&stage, &["acme/tiny"], None)
        .assert(anonymous, "acme/tiny is gated, and no token is configured");

    mirror.check(&stage, &["acme/other"], None).assert(anonymous, "acme/other is gated");
    mirror.check(&stage, &["acme/other"], alice).assert(
        ["TokenValid", "AccessDenied", "NotChecked"],
        "have any mirror in between fetch the listing again",
    );
    drop(mirror);

    // Offline, it serves its cache to everyone.
    stage.hub.off().await;
    fs::remove_dir_all(stage.cache()).unwrap();
    let mirror = Mirror::olah(&stage, true);
    mirror.check(&stage, &["acme/tiny"], None).assert(FINE, "1 file");
    let report = mirror.fetch(&stage, None).await;
    assert_eq!(report.reason, Reason::Verified, "{report:?}");
}

#[tokio::test]
async fn unsupported_requests_are_reported() {
    let stage = Stage::with(Repo::model("acme/tiny").file("a", "a").branch("main")).await;
    stage.hub.add(many());
    stage.hub.user("alice").token("hf_alice");
    let mirror = Mirror::olah(&stage, false);
    let missing = ["Anonymous", "RepoNotFoundOrPrivate", "NotChecked"];
    mirror.check(&stage, &["acme/none"], None).assert(missing, "acme/none does not exist");
    let missing = ["TokenValid", "RepoNotFoundOrPrivate", "NotChecked"];
    mirror.check(&stage, &["acme/none"], Some("hf_alice")).assert(missing, "acme/none does not exist");
    let invalid = ["TokenInvalid", "NotChecked", "NotChecked"];
    mirror.check(&stage, &["acme/tiny"], Some("hf_bad")).assert(invalid, "The Hub rejects this token");
    let unusable = ["Anonymous", "AccessGranted", "InvalidResponse"];
    mirror
        .check(&stage, &["acme/many"], None)
        .assert(unusable, "the listing's next page is the same page again");
    let missing = ["Anonymous", "AccessGranted", "RevisionNotFound"];
    mirror.check(&stage, &["acme/tiny", "--revision", "gone"], None).assert(missing, "`gone`");
}

#[tokio::test]
async fn a_dataset_is_fetched_and_corrupt_cached_bytes_are_rejected() {
    let stage =
        Stage::with(Repo::model("acme/tiny").lfs("a.bin", Content::random(3, 1 << 20)).branch("main")).await;
    let words = Repo::dataset("acme/words").file("a.txt", "a").lfs("b.parquet", Content::random(4, 1000));
    stage.hub.add(words.branch("main"));
    let mirror = Mirror::olah(&stage, false);
    let dataset = ["acme/words", "--type", "dataset"];
    mirror.check(&stage, &dataset, None).assert(FINE, "2 files");
    let mut request = mirror.request(&stage, None);
    request.repo = RepoName { kind: RepoType::Dataset, id: "acme/words".parse().unwrap() };
    let report = run(&request).await;
    assert_eq!(report.reason, Reason::Verified, "{report:?}");
    let loaded = stage.judge("offline-load", &dataset);
    assert_eq!(loaded["files"].as_array().map(Vec::len), Some(2), "{loaded}");

    mirror.assert_wrong_bytes_stay_unseen(&stage).await;
}
