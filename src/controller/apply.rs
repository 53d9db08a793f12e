//! Applies a plan and writes the status. The only room that changes anything in the cluster. The stores learn of each write.

use k8s_openapi::{
    NamespaceResourceScope,
    api::{batch::v1::Job, core::v1::PersistentVolumeClaim},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::Request,
};
use serde_json::json;
use tracing::info;

use super::{
    ApplyError,
    attempt::Obsolete,
    observe,
    patience::{self, Help},
    plan::{Action, Applied, Plan, Refusal},
    stores::Stores,
    watcher::{Guarded, Metadata, Parse},
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
pub async fn apply(
    client: &Client,
    stores: &Stores,
    cache: &ModelCache,
    plan: Plan,
) -> Result<Applied, ApplyError> {
    for action in &plan.actions {
        let refusal = match action {
            Action::DeleteJob(job) => {
                delete_job(client, stores, cache, job).await?;
                None
            }
            Action::CreateClaim(claim) => create_claim(client, stores, cache, claim).await?,
            Action::CreateJob(job) => create_job(client, stores, cache, job).await?,
        };
        if refusal.is_some() {
            return Ok(plan.applied(refusal));
        }
    }
    Ok(plan.applied(None))
}

async fn delete_job(
    client: &Client,
    stores: &Stores,
    cache: &ModelCache,
    job: &Obsolete,
) -> Result<(), ApplyError> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), &cache.namespace().unwrap_or_default());
    let Obsolete { name, uid } = job;
    let params =
        DeleteParams::background().preconditions(Preconditions { uid: uid.clone(), resource_version: None });
    match jobs.delete(name, &params).await {
        Ok(_) => info!(job = name, "deleted an obsolete Job"),
        // Another one of its name is there: it stays.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
        Err(source) => return Err(ApplyError::DeleteJob { name: name.to_owned(), source }),
    }
    if let Some(uid) = uid {
        stores.jobs.deleted(uid.clone());
    }
    Ok(())
}

async fn create_claim(
    client: &Client,
    stores: &Stores,
    cache: &ModelCache,
    claim: &PersistentVolumeClaim,
) -> Result<Option<Refusal>, ApplyError> {
    let namespace = cache.namespace().unwrap_or_default();
    let words = match create(client, &namespace, claim, CLAIM_MANAGER).await.map_err(ApplyError::MakeClaim)? {
        Created::New(claim) => {
            stores.claims.wrote(claim);
            return Ok(None);
        }
        // One that exists comes by the watch, and the next reconcile says whose it is.
        Created::Exists => return Ok(None),
        Created::Refused(words) => words,
    };
    let what = format!("The API server refuses the claim {}", claim.name_any());
    let (message, help) = patience::refusal(&what, &words, "spec.storage.claim");
    Ok(Some(Refusal { reason: Reason::ClaimPending, message, help }))
}

async fn create_job(
    client: &Client,
    stores: &Stores,
    cache: &ModelCache,
    job: &Job,
) -> Result<Option<Refusal>, ApplyError> {
    let (name, namespace) = (job.name_any(), cache.namespace().unwrap_or_default());
    let (message, help) = match create(client, &namespace, job, JOB_MANAGER)
        .await
        .map_err(ApplyError::MakeJob)?
    {
        Created::New(job) => {
            stores.jobs.wrote(job);
            return Ok(None);
        }
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
            (message, Help::UserAction)
        }
    };
    Ok(Some(Refusal { reason: Reason::JobRejected, message, help }))
}

/// What came of creating an object.
enum Created<K> {
    /// The object as the API server has it.
    New(Guarded<K>),
    Exists,
    /// The API server's words.
    Refused(String),
}

/// Creates, and never adopts what is there.
async fn create<K>(
    client: &Client,
    namespace: &str,
    object: &K,
    manager: &str,
) -> Result<Created<K>, kube::Error>
where
    K: Parse + kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + serde::Serialize,
{
    let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let request = Request::new(K::url_path(&(), Some(namespace))).create(&params, body);
    match client.request(request.map_err(kube::Error::BuildRequest)?).await {
        Ok(created) => {
            info!(object = object.name_any(), manager, "created");
            Ok(Created::New(created))
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
    stores: &Stores,
    cache: &ModelCache,
    status: &ModelCacheStatus,
) -> Result<bool, ApplyError> {
    let old = cache.status.clone().map(|old| ModelCacheStatus { progress: None, ..old });
    if old.as_ref() == Some(status) {
        return Ok(false);
    }
    patch_status(client, stores, cache, &json!(status), STATUS_MANAGER).await?;
    Ok(true)
}

/// Writes or removes the progress if it differs from the one on the resource.
pub async fn write_progress(
    client: &Client,
    stores: &Stores,
    cache: &ModelCache,
    progress: Option<&Progress>,
) -> Result<(), ApplyError> {
    let old = cache.status.as_ref().and_then(|status| status.progress.as_ref());
    if old == progress {
        return Ok(());
    }
    let status = progress.map_or_else(|| json!({}), |progress| json!({ "progress": progress }));
    patch_status(client, stores, cache, &status, PROGRESS_MANAGER).await
}

async fn patch_status(
    client: &Client,
    stores: &Stores,
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
        Ok(written) => {
            stores.caches.wrote(written);
            Ok(())
        }
        // Deleted in the meantime. The UID keeps us from writing to another of its name.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(ApplyError::WriteStatus { manager: manager.to_owned(), source }),
    }
}
