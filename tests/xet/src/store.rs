//! The store as tests hold it.
#![allow(clippy::panic, reason = "a test whose store cannot be had has to fail at that line and say why")]

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::Deserialize;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::{oneshot, watch},
};
use xet_client::cas_client::{LocalServer, LocalServerConfig};
use xet_runtime::core::XetContext;

use crate::door::{Door, Seen};

/// After this time a test waits in vain.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running store with its content on disk. It ends when dropped.
pub struct Store {
    folder: TempDir,
    server: Arc<LocalServer>,
    server_url: String,
    url: String,
    door: Arc<Door>,
    _stop: Mutex<oneshot::Sender<()>>,
    runtime: Option<Runtime>,
}

/// A file in the store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Stored {
    /// What the store knows it by.
    pub hash: String,
    /// Bytes.
    pub size: u64,
}

impl Store {
    /// Starts an empty store on a free port of 127.0.0.1, or where it is told to.
    ///
    /// It runs on threads of its own: a test may block its own runtime, as with a client in another process.
    pub fn start(listen: Option<SocketAddr>) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (data, handle) = (folder.path().to_owned(), runtime.handle().clone());
        // A test may be on a runtime already, where nothing may block.
        let started = std::thread::spawn(move || handle.block_on(start(data, listen)));
        let (server, server_address, door, address, stop) =
            started.join().unwrap_or_else(|_| Err(io::Error::other("starting the store panicked")))?;
        Ok(Self {
            folder,
            server,
            server_url: format!("http://{server_address}"),
            url: format!("http://{address}"),
            door,
            _stop: Mutex::new(stop),
            runtime: Some(runtime),
        })
    }

    /// Its address, for the Hub to tell.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Puts files in with the official Python client, past the door.
    ///
    /// # Panics
    ///
    /// If that fails.
    #[must_use]
    pub fn upload(&self, paths: &[&Path]) -> Vec<Stored> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = |command: &mut Command| {
            let output = command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}"));
            assert!(
                output.status.success(),
                "{command:?} failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            output.stdout
        };
        let environment = output(&mut Command::new(here.join("../python/venv")));
        let python = Path::new(String::from_utf8_lossy(&environment).trim()).join("bin/python");
        let mut command = Command::new(python);
        command.arg(here.join("upload.py")).arg(&self.server_url).args(paths);
        command.env("HF_HOME", self.folder.path().join("uploader")).env("HF_XET_TELEMETRY_ENABLED", "0");
        let told = output(&mut command);
        serde_json::from_slice(&told).unwrap_or_else(|error| panic!("read the uploader's answer: {error}"))
    }

    /// Changes one byte in the middle of the largest object on disk.
    pub fn flip_a_byte(&self) -> io::Result<()> {
        let mut objects = Vec::new();
        for entry in fs::read_dir(self.folder.path().join("data/xorbs"))? {
            let entry = entry?;
            objects.push((entry.metadata()?.len(), entry.path()));
        }
        let (size, path) = objects.into_iter().max().ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = fs::read(&path)?;
        let middle = bytes.get_mut(usize::try_from(size / 2).unwrap_or_default());
        *middle.ok_or(io::ErrorKind::UnexpectedEof)? ^= 1;
        // Objects are read-only.
        fs::remove_file(&path)?;
        fs::write(&path, bytes)
    }

    /// Does not take this token any more.
    pub fn refuse(&self, token: &str) {
        self.door.refuse(token);
    }

    /// Hands out so many bytes in all, and then nothing, while connections stay.
    pub fn stall_at(&self, bytes: u64) {
        self.door.stall_at(bytes);
    }

    /// Answers so many requests for content, each to its end, and no more, while connections stay.
    pub fn stall_after(&self, answers: u32) {
        self.door.stall_after(answers);
    }

    /// Hands out so many bytes a second from now on.
    pub fn slow_down(&self, rate: u32) {
        self.door.slow_down(rate);
    }

    /// Ends all connections and takes no new ones.
    pub fn die(&self) {
        self.door.die();
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.door.seen()
    }

    /// What clients reported about their transfers.
    #[must_use]
    pub fn telemetry(&self) -> Vec<serde_json::Value> {
        self.server.telemetry_docs()
    }

    /// Waits until so many bytes were handed out.
    ///
    /// # Panics
    ///
    /// If they are not within a minute.
    pub async fn until_sent(&self, bytes: u64) {
        until(self.door.sent(), |sent| *sent >= bytes, "bytes to be sent").await;
    }

    /// Waits until no connection is left.
    ///
    /// # Panics
    ///
    /// If there is one after a minute.
    pub async fn until_left_alone(&self) {
        until(self.door.open(), |open| *open == 0, "connections to end").await;
    }
}

async fn until<T>(mut value: watch::Receiver<T>, wanted: impl FnMut(&T) -> bool, what: &str) {
    let outcome = tokio::time::timeout(PATIENCE, value.wait_for(wanted)).await;
    assert!(outcome.is_ok(), "the store waited in vain for {what}");
}

impl Drop for Store {
    fn drop(&mut self) {
        // Without waiting: a drop may happen inside another runtime, where waiting is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Started = (Arc<LocalServer>, SocketAddr, Arc<Door>, SocketAddr, oneshot::Sender<()>);

async fn start(folder: PathBuf, listen: Option<SocketAddr>) -> io::Result<Started> {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(anywhere).await?;
    let server_address = listener.local_addr()?;
    let config = LocalServerConfig {
        data_directory: folder.join("data"),
        host: server_address.ip().to_string(),
        port: server_address.port(),
        in_memory: false,
    };
    let context = XetContext::default().map_err(io::Error::other)?;
    let server = Arc::new(LocalServer::new(context, config).await.map_err(io::Error::other)?);
    let (stop, stopped) = oneshot::channel();
    let serving = server.clone();
    tokio::spawn(async move { serving.serve_until_stopped(listener, stopped).await });

    let at_the_door = TcpListener::bind(listen.unwrap_or(anywhere)).await?;
    let address = at_the_door.local_addr()?;
    let door = Door::before(server_address);
    tokio::spawn(door.clone().stand(at_the_door));
    Ok((server, server_address, door, address, stop))
}
