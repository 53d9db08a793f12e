//! What the admission policies make of pods that ask for a model, without an operator: the tests write the status.

use std::process::Command;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, Error,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use modelcache::api::{CachedSnapshot, CurrentPatterns};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::{
    policies,
    support::{Server, merge, spec},
};

/// A pod of one container that asks for the model `llama`, with something more.
pub fn pod(more: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "server", "labels": { "modelcache.internal/mount": "llama" } },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{ "name": "server", "image": "server" }],
        },
    });
    merge(&mut pod, more);
    pod
}

fn annotated(key: &str, value: &str) -> Value {
    json!({ "metadata": { "annotations": { (format!("modelcache.internal/{key}")): value } } })
}

/// What of a pod the policies may have made.
#[derive(Debug, PartialEq)]
pub struct Made {
    pub mounted: Vec<String>,
    pub gates: Vec<String>,
    volumes: Value,
    containers: Value,
}

pub fn made(pod: &Pod) -> Made {
    let spec = serde_json::to_value(&pod.spec).unwrap();
    let annotations = pod.metadata.annotations.iter().flatten();
    let mounted = annotations.filter_map(|(key, place)| {
        Some(format!("{} {place}", key.strip_prefix("mounted.modelcache.internal/")?))
    });
    let gates = spec["schedulingGates"].as_array().into_iter().flatten();
    let containers =
        ["initContainers", "containers"].into_iter().filter_map(|list| spec[list].as_array()).flatten();
    let container =
        |it: &Value| json!({ "name": it["name"], "env": it["env"], "mounts": it["volumeMounts"] });
    Made {
        mounted: mounted.collect(),
        gates: gates.map(|gate| gate["name"].as_str().unwrap().to_owned()).collect(),
        volumes: spec["volumes"].clone(),
        containers: containers.map(container).collect(),
    }
}

/// The same for a pod that has got everything, before its model is there.
pub fn whole() -> Made {
    Made {
        mounted: vec!["llama llama".to_owned()],
        gates: vec!["modelcache.internal/llama".to_owned()],
        volumes: json!([home_volume(), volume("llama")]),
        containers: json!([container("server")]),
    }
}

/// The same for a pod that no policy has changed.
pub fn untouched() -> Made {
    Made {
        mounted: vec![],
        gates: vec![],
        volumes: Value::Null,
        containers: json!([{ "name": "server", "env": null, "mounts": null }]),
    }
}

fn home_volume() -> Value {
    json!({ "name": "modelcache-home", "emptyDir": {} })
}

fn volume(claim: &str) -> Value {
    json!({ "name": "modelcache", "persistentVolumeClaim": { "claimName": claim, "readOnly": true } })
}

fn container(name: &str) -> Value {
    json!({ "name": name, "env": variables(HOME), "mounts": mounts(HOME) })
}

const HOME: &str = "/modelcache";

fn variables(home: &str) -> Vec<Value> {
    let hub = format!("{home}/hub");
    [
        ("HF_HOME", home),
        ("HF_HUB_CACHE", &hub),
        ("HUGGINGFACE_HUB_CACHE", &hub),
        ("HF_HUB_OFFLINE", "1"),
        ("TRANSFORMERS_OFFLINE", "1"),
        ("HF_DATASETS_OFFLINE", "1"),
    ]
    .map(|(name, value)| json!({ "name": name, "value": value }))
    .to_vec()
}

/// What a container brings, and those variables that it does not.
fn beside(own: &Value) -> Vec<Value> {
    let more = variables(HOME).into_iter().filter(|ours| ours["name"] != own["name"]);
    [own.clone()].into_iter().chain(more).collect()
}

fn mounts(home: &str) -> Vec<Value> {
    vec![json!({ "name": "modelcache-home", "mountPath": home }), hub_mount(home)]
}

fn hub_mount(home: &str) -> Value {
    json!({ "name": "modelcache", "mountPath": format!("{home}/hub"), "readOnly": true })
}

