//! Builds the download Job: one attempt at filling one claim with one commit. Pure.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::{
        batch::v1::{
            Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
        },
        core::v1::{
            Capabilities, Container, EnvVar, KeyToPath, PersistentVolumeClaimVolumeSource, PodDNSConfig,
            PodDNSConfigOption, PodSecurityContext, PodSpec, PodTemplateSpec, ProjectedVolumeSource,
            ResourceRequirements, SeccompProfile, SecretProjection, SecurityContext, Volume, VolumeMount,
            VolumeProjection,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use kube::{Resource, ResourceExt};

use super::{
    fill::{Target, job_name, short_hash},
    placement::Place,
};
use crate::{
    api::{self, ModelCache},
    hub::{CaBundle, Commit, Endpoint, Revision},
    telemetry::logs,
};

/// The name of the volume that is the claim.
pub const VOLUME: &str = "cache";
/// The container's name, needed to read its log.
pub const CONTAINER: &str = "fetch";
/// The user and group of the Job's pods, unless the spec has a pod security context of its own.
const NONROOT: i64 = 65_532;
const CACHE_MOUNT: &str = "/cache";
const TOKEN_MOUNT: &str = "/var/run/secrets/modelcache.internal";
/// What a Job may take beside the transfer, in seconds.
const DEADLINE: i64 = 6 * 3600;
/// Assumed for the size of files that were not listed: more than the Hub's largest repos have.
const UNKNOWN_SIZE: u64 = 4 << 40;
/// Refs of a Job: the revision, eight aliases and `main`.
pub(super) const MOST_REFS: usize = 10;
/// The option that names a ref.
pub(super) const ALIAS: &str = "--alias=";
/// The option that names what is fetched, updated or inspected.
pub(super) const REVISION: &str = "--revision=";
const TERMINATION_LOG: &str = "/dev/termination-log";

/// What a Job is made from, all of it settled before.
#[derive(Clone, Copy, Debug)]
pub struct JobParams<'a> {
    /// The resource that wants the data; it owns the Job.
    pub cache: &'a ModelCache,
    /// Which files of which repo on the volume.
    pub target: &'a Target,
    /// The hash that stands for what the Job does.
    pub task: &'a str,
    /// The refs that name the snapshot when the Job is done. Only a Job's end depends on them, and none is made again for them.
    pub refs: &'a [Revision],
    /// The claim to fill.
    pub claim_name: &'a str,
    /// Counts from 1.
    pub attempt: u32,
    /// The version of the Secret that is known now: a failed attempt is judged by it later.
    pub secret_version: Option<&'a str>,
    /// The controller's own image.
    pub image: &'a str,
    /// The only place where it can run, if there is one and the user has not chosen.
    pub place: Option<&'a Place>,
    /// What the Job is to do.
    pub kind: JobKind<'a>,
    /// The bytes of all files, where they are known: they decide how long it may take.
    pub bytes: Option<u64>,
}

/// What a Job does on the claim.
#[derive(Clone, Copy, Debug)]
pub enum JobKind<'a> {
    /// Downloads a commit from this Hub.
    Fetch(&'a Commit, &'a Endpoint),
    /// Makes the refs name a commit that is complete on the volume, or reports that it is not. Asks no Hub.
    UpdateRefs(&'a Commit),
    /// Reports which commit a revision stands for on the volume, and whether it is complete there. Asks no Hub.
    Inspect(&'a Revision),
}

impl JobParams<'_> {
    /// Whether the Job gets the token.
    const fn with_token(&self) -> bool {
        matches!(self.kind, JobKind::Fetch(..)) && self.cache.spec.token_secret_ref.is_some()
    }
}

