//! Downloads that are killed, restarted or concurrent: nothing incomplete is published, and little is downloaded twice.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use modelcache::{
    fetch::{Limits, Report},
    reason::Reason,
};
use pretty_assertions::assert_eq;
use standin_hub::{Class, Content, Fault, FaultKind, Repo};

use crate::{
    client::venv,
    stage::{Stage, run},
};

/// Downloaded in four parts, and in one.
const LARGE: u64 = 28 << 20;
const MEDIUM: u64 = 3 << 20;
const SMALL: u64 = 4;
const ALL: u64 = LARGE + MEDIUM + SMALL;

fn model() -> Repo {
    Repo::model("acme/tiny")
        .lfs("large.bin", Content::random(1, LARGE))
        .lfs("medium.bin", Content::random(2, MEDIUM))
        .file("a.json", "{}")
        .file("b/b.json", "[]")
        .branch("main")
}

/// Bytes of file content that the Hub and its storage have sent.
fn served(stage: &Stage) -> u64 {
    let requests = stage.hub.requests();
    requests.iter().filter(|request| matches!(request.class, Class::Cdn)).map(|request| request.bytes).sum()
}

/// Resets the counters for the next run. Closes connections first, since a busy storage may still answer requests of a killed run.
async fn forget(stage: &Stage) {
    stage.hub.off().await;
    stage.hub.on();
    stage.hub.clear_faults();
    stage.hub.clear_requests();
}