impl Server {
    /// What the server would make of a pod.
    pub async fn admit(&self, pod: &Value) -> Result<Pod, Error> {
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let pods = Api::<Pod>::namespaced(self.client.clone(), self.namespace());
        pods.create(&params, &serde_json::from_value(pod.clone()).unwrap()).await
    }

    /// The same once the policies know of the latest ModelCache: they learn of it a moment after it is made.
    pub async fn admit_so(&self, pod: &Value, so: impl Fn(&Made) -> bool) -> Made {
        self.eventually("the policies to know", async || {
            Some(made(&self.admit(pod).await.unwrap())).filter(|made| so(made))
        })
        .await
    }

    /// The same once it is what is expected; or what it still is in the end, with its gates in order.
    async fn admit_as(&self, pod: &Value, expected: &Made) -> Made {
        let ask = async || {
            let mut made = made(&self.admit(pod).await.unwrap());
            made.gates.sort();
            made
        };
        self.settled(ask, |made| made == expected).await
    }

    /// A ModelCache that the policies know.
    pub async fn known(&self, name: &str, more: &Value) {
        self.create(name, &spec(more)).await.unwrap();
        let asks = pod(&json!({ "metadata": { "labels": { "modelcache.internal/mount": name } } }));
        self.admit_so(&asks, |made| !made.mounted.is_empty()).await;
    }

    /// Says of a ModelCache that it is Ready, or not, as the operator does.
    async fn say_ready(&self, name: &str, status: &str, generation: i64) {
        let condition = json!({
            "type": "Ready", "status": status, "reason": "Ready", "message": "So.",
            "observedGeneration": generation, "lastTransitionTime": "2026-01-01T12:00:00Z",
        });
        let status = json!({ "observedGeneration": generation, "conditions": [condition] });
        self.apply_status("test", name, &status).await;
    }