/// The Job of an attempt. Its name is the same for the same parameters, so that creating it twice creates one.
#[must_use]
pub fn build(params: JobParams<'_>) -> Job {
    let JobParams { cache, task, attempt, .. } = params;
    let labels = beside(labels(params), &cache.spec.job.labels);
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels.clone()),
            annotations: given(cache.spec.job.annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(params)),
    };
    let mut ours = BTreeMap::from([(api::ANNOTATION_TEMPLATE.to_owned(), template_hash(&template))]);
    // The place of other pods comes and goes, and is not part of the spec: the hash does not depend on it.
    if let (Some(place), Some(pod)) = (params.place.filter(|_| Place::is_open(cache)), &mut template.spec) {
        pod.affinity = Some(place.affinity());
        pod.tolerations.get_or_insert_default().extend(place.tolerations.iter().cloned());
    }
    if let Some(asked) = cache.reconcile_at() {
        ours.insert(api::ANNOTATION_RECONCILE_AT.to_owned(), asked);
    }
    if let Some(version) = params.secret_version {
        ours.insert(api::ANNOTATION_SECRET_VERSION.to_owned(), version.to_owned());
    }
    Job {
        metadata: ObjectMeta {
            name: Some(job_name(cache, task, attempt)),
            namespace: cache.namespace(),
            labels: Some(labels),
            annotations: Some(beside(ours, &cache.spec.job.annotations)),
            owner_references: cache.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            // Every retry is the controller's own, so that there is one retry machine and not two.
            backoff_limit: Some(0),
            active_deadline_seconds: Some(deadline(params)),
            pod_failure_policy: Some(PodFailurePolicy { rules: vec![ignore_disruptions()] }),
            template,
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// The seconds after which Kubernetes ends the Job, whatever its pod does or waits for: a backstop, so that one that hangs,
/// even with its node, does not keep the claim busy forever. No hindrance to a slow one: hours to be scheduled, to pull the
/// image and to attach the volume, and a second for each MiB. It is no part of the template's hash: a Job is not made again
/// for it. An endpoint that may let a file wait for long gets that time too: no attempt ends before it can have got further.
fn deadline(params: JobParams<'_>) -> i64 {
    let (bytes, wait) = match params.kind {
        JobKind::Fetch(_, endpoint) => (params.bytes.unwrap_or(UNKNOWN_SIZE), endpoint.timeouts().longest()),
        // Files that were copied have other times, and are compared again.
        JobKind::UpdateRefs(_) => (params.bytes.unwrap_or(UNKNOWN_SIZE), Duration::ZERO),
        JobKind::Inspect(_) => (0, Duration::ZERO),
    };
    let seconds = (bytes >> 20).saturating_add(wait.as_secs());
    i64::try_from(seconds).map_or(i64::MAX, |seconds| seconds.saturating_add(DEADLINE))
}

/// Tells whether a Job would be made otherwise today. The attempt's number is a label of the template: the hash is
/// compared with that of the same attempt.
fn template_hash(template: &PodTemplateSpec) -> String {
    short_hash(&serde_json::to_vec(template).unwrap_or_default())
}

/// A drained node costs no attempt: the Job controller makes the pod again.
fn ignore_disruptions() -> PodFailurePolicyRule {
    PodFailurePolicyRule {
        action: "Ignore".to_owned(),
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            type_: "DisruptionTarget".to_owned(),
            status: Some("True".to_owned()),
        }]),
        ..PodFailurePolicyRule::default()
    }
}

fn labels(params: JobParams<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (api::LABEL_MANAGED_BY.to_owned(), api::MANAGED_BY.to_owned()),
        (api::LABEL_NAME.to_owned(), params.cache.name_any()),
        (api::LABEL_TASK.to_owned(), params.task.to_owned()),
        (api::LABEL_ATTEMPT.to_owned(), params.attempt.to_string()),
    ]);
    labels.insert(api::LABEL_CLAIM_UID.to_owned(), params.target.claim_uid.clone());
    labels
}

/// What the user gives beside what is ours. Ours wins: the controller finds its Jobs and pods by it.
fn beside(ours: BTreeMap<String, String>, users: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = users.clone();
    all.extend(ours);
    all
}

