//! Hostile text in a cache or a file neither controls a terminal nor forges a line, and is exact in JSON.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::Path,
    process::Output,
};

use pretty_assertions::assert_eq;
use serde_json::Value;

use crate::{
    list::{objects, told},
    nasty::{assert_safe, nasty},
    stage::Stage,
};

const LONGEST: usize = 8_000;
/// The name of an incomplete blob, with eight arbitrary bytes.
const LEFTOVER: &str = "0123456789abcdef0123456789abcdef01234567.\u{202e}\u{7}\n\r12.incomplete";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Hostile file names, for a file system that accepts any bytes.
fn names() -> Vec<String> {
    let fits =
        |name: &String| name.len() < 200 && !name.trim_matches('.').is_empty() && !name.contains(['/', '\0']);
    let names: BTreeSet<_> = nasty(500).map(|(_, name)| name).filter(fits).collect();
    names.into_iter().take(200).collect()
}

#[track_caller]
fn assert_lines(output: &Output, least: usize) {
    for text in [&output.stdout, &output.stderr] {
        let text = std::str::from_utf8(text).unwrap();
        for line in text.split_terminator('\n') {
            // JSON may have any length.
            assert_safe(line, if line.starts_with('{') { usize::MAX } else { LONGEST }, 0);
        }
    }
    let lines = std::str::from_utf8(&output.stdout).unwrap().matches('\n').count();
    assert!(lines >= least, "{lines} lines: {output:?}");
}

/// A broken repo whose refs, blobs and files have such names.
fn hostile(cache: &Path, names: &[String]) {
    let repo = cache.join("models--acme--tiny");
    let snapshot = repo.join("snapshots").join(COMMIT);
    for folder in [&repo.join("refs"), &repo.join("blobs"), &snapshot] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(repo.join("refs/main"), COMMIT).unwrap();
    fs::write(repo.join("blobs").join(LEFTOVER), "content").unwrap();
    for name in names {
        let _ = fs::write(repo.join("refs").join(name), COMMIT);
        let _ = fs::write(repo.join("blobs").join(name), "content");
        let _ = symlink("../../blobs/nothing", snapshot.join(name));
    }
    let _ = symlink("../../blobs/nothing", snapshot.join(OsStr::from_bytes(b"\xff\xfe.bin")));
}

fn paths(output: &Output, pointer: &str) -> BTreeSet<String> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let objects: Vec<Value> =
        text.split_terminator('\n').map(|line| serde_json::from_str(line).unwrap()).collect();
    let all = objects.iter().flat_map(|object| object.pointer(pointer).unwrap().as_array().unwrap());
    all.map(|one| one["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn names_on_a_volume_are_sanitized_and_exact_in_json() {
    let stage = Stage::new().await;
    let names = names();
    assert!(names.len() >= 150, "{}", names.len());
    hostile(&stage.cache(), &names);
    let run = |arguments: &[&str]| stage.modelcache(arguments).output().unwrap();

    let verified = run(&["verify"]);
    assert_eq!(verified.status.code(), Some(65), "{verified:?}");
    assert_lines(&verified, names.len());
    assert!(String::from_utf8_lossy(&verified.stdout).contains("\\xff\\xfe.bin is missing"), "{verified:?}");
    assert_lines(&run(&["list"]), 2);
    let prune = ["prune", "--dry-run", "--min-age", "0s"];
    let pruned = run(&prune);
    assert_lines(&pruned, 1);
    assert!(
        String::from_utf8_lossy(&pruned.stdout).contains(".\\u{202e}\\u{7}\\n\\r12.incomplete"),
        "{pruned:?}"
    );

    let pruned = run(&[&prune[..], &["-o", "json"]].concat());
    assert_lines(&pruned, 1);
    assert!(paths(&pruned, "/items").contains(LEFTOVER), "{pruned:?}");
    let verified = run(&["verify", "-o", "json"]);
    assert_lines(&verified, 1);
    let found = paths(&verified, "/problems");
    let missing: Vec<_> = names.iter().filter(|name| !found.contains(*name)).collect();
    assert_eq!(missing, Vec::<&String>::new());
    let listed = run(&["list", "-o", "json"]);
    assert_lines(&listed, 1);
    let refs: Vec<Value> = objects(&listed)
        .iter()
        .flat_map(|repo| repo["revisions"][0]["refs"].as_array().unwrap().clone())
        .collect();
    assert!(refs.len() >= 150 && names.iter().all(|name| refs.contains(&name.as_str().into())), "{listed:?}");
}

#[tokio::test]
async fn a_conflicting_ref_is_sanitized_in_line_and_report() {
    let stage = Stage::new().await;
    let folder = stage.cache().join("models--acme--tiny/refs/main");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("\u{1b}]0;x\u{7}\u{202e}gpj\nVerified: all is well."), COMMIT).unwrap();
    let report = stage.cache().join("report.json");
    let output =
        stage.modelcache(&["fetch", "acme/tiny", "--report", report.to_str().unwrap()]).output().unwrap();
    let line = told(&output);
    assert_safe(&line, LONGEST, 0);
    assert!(line.contains("main/\\u{1b}]0;x\\u{7}\\u{202e}gpj\\nVerified"), "{line}");
    assert_safe(&fs::read_to_string(report).unwrap(), 4095, 0);
}

#[tokio::test]
async fn names_in_a_file_are_sanitized() {
    let stage = Stage::new().await;
    for (case, name) in nasty(60) {
        let name = Value::from(name);
        let head = "apiVersion: modelcache.internal/v1alpha1\nkind: ModelCache\n";
        let unknown = format!("{head}metadata: {{name: x}}\nspec: {{source: {{repo: a/b}}, {name}: 1}}\n");
        let named = format!(
            "{head}metadata: {{name: {name}}}\nspec: {{source: {{repo: {name}, revision: {name}}}, \
             tokenSecretRef: {{name: x, key: k}}}}\n---\n\
             apiVersion: v1\nkind: Secret\nmetadata: {{name: x}}\nstringData: {{{name}: y}}\n"
        );
        for (number, text) in [unknown, named].iter().enumerate() {
            let file = stage.cache().with_file_name(format!("{case}-{number}.yaml"));
            fs::write(&file, text).unwrap();
            for arguments in [&["check"][..], &["check", "-o", "json"], &["mount", "no"]] {
                let output = stage.modelcache(arguments).arg("-f").arg(&file).output().unwrap();
                assert_ne!(output.status.code(), Some(0), "case {case}: {output:?}");
                assert_lines(&output, 0);
            }
        }
    }
}
