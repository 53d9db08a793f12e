//! What goes wrong: refusals of the Hub, a store that breaks, and content that is not what it should be.

use std::time::{Duration, Instant};

use modelcache::{
    hub::{ConnectFailure, HubError, Token},
    reason::Reason,
};
use sha2::{Digest as _, Sha256};
use standin_hub::Gate;

use crate::{FILE, SIZE, World, alice, assert_clean, read};

/// Longer than all that the client does by itself, and much shorter than its default of five minutes for one read.
const BOUND: Duration = Duration::from_secs(100);

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_hub_keeps_its_reason() {
    let world = World::with(|repo| repo.gated(Gate::Manual)).await;
    let (hash, range) = (&world.stored.hash, 0..SIZE);
    let unknown = Token::parse("hf_unknown").unwrap();
    let cases = [
        ("acme/big", Some(alice()), Reason::TermsNotAccepted),
        ("acme/big", Some(unknown), Reason::TokenInvalid),
        ("acme/big", None, Reason::TokenRequired),
        ("acme/other", Some(alice()), Reason::RepoNotFoundOrPrivate),
    ];
    for (repo, token, reason) in cases {
        let opened = world.files_of(repo).open(hash, SIZE, range.clone(), token.as_ref()).await;
        let error = opened.unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
        assert_clean(&format!("{error} {error:?}"));
    }
    assert_eq!(world.store.requests(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_in_the_middle_is_renewed() {
    let world = World::new().await;
    let mut body = world.open(&world.files(), 0..SIZE).await.unwrap();
    let mut bytes = body.next_chunk().await.unwrap().unwrap().to_vec();
    world.store.refuse("xet_token_1");
    bytes.extend(read(&mut body).await.unwrap());

    assert!(bytes == world.content);
    assert_eq!(world.tokens_asked(), 2);
    assert_eq!(world.tokens_shown(), ["xet_token_1", "xet_token_2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_renewed_ends_with_the_hubs_reason() {
    let world = World::new().await;
    let mut body = world.open(&world.files(), 0..SIZE).await.unwrap();
    body.next_chunk().await.unwrap();
    world.hub.remove_token("hf_alice");
    world.store.refuse("xet_token_1");
    let error = read(&mut body).await.unwrap_err();
    assert_eq!(error.reason(), Reason::TokenInvalid, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_token_is_not_asked_for_ever() {
    let world = World::new().await;
    for number in 1..10 {
        world.store.refuse(&format!("xet_token_{number}"));
    }
    let mut body = world.open(&world.files(), 0..SIZE).await.unwrap();
    let error = read(&mut body).await.unwrap_err();
    let host = world.store.url().trim_start_matches("http://").to_owned();
    assert_eq!(error, HubError::Storage { host, status: 401 });
    assert_eq!(world.tokens_asked(), 2);
}

/// The official client looks at sizes only: a wrong byte passes it, and a hash of what came shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_the_store_passes_the_official_client() {
    let world = World::new().await;
    world.store.flip_a_byte().unwrap();
    let bytes = read(&mut world.open(&world.files(), 0..SIZE).await.unwrap()).await.unwrap();
    assert_eq!(bytes.len() as u64, SIZE);
    assert_ne!(Sha256::digest(&bytes), Sha256::digest(&world.content));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_dies_in_the_middle_is_an_error_in_bounded_time() {
    let world = World::new().await;
    let mut body = world.open(&world.files(), 0..SIZE).await.unwrap();
    body.next_chunk().await.unwrap();
    world.store.die();
    let began = Instant::now();
    let error = tokio::time::timeout(BOUND, read(&mut body)).await.unwrap().unwrap_err();
    assert!(
        matches!(error, HubError::Unreachable { kind: ConnectFailure::Cut | ConnectFailure::Connect, .. }),
        "{error:?}"
    );
    assert!(error.is_transient());
    assert_clean(&format!("{error} {error:?}"));
    assert!(began.elapsed() < BOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_store_does_not_know_is_an_error() {
    let world = World::new().await;
    let opened = world.files().open(&"ab".repeat(32), SIZE, 0..SIZE, Some(&alice())).await;
    // The official client takes it for a file without content.
    let error = read(&mut opened.unwrap()).await.unwrap_err();
    assert!(matches!(error, HubError::Unreachable { kind: ConnectFailure::Cut, .. }), "{error:?}");

    let opened = world.files().open("no hash", SIZE, 0..SIZE, Some(&alice())).await;
    let error = read(&mut opened.unwrap()).await.unwrap_err();
    assert!(matches!(error, HubError::BadAnswer { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_transfer_can_be_left_and_leaves_nothing_behind() {
    const GIVEN: u64 = 4 << 20;
    let world = World::new().await;
    world.store.stall_at(GIVEN);
    let files = world.files();
    let mut body = world.open(&files, 0..SIZE).await.unwrap();
    let waited = tokio::select! {
        read = read(&mut body) => Err(read),
        () = world.store.until_sent(GIVEN) => Ok(()),
    };
    waited.unwrap();
    drop((body, files));
    world.store.until_left_alone().await;

    // The engine's way on.
    let client = world.client();
    let repo =
        modelcache::hub::Repo { kind: modelcache::hub::RepoType::Model, id: "acme/big".parse().unwrap() };
    let commit = world.hub.commit("acme/big", "main").parse().unwrap();
    let mut body =
        client.file(&repo, &commit, &FILE.parse().unwrap(), SIZE).open(None, SIZE - 10..SIZE).await.unwrap();
    assert!(body.next_chunk().await.unwrap().unwrap() == world.part(SIZE - 10..SIZE));
}
