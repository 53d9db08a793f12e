//! What the official client does beside its work: reports about itself, and files of its own.

use std::path::Path;

use xet::xet_session::{XetConfig, XetFileInfo, XetSessionBuilder};

use crate::{SIZE, World, read};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_reported_about_a_transfer() {
    let world = World::new().await;
    let files = world.files();
    read(&mut world.open(&files, 0..SIZE).await.unwrap()).await.unwrap();
    drop(files);

    // The same by the official client's own settings, to see that this store would have been told.
    let session = XetSessionBuilder::new_with_config(XetConfig::default())
        .with_cache_dir(world.folder.path().join("talkative"))
        .build()
        .unwrap();
    let group = session.new_download_stream_group().unwrap();
    let group =
        group.with_endpoint(world.store.url()).with_token_info("any", u64::MAX).build().await.unwrap();
    let file = XetFileInfo::new(world.stored.hash.clone(), SIZE);
    let mut stream = group.download_stream(file, Some(0..1000)).await.unwrap();
    while stream.next().await.unwrap().is_some() {}
    group.finish().await;

    let reported: Vec<_> = world
        .store
        .requests()
        .into_iter()
        .filter(|request| request.path.contains("telemetry"))
        .map(|request| request.token.unwrap_or_default())
        .collect();
    assert_eq!(reported, ["any"]);
    assert_eq!(world.store.telemetry().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_written() {
    let world = World::new().await;
    read(&mut world.open(&world.files(), 0..SIZE).await.unwrap()).await.unwrap();
    let files = files_below(&world.scratch());
    assert_eq!(files, [] as [std::path::PathBuf; 0]);
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}
