//! A Hub with a small model, a cache to fetch it to, and checks of it.

use std::{
    future::pending,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use modelcache::{
    cache::CacheDir,
    fetch::{FetchRequest, Limits, Progress, Report, fetch},
    hub::{Patterns, Repo as RepoName, RepoType, TokenSource},
};
use serde_json::Value;
use standin_hub::{Content, Repo, StandinHub};
use tempfile::TempDir;
use test_support::{client::Client, listing::listing, programs::modelcache};

/// The size of the model's weights.
pub const WEIGHTS: u64 = 3 << 20;
/// The size of its other blobs, each counted once.
pub const SMALL: u64 = 2 + 9;
/// The size of all its files: one blob is there twice.
pub const SIZE: u64 = WEIGHTS + SMALL + 2;

/// A model with all relevant cases: LFS and git files, folders, an empty file, a blob shared by two files, odd names.
pub fn tiny() -> Repo {
    Repo::model("acme/tiny")
        .file("config.json", "{}")
        .file("copy of/config.json", "{}")
        .file("sub folder/größe.txt", "déjà vu")
        .file("empty.txt", "")
        .lfs("model.safetensors", Content::random(7, WEIGHTS))
        .branch("main")
}

/// A Hub, and a cache to fill from it.
pub struct Stage {
    pub hub: StandinHub,
    pub root: TempDir,
}

impl Stage {
    pub async fn with(repo: Repo) -> Self {
        let hub = StandinHub::start().await;
        hub.add(repo);
        Self { hub, root: tempfile::tempdir().unwrap() }
    }

    pub async fn new() -> Self {
        Self::with(tiny()).await
    }

    pub fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    /// The folder of the model in the cache.
    pub fn repo_dir(&self) -> PathBuf {
        self.cache().join("models--acme--tiny")
    }

    pub fn snapshot(&self) -> PathBuf {
        self.repo_dir().join("snapshots").join(self.commit())
    }

    pub fn commit(&self) -> String {
        self.hub.commit("acme/tiny", "main")
    }

    /// The blob of a file of the model.
    pub fn blob(&self, path: &str) -> PathBuf {
        let files = self.hub.files("acme/tiny", "main");
        self.repo_dir().join("blobs").join(&files.iter().find(|file| file.path == path).unwrap().etag)
    }

    /// A request for the whole model, with short timeouts.
    pub fn request(&self) -> FetchRequest {
        let limits = Limits {
            attempts: 3,
            pause: Duration::from_millis(20),
            metadata: Duration::from_millis(600),
            first_byte: Duration::from_millis(600),
            stall: Duration::from_millis(600),
            ..Limits::default()
        };
        FetchRequest {
            repo: RepoName { kind: RepoType::Model, id: "acme/tiny".parse().unwrap() },
            revision: "main".parse().unwrap(),
            aliases: Vec::new(),
            patterns: Patterns::default(),
            cache: CacheDir::new(self.cache()),
            endpoint: self.hub.url().parse().unwrap(),
            token: TokenSource::None,
            offline: false,
            xet: true,
            links: None,
            limits,
        }
    }

    /// The result of the official client.
    #[track_caller]
    pub fn judge(&self, what: &str, more: &[&str]) -> Value {
        let cache = self.cache();
        let arguments = [&[what, cache.to_str().unwrap()], more].concat();
        Client::of(&self.hub).judge(&arguments).unwrap()
    }

    /// Asserts that the official client loads exactly these files of `main` offline, and reports no problem with the cache.
    #[track_caller]
    pub fn assert_loads(&self, wanted: impl Fn(&str) -> bool) {
        let loaded = self.judge("offline-load", &["acme/tiny", "--revision", "main"]);
        assert_eq!(loaded["path"], self.snapshot().to_str().unwrap());
        let found: Vec<_> = loaded["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| (text(&file["path"]), text(&file["sha256"])))
            .collect();
        let mut files = self.hub.files("acme/tiny", "main");
        files.retain(|file| wanted(&file.path));
        let mut expected: Vec<_> =
            files.iter().map(|file| (file.path.clone(), file.content.sha256().unwrap().to_owned())).collect();
        expected.sort();
        assert_eq!(found, expected);
        self.assert_clean_scan(&["main"]);
    }

    /// Asserts that the official client recognizes every entry of the cache.
    #[track_caller]
    pub fn assert_clean_scan(&self, refs: &[&str]) {
        let scan = self.judge("scan", &[]);
        assert_eq!(scan["warnings"], serde_json::json!([]));
        assert_eq!(scan["repos"][0]["revisions"][0]["refs"], serde_json::json!(refs), "{scan}");
    }

    /// Asserts that nothing of the model is visible, and that only resumable temporary files are left.
    #[track_caller]
    pub fn assert_nothing_visible(&self) {
        let dir = self.repo_dir();
        let left = if dir.exists() { listing(&dir) } else { Vec::new() };
        let parts = |path: &str| path.replace("blobs/", ".modelcache/").replace(".incomplete", ".parts");
        let visible: Vec<_> = left
            .iter()
            .filter(|path| !path.starts_with("blobs/") && !path.ends_with(".parts"))
            .chain(left.iter().filter(|path| path.ends_with(".incomplete") && !left.contains(&parts(path))))
            .collect();
        assert!(visible.is_empty(), "{visible:?}");
    }

    /// The binary, with a clean environment.
    pub fn modelcache(&self, arguments: &[&str]) -> Command {
        self.modelcache_through(&[], arguments)
    }

    /// The same, started by another program.
    pub fn modelcache_through(&self, starter: &[&str], arguments: &[&str]) -> Command {
        let program = modelcache();
        let words: Vec<_> = starter
            .iter()
            .copied()
            .chain([program.to_str().unwrap()])
            .chain(arguments.iter().copied())
            .collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
            .env("HF_ENDPOINT", self.hub.url())
            .env("HF_HUB_CACHE", self.cache())
            .env("HOME", self.root.path());
        command
    }
}

/// Fetches to completion.
pub async fn run(request: &FetchRequest) -> Report {
    fetch(request, &Arc::new(Progress::default()), pending()).await
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The report in a file.
pub fn report(path: &Path) -> Report {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.len() < 4096);
    Report::parse(&text).unwrap()
}
