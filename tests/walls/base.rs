//! The initial states of a cache for hostile modifications. Each is created once, by the program itself, and copied.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use standin_hub::{Access, Class, Content, Fault, FaultKind, Gate, Repo, ServedFile, StandinHub};
use tempfile::TempDir;

use crate::site::folder;

/// A secret that no output may contain.
pub const TOKEN: &str = "hf_walls_verysecret";
/// The model under attack.
pub const MODEL: &str = "acme/tiny";
/// Another model in the same cache.
pub const OTHER_MODEL: &str = "acme/other";
/// Large enough to be downloaded in parts.
const WEIGHTS: u64 = 700_000;
/// The time limit for creating a state on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The state of the model in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Empty,
    /// All of it.
    Complete,
    /// A download that was killed.
    Half,
    /// Two commits, the first of which has only a record.
    TwoCommits,
    /// As filled by `huggingface_hub`: the weights in the store shared by all repos, and no record.
    SharedStore,
    /// Files instead of links.
    Files,
}

impl Base {
    pub const ALL: [Self; 6] =
        [Self::Empty, Self::Complete, Self::Half, Self::TwoCommits, Self::SharedStore, Self::Files];
}

/// A Hub, and a cache in each state.
pub struct Bases {
    pub hub: StandinHub,
    root: TempDir,
    /// The selection ID of a whole commit in the names of records and locks.
    pub selection: String,
    /// The first commit, and the one that `main` names.
    pub commits: [String; 2],
    /// The files of these.
    pub files: [Vec<ServedFile>; 2],
}

impl Bases {
    pub async fn make() -> Self {
        let hub = StandinHub::start().await;
        hub.user("alice").token(TOKEN);
        let model = Repo::model(MODEL)
            .gated(Gate::Manual)
            .access("alice", Access::Accepted)
            .file("config.json", "{\"a\": 1}")
            .file("sub/deep/vocab.txt", "one two three")
            .file("sub/empty.txt", "")
            .lfs("model.safetensors", Content::random_held(6, WEIGHTS));
        hub.add(model.tag("v1").lfs("model.safetensors", Content::random_held(7, WEIGHTS)).branch("main"));
        hub.add(
            Repo::model(OTHER_MODEL)
                .file("config.json", "{}")
                .lfs("other.bin", Content::random(8, 2000))
                .branch("main"),
        );
        let commits = ["v1", "main"].map(|revision| hub.commit(MODEL, revision));
        let files = ["v1", "main"].map(|revision| hub.files(MODEL, revision));
        let root = tempfile::tempdir_in(folder()).unwrap();
        let mut bases = Self { hub, root, selection: String::new(), commits, files };
        for base in Base::ALL {
            bases.fill(base);
        }
        let records = fs::read_dir(bases.model(Base::Complete).join(".modelcache")).unwrap();
        let names = records.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let record = names.into_iter().find(|name| name.ends_with(".json")).unwrap();
        record[41..].trim_end_matches(".json").clone_into(&mut bases.selection);
        bases
    }

    /// The commit that `main` names.
    pub fn commit(&self) -> &str {
        &self.commits[1]
    }

    /// The name of a file's blob in a cache.
    pub fn etag(&self, path: &str) -> &str {
        &self.files[1].iter().find(|file| file.path == path).unwrap().etag
    }

    /// Copies a cache in this state to a free path.
    pub fn copy(&self, base: Base, to: &Path) {
        copy(&self.root.path().join(format!("{base:?}")), to);
    }

    fn model(&self, base: Base) -> PathBuf {
        self.root.path().join(format!("{base:?}")).join("models--acme--tiny")
    }

    fn fill(&self, base: Base) {
        self.fetch(base, &[OTHER_MODEL]);
        let model = self.model(base);
        match base {
            Base::Empty => {}
            Base::Complete | Base::Files => self.fetch(base, &[MODEL, "--alias", "refs/pr/1"]),
            Base::Half => self.be_killed(base),
            Base::TwoCommits => {
                self.fetch(base, &[MODEL, "--revision", "v1"]);
                self.fetch(base, &[MODEL]);
                fs::remove_file(model.join("refs/v1")).unwrap();
                let absent = model.join(".no_exist").join(&self.commits[0]);
                fs::create_dir_all(&absent).unwrap();
                fs::write(absent.join("absent.json"), "").unwrap();
            }
            Base::SharedStore => {
                self.fetch(base, &[MODEL]);
                fs::remove_dir_all(model.join(".modelcache")).unwrap();
                let name = "ab".repeat(32);
                let (cache, blob) =
                    (model.parent().unwrap(), model.join("blobs").join(self.etag("model.safetensors")));
                let store = cache.join("blobs/ab");
                fs::create_dir_all(&store).unwrap();
                fs::write(cache.join("blobs/.huggingface-shared-blobs"), "1\n").unwrap();
                fs::rename(&blob, store.join(&name)).unwrap();
                fs::set_permissions(store.join(&name), fs::Permissions::from_mode(0o444)).unwrap();
                fs::write(
                    store.join(format!("{name}.refs")),
                    blob.strip_prefix(cache).unwrap().to_str().unwrap(),
                )
                .unwrap();
                symlink(format!("../../blobs/ab/{name}"), &blob).unwrap();
            }
        }
    }

    fn command(&self, base: Base, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelcache"));
        command.env_clear().arg("fetch").args(arguments);
        command.env("HF_ENDPOINT", self.hub.url()).env("HF_TOKEN", TOKEN).env("HOME", self.root.path());
        command.env("HF_HUB_CACHE", self.root.path().join(format!("{base:?}")));
        if base == Base::Files {
            command.env("HF_HUB_DISABLE_SYMLINKS", "1");
        }
        command
    }

    fn fetch(&self, base: Base, arguments: &[&str]) {
        let output = self.command(base, arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// A download that was killed when a part of the weights was there.
    fn be_killed(&self, base: Base) {
        self.hub.fault(Fault::new(FaultKind::Stall(WEIGHTS / 2)).on(Class::Cdn));
        let mut command = self.command(base, &[MODEL]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let own = self.model(base).join(".modelcache");
        let began = Instant::now();
        while !is_begun(&own) {
            assert!(began.elapsed() < PATIENCE, "no part of the weights comes");
            thread::sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        self.hub.clear_faults();
    }
}

/// Whether a sidecar on disk shows progress.
fn is_begun(own: &Path) -> bool {
    let entries = fs::read_dir(own).into_iter().flatten().flatten().map(|entry| entry.path());
    let parts = entries.filter(|path| path.extension().is_some_and(|end| end == "parts"));
    parts
        .into_iter()
        .any(|path| fs::read(path).is_ok_and(|bytes| bytes.iter().skip(40).any(|byte| *byte != 0)))
}

/// A copy with modes and times.
fn copy(from: &Path, to: &Path) {
    let stat = fs::symlink_metadata(from).unwrap();
    if stat.is_symlink() {
        return symlink(fs::read_link(from).unwrap(), to).unwrap();
    }
    if stat.is_dir() {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        let mut bytes = Vec::new();
        File::open(from).unwrap().read_to_end(&mut bytes).unwrap();
        fs::write(to, bytes).unwrap();
    }
    fs::set_permissions(to, fs::Permissions::from_mode(stat.mode() & 0o7777)).unwrap();
    File::open(to).unwrap().set_modified(stat.modified().unwrap()).unwrap();
}
