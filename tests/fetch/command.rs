//! The binary: its output, its files and its exit codes.

use std::{
    fs, io,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use modelcache::{fetch::Report, reason::Reason};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use standin_hub::{Class, Fault, FaultKind, Gate};

use crate::stage::{SIZE, Stage, WEIGHTS, report, run, tiny};

fn out(output: &Output) -> Vec<String> {
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

fn last_word(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap().lines().last().unwrap().to_owned()
}

#[tokio::test]
async fn fetch_prints_the_path_of_the_snapshot() {
    let stage = Stage::new().await;
    let output = stage.modelcache(&["fetch", "acme/tiny"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(out(&output), [stage.snapshot().to_str().unwrap()]);
    assert!(last_word(&output).starts_with("Verified: acme/tiny at "), "{output:?}");
    stage.assert_loads(|_| true);

    let again = stage.modelcache(&["fetch", "acme/tiny", "-o", "json"]).output().unwrap();
    let found = Report::parse(out(&again).last().unwrap()).unwrap();
    assert_eq!((found.reason, found.downloaded_bytes), (Reason::Verified, 0));
}

#[tokio::test]
async fn the_environment_selects_the_cache() {
    let stage = Stage::new().await;
    let home = stage.root.path().join("home");
    let mut command = stage.modelcache(&["fetch", "acme/tiny", "--include", "*.json"]);
    command.env_remove("HF_HUB_CACHE").env("HF_HOME", &home);
    assert!(command.output().unwrap().status.success());
    assert!(home.join("hub/models--acme--tiny/refs/main").is_file());

    let given = stage.root.path().join("given");
    let mut command = stage.modelcache(&["fetch", "acme/tiny", "--include", "*.json", "--cache-dir"]);
    assert!(command.arg(&given).output().unwrap().status.success());
    assert!(given.join("models--acme--tiny/refs/main").is_file());
    assert!(!stage.cache().exists());
}

#[tokio::test]
async fn progress_is_printed_as_lines_for_the_controller() {
    let stage = Stage::new().await;
    stage.hub.fault(Fault::new(FaultKind::Slow(WEIGHTS / 5)).on(Class::Cdn));
    let output = stage.modelcache(&["fetch", "acme/tiny", "-o", "json"]).output().unwrap();
    let lines = out(&output);
    let (last, events) = lines.split_last().unwrap();
    assert!(Report::parse(last).is_some());
    assert!((1..4).contains(&events.len()), "{events:?}");
    let event: Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!((&event["event"], &event["totalBytes"]), (&json!("progress"), &json!(SIZE)));
    assert!(event["percent"].as_u64().unwrap() < 100 && event["downloadedBytes"].as_u64().unwrap() > 0);
    for line in String::from_utf8(output.stderr).unwrap().lines().filter(|line| line.starts_with('{')) {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

#[tokio::test]
async fn closed_output_is_not_an_error() {
    let stage = Stage::new().await;
    let path = stage.root.path().join("report");
    let closed = || {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        writer
    };
    let mut command = stage.modelcache(&["fetch", "acme/tiny", "--report", path.to_str().unwrap()]);
    let status = command.stdout(closed()).stderr(closed()).status().unwrap();
    assert_eq!((status.code(), report(&path).reason), (Some(0), Reason::Verified));
    stage.assert_loads(|_| true);
}

#[tokio::test]
async fn a_wrong_token_file_requires_user_action() {
    let stage = Stage::with(tiny().gated(Gate::Manual)).await;
    let file = stage.root.path().join("token");
    let path = stage.root.path().join("report");
    for (content, reason) in [
        (None, Reason::SecretNotFound),
        (Some(""), Reason::TokenMalformed),
        (Some("hf_verysecret and more"), Reason::TokenMalformed),
        (Some("hf_verysecret"), Reason::TokenInvalid),
    ] {
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        let arguments = [
            "fetch",
            "acme/tiny",
            "--token-file",
            file.to_str().unwrap(),
            "--report",
            path.to_str().unwrap(),
        ];
        let output = stage.modelcache(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(77), "{output:?}");
        let found = report(&path);
        assert_eq!(found.reason, reason);
        assert_eq!(last_word(&output), format!("{reason}: {}", found.message));
        assert!(!format!("{output:?} {found:?}").contains("verysecret"));
        assert!(!stage.cache().exists());
    }
}

#[tokio::test]
async fn a_malformed_token_matters_only_if_one_is_needed() {
    let stage = Stage::new().await;
    let with_bad_token = |command: &str| {
        let mut command = stage.modelcache(&[command, "acme/tiny"]);
        command.env("HF_TOKEN", "hf_very secret");
        command
    };
    for command in ["fetch", "check"] {
        let refused = with_bad_token(command).output().unwrap();
        assert_eq!(refused.status.code(), Some(77), "{refused:?}");
        let word = last_word(&refused);
        assert!(word.starts_with("TokenMalformed: ") && word.ends_with("Hub showed it."), "{word}");
        assert!(!format!("{refused:?}").contains("secret"));
    }
    assert_eq!(run(&stage.request()).await.reason, Reason::Verified);
    for offline in ["0", "1"] {
        let kept = with_bad_token("fetch").env("HF_HUB_OFFLINE", offline).output().unwrap();
        assert_eq!(kept.status.code(), Some(0), "{kept:?}");
        assert_eq!(out(&kept), [stage.snapshot().to_str().unwrap()]);
    }
}

#[tokio::test]
async fn invalid_names_and_patterns_are_reported() {
    let stage = Stage::new().await;
    let path = stage.root.path().join("report");
    let endless = "\u{1b}x".repeat(4500);
    for (arguments, reason, code) in [
        (&["a/b/c"][..], Reason::InvalidRepo, 2),
        (&[&endless], Reason::InvalidRepo, 2),
        (&["acme/tiny", "--revision", &endless], Reason::RevisionNotFound, 66),
        (&["acme/tiny", "--include", ""], Reason::InvalidPattern, 2),
        (&["acme/tiny", "--include", "*.nothing"], Reason::NoMatchingFiles, 66),
        (&["acme/tiny", "--revision", "nowhere"], Reason::RevisionNotFound, 66),
        (&["acme/tiny", "--alias", "../x"], Reason::RevisionNotFound, 66),
        (&["acme/other"], Reason::TokenRequired, 77),
        (&["acme/tiny", "--endpoint", "http://me:verysecret@hub:99999"], Reason::InvalidEndpoint, 2),
    ] {
        let mut command = stage.modelcache(&["fetch", "--report", path.to_str().unwrap()]);
        let output = command.args(arguments).output().unwrap();
        assert_eq!((report(&path).reason, output.status.code()), (reason, Some(code)), "{output:?}");
        assert!(last_word(&output).starts_with(&format!("{reason}: ")));
        assert!(!format!("{output:?}").contains("verysecret"));
        fs::remove_file(&path).unwrap();
    }
    let addresses = "https://huggingface.co,https://me:verysecret@hub:99999";
    let controller =
        stage.modelcache(&["controller", "--image", "x", "--endpoint", addresses]).output().unwrap();
    assert_eq!(controller.status.code(), Some(2), "{controller:?}");
    assert!(last_word(&controller).starts_with("InvalidEndpoint: "));
    assert!(!format!("{controller:?}").contains("verysecret"));
    let unknown = stage.modelcache(&["fetch", "acme/tiny", "--token", "hf_x"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2), "a token is no argument");
}

#[tokio::test]
async fn sigterm_stops_a_download_cleanly() {
    let stage = Stage::new().await;
    stage.hub.fault(Fault::new(FaultKind::Slow(100_000)).on(Class::Cdn));
    let path = stage.root.path().join("report");
    let mut command = stage.modelcache(&["fetch", "acme/tiny", "--report", path.to_str().unwrap()]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    stage
        .hub
        .until(|requests| requests.iter().any(|request| request.class == Class::Cdn && request.bytes > 0))
        .await;
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{output:?}");
    let found = report(&path);
    assert_eq!((found.reason, found.files, found.commit), (Reason::Stopped, 5, Some(stage.commit())));
    stage.assert_nothing_visible();
}

#[tokio::test]
async fn a_second_sigterm_exits_immediately() {
    let stage = Stage::new().await;
    stage.hub.fault(Fault::new(FaultKind::Stall(1000)).on(Class::Cdn));
    // A report to a pipe without a reader: it never exits by itself.
    let path = stage.root.path().join("report");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let mut child =
        stage.modelcache(&["fetch", "acme/tiny", "--report", path.to_str().unwrap()]).spawn().unwrap();
    stage
        .hub
        .until(|requests| requests.iter().any(|request| request.class == Class::Cdn && request.bytes > 0))
        .await;
    let process = rustix::process::Pid::from_child(&child);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut again = tokio::time::interval(Duration::from_millis(10));
    let status = loop {
        again.tick().await;
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        // Simultaneous signals count as one.
        let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
    };
    assert_eq!(status, Some(143));
}

#[tokio::test]
async fn check_reports_each_condition() {
    let stage = Stage::with(tiny().gated(Gate::Manual)).await;
    stage.hub.user("alice").token("hf_alice");
    let refused = stage.modelcache(&["check", "acme/tiny"]).env("HF_TOKEN", "hf_alice").output().unwrap();
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    let lines = out(&refused);
    assert!(lines[0].starts_with("✓ Authenticated TokenValid: "), "{lines:?}");
    assert!(lines[1].starts_with("✗ Authorized    TermsNotAccepted: "), "{lines:?}");
    assert!(lines[2].starts_with("? Resolved      NotChecked: "), "{lines:?}");
    assert!(last_word(&refused).starts_with("TermsNotAccepted: "));

    stage.hub.accept_terms("alice", "acme/tiny");
    let mut command = stage.modelcache(&["check", "acme/tiny", "--include", "*.json", "-o", "json"]);
    let output = command.env("HF_TOKEN", "hf_alice").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut found: Value = serde_json::from_slice(&output.stdout).unwrap();
    for condition in found["conditions"].as_array_mut().unwrap() {
        assert!(condition.as_object_mut().unwrap().remove("message").is_some());
    }
    assert_eq!(
        found,
        json!({
            "repo": "acme/tiny", "type": "model", "revision": "main", "commit": stage.commit(), "files": 2, "bytes": 4,
            "conditions": [
                {"type": "Authenticated", "status": "True", "reason": "TokenValid"},
                {"type": "Authorized", "status": "True", "reason": "AccessGranted"},
                {"type": "Resolved", "status": "True", "reason": "Resolved"},
            ],
        })
    );
    assert!(!stage.cache().exists());
}

#[tokio::test]
async fn verify_needs_no_hub_and_finds_a_changed_byte() {
    let stage = Stage::new().await;
    assert_eq!(run(&stage.request()).await.reason, Reason::Verified);
    stage.hub.off().await;
    let good = stage.modelcache(&["verify"]).output().unwrap();
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert_eq!(out(&good), ["✓ acme/tiny: 4 files, 3 MiB"]);

    let blob = stage.blob("model.safetensors");
    let mut bytes = fs::read(&blob).unwrap();
    bytes[1000] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let bad = stage.modelcache(&["verify", "acme/tiny", "-o", "json"]).output().unwrap();
    assert_eq!(bad.status.code(), Some(65), "{bad:?}");
    let found: Value = serde_json::from_slice(&bad.stdout).unwrap();
    let path = format!("models--acme--tiny/snapshots/{}/model.safetensors", stage.commit());
    assert_eq!(found["problems"][1], json!({"path": path, "fault": "mismatch"}));
    assert!(last_word(&bad).starts_with("HashMismatch: "));

    let none = stage.modelcache(&["verify", "acme/other"]).output().unwrap();
    assert_eq!(none.status.code(), Some(66), "{none:?}");
}

#[tokio::test]
async fn verify_reports_unread_files_as_unchecked() {
    let stage = Stage::new().await;
    let missing = stage.modelcache(&["verify"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(66), "{missing:?}");
    fs::create_dir(stage.cache()).unwrap();
    let empty = stage.modelcache(&["verify"]).output().unwrap();
    assert_eq!(empty.status.code(), Some(66), "{empty:?}");
    fs::create_dir_all(stage.snapshot()).unwrap();
    fs::write(stage.snapshot().join("config.json"), "{}").unwrap();
    let unknown = stage.modelcache(&["verify"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    assert!(last_word(&unknown).starts_with("NotChecked: "), "{unknown:?}");
}
