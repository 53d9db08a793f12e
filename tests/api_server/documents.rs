//! Every object in the documentation, as a reader would apply it.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use modelcache::reason::Reason;
use serde_json::Value;

use crate::{definitions, support::Server};

/// All pages, the README among them.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

/// The documents in the YAML blocks of a page.
fn documents(page: &Path) -> Vec<Value> {
    let text = fs::read_to_string(page).unwrap();
    let blocks = text.split("\n```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    blocks
        .flat_map(|block| block.split("\n---\n"))
        .map(|document| {
            serde_saphyr::from_str(document)
                .unwrap_or_else(|error| panic!("{}: {error}:\n{document}", page.display()))
        })
        .collect()
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn every_object_in_the_documentation_is_taken() {
    let server = Server::new().await;
    definitions::install();
    let mut taken = 0;
    for page in pages() {
        for mut object in documents(&page) {
            // A part of an object is read as YAML, and no more can be asked of it.
            if object["kind"].is_null() {
                continue;
            }
            object["metadata"].as_object_mut().unwrap().remove("namespace");
            let mut kubectl = Command::new("kubectl")
                .args([
                    "apply",
                    "--server-side",
                    "--dry-run=server",
                    "--validate=strict",
                    "-n",
                    server.namespace(),
                    "-f",
                    "-",
                ])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            kubectl.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
            let output = kubectl.wait_with_output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{}: {object}: {said}", page.display());
            taken += 1;
        }
    }
    assert!(taken >= 10, "only {taken} objects were found");
}

/// Who copies the files has what the guide explains.
#[test]
fn the_files_for_gitops_are_those_of_the_guide() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["deploy/argocd/applications.yaml", "deploy/flux/operator.yaml"];
    let given: Vec<Value> = files
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(root.join(file)).unwrap();
            text.split("\n---\n")
                .map(|document| serde_saphyr::from_str(document).unwrap())
                .collect::<Vec<_>>()
        })
        .collect();
    let explained: Vec<Value> = documents(&root.join("docs/guides/gitops.md"))
        .into_iter()
        .filter(|object| !object["kind"].is_null())
        .collect();
    assert_eq!(given, explained);
}

/// Who looks for a word finds what to do first, and from there the whole story.
#[test]
fn troubleshooting_has_a_place_for_every_reason() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/troubleshooting.md");
    let text = fs::read_to_string(page).unwrap();
    let missing: Vec<_> = Reason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .filter(|word| {
            let link = format!("[{word}](../reference/reasons.md#{})", word.to_lowercase());
            text.matches(&link).count() != 1
        })
        .collect();
    assert_eq!(missing, [] as [&str; 0]);
}

#[test]
fn every_link_in_the_documentation_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = pages();
    all.extend(["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name)));
    for page in all {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let path = link.split('#').next().unwrap();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let target = page.parent().unwrap().join(path);
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
        }
    }
}
