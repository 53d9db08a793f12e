//! Reconciles one waiting pod.
//!
//! Why a pod waits is read from the store of ModelCaches, which may lag: that only delays an event. What changes the pod is decided on
//! a consistent read of the ModelCache, one for each write. By the store alone a pod could be released after its spec has moved to
//! another revision that it asks for (`wait-for: Ready`), or after its data were found damaged, and a pod that has its volume from a
//! recreated ModelCache could be deleted: a watch may be a minute behind where its connection has died silently, and nothing orders it
//! with the watch that delivered the pod.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    runtime::{
        controller::Action,
        events::{Event, EventType},
        reflector::ObjectRef,
    },
};
use serde_json::json;
use tracing::{info, warn};

use super::{
    decide::{self, PodEvent, RECREATED},
    dedup::EventDedup,
    pod::ModelPod,
};
use crate::{
    api::{ModelCache, mount},
    controller::{
        error::PodError, events, failures::Failures, recorder::Recorder, stores::Indexed, watcher::Guarded,
    },
    telemetry::{Contacts, Metrics},
};

const MANAGER: &str = "modelcache-gate";
/// A safety net below the watches.
const WAITING: Duration = Duration::from_secs(300);

/// What every reconcile of a pod needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The ModelCaches of the area.
    pub caches: Indexed<ModelCache>,
    /// Writes events.
    pub recorder: Arc<Recorder>,
    /// Events that were written already.
    pub events: EventDedup,
    /// Failed reconciles in a row.
    pub failures: Failures<Guarded<ModelPod>>,
    /// Whether the watches are open.
    pub contacts: Contacts,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// Before any event is written.
    pub fn new(
        client: Client,
        caches: Indexed<ModelCache>,
        recorder: Arc<Recorder>,
        contacts: Contacts,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (events, failures) = (EventDedup::default(), Failures::default());
        Self { client, caches, recorder, events, failures, contacts, metrics }
    }
}

/// Reconciles one pod: removes the gates of models that are available, and reports why it waits for the others.
#[tracing::instrument(skip_all, fields(namespace = pod.namespace(), pod = pod.name_any()))]
pub async fn reconcile(pod: Arc<Guarded<ModelPod>>, context: Arc<Context>) -> Result<Action, PodError> {
    // A list that has not come is not empty.
    if !context.caches.ready().await {
        return Ok(Action::await_change());
    }
    let action = match pod.get() {
        Ok(parsed) => reconcile_gates(parsed, &context).await?,
        Err(error) => {
            warn!(%error, "cannot use a pod; it keeps waiting");
            Action::await_change()
        }
    };
    context.failures.forget(&ObjectRef::from_obj(&*pod));
    Ok(action)
}

