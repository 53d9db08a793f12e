//! Whether the operator may write to a claim that it has not made. Whoever may make ModelCaches may not, by that alone,
//! write into the volume of somebody's database: where pods of others write, somebody who may change the claim has to
//! agree, by an annotation on it. Pure.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;

use super::{backoff, claim, messages::Blocked, observation::Observation, plan::Plan};

/// Whether the answer depends on the pods that use the claim. `filled` is whether a model of ours is on it already.
#[must_use]
pub fn depends_on_pods(claim: &PersistentVolumeClaim, filled: bool) -> bool {
    !claim::is_made_by_operator(claim) && claim::allows_writes(claim).is_none() && !filled
}

/// The plan that waits for consent, where the claim needs one and has none. A Job that is at work already continues.
#[must_use]
pub fn missing(observation: &Observation, claim: &PersistentVolumeClaim) -> Option<Plan> {
    let writer = match (claim::allows_writes(claim), &observation.writer) {
        (Some(false), _) => None,
        (None, Some(pod)) if !claim::is_made_by_operator(claim) => Some(&**pod),
        _ => return None,
    };
    let (name, namespace) = (claim.name_any(), observation.cache.namespace().unwrap_or_default());
    let in_use = Blocked::ClaimInUse { claim: &name, namespace: &namespace, writer };
    // The annotation is watched; that a pod has ended is not, and it takes a list of all of them.
    Some(Plan::blocked(&in_use).requeue_after(backoff::IN_USE))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        api::{self, ModelCache},
        controller::{
            access::AccessReport,
            fixtures::{Planned, at, bound, cache, downloaded, next_job, planned, running},
        },
        reason::Reason,
    };

    /// A ModelCache that names a claim of others, which a pod of theirs writes to.
    fn in_use() -> (Observation, AccessReport) {
        let mut theirs = cache();
        theirs.spec.storage.existing_claim = Some("postgres-data".to_owned());
        let (mut seen, checked) = bound(theirs);
        let metadata = &mut seen.claim.as_mut().unwrap().metadata;
        metadata.name = Some("postgres-data".to_owned());
        metadata.labels = None;
        seen.writer = Some("postgres-0".to_owned());
        (seen, checked)
    }

    fn annotated(mut seen: Observation, value: &str) -> Observation {
        let annotations = [(api::ANNOTATION_ALLOW_WRITES.to_owned(), value.to_owned())].into();
        seen.claim.as_mut().unwrap().metadata.annotations = Some(annotations);
        seen
    }

    fn plan(seen: &Observation, checked: &AccessReport) -> Planned {
        planned(seen, checked, "image", at(0))
    }

    #[test]
    fn a_claim_that_pods_of_others_write_to_waits_for_consent() {
        let (seen, checked) = in_use();
        let refused = plan(&seen, &checked);
        assert_eq!((refused.downloaded.reason, refused.job), (Reason::ClaimInUse, None));
        assert_eq!(refused.requeue, Some(backoff::IN_USE));
        assert_eq!(
            refused.downloaded.message,
            "The pod postgres-0 writes to the claim postgres-data, and nobody has allowed the operator to write there, too. \
             If the volume is meant for models, allow it: kubectl annotate pvc postgres-data -n team --overwrite \
             modelcache.internal/allow-writes=true"
        );
        assert!(plan(&annotated(seen.clone(), "true"), &checked).job.is_some());
        // What is no clear yes is a no, whoever uses the claim.
        let mut free = seen.clone();
        free.writer = None;
        assert!(plan(&free, &checked).job.is_some());
        for value in ["false", "True", "yes", ""] {
            for seen in [&seen, &free] {
                let refused = plan(&annotated(seen.clone(), value), &checked);
                assert_eq!((refused.downloaded.reason, refused.job), (Reason::ClaimInUse, None), "{value}");
                assert!(refused.downloaded.message.contains("keeps ModelCaches from it"));
            }
        }
    }

    /// A Job that only asks what is there mounts the volume with an `fsGroup`, too.
    #[test]
    fn the_volume_is_not_asked_before_there_is_consent() {
        let (mut seen, checked) = in_use();
        seen.claim.as_mut().unwrap().metadata.creation_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(-100)));
        let asks = plan(&annotated(seen.clone(), "true"), &checked).job.unwrap();
        let arguments = asks.spec.unwrap().template.spec.unwrap().containers[0].args.clone().unwrap();
        assert!(!arguments.iter().any(|it| it.starts_with("--endpoint")), "{arguments:?} is no recall");
        let refused = plan(&seen, &checked);
        assert_eq!((refused.downloaded.reason, refused.job), (Reason::ClaimInUse, None));
    }

    #[test]
    fn a_job_that_is_at_work_goes_on_and_a_claim_of_ours_needs_no_consent() {
        let (mut seen, checked) = in_use();
        let job = next_job(&annotated(seen.clone(), "true"), &checked, at(0));
        seen.attempts = vec![running(job)];
        assert_eq!(plan(&seen, &checked).downloaded.reason, Reason::Downloading);
        let (mut ours, checked) = bound(cache());
        ours.writer = Some("server".to_owned());
        assert!(plan(&ours, &checked).job.is_some());
    }

    #[test]
    fn the_pods_are_asked_only_where_they_decide() {
        let (seen, _) = in_use();
        let asks = |seen: &Observation, filled| depends_on_pods(seen.claim.as_ref().unwrap(), filled);
        assert!(asks(&seen, false));
        assert!(!asks(&seen, true), "a model is on it already");
        for value in ["true", "false"] {
            assert!(!asks(&annotated(seen.clone(), value), false), "{value}");
        }
        assert!(!asks(&bound(cache()).0, false), "made by the operator");
    }

    /// What is there stays Ready, whoever writes beside it.
    #[test]
    fn a_model_that_is_there_stays_so() {
        let (mut seen, checked) = downloaded();
        seen.claim.as_mut().unwrap().metadata.labels = None;
        let mut theirs: ModelCache = (*seen.cache).clone();
        theirs.spec.storage.existing_claim = Some("tiny".to_owned());
        seen.cache = Arc::new(theirs);
        let kept = plan(&annotated(seen, "false"), &checked);
        assert_eq!(kept.downloaded.reason, Reason::Verified);
    }
}
