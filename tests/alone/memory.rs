//! The memory of an operator that tenants load with the largest that they may make: one kind of load each, and all at one time.

use std::{collections::BTreeSet, io::Write as _, net::TcpStream};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::{Api, Resource, ResourceExt as _, api::PostParams};
use modelcache::{api::ModelCache, reason::ConditionType};
use rustix::process::{Resource as Limit, Rlimit, getrlimit, setrlimit};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Team, eventually, reason},
    endless::{self, FILES},
    largest,
    measured::measured,
    operator::{Account, Operator, documented_rules, names},
};

const MIB: u64 = 1 << 20;
/// For each load but one, with the 40 MiB of pages that an unoptimized binary maps.
const BAR: u64 = 128 * MIB;
/// Each of the largest ModelCaches takes 220 KiB in the store, and the reconciles and watches of all of them leave the heaps of
/// glibc's threads fragmented: 194 MiB were measured, of which 65 are the store.
const BAR_OF_MODELCACHES: u64 = 244 * MIB;
/// For all of them: three quarters of the limit of the chart, the rest is for another machine and another day.
const BAR_OF_ALL: u64 = (512 * MIB) / 4 * 3;
/// Repos with long listings.
const LISTINGS: usize = 8;

async fn create<K>(team: &Team, count: usize, object: impl Fn(usize) -> Value)
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Serialize
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = team.api();
    stream::iter(0..count)
        .for_each_concurrent(8, |number| {
            let object: K = serde_json::from_value(object(number)).unwrap();
            let api = api.clone();
            async move {
                api.create(&PostParams::default(), &object).await.unwrap();
            }
        })
        .await;
}

/// As large as the schema allows.
fn largest(number: usize) -> Value {
    let mut spec = largest::spec();
    spec["source"]["repo"] = "acme/large".into();
    json!({
        "apiVersion": "modelcache.internal/v1alpha1", "kind": "ModelCache",
        "metadata": { "name": format!("large-{number}"), "annotations": { "example.com/large": "x".repeat(200_000) } },
        "spec": spec,
    })
}

/// What tenants make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// ModelCaches as large as the schema allows.
    ModelCaches,
    /// Repos of almost as many files as one may have, with long paths.
    Listings,
    /// Pods of a megabyte that look like those of our Jobs and wait for a model.
    OwnPods,
    /// New ModelCaches on claims that attach to one node, in a namespace with many pods.
    Neighbours,
    /// Secrets with large annotations.
    Secrets,
    /// Claims with large annotations.
    Claims,
}

impl Load {
    /// Pods come first: the admission policies are evaluated for each ModelCache of the namespace.
    const ALL: [Self; 6] =
        [Self::OwnPods, Self::Neighbours, Self::Secrets, Self::Claims, Self::ModelCaches, Self::Listings];

    const fn what(self) -> &'static str {
        match self {
            Self::ModelCaches => "300 ModelCaches as large as the schema allows",
            Self::Listings => "8 repos of 199,000 long paths asked at once",
            Self::OwnPods => "300 own pods of 1 MB with the mount label",
            Self::Neighbours => "400 pods of 200 KB beside 16 new ReadWriteOnce caches",
            Self::Secrets => "500 Secrets with 250 KB of annotations",
            Self::Claims => "500 claims with 250 KB of annotations",
        }
    }

    async fn make(self, team: &Team) {
        let annotated = |name: String| json!({ "metadata": { "name": name, "annotations": { "example.com/large": "x".repeat(250_000) } } });
        match self {
            Self::ModelCaches => create::<ModelCache>(team, 300, largest).await,
            Self::Listings => {
                // Without a claim no Job follows.
                create::<ModelCache>(team, LISTINGS, |number| new_cache(&listing(number), "none")).await;
            }
            Self::OwnPods => create::<Pod>(team, 300, own_pod).await,
            Self::Neighbours => {
                create::<Pod>(team, 400, |number| pod(&format!("neighbour-{number}"), &json!({}), 200_000))
                    .await;
                create::<PersistentVolumeClaim>(team, 16, |number| claim(&format!("new-{number}"))).await;
                create::<ModelCache>(team, 16, |number| {
                    new_cache(&format!("new-{number}"), &format!("new-{number}"))
                })
                .await;
            }
            Self::Secrets => {
                create::<Secret>(team, 500, |number| annotated(format!("secret-{number}"))).await;
            }
            Self::Claims => {
                create::<PersistentVolumeClaim>(team, 500, |number| {
                    let mut object = claim("");
                    object["metadata"] = annotated(format!("claim-{number}"))["metadata"].clone();
                    object
                })
                .await;
            }
        }
    }

    /// Waits until the operator has dealt with it. A ModelCache that came last is reconciled after all kinds are listed.
    async fn settled(self, team: &Team) {
        match self {
            Self::ModelCaches => {
                for number in 0..300 {
                    team.reason(&format!("large-{number}"), "SecretNotFound").await;
                }
            }
            Self::Listings => {
                // A few at a time, in no order: on a busy machine each takes a minute.
                let mut open: BTreeSet<_> = (0..LISTINGS).map(listing).collect();
                while !open.is_empty() {
                    let next = eventually("another listing to be reported", || async {
                        for name in &open {
                            let cache = team.get(name).await;
                            if reason(&cache, ConditionType::Resolved) == "Resolved" {
                                return Some(cache);
                            }
                        }
                        None
                    })
                    .await;
                    open.remove(&next.name_any());
                    assert_eq!(next.status.unwrap().resolved.unwrap().files, i64::try_from(FILES).unwrap());
                }
            }
            Self::Neighbours => {
                for number in 0..16 {
                    let made = |cache: &ModelCache| reason(cache, ConditionType::Downloaded) != "NotChecked";
                    team.until(&format!("new-{number}"), "with a Job", made).await;
                }
            }
            Self::OwnPods | Self::Secrets | Self::Claims => {
                team.reason("last", "ClaimNotFound").await;
            }
        }
    }
}

