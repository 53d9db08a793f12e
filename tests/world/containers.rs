//! Pods that a team makes by itself, and what becomes of them.

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ContainerStateTerminated, ContainerStatus, Event, Pod},
};
use kube::{
    Api,
    api::{ListParams, LogParams, PostParams},
    runtime::wait::await_condition,
};
use modelcache::fetch::Report;
use serde_json::Value;

use crate::cluster::{Cluster, Team, eventually, within};

impl Team {
    /// Applies an object in the namespace of the team.
    pub async fn apply(&self, mut object: Value) {
        object["metadata"]["namespace"] = self.namespace.clone().into();
        let cluster = Cluster { client: self.client.clone() };
        cluster.apply_object(&serde_json::from_value(object).unwrap()).await.unwrap();
    }

    /// Waits until a pod is so.
    pub async fn pod(&self, name: &str, what: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
        let is_so = |pod: Option<&Pod>| pod.is_some_and(&wanted);
        let pods: Api<Pod> = self.api();
        within(what, await_condition(pods, name, is_so)).await.unwrap().unwrap()
    }

    /// Waits until a pod has done its work, and gives it with what its main container printed.
    pub async fn succeeded(&self, name: &str) -> (Pod, String) {
        let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
        let pod = self
            .pod(name, "the pod to end", |pod| matches!(phase(pod).as_deref(), Some("Succeeded" | "Failed")))
            .await;
        let log = self.api::<Pod>().logs(name, &LogParams::default()).await.unwrap();
        assert_eq!(phase(&pod).as_deref(), Some("Succeeded"), "{log}");
        (pod, log)
    }

    /// Makes an object of this kind in the namespace.
    pub async fn make<K>(&self, object: Value) -> K
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + serde::de::DeserializeOwned
            + serde::Serialize
            + Clone
            + std::fmt::Debug,
    {
        let object = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// The pods with the label.
    pub async fn asking(&self) -> Vec<Pod> {
        let asking = ListParams::default().labels("modelcache.internal/mount");
        self.api::<Pod>().list(&asking).await.unwrap().items
    }

    /// Waits for an event on a pod, and gives its message.
    pub async fn told(&self, pod: &str, word: &str) -> String {
        let of_it = ListParams::default().fields(&format!("involvedObject.name={pod},reason={word}"));
        eventually(&format!("an event {word} on {pod}"), || async {
            self.api::<Event>().list(&of_it).await.unwrap().items.pop()?.message
        })
        .await
    }
}

/// How the only init container of a pod stands.
pub fn init(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.init_container_statuses.as_ref()?.first()
}

/// How the init container has ended, the last time that it did.
pub fn ended(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let status = init(pod)?;
    let last = || status.last_state.as_ref()?.terminated.as_ref();
    status.state.as_ref().and_then(|state| state.terminated.as_ref()).or_else(last)
}

/// The report in the termination message of the init container.
pub fn report(pod: &Pod) -> Report {
    let message = ended(pod).and_then(|end| end.message.as_deref()).unwrap_or_default();
    Report::parse(message).unwrap_or_else(|| panic!("no report: {message:?}"))
}
