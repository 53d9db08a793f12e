//! `fetch -f` and `check -f`: the files of a cluster on a workstation and in a pipeline.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::symlink,
    process::{Command, Output, Stdio},
};

use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use standin_hub::{Gate, Repo, StandinHub};

use crate::{
    list::{lines, objects, told},
    stage::{SIZE, Stage, text},
};

const TOKEN: &str = "hf_alice_verysecret";

/// A Hub with a public model and one that only alice may read.
async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.hub.user("alice").token(TOKEN);
    stage.hub.add(
        Repo::model("acme/gated")
            .gated(Gate::Manual)
            .access("alice", standin_hub::Access::Accepted)
            .file("config.json", "{}")
            .file("extra.bin", "x")
            .branch("main"),
    );
    stage
}

fn cache(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: modelcache.internal/v1alpha1\nkind: ModelCache\nmetadata: {{name: {name}, namespace: team}}\nspec:\n{spec}\n"
    )
}

fn gated() -> String {
    cache(
        "gated",
        "  source: {repo: acme/gated, include: ['*.json'], aliases: [prod]}\n  tokenSecretRef: {name: hf}\n  \
         storage: {existingClaim: models}\n  job: {nodeSelector: {disk: fast}}",
    )
}

fn public() -> String {
    cache("public", "  source: {repo: acme/tiny}")
}

fn secret() -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: hf, namespace: team}}\nstringData: {{token: {TOKEN}}}\n"
    )
}

