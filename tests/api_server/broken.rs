//! What happens while a policy cannot be evaluated: the guide says it of each of them.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{
    Api, Client, Error, Resource,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use modelcache::{
    api::{ModelCache, condition},
    controller::claim,
    reason::{Answer, ConditionType},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::{
    operator::{dry, fetch},
    pods::{made, pod, untouched, whole},
    policies::{self, OPERATOR_AND_ITS_LIMITS, PODS},
    support::{Server, object, spec},
};

/// The chart with all policies that there are.
const EVERYTHING: &str = include_str!("../chart/rendered/namespaces.yaml");

/// Each policy with its `failurePolicy` and what the guide says of its failure. The test plays them in this order.
const TABLE: [[&str; 3]; 8] = [
    ["operator-jobs", "Fail", "the operator's request is refused; Jobs of others are not affected"],
    ["operator-claims", "Fail", "the operator's request is refused; claims of others are not affected"],
    [
        "operator-rights",
        "Fail",
        "the operator's request is refused, and the pod keeps waiting; requests of others are not affected",
    ],
    [
        "inject",
        "Ignore",
        "the pod with the label is created without the model, and `gate` makes it wait as one that was [made before its \
         ModelCache](pods.md#order); one that cannot wait is refused by `check`",
    ],
    ["gate", "Fail", "the pod with the label is refused"],
    ["check", "Fail", "the pod with the label is refused"],
    ["elsewhere", "Ignore", "the pod with the label is created, and starts without its model"],
    [
        "modelcaches-elsewhere",
        "Ignore",
        "the ModelCache is created; its `Ready` is Unknown, with the sentence that no operator has checked it",
    ],
];

/// The rows of the guide's table: name, `failurePolicy`, and what is so if it cannot be evaluated.
fn told() -> Vec<[String; 3]> {
    let guide = include_str!("../../docs/guides/install.md");
    let section = guide.split("\n### ").find(|section| section.starts_with("Admission policies\n")).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let name = cells[0].split('`').nth(1).unwrap();
        [name, cells[3].trim_matches('`'), cells[4]].map(ToOwned::to_owned)
    })
    .collect()
}

fn name(policy: &str) -> String {
    format!("modelcache-{policy}")
}

fn is_policy(object: &DynamicObject) -> bool {
    object.types.as_ref().unwrap().kind.ends_with("AdmissionPolicy")
}

#[test]
fn the_guide_names_each_policy_with_its_failure() {
    assert_eq!(told(), TABLE.map(|row| row.map(ToOwned::to_owned)));
    let mut policies: Vec<_> = policies::objects(EVERYTHING)
        .filter(is_policy)
        .map(|it| (it.metadata.name.unwrap(), it.data["spec"]["failurePolicy"].clone()))
        .collect();
    policies.sort_by(|one, other| one.0.cmp(&other.0));
    let mut table = TABLE.map(|[policy, failure, _]| (name(policy), json!(failure)));
    table.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(policies, table);
}

/// The policy of a text as it is written.
fn written(yaml: &str, policy: &str) -> DynamicObject {
    let wanted = name(policy);
    policies::objects(yaml)
        .find(|object| is_policy(object) && object.metadata.name.as_ref() == Some(&wanted))
        .unwrap()
}

/// The same with a condition that asks for what is nowhere.
fn broken(mut policy: DynamicObject) -> DynamicObject {
    let condition = json!({
        "name": "broken", "expression": "object.metadata.annotations['modelcache.internal/nowhere'] == ''",
    });
    match &mut policy.data["spec"]["matchConditions"] {
        Value::Array(conditions) => conditions.push(condition),
        none => *none = json!([condition]),
    }
    policy
}

/// Whether a request was refused because a policy cannot be evaluated.
fn is_unevaluated<T>(answer: Result<T, Error>) -> Option<()> {
    matches!(answer, Err(Error::Api(status)) if status.message.contains("no such key")).then_some(())
}

impl Server {
    async fn write(&self, policy: DynamicObject) {
        policies::apply(&self.client, [policy].into_iter()).await;
    }

    fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(client.clone(), self.namespace())
    }

    /// A pod without the label is made as ever.
    async fn assert_free(&self, policy: &str) {
        let mut free = pod(&json!({}));
        free["metadata"]["labels"] = json!({ "app": "server" });
        assert_eq!(made(&self.admit(&free).await.unwrap()), untouched(), "{policy}");
    }

    /// What the operator makes of one kind is refused, and what others make is taken.
    async fn breaks_the_operators<K>(&self, operator: &Client, policy: &str, object: &K)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let (mine, root) = (self.api::<K>(operator), self.api::<K>(&self.client));
        mine.create(&dry(), object).await.unwrap();
        let whole = written(OPERATOR_AND_ITS_LIMITS, policy);
        self.write(broken(whole.clone())).await;
        self.eventually(policy, async || is_unevaluated(mine.create(&dry(), object).await)).await;
        root.create(&dry(), object).await.unwrap();
        self.assert_free(policy).await;
        self.write(whole).await;
        self.eventually("the operator to be served again", async || mine.create(&dry(), object).await.ok())
            .await;
    }

    /// A waiting pod keeps its gate, whatever the operator asks for; others may change it.
    async fn breaks_the_operators_rights(&self, operator: &Client) {
        let (mine, root) = (self.api::<Pod>(operator), self.pods());
        let waits = pod(&json!({
            "metadata": { "name": "waits" }, "spec": { "schedulingGates": [{ "name": "example.com/quota" }] },
        }));
        root.create(&PostParams::default(), &serde_json::from_value(waits).unwrap()).await.unwrap();
        let off = json!({ "spec": { "schedulingGates": [{ "$patch": "delete", "name": "modelcache.internal/llama" }] } });
        let (params, off) = (PatchParams::default(), Patch::Strategic(off));
        let dry = PatchParams { dry_run: true, ..params.clone() };
        mine.patch("waits", &dry, &off).await.unwrap();
        let whole = written(PODS, "operator-rights");
        self.write(broken(whole.clone())).await;
        self.eventually("operator-rights", async || is_unevaluated(mine.patch("waits", &dry, &off).await))
            .await;
        let gates = made(&root.get("waits").await.unwrap()).gates;
        assert!(gates.contains(&"modelcache.internal/llama".to_owned()), "{gates:?}");
        let label = Patch::Merge(json!({ "metadata": { "labels": { "app": "server" } } }));
        root.patch("waits", &params, &label).await.unwrap();
        self.assert_free("operator-rights").await;
        self.write(whole).await;
        self.eventually("the gate to go", async || mine.patch("waits", &params, &off).await.ok()).await;
    }

    /// The pod waits without the model, or is refused where it cannot wait.
    async fn breaks_inject(&self) {
        self.write(broken(written(PODS, "inject"))).await;
        let asks = pod(&json!({}));
        let without = self.admit_so(&asks, |made| made.mounted.is_empty()).await;
        assert_eq!(without.gates, whole().gates);
        let bound = pod(&json!({ "spec": { "nodeName": "node" } }));
        let said = self.refused(&bound).await;
        assert!(said.contains("a pod with spec.nodeName cannot wait for it"), "{said}");
        self.assert_free("inject").await;
        self.write(written(PODS, "inject")).await;
        self.admit_so(&asks, |made| *made == whole()).await;
    }

    /// The pod is refused.
    async fn breaks_pods(&self, policy: &str) {
        self.write(broken(written(PODS, policy))).await;
        let asks = pod(&json!({}));
        self.eventually(policy, async || is_unevaluated(self.admit(&asks).await)).await;
        self.assert_free(policy).await;
        self.write(written(PODS, policy)).await;
        self.eventually("pods to be taken again", async || self.admit(&asks).await.ok()).await;
    }

    /// In a namespace that is not on the operator's list: the pod starts without its model, and nobody checks the ModelCache.
    async fn breaks_what_is_elsewhere(&self) {
        let wanted = |it: &DynamicObject| {
            it.types.as_ref().unwrap().kind.ends_with("AdmissionPolicyBinding")
                || (is_policy(it) && it.metadata.name.as_ref().unwrap().ends_with("elsewhere"))
        };
        policies::apply(&self.client, policies::objects(EVERYTHING).filter(wanted)).await;
        let (asks, new) = (pod(&json!({})), object("new", &spec(&json!({}))));
        let elsewhere = |answer: Result<(), Error>| {
            answer.err().filter(|error| error.to_string().contains("does not watch the namespace"))
        };
        self.eventually("pods to be refused", async || elsewhere(self.admit(&asks).await.map(drop))).await;
        let make = async || self.plain().create(&dry(), &new).await.map(drop);
        self.eventually("ModelCaches to be refused", async || elsewhere(make().await)).await;

        self.write(broken(written(EVERYTHING, "elsewhere"))).await;
        let taken = self.eventually("the pod to be made", async || self.admit(&asks).await.ok()).await;
        assert_eq!(made(&taken), untouched());
        assert!(elsewhere(make().await).is_some());

        self.write(broken(written(EVERYTHING, "modelcaches-elsewhere"))).await;
        self.eventually("the ModelCache to be made", async || make().await.ok()).await;
        self.plain().create(&PostParams::default(), &new).await.unwrap();
        let cache: ModelCache = self.typed().get("new").await.unwrap();
        let ready = condition::verdict(cache.conditions(), ConditionType::Ready).unwrap();
        assert_eq!(ready.status, Answer::Unknown);
        assert!(ready.message.starts_with("No operator has checked this ModelCache"), "{}", ready.message);
        self.assert_free("elsewhere").await;

        for policy in ["elsewhere", "modelcaches-elsewhere"] {
            for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
                self.kubectl(&["delete", &format!("{kind}/{}", name(policy))]);
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn what_cannot_be_evaluated_fails_as_the_guide_says() {
    let server = Server::alone().await;
    server.known("llama", &json!({})).await;
    let cache = server.typed().get("llama").await.unwrap();
    let operator = policies::operator(&server).await;
    let job: Job = serde_json::from_value(fetch(&cache)).unwrap();
    let claim: PersistentVolumeClaim = claim::build(&cache, 1 << 30);
    for [policy, ..] in TABLE {
        match policy {
            "operator-jobs" => server.breaks_the_operators(&operator, policy, &job).await,
            "operator-claims" => server.breaks_the_operators(&operator, policy, &claim).await,
            "operator-rights" => server.breaks_the_operators_rights(&operator).await,
            "inject" => server.breaks_inject().await,
            "gate" | "check" => server.breaks_pods(policy).await,
            "elsewhere" => server.breaks_what_is_elsewhere().await,
            // Played with the one for pods: both need an operator that has a list of namespaces.
            "modelcaches-elsewhere" => {}
            other => panic!("{other} has no case here"),
        }
    }
    server.install_again().await;
}
