//! The content of a cache after successful fetches, and the requests that are saved.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use modelcache::{
    cache::Links,
    fetch::Report,
    hub::{Patterns, RepoType, TokenSource},
    reason::Reason,
};
use pretty_assertions::assert_eq;
use standin_hub::{Class, Fault, FaultKind, Gate, Repo};

use crate::stage::{SIZE, SMALL, Stage, WEIGHTS, run, tiny};

#[tokio::test]
async fn the_official_client_loads_a_fetched_model() {
    let stage = Stage::new().await;
    let report = run(&stage.request()).await;
    let commit = stage.commit();
    let expected = Report {
        commit: Some(commit.clone()),
        files: 5,
        bytes: SIZE,
        downloaded_bytes: WEIGHTS + SMALL,
        path: Some(format!("models--acme--tiny/snapshots/{commit}")),
        verified_at: report.verified_at,
        seconds: report.seconds,
        ..Report::new(
            &"acme/tiny",
            RepoType::Model,
            &"main",
            Reason::Verified,
            format!("acme/tiny at {} is complete and verified: 5 files, 3 MiB.", &commit[..7]),
        )
    };
    assert_eq!(report, expected);
    assert!(report.verified_at.is_some());

    stage.assert_loads(|_| true);
    let judged = stage.judge("verify", &["acme/tiny", "--endpoint", stage.hub.url()]);
    assert_eq!(
        judged,
        serde_json::json!({"commit": commit, "checked": 5, "mismatches": [], "missing": [], "extra": []})
    );
}

#[tokio::test]
async fn a_complete_commit_needs_no_requests() {
    let stage = Stage::new().await;
    let first = run(&stage.request()).await;
    stage.hub.clear_requests();

    let mut pinned = stage.request();
    pinned.revision = stage.commit().parse().unwrap();
    let mut offline = stage.request();
    offline.offline = true;
    for request in [&pinned, &offline] {
        let again = run(request).await;
        assert_eq!(
            (again.reason, again.downloaded_bytes, again.verified_at),
            (Reason::Verified, 0, first.verified_at)
        );
        assert_eq!(stage.hub.requests().len(), 0);
    }

    let branch = run(&stage.request()).await;
    assert_eq!((branch.reason, branch.downloaded_bytes), (Reason::Verified, 0));
    assert!(stage.hub.requests().iter().all(|request| request.class == Class::Api));
}

#[tokio::test]
async fn a_partial_model_loads_and_is_completed_later() {
    let stage = Stage::new().await;
    let mut part = stage.request();
    part.patterns = Patterns::parse(["*.json", "sub*"], ["copy*"]).unwrap();
    let report = run(&part).await;
    assert_eq!((report.reason, report.files, report.bytes), (Reason::Verified, 2, SMALL));
    stage.assert_loads(|path| path == "config.json" || path.starts_with("sub"));

    let whole = run(&stage.request()).await;
    assert_eq!((whole.reason, whole.downloaded_bytes), (Reason::Verified, WEIGHTS));
    stage.assert_loads(|_| true);
    // The partial selection still counts as complete, besides the whole.
    stage.hub.clear_requests();
    part.revision = stage.commit().parse().unwrap();
    assert_eq!(run(&part).await.reason, Reason::Verified);
    assert_eq!(stage.hub.requests().len(), 0);
}

#[tokio::test]
async fn a_listing_of_the_official_client_does_not_break_a_partial_snapshot() {
    let stage = Stage::new().await;
    let tree = stage.repo_dir().join("trees").join(format!("{}.json", stage.commit()));
    fs::create_dir_all(tree.parent().unwrap()).unwrap();
    let listed = r#"{"format_version": 1, "files": {"other.bin": {"size": 1, "blob_id": "0"}}}"#;
    fs::write(&tree, listed).unwrap();
    let mut part = stage.request();
    part.patterns = Patterns::parse(["*.json"], [""; 0]).unwrap();
    assert_eq!(run(&part).await.reason, Reason::Verified);
    stage.assert_loads(|path| path.ends_with(".json"));
}

#[tokio::test]
async fn aliases_name_a_pinned_commit() {
    let stage = Stage::with(tiny().file("config.json", "{ }").branch("dev").pull_request(1)).await;
    let mut request = stage.request();
    request.revision = stage.commit().parse().unwrap();
    assert_eq!(run(&request).await.reason, Reason::Verified);
    stage.assert_clean_scan(&[]);

    stage.hub.clear_requests();
    request.aliases = vec!["main".parse().unwrap(), "refs/pr/1".parse().unwrap()];
    assert_eq!(run(&request).await.reason, Reason::Verified);
    stage.assert_clean_scan(&["main", "refs/pr/1"]);
    assert_eq!(stage.hub.requests().len(), 0, "a ref needs no Hub");

    // The branch points elsewhere on the Hub, and will do so here.
    request.revision = "dev".parse().unwrap();
    request.aliases = Vec::new();
    let dev = run(&request).await;
    assert_eq!((dev.reason, dev.downloaded_bytes), (Reason::Verified, 3));
    let scan = stage.judge("scan", &[]);
    assert_eq!(scan["repos"][0]["revisions"].as_array().unwrap().len(), 2);
    assert_eq!(scan["warnings"], serde_json::json!([]));
}