/// Runs with the text as standard input.
fn with_input(mut command: Command, text: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(!format!("{output:?}").contains("verysecret"), "{output:?}");
    output
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[tokio::test]
async fn files_are_checked_and_fetched_as_in_the_cluster() {
    let stage = stage().await;
    let deployment =
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {unknown: fields}\n".to_owned();
    let file = stage.root.path().join("models.yaml");
    fs::write(&file, deployment + &public() + &gated() + &secret()).unwrap();
    let path = file.to_str().unwrap();

    let table = stage.modelcache(&["check", "-f", path]).output().unwrap();
    let rows = lines(&table);
    assert_eq!(words(&rows[0]), ["NAME", "REPO", "REVISION", "COMMIT", "FILES", "SIZE", "REASON"]);
    let (tiny, theirs) = (stage.commit(), stage.hub.commit("acme/gated", "main"));
    assert_eq!(
        words(&rows[1]),
        ["team/public", "acme/tiny", "main", &tiny[..7], "5", "3", "MiB", "Resolved"]
    );
    assert_eq!(
        words(&rows[2]),
        ["team/gated", "acme/gated", "main", &theirs[..7], "1", "2", "B", "Resolved"]
    );
    assert_eq!(told(&table), "");
    let found = objects(&stage.modelcache(&["check", "-f", path, "-o", "json"]).output().unwrap());
    let brief = |found: &Value| json!([found["name"], found["commit"], found["files"], found["bytes"]]);
    assert_eq!(
        found.iter().map(brief).collect::<Vec<_>>(),
        [json!(["team/public", tiny, 5, SIZE]), json!(["team/gated", theirs, 1, 2])]
    );

    let fetched = stage.modelcache(&["fetch", "-f", path, "-o", "json"]).output().unwrap();
    let reports: Vec<_> = objects(&fetched).into_iter().filter(|line| line["event"].is_null()).collect();
    let brief = |report: &Value| json!([report["name"], report["repo"], report["reason"], report["files"]]);
    assert_eq!(
        reports.iter().map(brief).collect::<Vec<_>>(),
        [
            json!(["team/public", "acme/tiny", "Verified", 5]),
            json!(["team/gated", "acme/gated", "Verified", 1])
        ]
    );
    for revision in ["main", "prod"] {
        let loaded = stage.judge("offline-load", &["acme/gated", "--revision", revision]);
        assert_eq!(loaded["files"].as_array().unwrap().len(), 1);
    }
    let folder = stage.modelcache(&["fetch", "-f", stage.root.path().to_str().unwrap()]).output().unwrap();
    assert_eq!(lines(&folder).len(), 2);
    let last: Vec<_> = told(&folder).lines().map(str::to_owned).collect();
    assert!(last[last.len() - 1].starts_with("team/gated: Verified: "), "{last:?}");
    assert!(!format!("{table:?}{fetched:?}{folder:?}{found:?}").contains("verysecret"));
}

#[tokio::test]
async fn the_first_failure_decides_the_exit_code() {
    let stage = stage().await;
    let missing = cache("missing", "  source: {repo: acme/tiny, revision: v9}");
    let all = cache("denied", "  source: {repo: acme/gated}") + &missing + &public();
    let checked = with_input(stage.modelcache(&["check", "-f", "-"]), &all);
    assert_eq!(checked.status.code(), Some(77), "{checked:?}");
    let last: Vec<_> =
        told(&checked).lines().map(|line| line[..line.find(". ").unwrap_or(30)].to_owned()).collect();
    assert!(
        last[0].starts_with("team/denied: TokenRequired: ")
            && last[1].starts_with("team/missing: RevisionNotFound: "),
        "{last:?}"
    );
    let fetched = with_input(stage.modelcache(&["fetch", "-f", "-"]), &all);
    assert_eq!(fetched.status.code(), Some(77), "{fetched:?}");
    stage.assert_loads(|_| true);
    let fetched = with_input(stage.modelcache(&["fetch", "-f", "-"]), &(missing + &public()));
    assert_eq!(fetched.status.code(), Some(66), "{fetched:?}");
}

#[tokio::test]
async fn tokens_are_read_as_specified_and_sent_nowhere_else() {
    let stage = stage().await;
    let reason = |environment: &[(&str, &str)], text: &str| {
        let mut command = stage.modelcache(&["check", "-f", "-", "-o", "json"]);
        command.envs(environment.iter().copied());
        let output = with_input(command, text);
        let word = told(&output);
        let word = word.split(": ").nth(1).unwrap_or("Resolved").to_owned();
        (word, output.status.code().unwrap())
    };
    let token = [("HF_TOKEN", TOKEN)];
    let told = |reason: &str, code: i32| (reason.to_owned(), code);
    assert_eq!(reason(&[], &gated()), told("SecretNotFound", 77));
    assert_eq!(reason(&token, &gated()), told("Resolved", 0), "the environment stands for the Secret");
    let other_key = secret().replace("token:", "toekn:");
    assert_eq!(reason(&token, &(gated() + &other_key)), told("SecretKeyNotFound", 77));
    let not_asked = cache("x", "  source: {repo: acme/gated}");
    assert_eq!(reason(&token, &(not_asked + &secret())), told("TokenRequired", 77), "as in a cluster");
    let mut coded = secret().replace("stringData", "data");
    coded = coded.replace(TOKEN, "aGZfYWxpY2VfdmVyeXNlY3JldAo=");
    assert_eq!(reason(&[], &(gated() + &coded)), told("Resolved", 0));

    // For an object with another endpoint, no token is sent: neither ours nor that in the files.
    let other = StandinHub::start().await;
    other.add(Repo::model("acme/gated").file("config.json", "{}").branch("main"));
    let elsewhere = gated().replace("repo:", &format!("endpoint: {}, repo:", other.url()));
    assert_eq!(reason(&token, &elsewhere), told("EndpointNotAllowed", 77));
    assert_eq!(reason(&[], &(elsewhere.clone() + &secret())), told("EndpointNotAllowed", 77));
    assert!(other.requests().is_empty());
    let anonymous = elsewhere.replace("  tokenSecretRef: {name: hf}\n", "");
    assert_eq!(reason(&token, &anonymous), told("Resolved", 0));
    assert!(other.token_leaks().is_empty());
    let same = gated().replace("repo:", &format!("endpoint: {}/, repo:", stage.hub.url()));
    assert_eq!(reason(&token, &same), told("Resolved", 0));
}

#[tokio::test]
async fn invalid_objects_are_rejected_first() {
    let stage = stage().await;
    let wrong = cache("wrong", "  source:\n    repo: acme/tiny\n    inclde: ['*.json']\n  storge: {}");
    let output = with_input(stage.modelcache(&["fetch", "-f", "-"]), &(public() + &secret() + &wrong));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let expected = "error: -:19: spec.source.inclde is not a field; did you mean include?\n\
                    -:20: spec.storge is not a field; did you mean storage?";
    assert_eq!(told(&output), expected);
    assert!(!stage.cache().exists() && stage.hub.requests().is_empty());
    for (text, word) in
        [(secret(), "error: no ModelCache in -"), ("{".to_owned(), "error: -:1: this is not valid YAML")]
    {
        let output = with_input(stage.modelcache(&["check", "-f", "-"]), &text);
        assert_eq!((output.status.code(), told(&output).as_str()), (Some(2), word));
    }
    for arguments in [
        &["fetch"][..],
        &["fetch", "acme/tiny", "-f", "x"],
        &["check", "-f", "x", "--type", "model"],
        &["check", "-f", "/nowhere"],
        &["fetch", "-f", "x", "--revision", "v1"],
    ] {
        let output = stage.modelcache(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    // The samples of the project.
    let samples = crate::programs::root("deploy/samples");
    let output =
        stage.modelcache(&["check", "-f", samples.to_str().unwrap(), "-o", "json"]).output().unwrap();
    let names: Vec<_> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| text(&serde_json::from_str::<Value>(line).unwrap()["name"]))
        .collect();
    assert!(names.len() > 2, "{output:?}");
}

/// A command that runs another.
fn with_the_rest(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

#[tokio::test]
async fn endless_files_are_rejected_and_pipes_of_the_command_are_read() {
    let stage = stage().await;
    let folder = stage.root.path().join("given");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.yaml"), public()).unwrap();
    let path = |name: &str| folder.join(name);
    // Each would block or exhaust memory if it were simply read.
    let made = Command::new("mkfifo").arg(path("pipe.yaml")).status().unwrap();
    assert!(made.success());
    symlink("/dev/zero", path("zero.yaml")).unwrap();
    symlink("/dev/stdin", path("stdin.yaml")).unwrap();
    fs::File::create(path("sparse.yaml")).unwrap().set_len(1 << 40).unwrap();
    let within = |arguments: &[&str]| {
        let mut command = Command::new("timeout");
        command.arg("20");
        let mut command = with_the_rest(command, &stage.modelcache(arguments));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Open, but nothing is written.
        let _open = child.stdin.take();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = child.wait().unwrap();
        (status.code(), said)
    };
    for (name, why) in [
        ("pipe.yaml", "it is a pipe, not a file"),
        ("zero.yaml", "it is a device, not a file"),
        ("sparse.yaml", "it has more than 16777216 bytes"),
    ] {
        let file = path(name);
        let (code, said) = within(&["check", "-f", file.to_str().unwrap()]);
        assert_eq!(
            (code, said.trim_end()),
            (Some(2), format!("error: cannot read {}: {why}", file.display()).as_str())
        );
        let (code, said) = within(&["check", "acme/gated", "--token-file", file.to_str().unwrap()]);
        assert!(code == Some(77) && said.contains("TokenMalformed"), "{name}: {code:?}: {said}");
    }
    for name in ["pipe.yaml", "zero.yaml", "sparse.yaml", "stdin.yaml"] {
        let (code, said) = within(&["check", "-f", folder.to_str().unwrap()]);
        assert!(code == Some(2) && said.starts_with("error: cannot read "), "{name}: {code:?}: {said}");
        // They are reported one at a time, in the order of their names.
        let told =
            ["pipe.yaml", "sparse.yaml", "stdin.yaml", "zero.yaml"].iter().find(|name| said.contains(*name));
        fs::remove_file(path(told.unwrap())).unwrap();
    }
    assert_eq!(within(&["check", "-f", folder.to_str().unwrap()]).0, Some(0));

    let script = "exec \"$0\" \"$@\" <(sleep 0.2; cat a.yaml)";
    let mut piped = Command::new("bash");
    piped.args(["-c", script]);
    let mut piped = with_the_rest(piped, &stage.modelcache(&["check", "-f"]));
    piped.current_dir(&folder);
    let output = piped.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    // Too large for memory, and too deep for any stack.
    for (text, word) in [
        ("x: y\n".repeat(4 << 20), "more than 16777216 bytes"),
        ("[".repeat(1 << 20), "this is not valid YAML"),
        ("- ".repeat(1 << 20), "this is not valid YAML"),
        ("---\n".repeat(1 << 20), "this is not valid YAML"),
        (format!("a: &a [x]\n{}", "b: [*a, *a, *a]\n".repeat(1 << 16)), "this is not valid YAML"),
    ] {
        fs::write(path("a.yaml"), text).unwrap();
        let output = stage.modelcache(&["check", "-f"]).arg(path("a.yaml")).output().unwrap();
        let said = told(&output);
        assert!(output.status.code() == Some(2) && said.contains(word), "{said}");
    }
}
