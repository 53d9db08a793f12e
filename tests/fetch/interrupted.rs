//! Downloads that are killed, restarted, or done by two at once: nothing is shown that is not whole, and little comes
//! twice.

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
use standin_hub::{Class, Content, Fault, Harm, Repo};

use crate::{
    client::venv,
    stage::{Stage, run},
};

/// Of four parts, and of one.
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

/// Bytes that the Hub and its storage have sent of contents.
fn served(stage: &Stage) -> u64 {
    let requests = stage.hub.requests();
    requests.iter().filter(|request| matches!(request.class, Class::Cdn)).map(|request| request.bytes).sum()
}

/// Lets the next run count for itself. A busy storage may answer requests of a run that is gone, or take them only now: its
/// connections end first.
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

/// A reader with the official client: it looks again and again, and ends at the first look after it is told to. What it
/// prints is what each look saw.
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

    /// How many looks saw nothing, and how many all. Anything else is a failure.
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
async fn killed_at_any_moment_it_goes_on_and_ends_whole() {
    const KILLS: u32 = 50;
    let stage = Stage::with(model()).await;
    let reader = Reader::start(&stage);
    stage.hub.fault(Fault::new(Harm::Slow(6 << 20)).on(Class::Cdn));
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
            // Whole already: the rest of the kills meet a new beginning.
            let aside = stage.root.path().join(format!("ended-{rounds}"));
            fs::rename(stage.repo_dir(), aside).unwrap();
        }
    }
    forget(&stage).await;
    let there = kept(&stage);
    let report = end(start(&stage));
    assert_eq!(report.reason, Reason::Verified, "{}", report.message);
    // All may be there, the smallest file too, if the last one was killed just before the end.
    assert!(served(&stage) <= ALL - there, "more came than was missing");
    let (nothing, whole) = reader.end();
    assert!(nothing > 0 && whole > 0, "{nothing} looks saw nothing, {whole} saw all");
    stage.assert_loads(|_| true);
    assert_eq!(stage.hub.token_leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn no_byte_that_was_there_comes_again() {
    let stage = Stage::with(model()).await;
    stage.hub.fault(Fault::new(Harm::Cut(2 << 20)).on(Class::Cdn));
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

/// How many bytes a killed run has left to go on with, by its own account. None in a file that is just made, or gone already.
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
async fn what_an_earlier_run_left_may_be_wrong() {
    let stage = Stage::with(model()).await;
    stage.hub.fault(Fault::new(Harm::Cut(2 << 20)).on(Class::Cdn));
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
async fn a_server_without_ranges_gives_all_over_one_connection() {
    let stage = Stage::with(model()).await;
    stage.hub.fault(Fault::new(Harm::NoRanges).on(Class::Cdn));
    let report = run(&stage.request()).await;
    assert_eq!(report.reason, Reason::Verified, "{}", report.message);
    stage.assert_loads(|_| true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_cost_one_download() {
    let stage = Stage::with(model()).await;
    stage.hub.fault(Fault::new(Harm::Slow(20 << 20)).on(Class::Cdn));
    let all: Vec<_> = (0..8).map(|_| start(&stage)).collect();
    let reports = tokio::task::spawn_blocking(|| all.into_iter().map(end).collect::<Vec<_>>()).await.unwrap();
    assert!(reports.iter().all(|report| report.reason == Reason::Verified), "{reports:?}");
    assert_eq!(reports.iter().map(|report| report.downloaded_bytes).sum::<u64>(), ALL);
    stage.assert_loads(|_| true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_at_once_the_second_goes_on_where_the_first_was_killed() {
    let stage = Stage::with(model()).await;
    stage.hub.fault(Fault::new(Harm::Slow(8 << 20)).on(Class::Cdn));
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
async fn two_repos_at_once_share_a_volume() {
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
async fn two_at_once_end_right_where_locks_do_nothing() {
    let stage = Stage::with(model()).await;
    let library = no_locks(&stage);
    stage.hub.fault(Fault::new(Harm::Slow(20 << 20)).on(Class::Cdn));
    let start = || {
        let mut command = stage.modelcache(&["fetch", "acme/tiny", "-o", "json"]);
        command.env("LD_PRELOAD", &library).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (one, two) = (start(), start());
    let (one, two) = tokio::task::spawn_blocking(|| (end(one), end(two))).await.unwrap();
    assert_eq!((one.reason, two.reason), (Reason::Verified, Reason::Verified));
    assert!(one.downloaded_bytes + two.downloaded_bytes > ALL + SMALL, "the locks were not out of order");
    stage.assert_loads(|_| true);

    // One is killed. Nobody can tell, so the next one begins anew instead of writing into a file that may be in use.
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
