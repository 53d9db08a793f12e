//! How much memory a transfer takes, in a process of its own.

use std::{env, process::Command};

use futures::future::join_all;
use modelcache::hub::{Hub, Repo, RepoType, XetFiles};

use crate::{SIZE, World};

/// Of the whole process, in KiB. Three windows of 16 MiB, what is handed on, and the program itself.
const MOST: u64 = 96 << 10;
const TASK: &str = "MODELCACHE_TEST_XET_TASK";

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_whatever_is_asked_for_at_once() {
    let world = World::with_size(2 * SIZE, |repo| repo).await;
    let task = [
        world.hub.url().to_owned(),
        world.hub.commit("acme/big", "main"),
        world.stored.hash.clone(),
        world.stored.size.to_string(),
        world.scratch().display().to_string(),
    ];
    for streams in [1, 8] {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "memory::the_process_that_is_measured", "--nocapture"])
            .env(TASK, format!("{} {streams}", task.join(" ")))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{told} {}", String::from_utf8_lossy(&output.stderr));
        let peak = told.split_once("VmHWM:").unwrap().1.split_whitespace().next().unwrap();
        let peak: u64 = peak.parse().unwrap();
        eprintln!("{streams} streams: {} MiB", peak >> 10);
        assert!(peak < MOST, "{streams} streams took {peak} KiB");
    }
}

/// Does nothing unless the test above asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_is_measured() {
    let Ok(task) = env::var(TASK) else { return };
    let words: Vec<&str> = task.split(' ').collect();
    let [endpoint, commit, hash, size, folder, streams] = words[..] else { panic!("{task}") };
    let (size, streams): (u64, u64) = (size.parse().unwrap(), streams.parse().unwrap());
    let hub = Hub::connect(&endpoint.parse().unwrap()).unwrap();
    let repo = Repo { kind: RepoType::Model, id: "acme/big".parse().unwrap() };
    let files = XetFiles::new(&hub, &repo, &commit.parse().unwrap(), folder.to_owned()).unwrap();
    let part = size.div_ceil(streams);
    join_all((0..streams).map(async |stream| {
        let range = stream * part..size.min((stream + 1) * part);
        let mut left = range.end - range.start;
        let mut body = files.open(hash, size, range, None).await.unwrap();
        while let Some(chunk) = body.next_chunk().await.unwrap() {
            left -= chunk.len() as u64;
        }
        assert_eq!(left, 0);
    }))
    .await;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM:")).unwrap());
}