fn pod(params: JobParams<'_>) -> PodSpec {
    let job = &params.cache.spec.job;
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        service_account_name: job.service_account_name.clone(),
        image_pull_secrets: given(job.image_pull_secrets.clone()),
        node_selector: given(job.node_selector.clone()),
        tolerations: given(job.tolerations.clone()),
        affinity: job.affinity.clone(),
        priority_class_name: job.priority_class_name.clone(),
        runtime_class_name: job.runtime_class_name.clone(),
        security_context: Some(job.pod_security_context.clone().unwrap_or_else(restricted_pod)),
        dns_config: Some(names_as_they_are()),
        containers: vec![container(params)],
        volumes: Some(volumes(params)),
        ..PodSpec::default()
    }
}

/// An empty list or map is left out: Kubernetes would drop it, and the object would differ from itself.
fn given<C: Default + PartialEq>(collection: C) -> Option<C> {
    (collection != C::default()).then_some(collection)
}

/// A name with a dot is looked up as it is before the cluster's search domains are tried. Otherwise `hub.example` is first
/// the pod `hub` of a Service `example` in the Job's own namespace, which a tenant may create.
fn names_as_they_are() -> PodDNSConfig {
    let ndots = PodDNSConfigOption { name: Some("ndots".to_owned()), value: Some("1".to_owned()) };
    PodDNSConfig { options: Some(vec![ndots]), ..PodDNSConfig::default() }
}

fn restricted_pod() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NONROOT),
        run_as_group: Some(NONROOT),
        fs_group: Some(NONROOT),
        // A recursive chown of a filled volume takes minutes; the root shows whether it was done.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

