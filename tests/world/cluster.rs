//! A real cluster with the operator in it, as the tests of one process share it.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use axum::http::Request;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        batch::v1::Job,
        core::v1::{Namespace, PersistentVolumeClaim, Pod, Secret},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    discovery,
    runtime::{conditions, wait::await_condition},
};
use modelcache::{
    api::{ModelCache, condition},
    reason::ConditionType,
};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What a busy machine may need for one step of a story.
const PATIENCE: Duration = Duration::from_secs(180);

static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// All stories share one operator: who replaces it waits for those that look at what one process does in its own time.
static OPERATOR: RwLock<()> = RwLock::const_new(());
/// To replace the operator.
pub type Leave = RwLockWriteGuard<'static, ()>;

/// Waits until nobody minds that the operator is replaced.
pub async fn leave_to_replace_the_operator() -> Leave {
    OPERATOR.write().await
}

/// The operator stays the same process while this is held.
pub async fn one_operator() -> RwLockReadGuard<'static, ()> {
    OPERATOR.read().await
}

/// A cluster with the operator installed as it ships, but for the address of its Hub.
pub struct Cluster {
    /// The API server, as an administrator.
    pub client: Client,
}

impl Cluster {
    /// Connects to the cluster of `KUBECONFIG`; the first call installs the operator with these endpoints, commas between them.
    pub async fn with_operator(endpoints: &str) -> Self {
        let client = Client::try_default().await.expect("KUBECONFIG names a cluster");
        let cluster = Self { client };
        INSTALLED.get_or_init(|| cluster.install(endpoints)).await;
        cluster
    }

    /// Installs the definition.
    pub async fn define(&self) {
        self.apply(include_str!("../../crds/modelcaches.modelcache.internal.yaml")).await;
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        within("the CRD to be established", async {
            await_condition(crds, "modelcaches.modelcache.internal", conditions::is_crd_established())
                .await
                .unwrap();
        })
        .await;
    }

    async fn install(&self, endpoints: &str) {
        self.define().await;
        // A list of YAML with one entry, as it ships.
        let endpoints = endpoints.replace(',', "\n    - url: ");
        let operator =
            include_str!("../../deploy/operator.yaml").replace("https://huggingface.co", &endpoints);
        self.apply(&operator).await;
        self.apply(include_str!("../../deploy/pods.yaml")).await;
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), "modelcache-system");
        within("the operator to be available", async {
            await_condition(deployments, "modelcache", |deployment: Option<&Deployment>| {
                let status = deployment.and_then(|it| it.status.as_ref());
                status.and_then(|it| it.ready_replicas) == Some(1)
            })
            .await
            .unwrap();
        })
        .await;
    }

    /// Applies each document of a YAML text, as `kubectl apply --server-side` does.
    pub async fn apply(&self, yaml: &str) {
        for document in yaml.split("\n---\n") {
            let object: DynamicObject = serde_saphyr::from_str(document).expect("the YAML is an object");
            self.apply_object(&object).await.expect("the API server takes the object");
        }
    }

    /// Applies one object, and gives the API server's refusal if there is one.
    pub async fn apply_object(&self, object: &DynamicObject) -> kube::Result<DynamicObject> {
        let types = object.types.clone().expect("the object has a kind");
        let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
        let kind = GroupVersionKind::gvk(group, version, &types.kind);
        let (resource, capabilities) = discovery::pinned_kind(&self.client, &kind).await?;
        let api: Api<DynamicObject> = match (capabilities.scope, object.namespace()) {
            (discovery::Scope::Namespaced, Some(namespace)) => {
                Api::namespaced_with(self.client.clone(), &namespace, &resource)
            }
            _ => Api::all_with(self.client.clone(), &resource),
        };
        api.patch(&object.name_any(), &PatchParams::apply("test").force(), &Patch::Apply(object)).await
    }

    /// A namespace of its own for one test, under the restricted pod security profile.
    pub async fn namespace(&self, name: &str) -> Team {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let labels =
            BTreeMap::from([("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned())]);
        let metadata = ObjectMeta {
            generate_name: Some(format!("{name}-")),
            labels: Some(labels),
            ..ObjectMeta::default()
        };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let made = namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        Team { client: self.client.clone(), namespace: made.name_any() }
    }

    /// The operator's log so far.
    pub async fn operator_log(&self) -> String {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "modelcache-system");
        let mut log = String::new();
        for pod in pods.list(&ListParams::default()).await.unwrap() {
            log += &pods.logs(&pod.name_any(), &LogParams::default()).await.unwrap_or_default();
        }
        log
    }

    /// The operator's metrics, as its pod serves them.
    pub async fn metrics(&self) -> String {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "modelcache-system");
        // Another test may replace it just now.
        eventually("an operator to serve its metrics", || async {
            let all = pods.list(&ListParams::default()).await.unwrap();
            let stays = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none() && is_ready(pod);
            let pod = all.iter().find(stays)?.name_any();
            let path = format!("/api/v1/namespaces/modelcache-system/pods/{pod}:8080/proxy/metrics");
            self.client.request_text(Request::get(path).body(Vec::new()).unwrap()).await.ok()
        })
        .await
    }

    /// Deletes the operator's pod, as a drained node would, and waits for the next one.
    pub async fn restart_operator(&self, _leave: &Leave) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "modelcache-system");
        let old: Vec<String> =
            pods.list(&ListParams::default()).await.unwrap().iter().map(ResourceExt::name_any).collect();
        for name in &old {
            pods.delete(name, &DeleteParams::default()).await.unwrap();
        }
        eventually("another operator to be ready", || async {
            let pods = pods.list(&ListParams::default()).await.unwrap();
            pods.iter().any(|pod| !old.contains(&pod.name_any()) && is_ready(pod)).then_some(())
        })
        .await;
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

