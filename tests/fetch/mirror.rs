//! Third-party mirrors between a client and a stand-in Hub. Each is a program with its own folder.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, PipeReader},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
};

use modelcache::{
    fetch::{FetchRequest, Limits, Report},
    hub::TokenSource,
    reason::Reason,
};
use serde_json::Value;
use standin_hub::{Class, Fault, FaultKind, Repo};

use crate::{
    client,
    outside::assert_unseen,
    stage::{Stage, run, text},
};

/// The reasons of a successful `check` without a token.
pub const FINE: [&str; 3] = ["Anonymous", "AccessGranted", "Resolved"];

/// A model with more files than one listing page.
pub fn many() -> Repo {
    (0..1100).fold(Repo::model("acme/many"), |repo, n| repo.file(&format!("{n}"), "x")).branch("main")
}

/// A running mirror; stopped on drop.
pub struct Mirror {
    process: Child,
    port: u16,
}

impl Mirror {
    /// olah, which caches files and responses in the folder. Offline, it serves only its cache.
    pub fn olah(stage: &Stage, offline: bool) -> Self {
        let folder = folder(stage);
        let (hub, cdn) = stage.hub.listeners();
        Self::start(&folder, |port| {
            let config = format!(
                "[basic]\n\
                 host = \"127.0.0.1\"\nport = {port}\nrepos-path = \"{}/repos\"\n\
                 hf-scheme = \"http\"\nhf-netloc = \"{hub}\"\nhf-lfs-netloc = \"{cdn}\"\n\
                 [accessibility]\noffline = {offline}\n",
                folder.display()
            );
            fs::write(folder.join("olah.toml"), config).unwrap();
            let mut olah = Command::new(environment().join("bin/olah-cli"));
            olah.args(["--config", "olah.toml"]);
            olah
        })
    }

    /// aimirror, with the rules for the Hub from its manual. It caches large files.
    pub fn aimirror(stage: &Stage) -> Self {
        // Its package has no configuration, and it looks for one beside its code.
        const START: &str = "import main; main.__file__ = 'main.py'; main.main()";
        let folder = folder(stage);
        let hub = stage.hub.url();
        Self::start(&folder, |port| {
            let config = format!(
                "server: {{host: 127.0.0.1, port: {port}}}\n\
                 cache: {{dir: cache, max_size_gb: 1}}\n\
                 logging: {{level: INFO, file: log}}\n\
                 rules:\n\
                 - name: huggingface-files\n\
                 \x20 pattern: '/.*/(blob|resolve)/[^/]+/.+'\n\
                 \x20 upstream: {hub}\n\
                 \x20 strategy: parallel\n\
                 \x20 min_size: 102400\n\
                 \x20 concurrency: 20\n\
                 \x20 chunk_size: 10485760\n\
                 \x20 cache_key_source: original\n\
                 \x20 path_rewrite: [{{search: /blob/, replace: /resolve/}}]\n\
                 \x20 head_meta_headers: [x-repo-commit, x-linked-etag, x-linked-size, etag]\n\
                 - {{name: huggingface-api, pattern: '/api/models/.*', upstream: '{hub}', strategy: proxy}}\n"
            );
            fs::write(folder.join("config.yaml"), config).unwrap();
            let mut aimirror = Command::new(environment().join("bin/python"));
            aimirror.args(["-c", START]);
            aimirror
        })
    }

    /// Starts the program, with another port until one is free.
    fn start(folder: &Path, program: impl Fn(u16) -> Command) -> Self {
        loop {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let (said, says) = io::pipe().unwrap();
            let mut command = program(port);
            command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path))).env("HOME", folder);
            command.current_dir(folder).stdin(Stdio::null()).stdout(says.try_clone().unwrap()).stderr(says);
            let mirror = Self { process: command.spawn().unwrap(), port };
            // It keeps the other end of the pipe open.
            drop(command);
            match until_it_listens(said) {
                Ok(()) => return mirror,
                Err(said) => {
                    assert!(said.contains("address already in use"), "the mirror has ended:\n{said}");
                }
            }
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The result of `check` for a repo, with the message of the first failed condition.
    pub fn check(&self, stage: &Stage, repo: &[&str], token: Option<&str>) -> Checked {
        let mut command = stage.modelcache(&[&["check", "-o", "json"], repo].concat());
        command.env("HF_ENDPOINT", self.url()).envs(token.map(|token| ("HF_TOKEN", token)));
        let output = command.output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let conditions = answer["conditions"].as_array().unwrap();
        let last = conditions.iter().rfind(|condition| condition["reason"] != "NotChecked");
        Checked {
            reasons: conditions.iter().map(|condition| text(&condition["reason"])).collect(),
            words: text(&last.unwrap()["message"]),
        }
    }

    /// A request for the model through this mirror, with timeouts for a slow one.
    pub fn request(&self, stage: &Stage, token: Option<&str>) -> FetchRequest {
        let request = stage.request();
        FetchRequest {
            endpoint: self.url().parse().unwrap(),
            token: token.map_or(TokenSource::None, TokenSource::fixed),
            limits: Limits { attempts: 1, pause: request.limits.pause, ..Limits::default() },
            ..request
        }
    }

    pub async fn fetch(&self, stage: &Stage, token: Option<&str>) -> Report {
        run(&self.request(stage, token)).await
    }

    /// Asserts that corrupt bytes, in transit and in the mirror's cache, are reported and never published.
    pub async fn assert_wrong_bytes_stay_unseen(&self, stage: &Stage) {
        stage.hub.fault(Fault::new(FaultKind::WrongBytes).on(Class::Cdn));
        for kept in [false, true] {
            if kept {
                stage.hub.clear_faults();
            }
            let report = self.fetch(stage, None).await;
            assert_eq!(report.reason, Reason::HashMismatch, "{report:?}");
            assert!(report.message.contains("have a mirror fetch the file again"), "{}", report.message);
            assert_unseen(stage);
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The output of `check`.
pub struct Checked {
    reasons: Vec<String>,
    words: String,
}

impl Checked {
    /// Asserts the reasons, and a part of the message.
    #[track_caller]
    pub fn assert(&self, reasons: [&str; 3], words: &str) {
        assert_eq!(self.reasons, reasons, "{}", self.words);
        assert!(self.words.contains(words), "{}", self.words);
    }
}

/// Reads the output of a mirror until it listens, or all of it if it exits first.
fn until_it_listens(said: PipeReader) -> Result<(), String> {
    let (mut said, mut all) = (BufReader::new(said), String::new());
    while said.read_line(&mut all).unwrap() > 0 {
        if all.contains("Uvicorn running on") {
            thread::spawn(move || io::copy(&mut said, &mut io::sink()));
            return Ok(());
        }
    }
    Err(all)
}

/// Where the mirror of a test has its files.
fn folder(stage: &Stage) -> PathBuf {
    let folder = stage.root.path().join("mirror");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The Python environment with the mirrors.
fn environment() -> &'static Path {
    static ENVIRONMENT: OnceLock<PathBuf> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| client::environment("mirrors.txt"))
}