fn container(params: JobParams<'_>) -> Container {
    let cache = params.cache;
    let mut mounts = vec![VolumeMount {
        name: VOLUME.to_owned(),
        mount_path: CACHE_MOUNT.to_owned(),
        // The Job sees its own folder of a volume that others use too, and nothing beside it.
        sub_path: params.target.sub_path.clone(),
        ..Default::default()
    }];
    if params.with_token() {
        mounts.push(VolumeMount {
            name: "token".to_owned(),
            mount_path: TOKEN_MOUNT.to_owned(),
            read_only: Some(true),
            ..Default::default()
        });
    }
    Container {
        name: CONTAINER.to_owned(),
        image: Some(params.image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(arguments(params).iter().map(|text| literal(text)).collect()),
        env: given(env(params)),
        resources: Some(cache.spec.job.resources.clone().unwrap_or_else(small)),
        // Who the process is, is the pod's: a user's own security context there must be able to say root.
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        termination_message_path: Some(TERMINATION_LOG.to_owned()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// A text that the kubelet hands to the program as it is. In arguments and in values of variables it replaces `$(NAME)` by
/// the variable's value and `$$` by `$`; nothing else has a meaning.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// The text that was made a literal.
fn written(literal: &str) -> String {
    literal.replace("$$", "$")
}

/// The arguments of a Job's container, as the program gets them.
#[must_use]
pub fn arguments_of(job: &Job) -> Option<impl Iterator<Item = String>> {
    let pod = job.spec.as_ref()?.template.spec.as_ref()?;
    let container = pod.containers.iter().find(|container| container.name == CONTAINER)?;
    Some(container.args.iter().flatten().map(|text| written(text)))
}

/// The refs that name the snapshot once the Job has succeeded: those that it writes, and the branch that it has followed.
#[must_use]
pub fn refs_of(job: &Job) -> Vec<String> {
    let named = |text: String| {
        let name = text.strip_prefix(ALIAS).or_else(|| text.strip_prefix(REVISION))?;
        name.parse::<Commit>().is_err().then(|| name.to_owned())
    };
    arguments_of(job).into_iter().flatten().filter_map(named).take(MOST_REFS).collect()
}

/// The commit that the Job is about; none where it inspects what a branch stands for.
#[must_use]
pub fn commit_of(job: &Job) -> Option<Commit> {
    arguments_of(job)?.find_map(|text| text.strip_prefix(REVISION)?.parse().ok())
}

/// The variables of the program: all of them are ours, with plain values.
fn env(params: JobParams<'_>) -> Vec<EnvVar> {
    let level = params.cache.spec.job.log_level.map(|level| variable(logs::VARIABLE, level.as_str()));
    let task = match params.kind {
        JobKind::Fetch(_, endpoint) => way(endpoint),
        JobKind::UpdateRefs(_) | JobKind::Inspect(_) => vec![variable("HF_HUB_OFFLINE", "1")],
    };
    level.into_iter().chain(task).collect()
}

/// The way to the endpoint: proxy, authorities, times and whether a storage needs TLS. It counts for the storage behind the Hub as
/// well, whatever its hosts are called.
fn way(endpoint: &Endpoint) -> Vec<EnvVar> {
    let proxy = endpoint.proxy().into_iter();
    proxy
        .flat_map(|proxy| ["HTTPS_PROXY", "HTTP_PROXY"].map(|name| variable(name, &proxy.to_string())))
        .chain(endpoint.ca_bundle().map(|bundle| variable(CaBundle::VARIABLE, bundle.as_pem())))
        .chain(endpoint.timeouts().variables().map(|(name, timeout)| variable(name, &timeout.to_string())))
        .chain(endpoint.http_storage().then(|| variable(Endpoint::HTTP_STORAGE, "1")))
        .collect()
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(literal(value)), ..EnvVar::default() }
}

/// The command line is public (`kubectl describe`), so it names the token's file and never the token.
fn arguments(params: JobParams<'_>) -> Vec<String> {
    let Target { repo, patterns, .. } = params.target;
    let mut args = vec!["fetch".to_owned(), repo.id.to_string(), format!("--type={}", repo.kind)];
    match params.kind {
        JobKind::Fetch(commit, endpoint) => {
            args.extend([format!("{REVISION}{commit}"), format!("--endpoint={endpoint}")]);
        }
        JobKind::UpdateRefs(commit) => args.push(format!("{REVISION}{commit}")),
        JobKind::Inspect(revision) => args.push(format!("{REVISION}{revision}")),
    }
    args.extend([format!("--report={TERMINATION_LOG}"), "--output=json".to_owned()]);
    args.push(format!("--cache-dir={CACHE_MOUNT}"));
    args.extend(params.refs.iter().map(|name| format!("{ALIAS}{name}")));
    args.extend(patterns.include().map(|pattern| format!("--include={pattern}")));
    args.extend(patterns.exclude().map(|pattern| format!("--exclude={pattern}")));
    if params.with_token() {
        args.push(format!("--token-file={TOKEN_MOUNT}/token"));
    }
    args
}

/// The fetcher streams: its memory does not grow with the model.
fn small() -> ResourceRequirements {
    let quantities = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned()))).collect()
    };
    ResourceRequirements {
        requests: Some(quantities(&[("cpu", "100m"), ("memory", "64Mi")])),
        limits: Some(quantities(&[("memory", "512Mi")])),
        claims: None,
    }
}

fn volumes(params: JobParams<'_>) -> Vec<Volume> {
    let mut volumes = vec![Volume {
        name: VOLUME.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: params.claim_name.to_owned(),
            read_only: None,
        }),
        ..Volume::default()
    }];
    if let Some(secret) = params.cache.spec.token_secret_ref.as_ref().filter(|_| params.with_token()) {
        // 0440 is readable through the fsGroup, which only our own security context is sure to set.
        let mode = if params.cache.spec.job.pod_security_context.is_none() { 0o440 } else { 0o444 };
        volumes.push(Volume {
            name: "token".to_owned(),
            projected: Some(ProjectedVolumeSource {
                default_mode: Some(mode),
                sources: Some(vec![VolumeProjection {
                    secret: Some(SecretProjection {
                        name: secret.name.clone(),
                        items: Some(vec![KeyToPath {
                            key: secret.key.clone(),
                            path: "token".to_owned(),
                            mode: None,
                        }]),
                        // A pod whose Secret has vanished must start and say so, instead of hanging without a word.
                        optional: Some(true),
                    }),
                    ..VolumeProjection::default()
                }]),
            }),
            ..Volume::default()
        });
    }
    volumes
}

#[cfg(test)]
mod tests;