/// A team with its namespace, its Secrets, ModelCaches and pods.
pub struct Team {
    /// The API server, as an administrator.
    pub client: Client,
    /// Its namespace.
    pub namespace: String,
}

impl Team {
    /// Objects of one kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates or replaces a Secret with a token under the key `token`.
    pub async fn secret(&self, name: &str, token: &str) {
        let secret: Secret = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": name },
            "stringData": { "token": token },
        }))
        .unwrap();
        let params = PatchParams::apply("test").force();
        self.api::<Secret>().patch(name, &params, &Patch::Apply(&secret)).await.unwrap();
    }

    /// Creates a ModelCache.
    pub async fn cache(&self, name: &str, spec: Value) -> ModelCache {
        self.try_cache(name, spec).await.expect("the API server takes the ModelCache")
    }

    /// Creates a ModelCache, or gives the API server's refusal.
    pub async fn try_cache(&self, name: &str, spec: Value) -> kube::Result<ModelCache> {
        let object = json!({
            "apiVersion": "modelcache.internal/v1alpha1", "kind": "ModelCache",
            "metadata": { "name": name }, "spec": spec,
        });
        let params = PatchParams::apply("test").force();
        self.api::<ModelCache>().patch(name, &params, &Patch::Apply(object)).await
    }

    /// The ModelCache as it is now.
    pub async fn get(&self, name: &str) -> ModelCache {
        self.api::<ModelCache>().get(name).await.unwrap()
    }

    /// Merges a change into a ModelCache, as `kubectl patch` does.
    pub async fn change(&self, name: &str, change: Value) {
        self.api::<ModelCache>().patch(name, &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
    }

    /// Waits until the ModelCache is Ready.
    pub async fn ready(&self, name: &str) -> ModelCache {
        self.until(name, "Ready", |cache| holds(cache, ConditionType::Ready)).await
    }

    /// Waits until the Ready condition of the ModelCache has this reason.
    pub async fn reason(&self, name: &str, reason: &str) -> ModelCache {
        self.until(name, reason, |cache| self::reason(cache, ConditionType::Ready) == reason).await
    }

    /// Waits until the ModelCache is so, and checks every status on the way by the rules for conditions.
    pub async fn until(&self, name: &str, what: &str, wanted: impl Fn(&ModelCache) -> bool) -> ModelCache {
        let api = self.api::<ModelCache>();
        let is_so = |cache: Option<&ModelCache>| {
            cache.is_some_and(|cache| {
                check(cache);
                wanted(cache)
            })
        };
        match tokio::time::timeout(PATIENCE, await_condition(api, name, is_so)).await {
            Ok(found) => found.unwrap().expect("the ModelCache is there"),
            Err(late) => panic!("{late}: {name} did not become {what}: {}", show(&self.get(name).await)),
        }
    }

    /// Runs a pod of the Python image with the claim mounted read-only, as a random user under the restricted profile,
    /// and gives what it printed.
    pub async fn python(&self, claim: &str, code: &str) -> String {
        let pod = self.start_python(claim, code).await;
        self.printed(&pod).await
    }

    /// Starts such a pod, and gives its name.
    pub async fn start_python(&self, claim: &str, code: &str) -> String {
        let user = fastrand::i64(100_000..2_000_000_000);
        let pod: Pod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "generateName": "python-" },
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": user, "runAsGroup": user,
                    "seccompProfile": { "type": "RuntimeDefault" },
                },
                "containers": [{
                    "name": "python",
                    "image": "localhost/modelcache-test/python:1",
                    "command": ["python3", "-c", code],
                    "env": [
                        { "name": "HF_HUB_CACHE", "value": "/models" },
                        { "name": "HF_HUB_OFFLINE", "value": "1" },
                    ],
                    "volumeMounts": [{ "name": "models", "mountPath": "/models", "readOnly": true }],
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true,
                        "capabilities": { "drop": ["ALL"] },
                    },
                }],
                "volumes": [{ "name": "models", "persistentVolumeClaim": { "claimName": claim, "readOnly": true } }],
            },
        }))
        .unwrap();
        self.api::<Pod>().create(&PostParams::default(), &pod).await.unwrap().name_any()
    }

    /// Waits until a pod has done its work, and gives what it printed.
    pub async fn printed(&self, pod: &str) -> String {
        self.log_of(pod, &LogParams::default()).await
    }

    /// The same of one of its containers.
    pub async fn printed_by(&self, pod: &str, container: &str) -> String {
        let of = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
        self.log_of(pod, &of).await
    }

    async fn log_of(&self, pod: &str, of: &LogParams) -> String {
        let pods = self.api::<Pod>();
        let phase = eventually("the Python pod to end", || async {
            let phase = pods.get(pod).await.unwrap().status?.phase?;
            matches!(phase.as_str(), "Succeeded" | "Failed").then_some(phase)
        })
        .await;
        let log = pods.logs(pod, of).await.unwrap();
        assert_eq!(phase, "Succeeded", "{log}");
        log
    }

    /// Everything in the namespace that a person could read, as one text: no token may be in it.
    pub async fn everything_readable(&self) -> String {
        let mut text = String::new();
        let all = ListParams::default();
        let mut add = |value: String| text += &value;
        add(format!("{:?}", self.api::<ModelCache>().list(&all).await.unwrap().items));
        add(format!("{:?}", self.api::<Job>().list(&all).await.unwrap().items));
        add(format!("{:?}", self.api::<PersistentVolumeClaim>().list(&all).await.unwrap().items));
        add(format!("{:?}", self.api::<k8s_openapi::api::core::v1::Event>().list(&all).await.unwrap().items));
        let pods = self.api::<Pod>().list(&all).await.unwrap().items;
        add(format!("{pods:?}"));
        for pod in pods {
            add(self.api::<Pod>().logs(&pod.name_any(), &LogParams::default()).await.unwrap_or_default());
        }
        text
    }
}

