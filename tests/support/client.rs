//! The official Python client, run against a stand-in Hub.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use standin_hub::StandinHub;
use tempfile::TempDir;

use crate::programs::root;

/// A user of the official client, with a home of his own.
pub struct Client {
    home: TempDir,
    endpoint: String,
    token: Option<String>,
}

impl Client {
    pub fn of(hub: &StandinHub) -> Self {
        Self { home: tempfile::tempdir().unwrap(), endpoint: hub.url().to_owned(), token: None }
    }

    pub fn with_token(hub: &StandinHub, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..Self::of(hub) }
    }

    pub fn cache(&self) -> PathBuf {
        self.home.path().join("hub")
    }

    /// Runs `hf`; standard output if it went well, both outputs if not.
    pub fn hf(&self, arguments: &[&str]) -> Result<String, String> {
        outcome(&self.command("hf").args(arguments).output().unwrap())
    }

    /// Runs a piece of Python.
    pub fn python(&self, code: &str) -> Result<String, String> {
        self.python_with(code, &[])
    }

    /// The same with arguments, as `sys.argv`.
    pub fn python_with(&self, code: &str, arguments: &[&str]) -> Result<String, String> {
        outcome(&self.command("python").args(["-c", code]).args(arguments).output().unwrap())
    }

    /// Runs `judge.py`, and reads what it prints.
    pub fn judge(&self, arguments: &[&str]) -> Result<serde_json::Value, String> {
        let judge = root("tests/python/judge.py");
        let out = outcome(&self.command("python").arg(judge).args(arguments).output().unwrap())?;
        Ok(serde_json::from_str(&out).unwrap())
    }

    /// The classes and words of the error that downloading a repo ends with, and of its causes.
    pub fn download_error(&self, repo: &str, more: &str) -> String {
        let code = format!(
            "import huggingface_hub as h\n\
             try:\n    h.snapshot_download('{repo}'{more})\n    print('no error')\n\
             except Exception as e:\n    while e: print(type(e).__name__, e); e = e.__cause__"
        );
        self.python(&code).unwrap()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(venv().join("bin").join(program));
        let inherited = ["PATH", "HOME", "LANG"].map(|name| (name, std::env::var_os(name)));
        command.env_clear().envs(inherited.into_iter().filter_map(|(name, value)| Some((name, value?))));
        command
            .env("HF_HOME", self.home.path())
            .env("HF_ENDPOINT", &self.endpoint)
            .env("HF_HUB_DISABLE_XET", "1")
            .env("HF_HUB_DISABLE_TELEMETRY", "1")
            .env("HF_HUB_DISABLE_UPDATE_CHECK", "1")
            .env("HF_HUB_DISABLE_PROGRESS_BARS", "1")
            .env("NO_COLOR", "1");
        if let Some(token) = &self.token {
            command.env("HF_TOKEN", token);
        }
        command
    }
}

fn outcome(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let out = text(&output.stdout);
    if output.status.success() { Ok(out) } else { Err(out + &text(&output.stderr)) }
}

/// The Python environment with the official client, made on first use.
pub fn venv() -> &'static Path {
    static VENV: OnceLock<PathBuf> = OnceLock::new();
    VENV.get_or_init(|| environment("requirements.txt"))
}

/// The Python environment with the packages of a list, made on first use.
pub fn environment(list: &str) -> PathBuf {
    let output = Command::new(root("tests/python/venv")).arg(list).output().unwrap();
    PathBuf::from(outcome(&output).unwrap().trim())
}
