//! Tokens: where they are sent, what happens when they are revoked, and that nothing reveals them.

use std::{fs, os::unix::process::ExitStatusExt as _, path::Path, time::Duration};

use modelcache::reason::Reason;
use pretty_assertions::assert_eq;
use rustix::process::{Pid, Signal, kill_process};
use standin_hub::{Class, Fault, FaultKind, Gate};

use crate::{
    outside::{assert_unseen, assert_whole, end, fetch, files_below},
    relay::{Door, Fate, Relay, hub_behind},
    stage::{Stage, tiny},
};

const TOKEN: &str = "hf_Wq8zRkVt3nMxLbYpJdSc";

fn redirect(to: &str) -> Fate {
    Fate::Answer(format!(
        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    ))
}

fn empty_page() -> Fate {
    Fate::Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]".to_owned())
}

/// A gated model that alice may read with the token, on a Hub whose CDN is behind a relay that records all signatures.
struct Gated {
    stage: Stage,
    cdn: Relay,
}

impl Gated {
    fn new() -> Self {
        let door = Door::plain();
        let hub = hub_behind(None, Some(&door));
        let behind = hub.listeners().1;
        hub.add(tiny().gated(Gate::Manual));
        hub.user("alice").token(TOKEN);
        hub.accept_terms("alice", "acme/tiny");
        Self { stage: Stage { hub, root: tempfile::tempdir().unwrap() }, cdn: door.before(behind) }
    }

    /// All secret parts of the signed addresses so far.
    fn signatures(&self) -> Vec<String> {
        let heads = self.cdn.heads();
        let lines = heads.iter().filter_map(|head| head.lines().next());
        let parts = lines.filter_map(|line| line.split("Signature=").nth(1)?.split(['&', ' ']).next());
        parts.map(str::to_owned).collect()
    }

    /// Asserts that a text contains neither the token nor a signature.
    #[track_caller]
    fn assert_secret(&self, what: &str, text: &str) {
        let names = ["Signature=", "Key-Pair-Id"].map(str::to_owned);
        for secret in self.signatures().iter().chain(&names).chain([&TOKEN.to_owned()]) {
            assert!(!text.contains(secret.as_str()), "{what} tells {secret}:\n{text}");
        }
    }

    /// The same for all files below a folder: status, records, progress of unfinished downloads.
    #[track_caller]
    fn assert_secret_below(&self, folder: &Path) {
        for file in files_below(folder).iter().filter(|file| !file.ends_with("given-token")) {
            self.assert_secret(
                &file.display().to_string(),
                &String::from_utf8_lossy(&fs::read(file).unwrap()),
            );
        }
    }
}

#[tokio::test]
async fn no_output_or_file_contains_a_token_or_signature() {
    let cdn = |harm| Fault::new(harm).on(Class::Cdn);
    let cases = [
        vec![],
        vec![cdn(FaultKind::Cut(1 << 20)).times(2)],
        vec![cdn(FaultKind::Cut(1000))],
        vec![cdn(FaultKind::WrongBytes)],
        vec![cdn(FaultKind::ErrorPage)],
        vec![cdn(FaultKind::Status(403))],
        vec![cdn(FaultKind::Status(503)).times(2)],
        vec![cdn(FaultKind::RetryAfter(1)).times(1), cdn(FaultKind::RateLimit(1800))],
        vec![Fault::new(FaultKind::ExpiredSignature).times(2)],
        vec![Fault::new(FaultKind::Status(401)).on(Class::Resolve)],
        vec![Fault::new(FaultKind::Status(500)).on(Class::Api)],
        vec![Fault::new(FaultKind::ErrorPage).on(Class::Resolve)],
    ];
    let runs = cases.into_iter().map(|faults| async move {
        let gated = Gated::new();
        let stage = &gated.stage;
        for fault in &faults {
            stage.hub.fault(fault.clone());
        }
        let token = stage.root.path().join("given-token");
        fs::write(&token, TOKEN).unwrap();
        let report = stage.root.path().join("report");
        let mut command = fetch(stage);
        command.args(["--token-file", token.to_str().unwrap(), "--report", report.to_str().unwrap()]);
        // The most verbose log, including that of libraries.
        command.env("MODELCACHE_LOG", "trace");
        let ended = end(command).await;
        if faults.is_empty() {
            ended.assert_done();
            assert!(!gated.signatures().is_empty(), "no signed address was used");
        }
        gated.assert_secret("stdout", &ended.out);
        gated.assert_secret("the log", &ended.log);
        assert!(report.is_file());
        gated.assert_secret_below(stage.root.path());
    });
    futures::future::join_all(runs).await;
}

