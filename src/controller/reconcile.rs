//! One look at one resource, from observation to status.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Client, Resource, ResourceExt,
    runtime::{controller::Action, events::Recorder, reflector::Store},
};
use tracing::{debug, warn};

use super::{ReconcileError, apply, decide, events, observe, preflight::Preflights, status};
use crate::{api::ModelCache, telemetry::Metrics};

/// What every look needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// All known ModelCaches.
    pub caches: Store<ModelCache>,
    /// The Hub's answers.
    pub preflights: Preflights,
    /// Writes events, and aggregates repeated ones.
    pub recorder: Recorder,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The controller's own image, for the Jobs.
    pub image: String,
}

/// Looks at one resource. Running it again on an unchanged state writes nothing.
#[tracing::instrument(skip_all, fields(namespace = cache.namespace(), name = cache.name_any()))]
pub async fn reconcile(cache: Arc<ModelCache>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let timer = context.metrics.reconcile_started();
    let result = Box::pin(look(cache, &context)).await;
    timer.ended(result.is_ok());
    result
}

async fn look(cache: Arc<ModelCache>, context: &Context) -> Result<Action, ReconcileError> {
    if cache.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    if cache.spec.suspend {
        debug!("suspended");
        return Ok(Action::await_change());
    }
    let client = &context.client;
    let namespace = cache.namespace().unwrap_or_default();
    let seen = observe::observe(client, &context.caches, cache.clone()).await?;
    let (checked, next_question) = context.preflights.check(&seen, Timestamp::now()).await;
    let mut plan = decide::decide(&seen, &checked, &context.image, Timestamp::now());
    if let Some(refused) = apply::carry_out(client, &namespace, &plan).await? {
        plan.downloaded = refused;
    }
    let status = status::assemble(&cache, &checked, &plan, Timestamp::now());
    let changed = apply::write_status(client, &cache, &status).await?;
    apply::write_progress(client, &cache, seen.progress.as_ref().filter(|_| !plan.downloaded.holds()))
        .await?;
    if changed {
        let old = cache.status.as_ref().map_or(&[][..], |status| &status.conditions);
        for event in events::transitions(old, &status.conditions) {
            if let Err(error) = context.recorder.publish(&event, &cache.object_ref(&())).await {
                warn!(%error, reason = event.reason, "cannot write an event");
            }
        }
    }
    let pause = plan.look_again.map_or(next_question, |pause| pause.min(next_question));
    debug!(?pause, changed, "looked");
    Ok(Action::requeue(pause.max(Duration::from_millis(100))))
}
