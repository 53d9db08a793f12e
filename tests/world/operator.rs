//! An operator that runs as a process of the test, as a service account with chosen rights.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    authentication::v1::TokenRequest,
    core::v1::{Pod, ServiceAccount},
    rbac::v1::{PolicyRule, Role},
};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, PostParams},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::programs::modelcache;
use tokio::sync::OnceCell;

use crate::{
    cluster::{Cluster, Team, eventually},
    world::hub,
};

static ALONE: OnceCell<()> = OnceCell::const_new();

impl Cluster {
    /// Connects to the same cluster where other suites have installed the operator, and takes it away: a test that brings
    /// its own must be sure of whose work it sees. The first call waits until it is gone.
    pub async fn without_operator() -> Self {
        let client = Client::try_default().await.expect("KUBECONFIG names a cluster");
        let cluster = Self { client };
        ALONE
            .get_or_init(|| async {
                cluster.define().await;
                cluster.apply(include_str!("../../deploy/pods.yaml")).await;
                let deployments: Api<Deployment> =
                    Api::namespaced(cluster.client.clone(), "modelcache-system");
                let gone = deployments.delete("modelcache", &DeleteParams::foreground()).await;
                assert!(
                    gone.is_ok() || matches!(&gone, Err(kube::Error::Api(it)) if it.is_not_found()),
                    "{gone:?}"
                );
                let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "modelcache-system");
                eventually("the installed operator to be gone", || async {
                    pods.list(&ListParams::default()).await.unwrap().items.is_empty().then_some(())
                })
                .await;
            })
            .await;
        cluster
    }
}

/// The rules of the Role in the documentation.
pub fn documented_rules() -> Vec<PolicyRule> {
    let page = include_str!("../../docs/guides/install.md");
    let block = page.split("```").find(|block| block.contains("kind: Role\n")).unwrap();
    let role: Role = serde_saphyr::from_str(block.trim_start_matches("yaml")).unwrap();
    role.rules.unwrap()
}

/// A service account in a namespace of its own.
pub struct Account<'a> {
    cluster: &'a Cluster,
    home: Team,
    token: String,
}

impl<'a> Account<'a> {
    pub async fn new(cluster: &'a Cluster, name: &str) -> Self {
        let home = cluster.namespace(name).await;
        let accounts: Api<ServiceAccount> = home.api();
        let account = json!({ "metadata": { "name": "operator" } });
        accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
        let asked = TokenRequest::default();
        let given = accounts.create_token_request("operator", &PostParams::default(), &asked).await.unwrap();
        let token = given.status.unwrap().token.unwrap();
        Self { cluster, home, token }
    }

    /// Gives it these rights in a namespace.
    pub async fn may(&self, rules: &[PolicyRule], team: &Team) {
        let group = "rbac.authorization.k8s.io";
        let metadata = json!({ "name": "modelcache", "namespace": team.namespace });
        let subject =
            json!({ "kind": "ServiceAccount", "name": "operator", "namespace": self.home.namespace });
        for object in [
            json!({ "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata, "rules": rules }),
            json!({
                "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
                "roleRef": { "apiGroup": group, "kind": "Role", "name": "modelcache" }, "subjects": [subject],
            }),
        ] {
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            self.cluster.apply_object(&object).await.unwrap();
        }
    }

    /// Gives it these rights in all namespaces.
    pub async fn may_everywhere(&self, rules: &[PolicyRule]) {
        let group = "rbac.authorization.k8s.io";
        let metadata = json!({ "name": self.home.namespace });
        let subject =
            json!({ "kind": "ServiceAccount", "name": "operator", "namespace": self.home.namespace });
        for object in [
            json!({ "apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": metadata, "rules": rules }),
            json!({
                "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": metadata,
                "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": self.home.namespace },
                "subjects": [subject],
            }),
        ] {
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            self.cluster.apply_object(&object).await.unwrap();
        }
    }

    /// The kubeconfig of the test with this account's token in the place of the administrator's.
    fn kubeconfig(&self, through: Option<SocketAddr>) -> String {
        let mut config = our_kubeconfig();
        let name = config["contexts"][0]["context"]["user"].clone();
        config["users"] = json!([{ "name": name, "user": { "token": self.token } }]);
        if let Some(relay) = through {
            let cluster = &mut config["clusters"][0]["cluster"];
            cluster["tls-server-name"] = api_server().ip().to_string().into();
            cluster["server"] = format!("https://{relay}").into();
        }
        config.to_string()
    }
}

fn our_kubeconfig() -> Value {
    let ours = fs::read_to_string(env::var("KUBECONFIG").unwrap()).unwrap();
    serde_saphyr::from_str(&ours).unwrap()
}

/// Where the API server of the test cluster listens.
pub fn api_server() -> SocketAddr {
    let config = our_kubeconfig();
    let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
    server.trim_start_matches("https://").parse().expect("the kubeconfig has an IP address and a port")
}

/// A running operator; it ends with the test.
pub struct Operator {
    process: Child,
    folder: TempDir,
    listen: SocketAddr,
}

impl Operator {
    /// Starts one that asks the Hub of all stories.
    pub async fn start(account: &Account<'_>, arguments: &[&str]) -> Self {
        Self::with_endpoints(account, &[&["--endpoint", hub().url()], arguments].concat()).await
    }

