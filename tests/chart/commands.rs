//! Runs helm and kubectl.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::OnceLock,
};

use tokio::sync::Mutex;

use crate::programs::{root, said, told, tool};

/// Held by each test that uses the cluster: they install and remove the same objects.
pub static CLUSTER: Mutex<()> = Mutex::const_new(());

/// Runs helm and returns its output; `CHART` stands for the chart's folder.
pub fn helm(arguments: &str) -> Result<String, String> {
    static HELM: OnceLock<String> = OnceLock::new();
    let chart = root("charts/modelcache");
    let arguments = arguments.split_whitespace().map(|word| match word {
        "CHART" => chart.to_str().unwrap().to_owned(),
        word => word.to_owned(),
    });
    said(Command::new(HELM.get_or_init(|| tool("helm"))).args(arguments))
}

/// Runs kubectl with this input and returns its output.
pub fn kubectl_with(input: &str, arguments: &str) -> Result<String, String> {
    let mut kubectl = Command::new("kubectl")
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    kubectl.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    told(kubectl.wait_with_output().unwrap())
}

/// Runs kubectl and returns its output.
pub fn kubectl(arguments: &str) -> Result<String, String> {
    kubectl_with("", arguments)
}
