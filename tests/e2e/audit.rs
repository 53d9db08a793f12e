//! What the operator has asked for, by the API server's audit log: also writes that changed nothing.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use serde_json::Value;

/// The audit log, as far as it is about one namespace.
pub struct Audit {
    file: PathBuf,
    namespace: String,
}

/// What the API server was asked for. Watches of more than one namespace are not in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub verb: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
}

impl Audit {
    /// The test cluster keeps it beside its kubeconfig; what others than the operator write is not in it.
    pub fn of(namespace: &str) -> Self {
        let kubeconfig = env::var_os("KUBECONFIG").expect("KUBECONFIG names a test cluster");
        Self { file: PathBuf::from(kubeconfig).with_file_name("audit.log"), namespace: namespace.to_owned() }
    }

    /// All writes so far.
    pub fn writes(&self) -> Vec<Request> {
        self.requests().into_iter().filter(Request::is_write).collect()
    }

    /// The names of the Secrets whose values it has asked for.
    pub fn secrets(&self) -> BTreeSet<String> {
        let asked = self.requests().into_iter().filter(|it| it.verb == "get" && it.resource == "secrets");
        asked.map(|it| it.name).collect()
    }

    /// All requests so far, in their order.
    pub fn requests(&self) -> Vec<Request> {
        let log = fs::read_to_string(&self.file).expect("the API server keeps an audit log");
        // The last line may not be whole yet.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let entries = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let part =
            |entry: &Value, name: &str| entry["objectRef"][name].as_str().unwrap_or_default().to_owned();
        entries
            .filter(|entry| entry["objectRef"]["namespace"] == self.namespace.as_str())
            .map(|entry| Request {
                verb: entry["verb"].as_str().unwrap_or_default().to_owned(),
                resource: part(&entry, "resource"),
                subresource: part(&entry, "subresource"),
                name: part(&entry, "name"),
            })
            .collect()
    }
}

impl Request {
    /// Whether anything may be another after it.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}