fn listing(number: usize) -> String {
    format!("listing-{number}")
}

fn new_cache(name: &str, claim: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": {
        "source": { "repo": format!("acme/{name}") }, "storage": { "existingClaim": claim },
    } })
}

fn claim(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": { "requests": { "storage": "1Gi" } },
    } })
}

/// One with an environment of so many bytes, which no node takes.
fn pod(name: &str, metadata: &Value, bytes: usize) -> Value {
    let mut pod = json!({
        "metadata": metadata,
        "spec": {
            "nodeSelector": { "example.com/none": "none" },
            "securityContext": { "runAsNonRoot": true, "runAsUser": 1, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "server", "image": "localhost/none", "env": [{ "name": "LARGE", "value": "x".repeat(bytes) }],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    });
    pod["metadata"]["name"] = name.into();
    pod
}

/// Matched by the watch of waiting pods, and by that of the pods of our Jobs. Many short volumes and gates take more when they are
/// parsed than one long text.
fn own_pod(number: usize) -> Value {
    let metadata = json!({
        "labels": { "modelcache.internal/mount": "none", "app.kubernetes.io/managed-by": "modelcache" },
        "annotations": { "x.modelcache.internal/large": "x".repeat(200_000) },
    });
    let mut pod = pod(&format!("pod-{number}"), &metadata, 600_000);
    pod["spec"]["schedulingGates"] = (0..500)
        .map(|gate| if gate == 0 { "none".to_owned() } else { format!("gate-{gate}") })
        .map(|name| json!({ "name": format!("modelcache.internal/{name}") }))
        .collect();
    pod["spec"]["volumes"] =
        (0..2_000).map(|volume| json!({ "name": format!("v{volume}"), "emptyDir": {} })).collect();
    pod
}

/// The peak of a fresh operator under these loads, with a flood of connections to its metrics page beside them where there are several.
async fn peak_under(loads: &[Load]) -> u64 {
    let limit = getrlimit(Limit::Nofile);
    setrlimit(Limit::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let _alone = crate::ALONE.lock().await;
    let cluster = Cluster::without_operator().await;
    let team = cluster.namespace("memory").await;
    let account = Account::new(&cluster, "memory").await;
    account.may(&documented_rules(), &team).await;
    for load in loads {
        load.make(&team).await;
    }
    create::<ModelCache>(&team, 1, |_| new_cache("last", "none")).await;
    let endpoint = format!("http://{}", endless::hub());
    let operator =
        Operator::with_endpoints(&account, &["--endpoint", &endpoint, "--namespace", &names(&[&team])]).await;
    println!("at the start: {} MiB", operator.peak() / MIB);
    let mut flood = Vec::new();
    if loads.len() > 1 {
        for _ in 0..1_500 {
            let mut stream = TcpStream::connect(operator.listen()).unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
            flood.push(stream);
        }
    }
    for load in loads {
        load.settled(&team).await;
    }
    let peak = operator.peak();
    operator.stop();
    remove(&cluster, &team).await;
    peak
}

async fn holds_the_bar(load: Load) {
    let bar = if load == Load::ModelCaches { BAR_OF_MODELCACHES } else { BAR };
    let peak = peak_under(&[load]).await;
    let what = format!("peak memory with {}", load.what());
    measured(&what, &format!("{} MiB", bar / MIB), format!("{} MiB", peak / MIB));
    assert!(peak <= bar, "{} MiB", peak / MIB);
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn memory_stays_bounded_under_the_largest_modelcaches() {
    holds_the_bar(Load::ModelCaches).await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn memory_stays_bounded_under_long_listings() {
    holds_the_bar(Load::Listings).await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn memory_stays_bounded_under_large_pods_that_look_like_ours() {
    holds_the_bar(Load::OwnPods).await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn memory_stays_bounded_under_many_pods_beside_new_caches() {
    holds_the_bar(Load::Neighbours).await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn memory_stays_bounded_under_large_secrets() {
    holds_the_bar(Load::Secrets).await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn memory_stays_bounded_under_large_claims() {
    holds_the_bar(Load::Claims).await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn an_operator_stays_below_its_limit_whatever_tenants_make() {
    let peak = peak_under(&Load::ALL).await;
    let bar = format!("{} MiB", BAR_OF_ALL / MIB);
    measured("peak memory with all of these at one time", &bar, format!("{} MiB", peak / MIB));
    assert!(peak < BAR_OF_ALL, "{} MiB", peak / MIB);
}

/// For the other tests in this cluster: half a gigabyte less in its store.
async fn remove(cluster: &Cluster, team: &Team) {
    use k8s_openapi::api::core::v1::Namespace;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let mut gone = kube::api::DeleteParams::background();
    gone.grace_period_seconds = Some(0);
    namespaces.delete(&team.namespace, &gone).await.unwrap();
}
