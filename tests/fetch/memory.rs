//! The memory of a fetch is bounded.

use pretty_assertions::assert_eq;
use standin_hub::{Content, Repo};

use crate::{
    client::venv,
    stage::{Stage, report},
};

/// The limit for `fetch`, in KiB.
const MOST: u64 = 64 << 10;
/// Runs a program and prints its peak memory, in KiB.
const MEASURED: &str = "import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)";

/// The memory of a successful fetch, and the files and bytes that it downloaded.
fn fetched(stage: &Stage, more: &[&str]) -> (u64, u64, u64) {
    let python = venv().join("bin/python");
    let file = stage.root.path().join("report.json");
    let arguments = [&["fetch", "acme/tiny", "--report", file.to_str().unwrap()], more].concat();
    let starter = [python.to_str().unwrap(), "-c", MEASURED];
    let output = stage.modelcache_through(&starter, &arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let peak = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    let report = report(&file);
    (peak, report.files, report.bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_never_in_memory_as_a_whole() {
    const SIZE: u64 = 256 << 20;
    let repo = Repo::model("acme/tiny").lfs("large.bin", Content::random(1, SIZE)).branch("main");
    let stage = Stage::with(repo).await;
    let (peak, files, bytes) = fetched(&stage, &[]);
    assert_eq!((files, bytes), (1, SIZE));
    assert!(peak < MOST, "it took {peak} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_of_a_hundred_thousand_files_fits() {
    let path = |n: u32| format!("part-{:03}/item-{n:06}.json", n / 1000);
    let all = (0..100_000).fold(Repo::model("acme/tiny"), |repo, n| repo.file(&path(n), format!("{n:06}")));
    let stage = Stage::with(all.branch("main")).await;
    let (peak, files, bytes) = fetched(&stage, &["--include", "part-000/*"]);
    assert_eq!((files, bytes), (1000, 6000));
    assert!(peak < MOST, "it took {peak} KiB");
}
