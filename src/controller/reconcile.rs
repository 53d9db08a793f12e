//! One reconcile of one resource, from observation to status.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Client, Resource, ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef},
};
use tracing::{debug, warn};

use super::{
    ReconcileError,
    access::AccessReport,
    apply, events,
    failures::Failures,
    observation::Observation,
    observe,
    plan::Applied,
    planner,
    prober::{Prober, Report},
    recorder::Recorder,
    secrets::Secrets,
    stages::input::Input,
    standstill, status,
    stores::Stores,
    unreadable,
    watcher::Guarded,
};
use crate::{
    api::{ModelCache, Progress},
    reason::Reason,
    telemetry::{Contacts, Metrics},
};

/// While another one makes a Job for the same claim.
const TURN: Duration = Duration::from_secs(1);
/// While a resource is suspended only changes are followed, with a safety net below the watches.
const SUSPENDED: Duration = Duration::from_secs(3600);

/// What every reconcile needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the watches have delivered.
    pub stores: Stores,
    /// Whether the watches are open.
    pub contacts: Contacts,
    /// The Hub's answers.
    pub prober: Arc<Prober>,
    /// Writes events, and aggregates repeated ones.
    pub recorder: Arc<Recorder>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Looks that failed in a row.
    pub failures: Failures<Guarded<ModelCache>>,
    /// How changes of Secrets are noticed.
    pub secrets: Secrets,
    /// The controller's own image, for the Jobs.
    pub image: String,
}

/// Looks at one resource. Running it again on an unchanged state writes nothing.
// No field `name`: that key is the span's own in a line of JSON.
#[tracing::instrument(skip_all, fields(namespace = cache.namespace(), modelcache = cache.name_any()))]
pub async fn reconcile(
    cache: Arc<Guarded<ModelCache>>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    if !context.stores.ready().await {
        return Ok(Action::await_change());
    }
    let cache = context.stores.caches.newest_of(cache);
    let timer = context.metrics.reconcile_started();
    let result = match cache.get() {
        Ok(parsed) => Box::pin(readable(parsed.clone(), &context)).await,
        Err(invalid) => unreadable::report(&context.client, &context.recorder, invalid).await,
    };
    timer.ended(result.is_ok());
    if result.is_ok() {
        context.failures.forget(&ObjectRef::from_obj(&*cache));
    }
    result
}

async fn readable(cache: Arc<ModelCache>, context: &Context) -> Result<Action, ReconcileError> {
    if cache.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let seen = observe::observe(&context.client, &context.stores, cache.clone()).await?;
    let (access, next_question) = if cache.spec.suspend {
        (AccessReport::suspended(&cache), SUSPENDED)
    } else {
        match context.prober.report(&seen, Timestamp::now()) {
            Report::Known(checked, pause) | Report::Refreshing(checked, pause) => (checked, pause),
            Report::Pending(pause) => return Ok(Action::requeue(pause)),
        }
    };
    bring_about(seen, &access, next_question, context).await
}

/// Does what follows from what was observed and from what the Hub says, and reports it.
async fn bring_about(
    mut seen: Observation,
    access: &AccessReport,
    next_question: Duration,
    context: &Context,
) -> Result<Action, ReconcileError> {
    let Context { client, stores, image, .. } = context;
    let now = Timestamp::now();
    let mut plan = planner::plan(&Input { observation: &seen, access, image, now });
    let mut turn = None;
    if plan.job().is_some() || observe::waits_to_run(&seen) {
        seen = observe::with_users(client, stores, seen).await?;
        if let Some(claim) = observe::on_one_node(seen.claim.as_ref()) {
            let Some(taken) = stores.turns.take(&claim.uid().unwrap_or_default()) else {
                return Ok(Action::requeue(TURN));
            };
            turn = Some(taken);
            seen.busy = observe::at_work(stores, claim, &seen.cache);
        }
        plan = planner::plan(&Input { observation: &seen, access, image, now });
    }
    let cache = &seen.cache;
    let requeue = plan.requeue;
    let applied = apply::apply(client, stores, cache, plan).await?;
    drop(turn);
    let now = Timestamp::now();
    let status = status::build_status(cache, access, &applied, now);
    let changed = apply::write_status(client, stores, cache, &status).await?;
    apply::write_progress(client, stores, cache, progress(&seen, &applied)).await?;
    if changed {
        let old = cache.conditions();
        for event in events::transitions(old, &status.conditions) {
            if let Err(error) = context.recorder.publish(&event, &cache.object_ref(&())).await {
                warn!(%error, reason = event.reason, "cannot write an event");
            }
        }
    }
    let secret = context.secrets.requeue_after(cache, access, &applied.downloaded);
    let patience =
        status::obstacle(access, &applied).and_then(|(_, help)| standstill::left(&status, help, now));
    let pause = [requeue, secret, patience].into_iter().flatten().fold(next_question, Duration::min);
    debug!(?pause, changed, "reconciled");
    Ok(Action::requeue(pause.max(Duration::from_millis(100))))
}

/// The progress of a running download. A log that cannot be read just now does not take away what is known.
fn progress<'a>(seen: &'a Observation, applied: &Applied) -> Option<&'a Progress> {
    if applied.downloaded.reason != Reason::Downloading {
        return None;
    }
    seen.progress.as_ref().or_else(|| seen.cache.status.as_ref()?.progress.as_ref())
}

#[cfg(test)]
impl Context {
    /// That of an operator without a Hub.
    pub fn of(client: Client, stores: Stores) -> Self {
        let contacts = Contacts::default();
        let prober = Arc::new(Prober::start(&[]).unwrap());
        let reporter = kube::runtime::events::Reporter { controller: "test".to_owned(), instance: None };
        Self {
            recorder: Arc::new(Recorder::new(client.clone(), reporter)),
            metrics: Arc::new(Metrics::new(Vec::new(), contacts.clone(), prober.clone())),
            client,
            stores,
            contacts,
            prober,
            failures: Failures::default(),
            secrets: Secrets::Watch,
            image: "image".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
