//! The CRDs of others that our objects belong to, on the cluster of a test.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::programs::{root, said};

const PATIENCE: Duration = Duration::from_secs(60);

/// Installs them, and waits until the API server knows and describes each kind.
pub fn install() {
    let folder = said(&mut Command::new(root("tests/tools/definitions"))).unwrap();
    let kubectl = |words: &[&str]| said(Command::new("kubectl").args(words)).unwrap();
    kubectl(&["apply", "--server-side", "--filename", folder.trim()]);
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "--filename", folder.trim()]);
    let found = kubectl(&["get", "--output", "json", "--filename", folder.trim()]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let kinds: Vec<_> = found["items"].as_array().unwrap().iter().map(described_as).collect();
    assert_eq!(kinds.len(), 8);

    // The description follows later, and tells no one.
    let began = Instant::now();
    loop {
        let text = kubectl(&["get", "--raw", "/openapi/v2"]);
        let Some(missing) = kinds.iter().find(|kind| !text.contains(kind.as_str())) else { return };
        assert!(began.elapsed() < PATIENCE, "the API server does not describe {missing}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// The name of a kind in the API server's description: its group backwards, version and kind.
fn described_as(crd: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let group: Vec<_> = crd["spec"]["group"].as_str().unwrap().rsplit('.').collect();
    let versions = crd["spec"]["versions"].as_array().unwrap().iter();
    let newest = versions.clone().find(|it| it["storage"] == true).unwrap();
    format!("\"{}.{}.{}\"", group.join("."), text(&newest["name"]), text(&crd["spec"]["names"]["kind"]))
}