#[tokio::test]
async fn a_terminated_run_leaves_no_secret() {
    for signal in [Signal::TERM, Signal::KILL] {
        let gated = Gated::new();
        let stage = &gated.stage;
        stage.hub.fault(Fault::new(FaultKind::Slow(400_000)).on(Class::Cdn));
        let mut command = fetch(stage);
        command.env("HF_TOKEN", TOKEN).env("MODELCACHE_LOG", "trace");
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let child = command.spawn().unwrap();
        stage
            .hub
            .until(|requests| requests.iter().any(|it| it.class == Class::Cdn && it.bytes > 100_000))
            .await;
        let arguments = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
        gated.assert_secret("the argument list", &String::from_utf8_lossy(&arguments));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.code() == Some(143) || output.status.signal() == Some(9), "{output:?}");
        gated.assert_secret("stdout", &String::from_utf8_lossy(&output.stdout));
        gated.assert_secret("the log", &String::from_utf8_lossy(&output.stderr));
        gated.assert_secret_below(stage.root.path());
    }
}

#[tokio::test]
async fn a_token_revoked_meanwhile_requires_user_action() {
    let gated = Gated::new();
    let stage = &gated.stage;
    stage.hub.fault(Fault::new(FaultKind::Cut(1 << 20)).on(Class::Cdn).times(1));
    let mut command = fetch(stage);
    command.env("HF_TOKEN", TOKEN);
    let revoked = async {
        stage.hub.until(|requests| requests.iter().any(|it| it.class == Class::Cdn && it.bytes > 0)).await;
        stage.hub.remove_token(TOKEN);
    };
    let (ended, ()) = tokio::join!(end(command), revoked);
    assert_eq!((ended.code, ended.report.reason), (Some(77), Reason::TokenInvalid), "{ended:#?}");
    assert_unseen(stage);

    // With a valid one, it succeeds.
    stage.hub.user("alice").token("hf_new");
    let mut command = fetch(stage);
    command.env("HF_TOKEN", "hf_new");
    end(command).await.assert_done();
    assert_whole(stage);
}

#[tokio::test]
async fn redirects_never_send_the_token_elsewhere() {
    // Each kind of request to this Hub is redirected elsewhere in turn.
    for (path, what, ends_well) in [
        ("/tree/", "a listing", false),
        ("/revision/", "the commit", false),
        // It is not believed: only the files count.
        ("/auth-check", "the access", true),
        ("/resolve/", "a file", false),
    ] {
        let elsewhere = Door::plain().open(|_| empty_page());
        let door = Door::plain();
        let hub = hub_behind(Some(&door), None);
        let behind = hub.listeners().0;
        hub.add(tiny().gated(Gate::Manual));
        hub.user("alice").token(TOKEN);
        hub.accept_terms("alice", "acme/tiny");
        let to = format!("{}/stolen", elsewhere.url.replace("localhost", "127.0.0.1"));
        let relay = door.open(move |head| {
            let line = head.lines().next().unwrap_or_default();
            if line.contains(path) { redirect(&to) } else { Fate::To(behind) }
        });
        let stage = Stage { hub, root: tempfile::tempdir().unwrap() };
        let mut command = fetch(&stage);
        command.env("HF_TOKEN", TOKEN);
        let ended = tokio::time::timeout(Duration::from_secs(120), end(command)).await.unwrap();
        assert_eq!(ended.code == Some(0), ends_well, "{what} from elsewhere: {ended:#?}");
        assert!(
            relay.heads().iter().any(|head| head.contains(TOKEN)),
            "{what}: the Hub itself gets the token"
        );
        for head in elsewhere.heads() {
            assert!(!head.contains(TOKEN), "{what}: {head}");
            assert!(!head.to_ascii_lowercase().contains("authorization"), "{what}: {head}");
        }
        if !ends_well {
            assert_unseen(&stage);
        }
    }
}