    /// Starts one with endpoints of its own.
    pub async fn with_endpoints(account: &Account<'_>, arguments: &[&str]) -> Self {
        Self::with_kubeconfig(&account.kubeconfig(None), arguments).await
    }

    /// Starts one that reaches the API server through a relay.
    pub async fn through(account: &Account<'_>, relay: SocketAddr, arguments: &[&str]) -> Self {
        Self::with_kubeconfig(&account.kubeconfig(Some(relay)), arguments).await
    }

    async fn with_kubeconfig(kubeconfig: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("kubeconfig");
        fs::write(&config, kubeconfig).unwrap();
        // Free a moment ago, and soon taken again.
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(modelcache())
            .args(["controller", "--image", "localhost/modelcache:latest", "--listen", &listen.to_string()])
            .args(arguments)
            .env_clear()
            .env("KUBECONFIG", config)
            .stderr(Stdio::from(fs::File::create(folder.path().join("log")).unwrap()))
            .spawn()
            .unwrap();
        let operator = Self { process, folder, listen };
        eventually("the operator to serve", || async { operator.page("/readyz") }).await;
        operator
    }

    fn path_of_log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The lines of the log that are warnings or worse.
    pub fn warnings(&self) -> Vec<String> {
        let log = self.log();
        log.lines().filter(|line| !line.contains(r#""level":"INFO""#)).map(ToOwned::to_owned).collect()
    }

    /// All of the log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path_of_log()).unwrap()
    }

    pub fn page(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.listen).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        Some(page)
    }

    /// A number of the metrics page, by the beginning of its line.
    pub fn metric(&self, of: &str) -> u64 {
        let page = self.page("/metrics").unwrap();
        let lines = page.lines().filter_map(|line| line.strip_prefix(of)?.trim().parse::<u64>().ok());
        lines.sum()
    }

    /// Where it serves probes and metrics.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The most memory that it has had, in bytes.
    pub fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
        for line in self.log().lines() {
            // Who reads JSON keeps one of two values under one key.
            let read: Value = serde_json::from_str(line).unwrap();
            assert_eq!(read.to_string().len(), line.len(), "a key comes twice: {line}");
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.path_of_log()).unwrap_or_default());
        }
    }
}

/// The names of the teams' namespaces, with commas between them.
pub fn names(teams: &[&Team]) -> String {
    teams.iter().map(|team| team.namespace.as_str()).collect::<Vec<_>>().join(",")
}

/// The rules without some verbs on a resource.
pub fn without(mut rules: Vec<PolicyRule>, resource: &str, verbs: &[&str]) -> Vec<PolicyRule> {
    for rule in &mut rules {
        if rule.resources.iter().flatten().any(|it| it == resource) {
            rule.verbs.retain(|verb| !verbs.contains(&verb.as_str()));
        }
    }
    rules.retain(|rule| !rule.verbs.is_empty());
    rules
}
