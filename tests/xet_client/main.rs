//! Files in Xet, from the official store: byte-exact, by ranges, and through all that can go wrong there.
#![cfg(feature = "xet")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod failures;
mod fetches;
mod memory;
mod quiet;
mod transfers;

use std::{
    io::{self, Write},
    ops::Range,
    path::PathBuf,
    sync::{Mutex, OnceLock},
};
use test_support::proxy;

use modelcache::hub::{Hub, HubError, Repo, RepoType, Token, XetBody, XetFiles};
use standin_hub::{Content, StandinHub};
use tempfile::TempDir;
use tracing_subscriber::EnvFilter;
use xet_store::{Store, Stored};

/// Three windows of the client, the last one not full.
const SIZE: u64 = 40 << 20;
const FILE: &str = "model.safetensors";

/// A Hub with one repo whose one large file is in Xet, and the store.
struct World {
    hub: StandinHub,
    store: Store,
    folder: TempDir,
    content: Vec<u8>,
    stored: Stored,
}

impl World {
    async fn new() -> Self {
        Self::with(|repo| repo).await
    }

    async fn with(shape: impl FnOnce(standin_hub::Repo) -> standin_hub::Repo) -> Self {
        Self::with_size(SIZE, shape).await
    }

    async fn with_size(size: u64, shape: impl FnOnce(standin_hub::Repo) -> standin_hub::Repo) -> Self {
        record_logs();
        let (hub, store) = (StandinHub::start().await, Store::start(None).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let content = Content::random(7, size).to_vec().unwrap();
        let path = folder.path().join("upload");
        std::fs::write(&path, &content).unwrap();
        let stored = store.upload(&[&path]).remove(0);
        assert_eq!(stored.size, size);
        hub.user("alice").token("hf_alice");
        hub.xet_store(store.url(), std::time::Duration::from_secs(3600));
        let repo = standin_hub::Repo::model("acme/big").xet(FILE, content.clone(), &stored.hash);
        hub.add(shape(repo.branch("main")));
        Self { hub, store, folder, content, stored }
    }

    fn client(&self) -> Hub {
        Hub::connect(&self.hub.url().parse().unwrap()).unwrap()
    }

    fn files(&self) -> XetFiles {
        self.files_of("acme/big")
    }

    fn files_of(&self, repo: &str) -> XetFiles {
        let repo = Repo { kind: RepoType::Model, id: repo.parse().unwrap() };
        let commit = self.hub.commit("acme/big", "main").parse().unwrap();
        XetFiles::new(&self.client(), &repo, &commit, self.scratch()).unwrap()
    }

    /// Where the official client makes its folders.
    fn scratch(&self) -> PathBuf {
        self.folder.path().join("scratch")
    }

    async fn open(&self, files: &XetFiles, range: Range<u64>) -> Result<XetBody, HubError> {
        files.open(&self.stored.hash, SIZE, range, Some(&alice())).await
    }

    fn part(&self, range: Range<u64>) -> &[u8] {
        &self.content[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
    }

    /// How often the Hub was asked for a token of the store.
    fn tokens_asked(&self) -> usize {
        self.hub.requests().iter().filter(|request| request.path.contains("/xet-read-token/")).count()
    }

    /// The tokens that came to the store.
    fn tokens_shown(&self) -> Vec<String> {
        let mut tokens: Vec<String> =
            self.store.requests().into_iter().filter_map(|request| request.token).collect();
        tokens.sort();
        tokens.dedup();
        tokens
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_clean(&String::from_utf8_lossy(&logs().lock().unwrap()));
        }
    }
}

fn alice() -> Token {
    Token::parse("hf_alice").unwrap()
}

async fn read(body: &mut XetBody) -> Result<Vec<u8>, HubError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next_chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Neither a token nor an address of content.
fn assert_clean(text: &str) {
    for secret in ["hf_alice", "xet_token", "fetch_term", "term="] {
        assert!(!text.contains(secret), "{secret} is in: {text}");
    }
}

fn logs() -> &'static Mutex<Vec<u8>> {
    static LOGS: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    LOGS.get_or_init(Mutex::default)
}

/// Everything that our own code logs, from all threads.
fn record_logs() {
    struct Sink;
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            logs().lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let filter = EnvFilter::new("modelcache=trace");
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Sink).init();
    });
}
