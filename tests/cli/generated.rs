//! Generated output: reference, completions and man pages.

use std::{fs, io, process::Stdio};

use modelcache::reason::{Reason, Remedy};
use pretty_assertions::assert_eq;

use crate::{programs::root, stage::Stage};

async fn text(arguments: &[&str]) -> String {
    let output =
        Stage::new().await.modelcache(arguments).env("MODELCACHE_IMAGE", "verysecret").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_reference_is_up_to_date() {
    let kept = fs::read_to_string(root("docs/reference/cli.md")).unwrap();
    assert_eq!(text(&["reference", "cli"]).await, kept, "`make generate` makes it anew");
    for command in ["fetch", "check", "verify", "list", "prune", "controller", "crd", "completions", "man"] {
        let (_, part) = kept.split_once(&format!("\n## modelcache {command}\n")).unwrap();
        let part = part.split("\n## ").next().unwrap();
        assert!(part.contains("\nExamples:\n"), "{command} has no examples");
    }
    assert!(!kept.contains("verysecret"));
    // Hand-formatted help must fit into a terminal of 80 columns.
    let by_hand = kept.lines().filter(|line| line.starts_with("  modelcache") || line.starts_with("  - "));
    assert!(by_hand.into_iter().all(|line| line.chars().count() <= 80), "{kept}");
}

#[tokio::test]
async fn every_reason_is_documented() {
    let kept = fs::read_to_string(root("docs/reference/reasons.md")).unwrap();
    assert_eq!(text(&["reference", "reasons"]).await, kept, "`make generate` makes it anew");
    for reason in Reason::ALL {
        let heading = format!("\n### {reason}\n");
        let sections: Vec<_> = kept.split(&heading).skip(1).collect();
        assert_eq!(sections.len(), 1, "{reason}");
        let section = sections[0].split("\n#").next().unwrap();
        assert!(section.contains("\n- Cause: "), "{reason}");
        assert_eq!(section.contains("\n- Fix: "), reason.remedy() != Remedy::None, "{reason}");
    }
}

#[tokio::test]
async fn every_field_is_documented() {
    let kept = fs::read_to_string(root("docs/reference/fields.md")).unwrap();
    assert_eq!(text(&["reference", "fields"]).await, kept, "`make generate` makes it anew");
    for field in [
        "spec.source.repo",
        "spec.storage.claim.accessModes",
        "spec.job.tolerations[].key",
        "status.snapshots[].commit",
    ] {
        let documented = !field.starts_with("spec.job.tolerations");
        assert_eq!(kept.contains(&format!("\n### {field}\n")), documented, "{field}");
    }
    for section in kept.split("\n### ").skip(1) {
        let described = section.lines().nth(4).unwrap_or_default();
        assert!(described.len() > 10, "{section}");
    }
}

#[tokio::test]
async fn completions_and_man_pages_are_valid() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(text(&["completions", shell]).await.contains("min-age"), "{shell}");
    }
    let script = text(&["completions", "bash"]).await;
    let check = "source /dev/stdin; COMP_WORDS=(modelcache pru); COMP_CWORD=1; _modelcache modelcache pru modelcache; echo \"$COMPREPLY\"";
    let mut bash = std::process::Command::new("bash")
        .args(["-c", check])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    io::Write::write_all(&mut bash.stdin.take().unwrap(), script.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(bash.wait_with_output().unwrap().stdout).unwrap(), "prune\n");

    assert!(text(&["man"]).await.contains(".TH modelcache 1"));
    let page = text(&["man", "prune"]).await;
    assert!(page.contains("prune") && page.contains("unreferenced"));
    let unknown = Stage::new().await.modelcache(&["man", "nothing"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[tokio::test]
async fn a_closed_pipe_is_not_an_error() {
    let stage = Stage::new().await;
    for arguments in [
        &["reference", "cli"][..],
        &["reference", "reasons"],
        &["reference", "fields"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["crd"],
        &["prune", "--help"],
    ] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let output = stage.modelcache(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{arguments:?}");
    }
}