    pub async fn refused(&self, pod: &Value) -> String {
        match self.admit(pod).await {
            Err(Error::Api(status)) => status.message.clone(),
            other => panic!("{pod} is taken: {other:?}"),
        }
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_label_is_enough_and_the_pods_own_values_win() {
    let server = Server::new().await;
    server.known("llama", &json!({})).await;
    let own = |list: &str, more: Value| {
        let mut container = json!({ "name": "server", "image": "server" });
        merge(&mut container, &more);
        json!({ "spec": { list: [container] } })
    };
    let field = json!({ "name": "HF_HUB_CACHE", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.name" } } });
    let plain = json!({ "name": "HF_HUB_OFFLINE", "value": "0" });
    let mine = json!({ "name": "modelcache", "emptyDir": {} });
    let large = json!({ "name": "modelcache-home", "emptyDir": { "sizeLimit": "10Gi" } });
    let by_hand = json!({ "name": "by-hand", "persistentVolumeClaim": { "claimName": "llama" } });
    let only =
        |env: Vec<Value>, mounts: Vec<Value>| json!([{ "name": "server", "env": env, "mounts": mounts }]);
    let mut cases = vec![(json!({}), whole())];
    // Variables of the same name, plain and by reference.
    for own_value in [field, plain] {
        let containers = only(beside(&own_value), mounts(HOME));
        cases.push((own("containers", json!({ "env": [own_value] })), Made { containers, ..whole() }));
    }
    // Volumes of the same names, and one of the claim.
    for (own_volume, volumes) in
        [(&mine, json!([mine, home_volume()])), (&large, json!([large, volume("llama")]))]
    {
        cases.push((json!({ "spec": { "volumes": [own_volume] } }), Made { volumes, ..whole() }));
    }
    cases.push((json!({ "spec": { "volumes": [by_hand] } }), {
        let hub = json!({ "name": "by-hand", "mountPath": "/modelcache/hub", "readOnly": true });
        let containers = only(variables(HOME), vec![mounts(HOME)[0].clone(), hub]);
        Made { volumes: json!([by_hand, home_volume()]), containers, ..whole() }
    }));
    // A mount at the same paths, and another path.
    // However they are written.
    let at_hub = vec![mounts(HOME)[0].clone()];
    for (path, mounts) in [
        ("/modelcache", vec![hub_mount(HOME)]),
        ("modelcache/", vec![hub_mount(HOME)]),
        ("/modelcache/hub", at_hub.clone()),
        ("//modelcache/./hub/", at_hub),
    ] {
        let here = json!({ "name": "data", "mountPath": path });
        let mut with_data = own("containers", json!({ "volumeMounts": [here] }));
        merge(&mut with_data, &json!({ "spec": { "volumes": [{ "name": "data", "emptyDir": {} }] } }));
        let containers = only(variables(HOME), [here].into_iter().chain(mounts).collect());
        let volumes = json!([{ "name": "data", "emptyDir": {} }, home_volume(), volume("llama")]);
        cases.push((with_data, Made { volumes, containers, ..whole() }));
    }
    cases.push((annotated("mount-path", "/srv/hub"), {
        Made { containers: only(variables("/srv/hub"), mounts("/srv/hub")), ..whole() }
    }));
    // What writes into its home directory.
    cases.push((annotated("home", "on"), {
        let writable = ["HOME", "TMPDIR"].map(|name| json!({ "name": name, "value": HOME }));
        let containers = only(variables(HOME).into_iter().chain(writable).collect(), mounts(HOME));
        Made { containers, ..whole() }
    }));
    // All containers, or some of them.
    let mut two = own("initContainers", json!({ "name": "warm-up" }));
    cases.push((two.clone(), {
        Made { containers: json!([container("warm-up"), container("server")]), ..whole() }
    }));
    merge(&mut two, &annotated("containers", "warm-up"));
    cases.push((two, {
        let server = json!({ "name": "server", "env": null, "mounts": null });
        Made { containers: json!([container("warm-up"), server]), ..whole() }
    }));
    cases.push((annotated("gate", "off"), Made { gates: vec![], ..whole() }));
    for (more, expected) in cases {
        let pod = pod(&more);
        assert_eq!(made(&server.admit(&pod).await.unwrap()), expected, "{pod}");
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_pod_is_gated_while_its_model_is_not_there_and_only_then() {
    let server = Server::new().await;
    let asks = pod(&json!({}));
    let unknown = Made { mounted: vec![], volumes: Value::Null, ..whole() };
    let nothing = Made { containers: json!([{ "name": "server", "env": null, "mounts": null }]), ..unknown };
    assert_eq!(made(&server.admit(&asks).await.unwrap()), nothing, "no ModelCache is known");
    let twice = made(&server.admit(&pod(&annotated("also-mount", "llama, llama"))).await.unwrap());
    assert_eq!(twice, nothing, "it is named more than once");
    server.known("llama", &json!({ "storage": { "existingClaim": "models", "subPath": "hub" } })).await;
    let mut in_folder = container("server");
    in_folder["mounts"][1]["subPath"] = json!("hub");
    let there = |gates: &[&str]| Made {
        mounted: vec!["llama models/hub".to_owned()],
        gates: gates.iter().map(|gate| (*gate).to_owned()).collect(),
        volumes: json!([home_volume(), volume("models")]),
        containers: json!([in_folder]),
    };
    let gate = "modelcache.internal/llama";
    assert_eq!(made(&server.admit(&asks).await.unwrap()), there(&[gate]));
    server.say_ready("llama", "True", 1).await;
    assert_eq!(server.admit_so(&asks, |made| made.gates.is_empty()).await, there(&[]));
    // The spec moves on: Ready is about an older one.
    server.update("llama", &spec(&json!({ "source": { "revision": "v2" }, "storage": { "existingClaim": "models", "subPath": "hub" } }))).await.unwrap();
    assert_eq!(server.admit_so(&asks, |made| !made.gates.is_empty()).await, there(&[gate]));
    server.say_ready("llama", "False", 2).await;
    assert_eq!(made(&server.admit(&asks).await.unwrap()), there(&[gate]));
    // Gates of others stay.
    let other = pod(&json!({ "spec": { "schedulingGates": [{ "name": "example.com/quota" }] } }));
    server.say_ready("llama", "True", 2).await;
    server.admit_so(&asks, |made| made.gates.is_empty()).await;
    assert_eq!(made(&server.admit(&other).await.unwrap()), there(&["example.com/quota"]));
}

/// The operator is away: the status stays what it was, whatever becomes of the spec.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_change_that_needs_no_further_file_closes_no_gate() {
    let server = Server::new().await;
    let first = json!({ "source": { "include": ["*.json", "*.txt"], "exclude": ["original/*"] } });
    server.known("llama", &first).await;
    let current = CachedSnapshot {
        commit: "f".repeat(40),
        claim_name: "llama".to_owned(),
        claim_uid: "uid".to_owned(),
        path: "models--org--name".to_owned(),
        fill_hash: "0".to_owned(),
        revision: "main".to_owned(),
        ..CachedSnapshot::default()
    };
    let patterns = CurrentPatterns::from(&server.typed().get("llama").await.unwrap().spec.source);
    let status = json!({ "conditions": [], "snapshots": [current], "currentPatterns": patterns });
    server.apply_status("test", "llama", &status).await;
    let asks = pod(&json!({}));
    server.admit_so(&asks, |made| made.gates.is_empty()).await;
    // By turns, so that each answer is about the change before it.
    for (source, is_gated) in [
        (json!({ "revision": "v2", "include": ["*.json"], "exclude": ["original/*"] }), true),
        (json!({ "include": ["*.json"], "exclude": ["original/*", "*.md"], "aliases": ["v1"] }), false),
        (json!({ "include": ["*.json", "*.bin"], "exclude": ["original/*"] }), true),
        (json!({ "include": ["*.txt"], "exclude": ["original/*"] }), false),
        (json!({ "include": ["*.json"] }), true),
        (first["source"].clone(), false),
        (json!({ "exclude": ["original/*"] }), true),
    ] {
        server.update("llama", &spec(&json!({ "source": source }))).await.unwrap();
        let changed = server.typed().get("llama").await.unwrap();
        assert_eq!(changed.is_loadable(), !is_gated, "the operator's own view of {source}");
        server.admit_so(&asks, |made| made.gates.is_empty() != is_gated).await;
    }
}

/// During an update pods start with what is there; who needs what the spec asks for now says so.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn an_earlier_snapshot_opens_the_gate_unless_the_pod_waits_for_ready() {
    let server = Server::new().await;
    server.known("llama", &json!({ "source": { "revision": "v2" } })).await;
    let (any, newest) = (pod(&json!({})), pod(&annotated("wait-for", "Ready")));
    let say = async |available: &str| {
        let condition = json!({
            "type": "Available", "status": available, "reason": "Available", "message": "",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T12:00:00Z",
        });
        server.apply_status("test", "llama", &json!({ "conditions": [condition] })).await;
    };
    say("True").await;
    server.admit_so(&any, |made| made.gates.is_empty()).await;
    assert_eq!(made(&server.admit(&newest).await.unwrap()).gates, ["modelcache.internal/llama"]);
    say("False").await;
    server.admit_so(&any, |made| !made.gates.is_empty()).await;
    let refusal = server.admit(&pod(&annotated("wait-for", "ready"))).await.unwrap_err().to_string();
    assert!(refusal.contains("wait-for is `ready`: it must be Available, Ready or unset"), "{refusal}");
}

/// There is no operator here at all: the claim and the status are what it would have left.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_pod_of_a_ready_modelcache_starts_without_an_operator() {
    let server = Server::new().await;
    server.known("llama", &json!({})).await;
    server.say_ready("llama", "True", 1).await;
    let claim = json!({
        "metadata": { "name": "llama" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Mi" } } },
    });
    Api::<PersistentVolumeClaim>::namespaced(server.client.clone(), server.namespace())
        .create(&PostParams::default(), &serde_json::from_value(claim).unwrap())
        .await
        .unwrap();
    let mut asks = pod(&json!({}));
    asks["spec"]["containers"][0]["image"] = json!("localhost/modelcache-test/pause:1");
    server.admit_so(&asks, |made| made.gates.is_empty()).await;
    let pods = server.pods();
    pods.create(&PostParams::default(), &serde_json::from_value(asks).unwrap()).await.unwrap();
    server
        .eventually("the pod to run", async || {
            let status = pods.get("server").await.unwrap().status?;
            (status.phase? == "Running").then_some(())
        })
        .await;
}

/// The order in which the API server calls mutating policies is not defined: it changes when they are made again.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn the_order_of_the_policies_does_not_matter() {
    let server = Server::alone().await;
    server.known("llama", &json!({ "storage": { "existingClaim": "models" } })).await;
    server.known("adapter", &json!({ "storage": { "existingClaim": "models" } })).await;
    server.say_ready("adapter", "True", 1).await;
    let both = pod(&annotated("also-mount", "adapter, missing"));
    let expected = Made {
        mounted: vec!["adapter models".to_owned(), "llama models".to_owned()],
        gates: vec!["modelcache.internal/llama".to_owned(), "modelcache.internal/missing".to_owned()],
        volumes: json!([home_volume(), volume("models")]),
        containers: json!([container("server")]),
    };
    for round in 0..10 {
        assert_eq!(server.admit_as(&both, &expected).await, expected, "round {round}");
        server.bind_again(&format!("round-{round}"), &both).await;
    }
    server.install_again().await;
}

impl Server {
    /// Makes the bindings of the mutating policies again under other names, once the server goes by none of the old ones.
    async fn bind_again(&self, suffix: &str, asks: &Value) {
        let bindings = policies::bindings(&self.client);
        let old = bindings.list(&ListParams::default()).await.unwrap();
        bindings.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        self.admit_so(asks, |made| made.gates.is_empty() && made.mounted.is_empty()).await;
        for binding in old {
            let policy = binding.data["spec"]["policyName"].as_str().unwrap().to_owned();
            let new = DynamicObject {
                data: binding.data,
                ..DynamicObject::new(&format!("{policy}-{suffix}"), &policies::binding())
            };
            bindings.create(&PostParams::default(), &new).await.unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn what_could_not_work_is_refused_in_a_sentence() {
    let server = Server::new().await;
    server.known("llama", &json!({})).await;
    server.known("adapter", &json!({ "storage": { "existingClaim": "models" } })).await;
    let named = |name: &str| json!({ "metadata": { "labels": { "modelcache.internal/mount": name } } });
    let on_a_node = json!({ "spec": { "nodeName": "node" } });
    let mut off = named("missing");
    merge(&mut off, &annotated("gate", "off"));
    let mut forged = named("missing");
    merge(
        &mut forged,
        &json!({ "metadata": { "annotations": { "mounted.modelcache.internal/missing": "x" } } }),
    );
    for (more, sentence) in [
        (
            named(""),
            "`` is not a valid name of a ModelCache. Put one name in the label modelcache.internal/mount",
        ),
        (named("Llama"), "`Llama` is not a valid name of a ModelCache"),
        (annotated("also-mount", "a,,b"), "`` is not a valid name of a ModelCache"),
        (annotated("gate", "false"), "modelcache.internal/gate is `false`: it must be \"off\", \"on\""),
        (annotated("home", "/tmp"), "modelcache.internal/home is `/tmp`: it must be \"on\", \"off\""),
        (
            annotated("containers", "serve"),
            "names `serve`, which is not a container of this pod. It has server.",
        ),
        (
            annotated("mount-path", "hub/"),
            "modelcache.internal/mount-path is `hub/`: it must be an absolute path",
        ),
        (
            annotated("mount-path", "/."),
            "modelcache.internal/mount-path is `/.`: it must be an absolute path",
        ),
        (
            annotated("also-mount", "adapter"),
            "llama is on llama, adapter is on models. Let the ModelCaches share a claim",
        ),
        (
            on_a_node,
            "There is no ModelCache llama with a complete model, and a pod with spec.nodeName cannot wait for it.",
        ),
        (off, "There is no ModelCache missing in this namespace"),
        (forged, "mounted.modelcache.internal/... are set by the admission policies"),
    ] {
        let said = server.refused(&pod(&more)).await;
        assert!(said.contains(sentence), "{more}: {said}");
    }
    // A pod that is bound to its node already starts if its model is there.
    server.say_ready("llama", "True", 1).await;
    let bound = pod(&json!({ "spec": { "nodeName": "node" } }));
    let taken =
        server.eventually("the model to be known as Ready", async || server.admit(&bound).await.ok()).await;
    assert_eq!(made(&taken), Made { gates: vec![], ..whole() });
}

/// A runtime cannot make a folder in what is read-only, so that the container would not start. In a `ConfigMap` and the like the
/// kubelet makes it.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_mount_in_which_no_folder_can_be_made_is_refused() {
    let server = Server::new().await;
    server.known("llama", &json!({})).await;
    let writable = json!({ "emptyDir": {} });
    let settings = json!({ "configMap": { "name": "settings" } });
    let image = json!({ "image": { "reference": "models" } });
    let claim = json!({ "persistentVolumeClaim": { "claimName": "data", "readOnly": true } });
    let at = |path: &str| vec![json!({ "name": "own", "mountPath": path })];
    let read_only = |path: &str| vec![json!({ "name": "own", "mountPath": path, "readOnly": true })];
    let below = |above: &str, path: &str| {
        vec![at(above)[0].clone(), json!({ "name": "writable", "mountPath": path })]
    };
    let home = "The container server has a read-only mount at /modelcache or above it";
    let elsewhere = "The container server has a read-only mount at /data/w/hf or above it";
    let inside =
        "The container server has a mount of its own in /modelcache/hub, which is the read-only folder";
    for (volume, mounts, path, sentence) in [
        (("own", &writable), read_only("/modelcache"), HOME, Some(home)),
        (("own", &image), at("/modelcache"), HOME, Some(home)),
        (("own", &claim), at("modelcache/"), HOME, Some(home)),
        (("modelcache-home", &claim), vec![], HOME, Some(home)),
        (("own", &writable), at("/modelcache/hub/models--org--name"), HOME, Some(inside)),
        (("own", &claim), at("/data"), "/data/w/hf", Some(elsewhere)),
        // Beside it, and in what can be written, there is room.
        (("own", &claim), at("/modelcache/assets"), HOME, None),
        (("own", &claim), at("/data"), "/database/hf", None),
        (("own", &claim), below("/data", "/data/w"), "/data/w/hf", None),
        (("own", &claim), below("/data", "/data/w/hf"), "/data/w/hf", None),
        (("own", &settings), read_only("/modelcache"), HOME, None),
        (("modelcache-home", &settings), vec![], HOME, None),
        (("modelcache-home", &writable), vec![], HOME, None),
    ] {
        let mut volumes = vec![json!({ "name": "writable", "emptyDir": {} }), json!({ "name": volume.0 })];
        merge(&mut volumes[1], volume.1);
        let containers = [json!({ "name": "server", "image": "server", "volumeMounts": mounts })];
        let mut asks = pod(&json!({ "spec": { "volumes": volumes, "containers": containers } }));
        merge(&mut asks, &annotated("mount-path", path));
        match sentence {
            Some(sentence) => {
                let said = server.refused(&asks).await;
                assert!(said.contains(sentence), "{asks}: {said}");
            }
            None => assert_eq!(made(&server.admit(&asks).await.unwrap()).gates, whole().gates, "{asks}"),
        }
    }
}

/// What a policy may cost is bounded, and a pod with the label is refused where it costs more.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_pod_with_very_many_mounts_is_taken() {
    let server = Server::new().await;
    server.known("llama", &json!({})).await;
    let claim = json!({ "claimName": "data", "readOnly": true });
    let volumes: Vec<_> =
        (0..100).map(|n| json!({ "name": format!("v{n}"), "persistentVolumeClaim": claim })).collect();
    let containers: Vec<_> = (0..20)
        .map(|c| {
            let mount = |n| json!({ "name": format!("v{n}"), "mountPath": format!("/etc/an/application/of/{c}/with/{n}") });
            json!({ "name": format!("c{c}"), "image": "server", "volumeMounts": (0..100).map(mount).collect::<Vec<_>>() })
        })
        .collect();
    let asks = pod(&json!({ "spec": { "volumes": volumes, "containers": containers } }));
    assert_eq!(made(&server.admit(&asks).await.unwrap()).gates, whole().gates);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn by_hand_it_is_the_same_block_as_by_label() {
    let server = Server::new().await;
    server.known("llama", &json!({ "storage": { "existingClaim": "models", "subPath": "hub" } })).await;
    let by_label = made(&server.admit(&pod(&json!({}))).await.unwrap());
    let mount = |more: &[&str]| {
        let all = ["mount", "llama", "--namespace", server.namespace()];
        Command::new(env!("CARGO_BIN_EXE_modelcache")).args(all).args(more).output().unwrap()
    };
    let printed = mount(&[]);
    let block: Value = serde_saphyr::from_slice(&printed.stdout).unwrap();
    let mut by_hand = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "by-hand" } });
    merge(&mut by_hand, &block);
    by_hand["spec"]["automountServiceAccountToken"] = json!(false);
    by_hand["spec"]["containers"][0]["image"] = json!("server");
    let by_hand = made(&server.admit(&by_hand).await.unwrap());
    assert_eq!((by_hand.volumes, by_hand.containers), (by_label.volumes, by_label.containers));
    let told = String::from_utf8(printed.stderr).unwrap();
    let now = "It loads as org/name at revision main once the ModelCache is Ready. Now: NotChecked: No operator has";
    assert!(told.starts_with(now), "{told}");

    let patch: Value = serde_saphyr::from_slice(&mount(&["--patch"]).stdout).unwrap();
    assert_eq!(patch, json!({ "spec": { "template": block } }));

    let missing = Command::new(env!("CARGO_BIN_EXE_modelcache"))
        .args(["mount", "lama", "--namespace", server.namespace()])
        .output()
        .unwrap();
    let told = String::from_utf8(missing.stderr).unwrap();
    let namespace = server.namespace();
    assert_eq!(missing.status.code(), Some(66));
    assert!(
        told.starts_with(&format!("error: no ModelCache lama in the namespace {namespace}; select another")),
        "{told}"
    );
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_tenant_reaches_the_modelcaches_of_its_own_namespace_alone() {
    let (theirs, ours) = (Server::new().await, Server::new().await);
    theirs.known("llama", &json!({})).await;
    theirs.say_ready("llama", "True", 1).await;
    theirs.admit_so(&pod(&json!({})), |made| made.gates.is_empty()).await;
    let here = made(&ours.admit(&pod(&json!({}))).await.unwrap());
    assert_eq!((here.mounted, here.gates), (vec![], whole().gates));
}

/// The order of breaking is that of an uninstallation that somebody stops half-way.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn pods_without_the_label_are_made_as_ever_whatever_is_broken() {
    let server = Server::alone().await;
    server.known("llama", &json!({})).await;
    let mut free = pod(&json!({}));
    free["metadata"]["labels"] = json!({ "app": "server" });
    let untouched = untouched();
    for broken in [
        "nothing",
        "crd/modelcaches.modelcache.internal",
        "mutatingadmissionpolicybinding/modelcache-gate",
        "mutatingadmissionpolicy/modelcache-inject",
        "validatingadmissionpolicy/modelcache-check",
        "mutatingadmissionpolicy/modelcache-gate",
    ] {
        if broken != "nothing" {
            server.kubectl(&["delete", broken]);
        }
        // The policies learn of it at any moment: none may be the wrong one.
        for _ in 0..20 {
            assert_eq!(made(&server.admit(&free).await.unwrap()), untouched, "without {broken}");
        }
        if broken.starts_with("crd") {
            let asks = made(&server.admit(&pod(&json!({}))).await.unwrap());
            assert_eq!(asks.gates, whole().gates, "one with the label waits, and shows for what");
        }
    }
    server.install_again().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn the_operator_may_take_its_gates_off_and_nothing_else() {
    let server = Server::new().await;
    let operator = policies::operator(&server).await;
    let (root, mine) = (server.pods(), Api::<Pod>::namespaced(operator, server.namespace()));
    let strategic = |patch: Value| (PatchParams::default(), Patch::Strategic(patch));
    let off = |gate: &str| json!({ "spec": { "schedulingGates": [{ "$patch": "delete", "name": gate }] } });
    let mut waits = pod(&json!({ "spec": { "schedulingGates": [{ "name": "example.com/quota" }] } }));
    waits["spec"]["containers"][0]["image"] = json!("good");
    let stored = root.create(&PostParams::default(), &serde_json::from_value(waits).unwrap()).await.unwrap();
    let mut tolerations = json!(stored.spec.unwrap().tolerations);
    tolerations.as_array_mut().unwrap().push(json!({ "key": "gpu", "operator": "Exists" }));
    for (patch, sentence) in [
        (
            json!({ "spec": { "containers": [{ "name": "server", "image": "bad" }] } }),
            "only the scheduling gates of a pod",
        ),
        (json!({ "spec": { "nodeSelector": { "gpu": "a" } } }), "only the scheduling gates of a pod"),
        (json!({ "spec": { "tolerations": tolerations } }), "only the scheduling gates of a pod"),
        (json!({ "metadata": { "labels": { "app": "x" } } }), "only the scheduling gates of a pod"),
        (json!({ "metadata": { "annotations": { "a": "b" } } }), "only the scheduling gates of a pod"),
        (json!({ "metadata": { "finalizers": ["example.com/x"] } }), "only the scheduling gates of a pod"),
        (off("example.com/quota"), "only its own scheduling gates"),
    ] {
        let (params, change) = strategic(patch.clone());
        match mine.patch("server", &params, &change).await {
            Err(Error::Api(status)) => assert!(status.message.contains(sentence), "{}", status.message),
            other => panic!("{patch} is taken: {other:?}"),
        }
    }
    let refusal = |answer: Result<_, Error>| match answer {
        Err(Error::Api(status)) => status.message.clone(),
        other => panic!("not refused: {other:?}"),
    };
    let deleted = mine.delete("server", &DeleteParams::default()).await.map(|_| ());
    assert!(refusal(deleted).contains("only pods that their owner recreates"));
    let (params, change) = strategic(off("modelcache.internal/llama"));
    mine.patch("server", &params, &change).await.unwrap();
    // It waits for no model any more.
    let again = mine.patch("server", &params, &change).await.map(|_| ());
    assert!(refusal(again).contains("only pods that wait for a model"));
    let left = root.get("server").await.unwrap();
    assert_eq!(made(&left).gates, ["example.com/quota"]);
}
