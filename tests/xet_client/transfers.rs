//! What goes well: whole files, ranges, many at once.

use std::{path::Path, process::Command};

use futures::{FutureExt as _, future::join_all};
use standin_hub::Class;

use crate::{FILE, SIZE, World, alice, read};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_whole_with_one_token_that_is_not_the_hubs() {
    let world = World::new().await;
    let mut body = world.open(&world.files(), 0..SIZE).await.unwrap();
    assert_eq!((body.start, body.length), (0, SIZE));
    assert!(read(&mut body).await.unwrap() == world.content);
    assert_eq!(body.next_chunk().await.unwrap(), None);

    assert_eq!(world.tokens_asked(), 1);
    assert_eq!(world.tokens_shown(), ["xet_token_1"]);
    let asked = world.store.requests();
    assert!(asked.iter().any(xet_store::Seen::is_content), "{asked:?}");
    for request in asked {
        assert!(request.user_agent.is_some_and(|agent| agent.starts_with("modelcache/")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_range_comes_exactly() {
    let world = World::new().await;
    let files = world.files();
    for range in [0..1, SIZE - 1..SIZE, 12_345_678..SIZE, (16 << 20) - 1..(16 << 20) + 1, 7..7, SIZE..SIZE] {
        let mut body = world.open(&files, range.clone()).await.unwrap();
        assert_eq!((body.start, body.length), (range.start, range.end - range.start));
        assert!(read(&mut body).await.unwrap() == world.part(range.clone()), "{range:?}");
    }
    assert_eq!(world.tokens_asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_ranges_at_once_do_not_wait_for_each_other() {
    let world = World::new().await;
    let files = world.files();
    let ranges: Vec<_> = (0..8).map(|part| part << 20..SIZE - (part << 20)).collect();
    let bodies = ranges.iter().map(|range| async {
        let mut body = world.open(&files, range.clone()).await?;
        read(&mut body).await
    });
    for (bytes, range) in join_all(bodies).await.into_iter().zip(ranges) {
        assert!(bytes.unwrap() == world.part(range.clone()), "{range:?}");
    }
    assert_eq!(world.tokens_asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_given_up_loses_nothing() {
    let world = World::new().await;
    let mut body = world.open(&world.files(), 0..SIZE).await.unwrap();
    let (mut bytes, mut given_up) = (Vec::new(), 0);
    loop {
        match body.next_chunk().now_or_never() {
            Some(Ok(Some(chunk))) => bytes.extend_from_slice(&chunk),
            Some(other) => break assert_eq!(other, Ok(None)),
            None => {
                given_up += 1;
                tokio::task::yield_now().await;
            }
        }
    }
    assert!(bytes == world.content);
    assert!(given_up > 0);
}

#[tokio::test]
async fn a_runtime_of_one_thread_carries_it_too() {
    let world = World::new().await;
    let mut body = world.open(&world.files(), 1000..2000).await.unwrap();
    assert!(read(&mut body).await.unwrap() == world.part(1000..2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_takes_hub_and_store_for_real() {
    let world = World::with(|repo| repo.gated(standin_hub::Gate::Manual)).await;
    world.hub.accept_terms("alice", "acme/big");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let environment = Command::new(here.join("tests/python/venv")).output().unwrap().stdout;
    let bin = Path::new(String::from_utf8(environment).unwrap().trim()).join("bin");
    let home = world.folder.path().join("home");
    let output = Command::new(bin.join("hf"))
        .args(["download", "acme/big", FILE])
        .env("HF_HOME", &home)
        .env("HF_ENDPOINT", world.hub.url())
        .env("HF_TOKEN", "hf_alice")
        .env("HF_XET_TELEMETRY_ENABLED", "0")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let snapshot = home.join("hub/models--acme--big/snapshots").join(world.hub.commit("acme/big", "main"));
    assert!(std::fs::read(snapshot.join(FILE)).unwrap() == world.content);
    assert!(world.store.requests().iter().any(xet_store::Seen::is_content));
    assert!(world.hub.requests().iter().all(|request| request.class != Class::Cdn));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_goes_on_where_xet_stopped() {
    let world = World::new().await;
    let mut body = world.open(&world.files(), 0..SIZE).await.unwrap();
    let mut bytes = body.next_chunk().await.unwrap().unwrap().to_vec();
    drop(body);

    let repo =
        modelcache::hub::Repo { kind: modelcache::hub::RepoType::Model, id: "acme/big".parse().unwrap() };
    let commit = world.hub.commit("acme/big", "main").parse().unwrap();
    let client = world.client();
    let from = bytes.len() as u64;
    let path = FILE.parse().unwrap();
    let file = client.file(&repo, &commit, &path, SIZE);
    let mut rest = file.open(Some(&alice()), from..SIZE).await.unwrap();
    assert_eq!(rest.start, from);
    while let Some(chunk) = rest.next_chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    assert!(bytes == world.content);
}
