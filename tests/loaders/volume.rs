//! A volume that `modelcache fetch` fills with one of each: a branch, a tag, a commit that another ref names too, a part of the files,
//! a dataset, a name without an owner.

use std::{
    fs,
    os::unix::fs::lchown,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    thread,
};

use serde_json::{Value, json};
use standin_hub::{Repo, StandinHub};

use crate::models;

/// Who filled the volume: neither the user of the pods nor who starts them.
const OWNER: u32 = 12_345;

/// A revision of a repo, as a program asks for it.
pub struct Case {
    pub kind: &'static str,
    pub repo: &'static str,
    pub revision: String,
}

/// The volume, and where pods mount it.
pub struct Volume {
    pub cache: PathBuf,
    pub place: PathBuf,
    pub cases: [Case; 7],
}

/// The one of this test program.
pub fn volume() -> &'static Volume {
    static VOLUME: OnceLock<Volume> = OnceLock::new();
    VOLUME.get_or_init(|| {
        // The Hub runs on a runtime of its own: who asks for the volume first may be in one.
        let fill = || tokio::runtime::Runtime::new().unwrap().block_on(Volume::filled());
        thread::spawn(fill).join().unwrap()
    })
}

impl Volume {
    async fn filled() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("loaders");
        let (cache, place) = (folder.join("hub"), folder.join("modelcache"));
        _ = fs::remove_dir_all(&cache);
        fs::create_dir_all(&place).unwrap();
        let hub = StandinHub::start().await;
        let tagged = encoder("acme/encoder", "tag").file("configuration_own.py", CODE).tag("v1");
        hub.add(tagged.file("config.json", config("branch")).branch("main"));
        hub.add(encoder("acme/pinned", "commit").branch("main"));
        let whole =
            encoder("acme/filtered", "filtered").lfs("pytorch_model.bin", "the same in another format");
        hub.add(whole.file("onnx/config.json", "{}"));
        hub.add(Repo::dataset("acme/words").lfs("data/train.jsonl", "{\"mark\": \"dataset\"}\n"));
        hub.add(encoder("encoder", "legacy"));
        let commit = hub.commit("acme/pinned", "main");
        for arguments in [
            vec!["acme/encoder"],
            vec!["acme/encoder", "--revision", "v1"],
            vec!["acme/pinned", "--revision", &commit, "--alias", "main"],
            vec!["acme/filtered", "--exclude", "*.bin", "--exclude", "onnx/*"],
            vec!["acme/words", "--type", "dataset"],
            vec!["encoder"],
        ] {
            fetch(&hub, &cache, &arguments);
        }
        hand_over(&cache);
        let case = |kind, repo, revision: &str| Case { kind, repo, revision: revision.to_owned() };
        let cases = [
            case("model", "acme/encoder", ""),
            case("model", "acme/encoder", "v1"),
            case("model", "acme/pinned", ""),
            case("model", "acme/pinned", &commit),
            case("model", "acme/filtered", ""),
            case("dataset", "acme/words", ""),
            case("model", "encoder", ""),
        ];
        Self { cache, place, cases }
    }
}

/// A model that libraries load, with its mark.
fn encoder(id: &str, mark: &str) -> Repo {
    Repo::model(id).folder(made()).file("config.json", config(mark))
}

/// Code that comes with a model, for those who trust it.
const CODE: &str = r#"
from transformers import BertConfig

class OwnConfig(BertConfig):
    def own_mark(self):
        return "own " + self.mark
"#;

/// Its configuration with a word in it that tells it from all others.
fn config(mark: &str) -> String {
    let mut config: Value = serde_json::from_slice(&fs::read(made().join("config.json")).unwrap()).unwrap();
    config["mark"] = mark.into();
    config["auto_map"] = json!({ "AutoConfig": "configuration_own.OwnConfig" });
    config.to_string()
}

fn made() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| models::made("encoder"))
}

fn fetch(hub: &StandinHub, cache: &Path, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modelcache"));
    command.arg("fetch").args(arguments).env_clear();
    command.env("HF_ENDPOINT", hub.url()).env("HF_HUB_CACHE", cache).env("HOME", "/nonexistent");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Gives all of it to another user, as far as we may.
fn hand_over(path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    lchown(path, Some(OWNER), Some(OWNER)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).unwrap() {
            hand_over(&entry.unwrap().path());
        }
    }
}
