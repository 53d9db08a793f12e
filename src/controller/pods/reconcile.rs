//! One look at one waiting pod.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    runtime::{controller::Action, events::Event, reflector::ObjectRef},
};
use serde_json::json;
use tracing::{info, warn};

use super::{
    decide::{self, MADE_AGAIN, Note, Step, Weight},
    told::Told,
};
use crate::{
    api::{ModelCache, mount},
    controller::{error::PodError, events, failures::Failures, recorder::Recorder, watcher::Guarded},
    telemetry::{Contacts, Metrics},
};

const MANAGER: &str = "modelcache-gate";
/// A safety net below the watches: a ModelCache that is deleted is no news for its pods otherwise.
const WAITING: Duration = Duration::from_secs(300);
/// Gates of one pod that are read at one time; the others follow when these are removed. Anybody can give a pod thousands.
const MOST_GATES: usize = 64;

/// What every look needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Writes events.
    pub recorder: Arc<Recorder>,
    /// What was told already.
    pub told: Told,
    /// Looks that failed in a row.
    pub failures: Failures<Guarded<Pod>>,
    /// Whether the watches are open.
    pub contacts: Contacts,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// With nothing told yet.
    pub fn new(client: Client, recorder: Arc<Recorder>, contacts: Contacts, metrics: Arc<Metrics>) -> Self {
        Self { client, recorder, told: Told::default(), failures: Failures::default(), contacts, metrics }
    }
}

/// Looks at one pod: takes off the gates of models that are there, and tells why it waits for the others.
#[tracing::instrument(skip_all, fields(namespace = pod.namespace(), pod = pod.name_any()))]
pub async fn reconcile(pod: Arc<Guarded<Pod>>, context: Arc<Context>) -> Result<Action, PodError> {
    let action = match pod.get() {
        Ok(parsed) => look(parsed, &context).await?,
        Err(error) => {
            warn!(%error, "cannot use a pod; it goes on waiting");
            Action::await_change()
        }
    };
    context.failures.forget(&ObjectRef::from_obj(&*pod));
    Ok(action)
}

async fn look(pod: &Pod, context: &Context) -> Result<Action, PodError> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = pod.namespace().unwrap_or_default();
    let caches: Api<Guarded<ModelCache>> = Api::namespaced(context.client.clone(), &namespace);
    let mut free = Vec::new();
    let mut remake: Option<Duration> = None;
    for name in decide::waits_for(pod).take(MOST_GATES) {
        let cache = caches.get_opt(name).await.map_err(PodError::Read)?;
        let cache = match cache.as_ref().map(Guarded::get).transpose() {
            Ok(cache) => cache,
            Err(invalid) => {
                tell(context, pod, name, decide::unreadable(name, invalid)).await;
                continue;
            }
        };
        match decide::decide(pod, name, cache.map(|cache| &**cache), Timestamp::now()) {
            Step::Release => free.push(name),
            Step::Remake(after) => remake = Some(remake.map_or(after, |other| other.min(after))),
            Step::Wait(note) => tell(context, pod, name, note).await,
        }
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    if remake == Some(Duration::ZERO) {
        make_again(context, &pods, pod).await?;
    } else if !free.is_empty() {
        release(&pods, pod, &free).await?;
    }
    Ok(Action::requeue(remake.unwrap_or(WAITING).max(Duration::from_millis(100))))
}

/// By name and not by place: others may take their gates off meanwhile. The UID keeps us from a pod of the same name.
async fn release(pods: &Api<Pod>, pod: &Pod, names: &[&str]) -> Result<(), PodError> {
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

async fn make_again(context: &Context, pods: &Api<Pod>, pod: &Pod) -> Result<(), PodError> {
    let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match pods.delete(&pod.name_any(), &params).await {
        Ok(_) => {
            info!("deleted a waiting pod without its volume; its owner makes another one");
            let message = "It was made before its ModelCache was known. Deleted, so that its owner makes it with the model.";
            let note =
                Note { type_: Weight::Normal, reason: MADE_AGAIN.to_owned(), message: message.to_owned() };
            publish(context, &pod.object_ref(&()), note).await;
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(source) => Err(PodError::MakeAgain(source)),
    }
}

async fn tell(context: &Context, pod: &Pod, cache: &str, note: Note) {
    if context.told.is_news(pod, cache, &note) {
        publish(context, &pod.object_ref(&()), note).await;
    }
}

/// Without the right to write events a pod waits without a word, and is let go all the same.
pub async fn publish(context: &Context, pod: &ObjectReference, note: Note) {
    let event = Event {
        type_: note.type_.into(),
        reason: note.reason,
        note: Some(events::bounded(&note.message)),
        action: "WaitForModel".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, pod).await {
        warn!(%error, reason = event.reason, "cannot write an event");
    }
}
