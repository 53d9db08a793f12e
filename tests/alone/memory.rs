//! The memory of an operator that many tenants load at one time with the largest that they may make.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::{Api, Resource, ResourceExt as _, api::PostParams};
use modelcache::{api::ModelCache, reason::Topic};
use rustix::process::{Resource as Limit, Rlimit, getrlimit, setrlimit};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Team, eventually, reason},
    largest,
    measured::measured,
    operator::{Account, Operator, documented_rules, names},
};

/// The limit of the chart, in bytes, without a quarter for what another machine or another day needs.
const MOST: u64 = (512 << 20) / 4 * 3;
/// ModelCaches of long listings, and how long these are: with a last page that is not full, as one that is cut off would be.
const LISTINGS: usize = 4;
const FILES: usize = 198_999;
const PAGE: usize = 1_000;

/// A Hub of endless repos: it makes up the page that it is asked for. Its thread ends with the test process.
fn hub() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream, address));
        }
    });
    address
}

fn answer(mut stream: TcpStream, hub: SocketAddr) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let head = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let (body, link) = if path.contains("/tree/") {
        let page: usize = path.rsplit_once("cursor=").map_or(0, |(_, page)| page.parse().unwrap_or(0));
        let next = page + 1;
        let link = (next * PAGE < FILES).then(|| {
            let path = path.split('?').next().unwrap_or_default();
            format!("Link: <http://{hub}{path}?recursive=true&cursor={next}>; rel=\"next\"\r\n")
        });
        (listing(page, commit), link.unwrap_or_default())
    } else if path.contains("/revision/") {
        (json!({ "sha": commit }).to_string(), String::new())
    } else {
        ("OK".to_owned(), String::new())
    };
    let length = body.len();
    write!(stream, "HTTP/1.1 200 OK\r\n{link}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// Paths of 600 bytes.
fn listing(page: usize, commit: &str) -> String {
    let folder = format!("{}/{}", "a".repeat(250), "b".repeat(250));
    let entry =
        |number| format!(r#"{{"type":"file","path":"{folder}/{number:090}.bin","size":2,"oid":"{commit}"}}"#);
    let entries: Vec<_> = (page * PAGE..FILES.min((page + 1) * PAGE)).map(entry).collect();
    format!("[{}]", entries.join(","))
}

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

/// As large as it may be.
fn largest(number: usize) -> Value {
    let mut spec = largest::spec();
    spec["source"]["repo"] = "acme/large".into();
    json!({
        "apiVersion": "modelcache.internal/v1alpha1", "kind": "ModelCache",
        "metadata": { "name": format!("large-{number}"), "annotations": { "example.com/large": "x".repeat(200_000) } },
        "spec": spec,
    })
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn an_operator_stays_below_its_limit_whatever_tenants_make() {
    let limit = getrlimit(Limit::Nofile);
    setrlimit(Limit::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let _alone = crate::ALONE.lock().await;
    let cluster = Cluster::without_operator().await;
    let team = cluster.namespace("memory").await;
    let account = Account::new(&cluster, "memory").await;
    account.may(&documented_rules(), &team).await;
    let large = "x".repeat(250_000);
    create::<Secret>(&team, 500, |number| {
        json!({ "metadata": { "name": format!("secret-{number}"), "annotations": { "example.com/large": large } } })
    })
    .await;
    create::<PersistentVolumeClaim>(&team, 500, |number| {
        json!({
            "metadata": { "name": format!("claim-{number}"), "annotations": { "example.com/large": large } },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                "resources": { "requests": { "storage": "1Gi" } },
            },
        })
    })
    .await;
    create::<Pod>(&team, 300, |number| {
        json!({
            "metadata": {
                "name": format!("pod-{number}"), "labels": { "modelcache.internal/mount": "none" },
                "annotations": { "example.com/large": "x".repeat(200_000) },
            },
            "spec": {
                "schedulingGates": [{ "name": "modelcache.internal/none" }],
                "securityContext": { "runAsNonRoot": true, "runAsUser": 1, "seccompProfile": { "type": "RuntimeDefault" } },
                "containers": [{
                    "name": "server", "image": "localhost/none",
                    "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                }],
            },
        })
    })
    .await;
    create::<ModelCache>(&team, 300, largest).await;
    let name = |number| format!("listing-{number}");
    create::<ModelCache>(&team, LISTINGS, |number| {
        // Without a claim no Job follows, which would take the cores from the listings that come later.
        json!({ "metadata": { "name": name(number) }, "spec": {
            "source": { "repo": format!("acme/{}", name(number)) }, "storage": { "existingClaim": "none" },
        } })
    })
    .await;

    let endpoint = format!("http://{}", hub());
    let arguments = ["--endpoint", &endpoint, "--namespace", &names(&[&team])];
    let operator = Operator::with_endpoints(&account, &arguments).await;
    println!("at the start: {} MiB", operator.peak() >> 20);
    let mut flood = Vec::new();
    for _ in 0..1_500 {
        let mut stream = TcpStream::connect(operator.listen()).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
        flood.push(stream);
    }
    println!("with the flood: {} MiB", operator.peak() >> 20);
    // A few at a time, in no order: on a busy machine each takes a minute, and patience is for the next one.
    let mut open: BTreeSet<_> = (0..LISTINGS).map(name).collect();
    while !open.is_empty() {
        let next = eventually("another listing to be told", || async {
            for name in &open {
                let cache = team.get(name).await;
                if reason(&cache, Topic::Resolved) == "Resolved" {
                    return Some(cache);
                }
            }
            None
        })
        .await;
        open.remove(&next.name_any());
        assert_eq!(next.status.unwrap().resolved.unwrap().files, i64::try_from(FILES).unwrap());
    }
    team.reason("large-0", "SecretNotFound").await;
    let peak = operator.peak();
    measured(
        "peak memory with the largest objects that many tenants can make",
        "384 MiB",
        format!("{} MiB", peak >> 20),
    );
    assert!(peak < MOST, "{} MiB", peak >> 20);
    operator.stop();
    remove(&cluster, &team).await;
}

/// For the other tests in this cluster: half a gigabyte less in its store.
async fn remove(cluster: &Cluster, team: &Team) {
    use k8s_openapi::api::core::v1::Namespace;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let mut gone = kube::api::DeleteParams::background();
    gone.grace_period_seconds = Some(0);
    namespaces.delete(&team.namespace, &gone).await.unwrap();
}
