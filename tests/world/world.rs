//! The cluster with the operator and the Hub that it asks, shared by all tests of this process.

use std::{net::SocketAddr, sync::OnceLock};

use serde_json::{Value, json};
use standin_hub::{Class, Content, Gate, Options, Repo, Request, StandinHub};

use crate::cluster::{Cluster, Team};

/// The bridge of the test cluster: the one address that pods and the tests both reach.
const BRIDGE: [u8; 4] = [10, 88, 0, 1];
/// The account that most stories are about.
pub const USER: &str = "alice";
/// Its token; no text that a person can read may hold it.
pub const TOKEN: &str = "hf_alice0123456789abcdefghijklmnopqr";

/// Where the Hub of most stories listens.
const SHARED: u16 = 8080;
/// Further places of the operator, each with a budget of its own, so that what fails there hurts no other story. Nobody
/// listens at one before a story comes to it; each belongs to one.
pub mod place {
    /// Access that is taken away, in its own time.
    pub const AFTER_READY: u16 = 8082;
    /// An outage.
    pub const OUTAGE: u16 = 8084;
    /// A token that goes bad in the middle of a download.
    pub const TRANSFER: u16 = 8086;
    /// A Hub that refuses bad tokens for public repos, too.
    pub const STRICT: u16 = 8088;
    /// Nobody listens at first.
    pub const CLOSED: u16 = 8090;
    /// A certificate that nobody knows.
    pub const UNTRUSTED: u16 = 8092;
    /// Connections are taken, and nothing is ever said.
    pub const SILENT: u16 = 8094;

    pub const ALL: [u16; 7] = [AFTER_READY, OUTAGE, TRANSFER, STRICT, CLOSED, UNTRUSTED, SILENT];
}
/// An endpoint whose name does not resolve.
pub const NAMELESS: &str = "http://hub.invalid";

static HUB: OnceLock<StandinHub> = OnceLock::new();

/// The Hub. Each test adds repos of its own, so that none sees another's faults.
pub fn hub() -> &'static StandinHub {
    HUB.get_or_init(|| hub_at(SHARED))
}

/// A Hub at one of the places, with the good token; its CDN listens at the next port.
pub fn hub_at(port: u16) -> StandinHub {
    let options =
        Options { listen: Some(address(port)), cdn_listen: Some(address(port + 1)), ..Options::default() };
    let hub = StandinHub::start_with(options).expect("two ports of the bridge are free");
    hub.user(USER).token(TOKEN);
    hub
}

/// A port of the bridge.
pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from((BRIDGE, port))
}

/// The endpoint at a port of the bridge; `scheme` is `http` or `https`.
pub fn endpoint(scheme: &str, port: u16) -> String {
    format!("{scheme}://{}", address(port))
}

/// All endpoints of the operator, the Hub of most stories first.
fn endpoints() -> String {
    let places = place::ALL.map(|port| match port {
        place::UNTRUSTED => endpoint("https", port),
        _ => endpoint("http", port),
    });
    let others = [NAMELESS.to_owned(), not_tls()].into_iter().chain(places);
    others.fold(hub().url().to_owned(), |all, one| all + "," + &one)
}

/// The Hub of most stories, as an endpoint that is said to speak TLS.
pub fn not_tls() -> String {
    endpoint("https", SHARED)
}

/// A team on the cluster, with the Secret `hf` that holds the good token.
pub async fn team(name: &str) -> (Cluster, Team) {
    let cluster = Cluster::with_operator(&endpoints()).await;
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

/// The bytes of contents that were served for a repo. A redirect has a text of its own.
pub fn served(repo: &str) -> u64 {
    let contents = |request: &&Request| {
        let content = request.class != Class::Api && request.status < 300 && !request.is_for_a_byte();
        content && request.path.contains(repo)
    };
    hub().requests().iter().filter(contents).map(|request| request.bytes).sum()
}

/// A small model behind a gate.
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
