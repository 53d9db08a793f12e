//! A server with the definition, and objects for it.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Namespace, Pod},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Error,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::ObjectMeta,
};
use modelcache::api::{self, ModelCache};
use serde_json::{Value, json};
use tokio::{
    sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::sleep,
};

use crate::policies;

/// Once for all tests, which run side by side: the later ones could not tell that they have to wait.
static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// Held by each test: by many at a time, or by one that changes what all of them stand on.
static GROUND: RwLock<()> = RwLock::const_new(());

/// What a busy machine may need for one step.
const PATIENCE: Duration = Duration::from_secs(120);

/// What keeps the ground as a test needs it.
enum Ground {
    Shared(#[expect(dead_code, reason = "held, never read")] RwLockReadGuard<'static, ()>),
    Alone(#[expect(dead_code, reason = "held, never read")] RwLockWriteGuard<'static, ()>),
}

/// A namespace of its own on a server that has the definition.
pub struct Server {
    pub client: Client,
    namespace: String,
    _ground: Ground,
}

impl Server {
    pub async fn new() -> Self {
        Self::on(Ground::Shared(GROUND.read().await)).await
    }

    /// The same while no other test runs, for one that changes what all stand on.
    pub async fn alone() -> Self {
        Self::on(Ground::Alone(GROUND.write().await)).await
    }

    async fn on(ground: Ground) -> Self {
        assert!(
            std::env::var_os("KUBECONFIG").is_some(),
            "KUBECONFIG must name the file of a test cluster: this test is not for the cluster that one works with"
        );
        let client = Client::try_default().await.unwrap();
        INSTALLED.get_or_init(|| install(&client)).await;
        let namespace = Namespace {
            metadata: ObjectMeta { generate_name: Some("api-server-".to_owned()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let made = Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        Self { client, namespace: made.metadata.name.unwrap(), _ground: ground }
    }

    /// Its name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The pods in it.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Puts back what a test has broken.
    pub async fn install_again(&self) {
        install(&self.client).await;
    }

    /// Asks again until there is an answer.
    pub async fn eventually<T>(&self, what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
        let answer = self.settled(ask, Option::is_some).await;
        answer.unwrap_or_else(|| panic!("waited in vain for {what}"))
    }

    /// Asks again until the answer is as it shall be; what it still is in the end.
    pub async fn settled<T>(&self, mut ask: impl AsyncFnMut() -> T, is_so: impl Fn(&T) -> bool) -> T {
        let begun = Instant::now();
        loop {
            let answer = ask().await;
            if is_so(&answer) || begun.elapsed() >= PATIENCE {
                return answer;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The objects as plain JSON: the typed ones could not be wrong.
    pub fn plain(&self) -> Api<DynamicObject> {
        Api::namespaced_with(
            self.client.clone(),
            &self.namespace,
            &kube::core::ApiResource::erase::<ModelCache>(&()),
        )
    }

    pub fn typed(&self) -> Api<ModelCache> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn create(&self, name: &str, spec: &Value) -> Result<DynamicObject, Error> {
        self.plain().create(&PostParams::default(), &object(name, spec)).await
    }

    /// Replaces the spec as it is stored.
    pub async fn update(&self, name: &str, spec: &Value) -> Result<DynamicObject, Error> {
        let mut stored = self.plain().get(name).await.unwrap();
        stored.data["spec"] = spec.clone();
        self.plain().replace(name, &PostParams::default(), &stored).await
    }

    pub async fn apply_status(&self, manager: &str, name: &str, status: &Value) -> ModelCache {
        let patch = json!({
            "apiVersion": "modelcache.internal/v1alpha1",
            "kind": "ModelCache",
            "metadata": { "name": name },
            "status": status,
        });
        let params = PatchParams::apply(manager).force();
        self.typed().patch_status(name, &params, &Patch::Apply(&patch)).await.unwrap()
    }

    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = Command::new("kubectl").args(["-n", &self.namespace]).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        text(output.stdout) + &text(output.stderr)
    }
}

/// These tests write the status themselves: an operator of an earlier run on this cluster would write beside them.
async fn without_operator(client: &Client) {
    let operators: Api<Deployment> = Api::namespaced(client.clone(), "modelcache-system");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "modelcache-system");
    if operators.delete("modelcache", &DeleteParams::foreground()).await.is_ok() {
        while !pods.list(&ListParams::default()).await.unwrap().items.is_empty() {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Installs the definition and waits until the server goes by it.
async fn install(client: &Client) {
    without_operator(client).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let wanted = api::crd();
    let name = wanted.metadata.name.clone().unwrap();
    let before = definitions.get_opt(&name).await.unwrap().and_then(|it| it.metadata.generation);
    let params = PatchParams::apply("modelcache-tests").force();
    let now = definitions.patch(&name, &params, &Patch::Apply(&wanted)).await.unwrap();
    if before.is_some() && before != now.metadata.generation {
        // Nothing tells when a changed schema has reached the handlers; that a new one has, an answered list does.
        definitions.delete(&name, &DeleteParams::default()).await.unwrap();
        while definitions.get_opt(&name).await.unwrap().is_some() {
            sleep(Duration::from_millis(100)).await;
        }
        definitions.patch(&name, &params, &Patch::Apply(&wanted)).await.unwrap();
    }
    let served = || async { Api::<ModelCache>::all(client.clone()).list(&ListParams::default()).await };
    while served().await.is_err() {
        sleep(Duration::from_millis(100)).await;
    }
    policies::install(client).await;
}

pub fn object(name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "modelcache.internal/v1alpha1",
        "kind": "ModelCache",
        "metadata": { "name": name },
        "spec": spec,
    }))
    .unwrap()
}

/// A good spec with something more: a JSON merge patch over it.
pub fn spec(more: &Value) -> Value {
    let mut spec = json!({ "source": { "repo": "org/name" } });
    merge(&mut spec, more);
    spec
}

/// A JSON merge patch.
pub fn merge(target: &mut Value, more: &Value) {
    match (target, more) {
        (Value::Object(target), Value::Object(more)) => {
            for (key, value) in more {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, more) => *target = more.clone(),
    }
}

/// What the server says to a refused request.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Err(Error::Api(status)) if status.code == 422 => status.message.clone(),
        other => panic!("not refused as invalid: {other:?}"),
    }
}
