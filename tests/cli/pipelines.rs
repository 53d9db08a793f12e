//! Runs the commands of the example pipelines in `deploy/pipelines` on a folder of ModelCaches.

use std::{
    env, fs,
    path::Path,
    process::{Command, Output},
};

use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use standin_hub::{Access, Gate, Repo};

use crate::stage::Stage;

const TOKEN: &str = "hf_alice_verysecret";

const GITHUB: &str = include_str!("../../deploy/pipelines/github-actions.yaml");
const GITLAB: &str = include_str!("../../deploy/pipelines/gitlab-ci.yaml");

fn parse(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

/// All shell lines of a pipeline.
fn commands(pipeline: &Value) -> Vec<String> {
    match pipeline {
        Value::Object(fields) => {
            let lines = |(key, value): (&String, &Value)| match (key.as_str(), value) {
                ("run", Value::String(line)) => vec![line.clone()],
                ("script", Value::Array(lines)) => {
                    lines.iter().map(|line| line.as_str().unwrap().to_owned()).collect()
                }
                (_, value) => commands(value),
            };
            fields.iter().flat_map(lines).collect()
        }
        Value::Array(all) => all.iter().flat_map(commands).collect(),
        _ => Vec::new(),
    }
}

/// Runs a pipeline's commands as its runner does, in a checkout with the files.
fn run(stage: &Stage, yaml: &str, files: &[(&str, String)]) -> Output {
    let checkout = tempfile::tempdir().unwrap();
    fs::create_dir(checkout.path().join("models")).unwrap();
    for (name, text) in files {
        fs::write(checkout.path().join("models").join(name), text).unwrap();
    }
    let script = commands(&parse(yaml)).join("\n");
    assert!(!script.is_empty() && !script.contains("HF_TOKEN"), "a token is no argument: {script}");
    let tool = Path::new(env!("CARGO_BIN_EXE_modelcache")).parent().unwrap();
    let path = format!("{}:{}", tool.display(), env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-e", "-c", &script])
        .current_dir(checkout.path())
        .env_clear()
        .envs([("PATH", path.as_str()), ("HF_TOKEN", TOKEN), ("HF_ENDPOINT", stage.hub.url())])
        .output()
        .unwrap();
    assert!(!format!("{output:?}").contains("verysecret"), "{output:?}");
    output
}

fn cache(name: &str, repo: &str) -> String {
    format!(
        "apiVersion: modelcache.internal/v1alpha1\nkind: ModelCache\nmetadata: {{name: {name}}}\n\
         spec: {{source: {{repo: {repo}}}, tokenSecretRef: {{name: hf}}}}\n"
    )
}

/// Name, repo and reason of each row.
fn rows(output: &Output) -> Vec<[String; 3]> {
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    let row = |line: &str| {
        let cells: Vec<_> = line.split_whitespace().collect();
        [cells[0], cells[1], cells[cells.len() - 1]].map(str::to_owned)
    };
    table.lines().map(row).collect()
}

#[tokio::test]
async fn a_pull_request_fails_until_all_its_models_are_accessible() {
    let stage = Stage::new().await;
    stage.hub.user("alice").token(TOKEN);
    stage.hub.add(Repo::model("acme/gated").gated(Gate::Manual).file("config.json", "{}").branch("main"));
    let files = [("bad.yaml", cache("bad", "acme/gated")), ("good.yaml", cache("good", "acme/tiny"))];
    for yaml in [GITHUB, GITLAB] {
        stage.hub.set_access("alice", "acme/gated", Access::NotRequested);
        let red = run(&stage, yaml, &files);
        assert_eq!(red.status.code(), Some(77), "{red:?}");
        let expected = |reason: &str| {
            [["NAME", "REPO", "REASON"], ["bad", "acme/gated", reason], ["good", "acme/tiny", "Resolved"]]
                .map(|row| row.map(str::to_owned))
        };
        assert_eq!(rows(&red), expected("TermsNotAccepted"));
        let told = String::from_utf8(red.stderr).unwrap();
        assert!(
            told.contains(&format!("{}/acme/gated with that account and agree", stage.hub.url())),
            "{told}"
        );

        stage.hub.accept_terms("alice", "acme/gated");
        let green = run(&stage, yaml, &files);
        assert_eq!((green.status.code(), rows(&green)), (Some(0), expected("Resolved").to_vec()));

        let missing = cache("v9", "acme/tiny, revision: v9");
        let red = run(&stage, yaml, &[("missing.yaml", missing)]);
        assert_eq!(red.status.code(), Some(66), "{red:?}");
    }
}

#[test]
fn the_github_workflow_is_read_only_and_uses_pinned_actions() {
    let workflow = parse(GITHUB);
    assert_eq!(workflow["permissions"], json!({ "contents": "read" }));
    let steps = workflow["jobs"]["check"]["steps"].as_array().unwrap();
    let [checkout, check] = steps.as_slice() else { panic!("{steps:?}") };
    let (action, commit) = checkout["uses"].as_str().unwrap().split_once('@').unwrap();
    assert_eq!((action, commit.len()), ("actions/checkout", 40));
    assert!(commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
    assert_eq!(check["env"], json!({ "HF_TOKEN": "${{ secrets.HF_TOKEN }}" }));
}