fn start(stage: &Stage) -> Child {
    let mut command = stage.modelcache(&["fetch", "acme/tiny", "-o", "json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> Report {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{:?}: {said}", output.status);
    let printed = String::from_utf8(output.stdout).unwrap();
    Report::parse(printed.lines().last().unwrap_or_default())
        .unwrap_or_else(|| panic!("no report in `{printed}`: {said}"))
}

/// A reader with the official client that checks the cache repeatedly until it is stopped, and prints what each check saw.
struct Reader {
    child: Child,
    stop: PathBuf,
}

impl Reader {
    fn start(stage: &Stage) -> Self {
        let stop = stage.root.path().join("stop");
        let child = Command::new(venv().join("bin/python"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/reader.py"))
            .args([&stage.cache(), &stop])
            .args(["acme/tiny", "large.bin", "medium.bin", "a.json", "b/b.json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, stop }
    }

    /// How many checks saw nothing, and how many everything. Anything else is a failure.
    fn end(self) -> (u64, u64) {
        fs::write(&self.stop, "").unwrap();
        let output = self.child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(seen["partial"], serde_json::json!([]));
        (seen["nothing"].as_u64().unwrap(), seen["whole"].as_u64().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_killed_at_any_moment_resumes_and_completes() {
    const KILLS: u32 = 50;
    let stage = Stage::with(model()).await;
    let reader = Reader::start(&stage);
    stage.hub.fault(Fault::new(FaultKind::Slow(6 << 20)).on(Class::Cdn));
    let mut random = fastrand::Rng::with_seed(4);
    let mut killed = 0;
    let mut rounds = 0;
    while killed < KILLS {
        rounds += 1;
        assert!(rounds < 4 * KILLS, "it ends before it can be killed");
        let mut child = start(&stage);
        tokio::time::sleep(Duration::from_millis(random.u64(5..400))).await;
        child.kill().unwrap();
        let status = child.wait().unwrap();
        killed += u32::from(!status.success());
        if status.success() {
            // Complete already: the remaining kills hit a new download.
            let aside = stage.root.path().join(format!("ended-{rounds}"));
            fs::rename(stage.repo_dir(), aside).unwrap();
        }
    }
    forget(&stage).await;
    let there = kept(&stage);
    let report = end(start(&stage));
    assert_eq!(report.reason, Reason::Verified, "{}", report.message);
    // Everything may be present if the last run was killed just before its end.
    assert!(served(&stage) <= ALL - there, "more was downloaded than was missing");
    let (nothing, whole) = reader.end();
    assert!(nothing > 0 && whole > 0, "{nothing} looks saw nothing, {whole} saw all");
    stage.assert_loads(|_| true);
    assert_eq!(stage.hub.token_leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn no_downloaded_byte_is_downloaded_again() {
    let stage = Stage::with(model()).await;
    stage.hub.fault(Fault::new(FaultKind::Cut(2 << 20)).on(Class::Cdn));
    let mut request = stage.request();
    request.limits = Limits { attempts: 1, stall: Duration::from_secs(20), ..request.limits };
    let first = run(&request).await;
    assert_eq!(first.reason, Reason::HubUnreachable, "{}", first.message);
    stage.assert_nothing_visible();
    forget(&stage).await;
    let there = kept(&stage);
    assert!(there >= 2 << 20, "{there}");
    let second = run(&request).await;
    assert_eq!(second.reason, Reason::Verified, "{}", second.message);
    assert_eq!(served(&stage), LARGE + MEDIUM - there, "what the storage sent the second time");
    stage.assert_loads(|_| true);
}

/// The resumable bytes of a killed run according to its sidecar; 0 for a new or removed one.
fn kept(stage: &Stage) -> u64 {
    let files =
        fs::read_dir(stage.repo_dir().join(".modelcache")).map_or(Vec::new(), |all| all.flatten().collect());
    let parts = files
        .iter()
        .map(fs::DirEntry::path)
        .filter(|path| path.extension().is_some_and(|end| end == "parts"));
    parts
        .map(|path| {
            let kept = fs::read(path).unwrap_or_default();
            let numbers = kept.get(40..).unwrap_or_default();
            numbers.chunks_exact(8).map(|number| u64::from_le_bytes(number.try_into().unwrap())).sum::<u64>()
        })
        .sum()
}

#[tokio::test]
async fn corrupt_leftovers_of_an_earlier_run_are_replaced() {
    let stage = Stage::with(model()).await;
    stage.hub.fault(Fault::new(FaultKind::Cut(2 << 20)).on(Class::Cdn));
    let mut request = stage.request();
    request.limits = Limits { attempts: 1, stall: Duration::from_secs(20), ..request.limits };
    run(&request).await;
    stage.hub.clear_faults();
    let blobs = stage.repo_dir().join("blobs");
    let mut spoiled = 0;
    for entry in fs::read_dir(blobs).unwrap().flatten() {
        if entry.path().extension().is_some_and(|end| end == "incomplete") {
            let mut content = fs::read(entry.path()).unwrap();
            content[0] ^= 1;
            fs::write(entry.path(), content).unwrap();
            spoiled += 1;
        }
    }
    assert!(spoiled > 0);
    let report = run(&request).await;
    assert_eq!(report.reason, Reason::Verified, "{}", report.message);
    stage.assert_loads(|_| true);
}

#[tokio::test]
async fn a_server_without_ranges_is_read_over_one_connection() {
    let stage = Stage::with(model()).await;
    stage.hub.fault(Fault::new(FaultKind::NoRanges).on(Class::Cdn));
    let report = run(&stage.request()).await;
    assert_eq!(report.reason, Reason::Verified, "{}", report.message);
    stage.assert_loads(|_| true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_concurrent_fetches_cost_one_download() {
    let stage = Stage::with(model()).await;
    stage.hub.fault(Fault::new(FaultKind::Slow(20 << 20)).on(Class::Cdn));
    let all: Vec<_> = (0..8).map(|_| start(&stage)).collect();
    let reports = tokio::task::spawn_blocking(|| all.into_iter().map(end).collect::<Vec<_>>()).await.unwrap();
    assert!(reports.iter().all(|report| report.reason == Reason::Verified), "{reports:?}");
    assert_eq!(reports.iter().map(|report| report.downloaded_bytes).sum::<u64>(), ALL);
    stage.assert_loads(|_| true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_fetch_resumes_where_the_first_was_killed() {
    let stage = Stage::with(model()).await;
    stage.hub.fault(Fault::new(FaultKind::Slow(8 << 20)).on(Class::Cdn));
    let mut first = start(&stage);
    stage.hub.until(|requests| requests.iter().any(|request| request.class == Class::Cdn)).await;
    let second = start(&stage);
    stage.hub.until(|_| kept(&stage) > 4 << 20).await;
    first.kill().unwrap();
    first.wait().unwrap();
    let there = kept(&stage);
    let report = tokio::task::spawn_blocking(|| end(second)).await.unwrap();
    assert_eq!(report.reason, Reason::Verified, "{}", report.message);
    assert!(report.downloaded_bytes <= ALL - there, "{} of {ALL} with {there}", report.downloaded_bytes);
    stage.assert_loads(|_| true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_repos_are_fetched_concurrently_into_one_volume() {
    let stage = Stage::with(model()).await;
    stage.hub.add(Repo::model("acme/other").lfs("o.bin", Content::random(3, LARGE)).branch("main"));
    let mut command = stage.modelcache(&["fetch", "acme/other", "-o", "json"]);
    let other = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let one = start(&stage);
    let (one, other) = tokio::task::spawn_blocking(|| (end(one), end(other))).await.unwrap();
    assert_eq!((one.reason, other.reason), (Reason::Verified, Reason::Verified));
    assert_eq!(stage.judge("scan", &[])["warnings"], serde_json::json!([]));
}

/// A library that grants every lock, as some file systems do.
fn no_locks(stage: &Stage) -> PathBuf {
    let (source, library) = (stage.root.path().join("flock.c"), stage.root.path().join("flock.so"));
    fs::write(&source, "int flock(int fd, int operation) { (void)fd; (void)operation; return 0; }\n")
        .unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(built.unwrap().success());
    library
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_fetches_succeed_without_working_locks() {
    let stage = Stage::with(model()).await;
    let library = no_locks(&stage);
    stage.hub.fault(Fault::new(FaultKind::Slow(20 << 20)).on(Class::Cdn));
    let start = || {
        let mut command = stage.modelcache(&["fetch", "acme/tiny", "-o", "json"]);
        command.env("LD_PRELOAD", &library).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (one, two) = (start(), start());
    let (one, two) = tokio::task::spawn_blocking(|| (end(one), end(two))).await.unwrap();
    assert_eq!((one.reason, two.reason), (Reason::Verified, Reason::Verified));
    assert!(one.downloaded_bytes + two.downloaded_bytes > ALL + SMALL, "the locks were not out of order");
    stage.assert_loads(|_| true);

    // One is killed. Without locks that cannot be known, so the next one starts over instead of writing to a file that may be in use.
    fs::remove_dir_all(stage.repo_dir()).unwrap();
    let mut killed = start();
    let deadline = Instant::now() + Duration::from_secs(20);
    let there = |path: &PathBuf| fs::read_dir(path).is_ok_and(|entries| entries.flatten().count() > 1);
    while !there(&stage.repo_dir().join("blobs")) {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let next = start();
    let report = tokio::task::spawn_blocking(|| end(next)).await.unwrap();
    assert_eq!(report.reason, Reason::Verified);
    stage.assert_loads(|_| true);
}