#[tokio::test]
async fn a_volume_without_links_holds_files() {
    let stage = Stage::new().await;
    let mut request = stage.request();
    request.links = Some(Links::Files);
    assert_eq!(run(&request).await.reason, Reason::Verified);
    stage.assert_loads(|_| true);
    assert!(fs::symlink_metadata(stage.snapshot().join("model.safetensors")).unwrap().is_file());
    assert_eq!(fs::read_dir(stage.repo_dir().join("blobs")).unwrap().count(), 0);

    // A lost file is fetched again, the others are not requested.
    fs::remove_file(stage.snapshot().join("config.json")).unwrap();
    let again = run(&request).await;
    assert_eq!((again.reason, again.downloaded_bytes), (Reason::Verified, 2));
    stage.assert_loads(|_| true);
}

#[tokio::test]
async fn a_gated_model_is_fetched_with_a_token() {
    let stage = Stage::with(tiny().gated(Gate::Manual)).await;
    stage.hub.user("alice").token("hf_alice");
    let mut request = stage.request();
    assert_eq!(run(&request).await.reason, Reason::TokenRequired);
    request.token = TokenSource::Fixed("hf_alice".parse().unwrap());
    let refused = run(&request).await;
    assert_eq!(refused.reason, Reason::TermsNotAccepted);
    assert!(refused.message.contains(&format!("{}/acme/tiny", stage.hub.url())), "{}", refused.message);
    assert!(!stage.cache().exists(), "nothing is made before the Hub has agreed");

    stage.hub.accept_terms("alice", "acme/tiny");
    assert_eq!(run(&request).await.reason, Reason::Verified);
    stage.assert_loads(|_| true);

    // A complete download stays usable.
    stage.hub.remove_token("hf_alice");
    let kept = run(&request).await;
    assert_eq!(kept.reason, Reason::Verified);
    assert!(kept.message.contains("The Hub did not confirm it"), "{}", kept.message);
}

#[tokio::test]
async fn a_complete_cache_needs_no_hub_but_an_incomplete_one_does() {
    let stage = Stage::new().await;
    let mut offline = stage.request();
    offline.offline = true;
    let refused = run(&offline).await;
    assert_eq!(refused.reason, Reason::HubUnreachable);
    assert!(refused.message.contains("HF_HUB_OFFLINE"), "{}", refused.message);
    assert_eq!(stage.hub.requests().len(), 0);

    run(&stage.request()).await;
    stage.hub.off().await;
    assert_eq!(run(&stage.request()).await.reason, Reason::Verified);
    fs::remove_file(stage.blob("config.json")).unwrap();
    assert_eq!(run(&stage.request()).await.reason, Reason::HubUnreachable);
    stage.hub.on();
    let repaired = run(&stage.request()).await;
    assert_eq!((repaired.reason, repaired.downloaded_bytes), (Reason::Verified, 2));
}

#[tokio::test]
async fn foreign_files_are_verified_before_they_are_trusted() {
    let stage = Stage::new().await;
    fs::create_dir_all(stage.repo_dir().join("blobs")).unwrap();
    let files = stage.hub.files("acme/tiny", "main");
    let content = |path: &str| files.iter().find(|file| file.path == path).unwrap().content.to_vec().unwrap();
    // An intact blob in the store of the official client, a corrupt one of the right size, and a truncated one.
    let stored = stage.cache().join("blobs/ab/stored");
    fs::create_dir_all(stored.parent().unwrap()).unwrap();
    fs::write(stage.cache().join("blobs/.huggingface-shared-blobs"), "1\n").unwrap();
    fs::write(&stored, content("model.safetensors")).unwrap();
    std::os::unix::fs::symlink("../../blobs/ab/stored", stage.blob("model.safetensors")).unwrap();
    fs::write(stage.blob("config.json"), "[]").unwrap();
    fs::write(stage.blob("sub folder/größe.txt"), "d").unwrap();
    let report = run(&stage.request()).await;
    assert_eq!((report.reason, report.downloaded_bytes), (Reason::Verified, SMALL));
    stage.assert_loads(|_| true);
    assert!(stage.blob("model.safetensors").is_symlink(), "a right content is followed");

    // Modified after it was verified: no record covers it.
    let mut weights = content("model.safetensors");
    weights[5] ^= 1;
    fs::write(&stored, &weights).unwrap();
    let later = SystemTime::now() + Duration::from_secs(60);
    fs::File::options().write(true).open(&stored).unwrap().set_modified(later).unwrap();
    fs::remove_file(stage.snapshot().join("config.json")).unwrap();
    let report = run(&stage.request()).await;
    assert_eq!((report.reason, report.downloaded_bytes), (Reason::Verified, WEIGHTS));
    assert_eq!(fs::read(stored).unwrap(), weights, "a store of others is not written to");
    stage.assert_loads(|_| true);
}

