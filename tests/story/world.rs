//! The cluster with the operator and the Hub that it asks, shared by all tests of this process.

use std::{net::SocketAddr, sync::OnceLock};

use serde_json::{Value, json};
use standin_hub::{Content, Gate, Options, Repo, StandinHub};

use crate::cluster::{Cluster, Team};

/// The bridge of the test cluster: the one address that pods and the tests both reach.
const BRIDGE: [u8; 4] = [10, 88, 0, 1];
/// The account that most stories are about.
pub const USER: &str = "alice";
/// Its token; no text that a person can read may hold it.
pub const TOKEN: &str = "hf_alice0123456789abcdefghijklmnopqr";

static HUB: OnceLock<StandinHub> = OnceLock::new();

/// The Hub. Each test adds repos of its own, so that none sees another's faults.
pub fn hub() -> &'static StandinHub {
    HUB.get_or_init(|| {
        let options = Options {
            listen: Some(SocketAddr::from((BRIDGE, 8080))),
            cdn_listen: Some(SocketAddr::from((BRIDGE, 8081))),
            ..Options::default()
        };
        let hub = StandinHub::start_with(options).expect("the bridge's ports 8080 and 8081 are free");
        hub.user(USER).token(TOKEN);
        hub
    })
}

/// A team on the cluster, with the Secret `hf` that holds the good token.
pub async fn team(name: &str) -> (Cluster, Team) {
    let cluster = Cluster::with_operator(hub().url()).await;
    let team = cluster.namespace(name).await;
    team.secret("hf", TOKEN).await;
    (cluster, team)
}

/// A small model: two text files, and weights that come from the other origin.
pub fn model(id: &str) -> Repo {
    Repo::model(id)
        .file("config.json", r#"{"model_type": "tiny"}"#)
        .file("onnx/config.json", r#"{"nested": true}"#)
        .lfs("model.safetensors", Content::random(7, 3 << 20))
}

/// The same behind a gate.
pub fn gated(id: &str) -> Repo {
    model(id).gated(Gate::Manual)
}

/// A spec for a repo, with the good token.
pub fn spec(repo: &str) -> Value {
    json!({ "source": { "repo": repo }, "tokenSecretRef": { "name": "hf" } })
}

/// Merges further fields into a spec.
pub fn with(mut spec: Value, more: Value) -> Value {
    merge(&mut spec, more);
    spec
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}
