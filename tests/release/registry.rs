//! A registry on loopback, with TLS and a password, as the ones that releases go to.

use std::{
    convert::identity,
    fs::{self, File},
    iter,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::programs::{root, said, tool};

const WHO: &str = "releaser";
const TOKEN: &str = "a-password-for-tests";
/// bcrypt of [`TOKEN`].
const PASSWORD_FILE: &str = "releaser:$2b$05$abcdefghijklmnopqrstuuBLXRD1do2sv2yeOR4KP05rNE/mCs5mW\n";

pub struct Registry {
    process: Child,
    folder: TempDir,
    port: u16,
}

impl Registry {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("passwords"), PASSWORD_FILE).unwrap();
        // The port is free now; where another was faster, the registry ends, and another port is tried.
        let serving = iter::repeat_with(|| serve(folder.path())).take(9).find_map(identity);
        let (process, port) = serving.unwrap_or_else(|| {
            panic!("the registry does not start: {}", fs::read_to_string(folder.path().join("log")).unwrap())
        });
        let registry = Self { process, folder, port };
        let login = ["auth", "login", &registry.address(), "--username", WHO, "--password", TOKEN];
        registry.crane(&login).unwrap();
        registry
    }

    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub fn chart(&self) -> String {
        format!("oci://{}/acme/charts/modelcache", self.address())
    }

    /// What the workflow does, with the capitals that an owner's name may have.
    pub fn push(&self) -> Result<String, String> {
        let mut release = self.command(root(".ci/release"));
        release.args(["push", env!("CARGO_PKG_VERSION")]);
        release.envs([("REGISTRY", &*format!("{}/Acme", self.address())), ("WHO", WHO), ("TOKEN", TOKEN)]);
        let told = said(&mut release)?;
        // Helm says where it pushed to, too.
        Ok(told
            .lines()
            .filter(|line| line.contains("@sha256:"))
            .fold(String::new(), |all, line| all + line + "\n"))
    }

    pub fn crane(&self, arguments: &[&str]) -> Result<String, String> {
        said(self.command(tool("crane")).args(arguments))
    }

    pub fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        said(self.command(tool("helm")).args(arguments))
    }

    /// A program that trusts the registry's certificate, and keeps what it knows in the registry's folder.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env("SSL_CERT_FILE", root("tests/hub_client/tls/ca.pem"));
        for name in ["DOCKER_CONFIG", "XDG_RUNTIME_DIR", "HELM_CONFIG_HOME", "HELM_CACHE_HOME"] {
            command.env(name, self.folder.path());
        }
        command
    }
}

/// A registry that listens at a port; nothing if it ended before.
fn serve(folder: &Path) -> Option<(Child, u16)> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let (place, tls) = (folder.display(), root("tests/hub_client/tls"));
    let config = format!(
        "version: 0.1\n\
         log: {{level: error}}\n\
         storage: {{filesystem: {{rootdirectory: {place}/storage}}}}\n\
         auth: {{htpasswd: {{realm: tests, path: {place}/passwords}}}}\n\
         http: {{addr: \"127.0.0.1:{port}\", secret: tests, tls: {{certificate: {tls}/server.pem, key: {tls}/server.key}}}}\n",
        tls = tls.display()
    );
    let file = folder.join("config.yaml");
    fs::write(&file, config).unwrap();
    let mut registry = Command::new(tool("registry"));
    let mut process = registry
        .arg("serve")
        .arg(&file)
        .env("OTEL_TRACES_EXPORTER", "none")
        .stdout(Stdio::null())
        .stderr(File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap();
    loop {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Some((process, port));
        }
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::yield_now();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
