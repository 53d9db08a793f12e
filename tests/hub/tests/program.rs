//! The program serves a state file, obeys orders, and ends with a failure when a token has leaked.

#![allow(clippy::unwrap_used, reason = "tests fail by it")]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use standin_hub::client;

const STATE: &str = r#"{
    "bad_tokens": "refused",
    "users": {
        "alice": {"orgs": ["acme"], "tokens": [{"token": "hf_alice"}]},
        "bob": {"tokens": [
            {"token": "hf_bob", "kind": "fine-grained"},
            {"token": "hf_old", "kind": "expired", "name": "ci"}
        ]}
    },
    "repos": [
        {"name": "acme/tiny", "folder": "tiny", "gated": "manual", "access": {"bob": "pending"}, "tags": ["v1"]},
        {
            "name": "datasets/acme/words",
            "files": {"words.txt": "a b"},
            "random": {"big.parquet": {"seed": 7, "size": 1000}}
        }
    ]
}"#;

/// A running program and where it is reached.
struct Program {
    child: Child,
    hub: String,
    control: String,
}

impl Program {
    fn start(folder: &Path) -> Self {
        std::fs::create_dir(folder.join("tiny")).unwrap();
        std::fs::write(folder.join("tiny/config.json"), "{}").unwrap();
        std::fs::write(folder.join("tiny/model.safetensors"), "weights").unwrap();
        std::fs::write(folder.join("state.json"), STATE).unwrap();
        let anywhere = "127.0.0.1:0";
        let mut child = Command::new(env!("CARGO_BIN_EXE_standin-hub"))
            .args(["--listen", anywhere, "--cdn-listen", anywhere, "--control", anywhere, "--state"])
            .arg(folder.join("state.json"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let field =
            |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap().to_owned();
        Self { hub: field("hub="), control: field("control="), child }
    }

    fn ctl(&self, arguments: &[&str]) -> Result<String, String> {
        let program = env!("CARGO_BIN_EXE_standin-hub");
        let output =
            Command::new(program).args(["ctl", "--control", &self.control]).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn get(&self, path: &str, token: &str) -> client::Reply {
        client::get(&format!("{}{path}", self.hub), &[("Authorization", &format!("Bearer {token}"))]).unwrap()
    }

    /// Ends it as a system would, and hands over its last words.
    fn terminate(mut self) -> (bool, String) {
        // The shell's own: a small system has no such program.
        Command::new("sh").args(["-c", "kill \"$0\"", &self.child.id().to_string()]).status().unwrap();
        let words = std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap();
        (self.child.wait().unwrap().success(), words)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn a_state_file_is_served_and_changed_by_orders() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path());
    let config = "/acme/tiny/resolve/main/config.json";

    assert_eq!(program.get(config, "hf_alice").status, 200, "a member of the owning organisation");
    assert!(program.get(config, "hf_bob").text().contains("awaiting a review"));
    program.ctl(&["accept-terms", "--user", "bob", "--repo", "acme/tiny"]).unwrap();
    assert_eq!(program.get(config, "hf_bob").status, 200);
    program.ctl(&["set-access", "--user", "bob", "--repo", "acme/tiny", "rejected"]).unwrap();
    assert!(program.get(config, "hf_bob").text().contains("rejected"));
    program.ctl(&["set-gate", "--repo", "acme/tiny", "none"]).unwrap();
    assert_eq!(program.get(config, "hf_bob").status, 200);

    assert_eq!(program.get("/datasets/acme/words/resolve/main/big.parquet", "hf_bob").status, 302);
    assert!(program.get("/api/models/acme/tiny", "hf_old").text().contains(r#"\"ci\" is expired"#));
    program
        .ctl(&["add-token", "--user", "carol", "--token", "hf_carol", "--kind", "revoked", "--org", "acme"])
        .unwrap();
    assert_eq!(program.get(config, "hf_carol").status, 403);
    program.ctl(&["remove-token", "--token", "hf_bob"]).unwrap();
    assert_eq!(program.get(config, "hf_bob").status, 401);

    let before = program.ctl(&["commit", "--repo", "acme/tiny"]).unwrap();
    std::fs::write(folder.path().join("tiny/config.json"), "{\"new\": 1}").unwrap();
    let tiny = folder.path().join("tiny");
    program.ctl(&["push", "--repo", "acme/tiny", "--folder", tiny.to_str().unwrap()]).unwrap();
    assert_eq!(program.get(config, "hf_alice").text(), "{\"new\": 1}");
    assert_ne!(program.ctl(&["commit", "--repo", "acme/tiny"]).unwrap(), before);
    assert_eq!(program.ctl(&["commit", "--repo", "acme/tiny", "--revision", "v1"]).unwrap(), before);

    let refused = program.ctl(&["accept-terms", "--user", "bob", "--repo", "acme/none"]).unwrap_err();
    assert_eq!(refused, "standin-hub: the stand-in Hub refuses: there is no repo acme/none");
    assert_eq!(program.terminate(), (true, String::new()));
}

#[test]
fn faults_and_requests_are_at_hand() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path());
    program.ctl(&["fault", "status:503", "--on", "api", "--path", "tiny", "--times", "1"]).unwrap();
    assert_eq!(program.get("/api/models/acme/tiny", "hf_alice").status, 503);
    assert_eq!(program.get("/api/models/acme/tiny", "hf_alice").status, 200);

    let requests = program.ctl(&["requests"]).unwrap();
    let first: Value = serde_json::from_str(requests.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["class"], &first["status"], &first["authorized"]),
        (&"api".into(), &503.into(), &true.into())
    );
    assert!(!requests.contains("hf_alice"));

    program.ctl(&["off"]).unwrap();
    assert!(client::get(&program.hub, &[]).is_err());
    program.ctl(&["on"]).unwrap();
    assert_eq!(client::get(&program.hub, &[]).unwrap().status, 200);
    assert!(program.ctl(&["fault", "earthquake"]).unwrap_err().contains("there is no fault `earthquake`"));
}

#[test]
fn a_leaked_token_makes_it_fail() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path());
    let address = program.get("/datasets/acme/words/resolve/main/big.parquet", "hf_alice");
    let address = address.header("location").unwrap().to_owned();
    assert_eq!(client::get(&address, &[("Authorization", "Bearer hf_alice")]).unwrap().status, 400);
    assert!(
        program
            .ctl(&["token-leaks"])
            .unwrap()
            .starts_with("\"Authorization header to the CDN: GET /datasets/")
    );
    let (succeeded, words) = program.terminate();
    assert!(!succeeded && words.starts_with("standin-hub: a token has leaked:\n"), "{words}");
}
