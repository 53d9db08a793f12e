//! What the operator has written, by the API server's audit log: also what was asked for and changed nothing. And which Secrets it
//! has read.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use serde_json::Value;

/// The audit log, as far as it is about one namespace.
pub struct Audit {
    file: PathBuf,
    namespace: String,
}

/// A write that the API server was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Write {
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
    pub fn writes(&self) -> Vec<Write> {
        let part =
            |entry: &Value, name: &str| entry["objectRef"][name].as_str().unwrap_or_default().to_owned();
        self.entries(|verb| verb != "get")
            .iter()
            .map(|entry| Write {
                verb: entry["verb"].as_str().unwrap_or_default().to_owned(),
                resource: part(entry, "resource"),
                subresource: part(entry, "subresource"),
                name: part(entry, "name"),
            })
            .collect()
    }

    /// The names of the Secrets whose values it has asked for.
    pub fn secrets(&self) -> BTreeSet<String> {
        let name = |entry: &Value| entry["objectRef"]["name"].as_str().unwrap_or_default().to_owned();
        self.entries(|verb| verb == "get").iter().map(name).collect()
    }

    fn entries(&self, wanted: impl Fn(&str) -> bool) -> Vec<Value> {
        let log = fs::read_to_string(&self.file).expect("the API server keeps an audit log");
        // The last line may not be whole yet.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let entries = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        entries
            .filter(|entry| entry["objectRef"]["namespace"] == self.namespace.as_str())
            .filter(|entry| entry["verb"].as_str().is_some_and(&wanted))
            .collect()
    }
}