/// The message of a condition.
pub fn message(cache: &ModelCache, topic: ConditionType) -> String {
    condition::find(conditions_of(cache), topic).map_or_else(String::new, |it| it.message.clone())
}

/// The reason of a condition.
pub fn reason(cache: &ModelCache, topic: ConditionType) -> String {
    condition::find(conditions_of(cache), topic).map_or_else(String::new, |it| it.reason.clone())
}

/// Whether a condition is True, for the generation that the object has.
pub fn holds(cache: &ModelCache, topic: ConditionType) -> bool {
    condition::find(conditions_of(cache), topic)
        .is_some_and(|it| it.status == "True" && it.observed_generation == cache.metadata.generation)
}

fn conditions_of(cache: &ModelCache) -> &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition] {
    cache.conditions()
}

/// The rules that a status must keep at every moment, as kstatus and the API conventions have them.
fn check(cache: &ModelCache) {
    let conditions = conditions_of(cache);
    if cache.status.as_ref().and_then(|it| it.observed_generation) == Some(-1) {
        // By itself, and with the definition of an earlier version not at all.
        assert!(conditions.iter().all(|it| it.type_ == "Ready" && it.status == "Unknown"), "{}", show(cache));
        return;
    }
    let ready = condition::find(conditions, ConditionType::Ready).expect("Ready is always there");
    let abnormal =
        [ConditionType::Reconciling, ConditionType::Stalled].map(|topic| condition::find(conditions, topic));
    let told = abnormal.iter().flatten().count();
    assert_eq!(told, usize::from(ready.status != "True"), "{}", show(cache));
    assert!(
        abnormal.iter().flatten().all(|it| it.status == "True" && it.reason == ready.reason),
        "{}",
        show(cache)
    );
    for topic in [
        ConditionType::Authenticated,
        ConditionType::Authorized,
        ConditionType::Resolved,
        ConditionType::Downloaded,
    ] {
        assert!(
            condition::find(conditions, topic).is_some(),
            "{} is missing: {}",
            topic.as_str(),
            show(cache)
        );
    }
    assert!(conditions.iter().all(|it| !it.message.is_empty()), "{}", show(cache));
}

/// The object as a person would read it.
pub fn show(cache: &ModelCache) -> String {
    serde_saphyr::to_string(&cache.status).unwrap_or_else(|_| format!("{:?}", cache.status))
}

/// Waits for a future, and fails with what it was for.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Asks again until there is an answer.
pub async fn eventually<T: Debug, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    within(what, async {
        let mut again = tokio::time::interval(Duration::from_millis(100));
        loop {
            again.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    })
    .await
}
