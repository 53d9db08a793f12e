//! Pods that load by ID with the libraries that users have, from volumes that the operator filled: as a user that nobody
//! planned for, under the restricted profile, with everything read-only and the network cut.

use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use pretty_assertions::assert_eq;
use serde_json::json;
use standin_hub::{Content, Repo};

use crate::{
    cluster::{Team, eventually},
    models::made,
    volumes::claim,
    world::{hub, spec, team, with},
};

/// A pod that the node no longer answers: what it sends arrives, and nothing comes back.
struct Cut(String);

impl Cut {
    fn off(address: &str) -> Self {
        let route = format!("{address}/32");
        ip(&["route", "add", "blackhole", &route]);
        Self(route)
    }
}

impl Drop for Cut {
    /// The address is another pod's soon.
    fn drop(&mut self) {
        ip(&["route", "del", "blackhole", &self.0]);
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Runs the code in a pod that knows where the Hub is, once it finds that it cannot reach it any more.
async fn offline(team: &Team, claim: &str, code: &str) -> String {
    let (host, port) = hub().url().trim_start_matches("http://").split_once(':').unwrap();
    let cut = format!(
        r"
import os, socket, time
os.environ['HF_ENDPOINT'] = '{}'
def reached():
    try:
        socket.create_connection(('{host}', {port}), timeout=1).close()
        return True
    except OSError:
        return False
while reached():
    time.sleep(0.05)
",
        hub().url()
    );
    let pod = team.start_python(claim, &(cut + code)).await;
    let address = eventually("the pod to have an address", || async {
        team.api::<Pod>().get(&pod).await.unwrap().status?.pod_ip
    })
    .await;
    let _cut = Cut::off(&address);
    team.printed(&pod).await
}

/// The end of a log: libraries may warn before it.
#[track_caller]
fn assert_ends(log: &str, expected: &str) {
    let lines: Vec<_> = log.lines().collect();
    let expected: Vec<_> = expected.lines().collect();
    assert_eq!(lines[lines.len().saturating_sub(expected.len())..], expected, "{log}");
}

/// Prints what a model makes of two sentences.
fn embed(model: &str) -> String {
    format!(
        r#"
import numpy
from model2vec import StaticModel
vectors = StaticModel.from_pretrained("{model}").encode(["each pod loads its model", "it can work offline"])
assert vectors.shape == (2, 64) and numpy.isfinite(vectors).all()
print(vectors.round(5).tolist())
"#
    )
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn model2vec_computes_what_it_computes_from_the_source() {
    let (_cluster, team) = team("embed").await;
    let source = made("static-embedding");
    hub().add(Repo::model("acme/embedder").folder(&source));
    team.cache("embedder", spec("acme/embedder")).await;
    team.ready("embedder").await;
    let root = env!("CARGO_MANIFEST_DIR");
    let venv = Command::new(format!("{root}/tests/python/venv")).output().unwrap();
    let python = format!("{}/bin/python", String::from_utf8(venv.stdout).unwrap().trim());
    let expected = Command::new(python).args(["-c", &embed(source.to_str().unwrap())]).output().unwrap();
    assert!(expected.status.success(), "{expected:?}");
    let expected = String::from_utf8(expected.stdout).unwrap();
    assert_eq!(offline(&team, "embedder", &embed("acme/embedder")).await, expected);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn transformers_has_tokenizer_configuration_and_chat_template() {
    const CODE: &str = r#"
from huggingface_hub import hf_hub_download
from transformers import AutoConfig, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("acme/llama-chat")
chat = [{"role": "user", "content": "which model is it"}, {"role": "assistant", "content": "yours"}]
print(tokenizer.apply_chat_template(chat, tokenize=False), end="")
print(tokenizer.decode(tokenizer("each pod loads the model")["input_ids"]))
print(type(AutoConfig.from_pretrained("acme/llama-chat")).__name__)
print(open(hf_hub_download("acme/llama-chat", "params.json", subfolder="original")).read())
"#;
    let (_cluster, team) = team("llama").await;
    hub().add(Repo::model("acme/llama-chat").folder(made("llama-like")));
    team.cache("llama", spec("acme/llama-chat")).await;
    team.ready("llama").await;
    let log = offline(&team, "llama", CODE).await;
    assert_ends(
        &log,
        "user: which model is it\nassistant: yours\neach pod loads the model\nLlamaConfig\n{\"dim\": 256, \"n_layers\": 4}\n",
    );
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_dataset_is_read_through_huggingface_hub() {
    const CODE: &str = r#"
import csv, json
from huggingface_hub import hf_hub_download, snapshot_download
lines = open(hf_hub_download("acme/words", "data/train.jsonl", repo_type="dataset"))
print([json.loads(line)["text"] for line in lines])
table = open(snapshot_download("acme/words", repo_type="dataset") + "/data/test.csv")
print([row["label"] for row in csv.DictReader(table)])
"#;
    let (_cluster, team) = team("dataset").await;
    let words = Repo::dataset("acme/words")
        .file("data/train.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n")
        .lfs("data/test.csv", "text,label\nthree,odd\nfour,even\n");
    hub().add(words);
    team.cache("words", with(spec("acme/words"), json!({ "source": { "type": "Dataset" } }))).await;
    team.ready("words").await;
    assert_eq!(offline(&team, "words", CODE).await, "['one', 'two']\n['odd', 'even']\n");
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_base_model_and_its_adapter_are_loaded_from_one_claim() {
    // The adapter names its base by ID. It adds one to each number of one projection.
    const CODE: &str = r#"
import json
from huggingface_hub import hf_hub_download
from safetensors.numpy import load_file
from transformers import AutoTokenizer
adapter = json.load(open(hf_hub_download("acme/llama-adapter", "adapter_config.json")))
base = adapter["base_model_name_or_path"]
layer = "model.layers.0.self_attn.q_proj"
shard = json.load(open(hf_hub_download(base, "model.safetensors.index.json")))["weight_map"][layer + ".weight"]
weight = load_file(hf_hub_download(base, shard))[layer + ".weight"]
lora = load_file(hf_hub_download("acme/llama-adapter", "adapter_model.safetensors"))
a, b = (lora[f"base_model.model.{layer}.lora_{part}.weight"] for part in "AB")
merged = weight + adapter["lora_alpha"] / adapter["r"] * b @ a
print(base, merged.shape, (merged - weight).mean().round(3), AutoTokenizer.from_pretrained(base).tokenize("one pod"))
"#;
    let (_cluster, team) = team("lora").await;
    hub().add(Repo::model("acme/llama").folder(made("llama-like")));
    hub().add(Repo::model("acme/llama-adapter").folder(made("adapter")));
    claim(&team, "models").await;
    let shared = json!({ "storage": { "existingClaim": "models" } });
    for (name, repo) in [("base", "acme/llama"), ("adapter", "acme/llama-adapter")] {
        team.cache(name, with(spec(repo), shared.clone())).await;
    }
    team.ready("base").await;
    team.ready("adapter").await;
    assert_ends(&offline(&team, "models", CODE).await, "acme/llama (128, 256) 1.0 ['one', 'pod']\n");
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn two_revisions_on_one_volume_give_each_pod_its_own_bytes() {
    const REPO: &str = "acme/versions";
    let (_cluster, team) = team("versions").await;
    let versions = Repo::model(REPO)
        .file("config.json", r#"{"version": 1}"#)
        .lfs("model.safetensors", Content::random(1, 2 << 20))
        .tag("v1")
        .file("config.json", r#"{"version": 2}"#)
        .lfs("model.safetensors", Content::random(2, 2 << 20))
        .tag("v2");
    hub().add(versions);
    claim(&team, "models").await;
    for version in ["v1", "v2"] {
        let own = json!({ "source": { "revision": version }, "storage": { "existingClaim": "models" } });
        team.cache(version, with(spec(REPO), own)).await;
    }
    for version in ["v1", "v2"] {
        team.ready(version).await;
    }
    for version in ["v1", "v2"] {
        let code = format!(
            r#"
import hashlib
from huggingface_hub import snapshot_download
folder = snapshot_download("{REPO}", revision="{version}")
for name in ["config.json", "model.safetensors"]:
    print(hashlib.sha256(open(f"{{folder}}/{{name}}", "rb").read()).hexdigest())
"#
        );
        let files = hub().files(REPO, version);
        let expected: String =
            files.iter().map(|file| file.content.sha256().unwrap().to_owned() + "\n").collect();
        assert_eq!(offline(&team, "models", &code).await, expected);
    }
}