#[tokio::test]
async fn concurrent_fetches_do_not_conflict() {
    let stage = Stage::new().await;
    let (a, b) = (stage.request(), stage.request());
    let (a, b) = tokio::join!(run(&a), run(&b));
    assert_eq!((a.reason, b.reason), (Reason::Verified, Reason::Verified), "{a:?} {b:?}");
    stage.assert_loads(|_| true);
}

#[tokio::test]
async fn files_removed_concurrently_are_fetched_again() {
    for links in [Links::Symlinks, Links::Files] {
        let stage = Stage::new().await;
        assert_eq!(run(&stage.request()).await.reason, Reason::Verified);
        fs::remove_dir_all(stage.repo_dir().join("snapshots")).unwrap();
        fs::remove_file(stage.blob("model.safetensors")).unwrap();
        stage.hub.clear_requests();
        stage.hub.fault(Fault::new(FaultKind::Slow(4 * WEIGHTS)).on(Class::Cdn));
        let mut request = stage.request();
        request.links = Some(links);
        let removed = async {
            stage.hub.until(|requests| requests.iter().any(|request| request.class == Class::Cdn)).await;
            fs::remove_file(stage.blob("config.json")).unwrap();
        };
        let (report, ()) = tokio::join!(run(&request), removed);
        assert_eq!((report.reason, report.downloaded_bytes), (Reason::Verified, WEIGHTS + 2));
        stage.assert_loads(|_| true);
    }
}

#[tokio::test]
async fn concurrent_fetches_without_links_do_not_conflict() {
    let stage = Stage::new().await;
    let (mut a, mut b) = (stage.request(), stage.request());
    (a.links, b.links) = (Some(Links::Files), Some(Links::Files));
    let (a, b) = tokio::join!(run(&a), run(&b));
    assert_eq!((a.reason, b.reason), (Reason::Verified, Reason::Verified), "{a:?} {b:?}");
    stage.assert_loads(|_| true);
}

#[tokio::test]
async fn files_added_concurrently_are_not_fetched() {
    let stage = Stage::new().await;
    stage.hub.fault(Fault::new(FaultKind::Slow(4 * WEIGHTS)).on(Class::Cdn));
    let mut request = stage.request();
    request.limits.connections = 1;
    let brought = async {
        stage.hub.until(|requests| requests.iter().any(|request| request.class == Class::Cdn)).await;
        fs::write(stage.blob("config.json"), "{}").unwrap();
    };
    let (report, ()) = tokio::join!(run(&request), brought);
    assert_eq!((report.reason, report.downloaded_bytes), (Reason::Verified, WEIGHTS + SMALL - 2));
    stage.assert_loads(|_| true);
}

/// Takes the lock that the official client holds while it downloads the weights.
fn lock_of_weights(stage: &Stage) -> fs::File {
    let etag = stage.blob("model.safetensors").file_name().unwrap().to_owned();
    let folder = stage.cache().join(".locks/models--acme--tiny");
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join(etag).with_extension("lock")).unwrap();
    lock.lock().unwrap();
    lock
}

#[tokio::test]
async fn a_download_of_the_official_client_is_waited_for() {
    let stage = Stage::new().await;
    let lock = lock_of_weights(&stage);
    let request = stage.request();
    let other = async {
        stage.hub.until(|requests| requests.iter().any(|request| request.class == Class::Resolve)).await;
        let files = stage.hub.files("acme/tiny", "main");
        let weights = files.iter().find(|file| file.path == "model.safetensors").unwrap();
        fs::write(stage.blob("model.safetensors"), weights.content.to_vec().unwrap()).unwrap();
        drop(lock);
    };
    let (report, ()) = tokio::join!(run(&request), other);
    assert_eq!((report.reason, report.downloaded_bytes), (Reason::Verified, SMALL));
    stage.assert_loads(|_| true);
}

#[tokio::test]
async fn a_lock_that_is_never_released_is_ignored() {
    let stage = Stage::new().await;
    let _lock = lock_of_weights(&stage);
    let mut request = stage.request();
    request.limits.lock = Duration::from_millis(200);
    assert_eq!(run(&request).await.reason, Reason::Verified);
    stage.assert_loads(|_| true);
}

#[tokio::test]
async fn a_dataset_has_its_own_folder() {
    let stage = Stage::with(Repo::dataset("acme/data").file("a.csv", "1,2").branch("main")).await;
    let mut request = stage.request();
    request.repo.kind = RepoType::Dataset;
    request.repo.id = "acme/data".parse().unwrap();
    assert_eq!(run(&request).await.reason, Reason::Verified);
    let loaded = stage.judge("offline-load", &["acme/data", "--type", "dataset"]);
    assert_eq!(loaded["files"][0]["path"], "a.csv");
}