async fn reconcile_gates(pod: &ModelPod, context: &Context) -> Result<Action, PodError> {
    if pod.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = pod.namespace().unwrap_or_default();
    let mut released = Vec::new();
    let mut recreate: Option<Duration> = None;
    for name in pod.waits_for() {
        let known = context.caches.get(&namespace, name);
        let mut action = action(pod, name, known.as_deref());
        if action.changes_the_pod() {
            action = self::action(pod, name, read(context, &namespace, name).await?.as_ref());
        }
        match action {
            decide::Action::Release => released.push(name),
            decide::Action::Recreate(after) => {
                recreate = Some(recreate.map_or(after, |other| other.min(after)));
            }
            decide::Action::Wait(event) => report(context, pod, name, event).await,
        }
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    if recreate == Some(Duration::ZERO) {
        delete(context, &pods, pod).await?;
    } else if !released.is_empty() {
        release(&pods, pod, &released).await?;
    }
    Ok(Action::requeue(recreate.unwrap_or(WAITING).max(Duration::from_millis(100))))
}

fn action(pod: &ModelPod, name: &str, cache: Option<&Guarded<ModelCache>>) -> decide::Action {
    match cache.map(Guarded::get).transpose() {
        Ok(cache) => decide::decide(pod, name, cache.map(|cache| &**cache), Timestamp::now()),
        Err(invalid) => decide::Action::Wait(decide::unreadable(name, invalid)),
    }
}

/// The ModelCache as it is now.
async fn read(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<Guarded<ModelCache>>, PodError> {
    let caches: Api<Guarded<ModelCache>> = Api::namespaced(context.client.clone(), namespace);
    caches.get_opt(name).await.map_err(PodError::Read)
}

/// By name and not by place: others may take their gates off meanwhile. The UID keeps us from a pod of the same name.
async fn release(pods: &Api<Pod>, pod: &ModelPod, names: &[&str]) -> Result<(), PodError> {
    let gone: Vec<_> =
        names.iter().map(|name| json!({ "$patch": "delete", "name": mount::gate(name) })).collect();
    let patch = json!({ "metadata": { "uid": pod.uid() }, "spec": { "schedulingGates": gone } });
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match pods.patch(&pod.name_any(), &params, &Patch::Strategic(patch)).await {
        Ok(_) => {
            info!(models = names.join(","), "a pod may be scheduled");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(source) => Err(PodError::Release(source)),
    }
}

async fn delete(context: &Context, pods: &Api<Pod>, pod: &ModelPod) -> Result<(), PodError> {
    let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match pods.delete(&pod.name_any(), &params).await {
        Ok(_) => {
            info!("deleted a waiting pod without its volume; its owner makes another one");
            let message = "It was made before its ModelCache was known. Deleted, so that its owner makes it with the model.";
            let (reason, message) = (RECREATED.to_owned(), message.to_owned());
            let event = PodEvent { type_: EventType::Normal, reason, message };
            publish(context, &pod.object_ref(&()), event).await;
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(source) => Err(PodError::Recreate(source)),
    }
}

async fn report(context: &Context, pod: &ModelPod, cache: &str, event: PodEvent) {
    if context.events.should_emit(pod, cache, &event) {
        publish(context, &pod.object_ref(&()), event).await;
    }
}

/// Without the right to write events a pod waits without an explanation, and is released all the same.
pub async fn publish(context: &Context, pod: &ObjectReference, event: PodEvent) {
    let event = Event {
        type_: event.type_,
        reason: event.reason,
        note: Some(events::bounded(&event.message)),
        action: "WaitForModel".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, pod).await {
        warn!(%error, reason = event.reason, "cannot write an event");
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Mutex};

    use axum::http::{Request, Response};
    use kube::{client::Body, runtime::watcher};
    use pretty_assertions::assert_eq;
    use serde_json::Value;

    use super::*;
    use crate::{
        controller::{fixtures, stores::Stores},
        sync::locked,
    };

    type Edit<'a> = &'a dyn Fn(&mut ModelCache);

    /// The requests of one reconcile of a pod that has its volume, where the store has one state of the ModelCache and the API
    /// server another. Events are not counted.
    async fn requests(known: Edit<'_>, now: Option<Edit<'_>>, pod: &Value) -> Vec<String> {
        let state = |edit: Edit<'_>| {
            let mut cache = (*fixtures::downloaded().0.cache).clone();
            edit(&mut cache);
            cache
        };
        let (stores, mut keepers) = Stores::empty();
        for event in
            [watcher::Event::Init, watcher::Event::InitApply(state(known).into()), watcher::Event::InitDone]
        {
            keepers.caches.apply(event);
        }
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answer = now.map(|edit| json!(state(edit)).to_string());
        let server = tower::service_fn({
            let asked = asked.clone();
            move |request: Request<Body>| {
                let kind = request.uri().path().rsplit('/').nth(1).unwrap().to_owned();
                if request.method() != "POST" {
                    locked(&asked).push(format!("{} {kind}", request.method()));
                }
                let (code, body) = match &answer {
                    Some(cache) if kind == "modelcaches" => (200, cache.clone()),
                    None if kind == "modelcaches" => {
                        (404, json!({ "code": 404, "reason": "NotFound", "message": "" }).to_string())
                    }
                    _ => (200, json!({ "metadata": { "name": "server" } }).to_string()),
                };
                let response = Response::builder().status(code).body(Body::from(body.into_bytes()));
                async move { Ok::<_, Infallible>(response.unwrap()) }
            }
        });
        let context = crate::controller::reconcile::Context::of(Client::new(server, "default"), stores);
        let crate::controller::reconcile::Context { client, stores, recorder, contacts, metrics, .. } =
            context;
        let context = Arc::new(Context::new(client, stores.caches, recorder, contacts, metrics));
        let pod: ModelPod = serde_json::from_value(pod.clone()).unwrap();
        reconcile(Arc::new(pod.into()), context).await.unwrap();
        locked(&asked).clone()
    }

    fn pod() -> Value {
        let cache = fixtures::downloaded().0.cache;
        let (name, place) = (cache.name_any(), cache.place());
        json!({
            "metadata": {
                "name": "server", "namespace": cache.namespace(), "uid": "1",
                "annotations": { mount::mounted(&name): place },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "2", "controller": true }],
            },
            "spec": {
                "schedulingGates": [{ "name": mount::gate(&name) }],
                "volumes": [{ "name": mount::VOLUME, "persistentVolumeClaim": { "claimName": cache.claim_name() } }],
            },
        })
    }

    fn same(_: &mut ModelCache) {}

    fn lost(cache: &mut ModelCache) {
        cache.status = None;
    }

    fn another_revision(cache: &mut ModelCache) {
        cache.metadata.generation = Some(2);
        "v2".clone_into(&mut cache.spec.source.revision);
    }

    fn elsewhere(cache: &mut ModelCache) {
        cache.spec.storage.existing_claim = Some("elsewhere".to_owned());
    }

    #[tokio::test]
    async fn a_pod_is_released_by_a_consistent_read_and_waits_without_a_request() {
        assert_eq!(requests(&same, Some(&same), &pod()).await, ["GET modelcaches", "PATCH pods"]);
        assert_eq!(requests(&lost, Some(&same), &pod()).await, [] as [&str; 0]);
    }

    #[tokio::test]
    async fn an_old_view_of_the_modelcache_neither_releases_a_pod_nor_deletes_one() {
        let only_read = ["GET modelcaches"];
        assert_eq!(requests(&same, Some(&lost), &pod()).await, only_read, "damaged since");
        assert_eq!(requests(&same, None, &pod()).await, only_read, "deleted since");
        let mut newest = pod();
        newest["metadata"]["annotations"][mount::ANNOTATION_WAIT_FOR] = json!("Ready");
        assert_eq!(
            requests(&same, Some(&another_revision), &newest).await,
            only_read,
            "another revision since"
        );
        // The pod has the volume of the ModelCache as it is now: by the store it would be replaced.
        assert_eq!(requests(&elsewhere, Some(&lost), &pod()).await, only_read, "recreated since");
    }
}
