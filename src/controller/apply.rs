//! Applies a plan and writes the status. The only room that changes anything in the cluster.

use k8s_openapi::api::{batch::v1::Job, core::v1::PersistentVolumeClaim};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tracing::info;

use super::{
    ApplyError, observe,
    patience::{self, Help},
    plan::{Action, Applied, Plan, Refusal},
    watcher::{Guarded, Metadata},
};
use crate::{
    api::{ModelCache, ModelCacheStatus, Progress},
    reason::Reason,
};

/// One field manager for each place that writes: a field left out by one does not remove what another wrote.
pub(super) const STATUS_MANAGER: &str = "modelcache-status";
const PROGRESS_MANAGER: &str = "modelcache-progress";
const CLAIM_MANAGER: &str = "modelcache-claim";
const JOB_MANAGER: &str = "modelcache-job";

/// Does the actions of a plan in their order. What the API server refuses ends it, and is part of the outcome: it is no error of ours.
pub async fn apply(client: &Client, cache: &ModelCache, plan: Plan) -> Result<Applied, ApplyError> {
    for action in &plan.actions {
        let refusal = match action {
            Action::DeleteJob(name) => {
                delete_job(client, cache, name).await?;
                None
            }
            Action::CreateClaim(claim) => create_claim(client, cache, claim).await?,
            Action::CreateJob(job) => create_job(client, cache, job).await?,
        };
        if refusal.is_some() {
            return Ok(plan.applied(refusal));
        }
    }
    Ok(plan.applied(None))
}

async fn delete_job(client: &Client, cache: &ModelCache, name: &str) -> Result<(), ApplyError> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), &cache.namespace().unwrap_or_default());
    match jobs.delete(name, &DeleteParams::background()).await {
        Ok(_) => info!(job = name, "deleted an obsolete Job"),
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        Err(source) => return Err(ApplyError::DeleteJob { name: name.to_owned(), source }),
    }
    Ok(())
}

async fn create_claim(
    client: &Client,
    cache: &ModelCache,
    claim: &PersistentVolumeClaim,
) -> Result<Option<Refusal>, ApplyError> {
    let namespace = cache.namespace().unwrap_or_default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    // One that exists is found by the next reconcile, which says whose it is.
    let created = create(&claims, claim, CLAIM_MANAGER).await.map_err(ApplyError::MakeClaim)?;
    let Created::Refused(words) = created else { return Ok(None) };
    let what = format!("The API server refuses the claim {}", claim.name_any());
    let (message, help) = patience::refusal(&what, &words, "spec.storage.claim");
    Ok(Some(Refusal { reason: Reason::ClaimPending, message, help }))
}

async fn create_job(client: &Client, cache: &ModelCache, job: &Job) -> Result<Option<Refusal>, ApplyError> {
    let (name, namespace) = (job.name_any(), cache.namespace().unwrap_or_default());
    let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
    let (message, help) = match create(&jobs, job, JOB_MANAGER).await.map_err(ApplyError::MakeJob)? {
        Created::New => return Ok(None),
        Created::Refused(words) => {
            patience::refusal(&format!("The API server refuses the Job {name}"), &words, "spec.job")
        }
        Created::Exists => {
            let jobs: Api<Metadata<Job>> = Api::namespaced(client.clone(), &namespace);
            let found = jobs.get_opt(&name).await.map_err(ApplyError::MakeJob)?;
            if found.is_none_or(|found| observe::owned_by(&found, cache)) {
                return Ok(None);
            }
            let message = format!(
                "There is a Job {name} that was not made for this ModelCache. Delete it (kubectl delete job {name} -n \
                 {namespace}); this one is made then."
            );
            (message, Help::Person)
        }
    };
    Ok(Some(Refusal { reason: Reason::JobRejected, message, help }))
}

/// What came of creating an object.
enum Created {
    New,
    Exists,
    /// The API server's words.
    Refused(String),
}

/// Creates, and never adopts what is there.
async fn create<K>(api: &Api<K>, object: &K, manager: &str) -> Result<Created, kube::Error>
where
    K: kube::Resource + Clone + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    match api.create(&params, object).await {
        Ok(_) => {
            info!(object = object.name_any(), manager, "created");
            Ok(Created::New)
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Created::Exists),
        Err(kube::Error::Api(status)) if is_refusal(status.code) => {
            Ok(Created::Refused(status.message.clone()))
        }
        Err(error) => Err(error),
    }
}

/// Whether a status of the API server is its answer to the object, and not to the moment. Quotas and pod security answer 403,
/// the schema 422, and admission policies and webhooks what they like.
const fn is_refusal(code: u16) -> bool {
    matches!(code, 400..=499) && !matches!(code, 401 | 404 | 408 | 409 | 429)
}

/// Writes the status if it differs from the one on the resource. Says whether it wrote.
pub async fn write_status(
    client: &Client,
    cache: &ModelCache,
    status: &ModelCacheStatus,
) -> Result<bool, ApplyError> {
    let old = cache.status.clone().map(|old| ModelCacheStatus { progress: None, ..old });
    if old.as_ref() == Some(status) {
        return Ok(false);
    }
    patch_status(client, cache, &json!(status), STATUS_MANAGER).await?;
    Ok(true)
}

/// Writes or removes the progress if it differs from the one on the resource.
pub async fn write_progress(
    client: &Client,
    cache: &ModelCache,
    progress: Option<&Progress>,
) -> Result<(), ApplyError> {
    let old = cache.status.as_ref().and_then(|status| status.progress.as_ref());
    if old == progress {
        return Ok(());
    }
    let status = progress.map_or_else(|| json!({}), |progress| json!({ "progress": progress }));
    patch_status(client, cache, &status, PROGRESS_MANAGER).await
}

async fn patch_status(
    client: &Client,
    cache: &ModelCache,
    status: &serde_json::Value,
    manager: &str,
) -> Result<(), ApplyError> {
    // The answer may hold what cannot be parsed, as in the status of a newer version.
    let caches: Api<Guarded<ModelCache>> =
        Api::namespaced(client.clone(), &cache.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": <ModelCache as kube::Resource>::api_version(&()),
        "kind": <ModelCache as kube::Resource>::kind(&()),
        "metadata": { "name": cache.name_any(), "uid": cache.uid() },
        "status": status,
    });
    let params = PatchParams::apply(manager).force();
    match caches.patch_status(&cache.name_any(), &params, &Patch::Apply(patch)).await {
        Ok(_) => Ok(()),
        // Deleted in the meantime. The UID keeps us from writing to another of its name.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(ApplyError::WriteStatus { manager: manager.to_owned(), source }),
    }
}
