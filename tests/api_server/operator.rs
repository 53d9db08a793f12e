//! What somebody gets who has stolen the operator's token: the rights as they ship, within their policies.

use k8s_openapi::api::{
    authorization::v1::SelfSubjectAccessReview,
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod, Secret},
};
use kube::{
    Api, Client, Error, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use modelcache::{
    api::ModelCache,
    controller::{
        claim,
        fill::{Fill, Target},
        job::{self, JobKind, JobParams},
        placement::Place,
    },
    hub::{Commit, Endpoint, Patterns, Repo},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    policies,
    support::{Server, merge, spec},
};

/// The image of the plain install.
const IMAGE: &str = "localhost/modelcache:latest";

/// Changes one place of an object, which is made where it is missing. `-` at its end is behind the last item of a list.
fn set(object: &mut Value, place: &str, value: Value) {
    let (parent, key) = place.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("{place}: there is no {parent}"));
    match parent {
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        Value::Object(fields) => drop(fields.insert(key.to_owned(), value)),
        other => panic!("{place} is below {other}"),
    }
}

/// The Job that the operator makes for a ModelCache.
fn built(cache: &ModelCache, kind: impl Fn(&Commit, &Endpoint, &JobParams<'_>) -> Job) -> Value {
    let source = &cache.spec.source;
    let repo = Repo { kind: modelcache::hub::RepoType::Model, id: source.repo.parse().unwrap() };
    let commit: Commit = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    let endpoint: Endpoint = "https://huggingface.co".parse().unwrap();
    let target = Target {
        repo,
        patterns: Patterns::parse(&source.include, &source.exclude).unwrap(),
        claim_uid: "0d1fd09a-1a2b-4c3d-8e4f-000000000000".to_owned(),
        sub_path: cache.folder().map(ToOwned::to_owned),
    };
    let fill = Fill::new(target, commit.clone());
    let refs = [source.revision.parse().unwrap(), "main".parse().unwrap()];
    let place = Place { node: "node".to_owned(), tolerations: Vec::new() };
    let order = JobParams {
        cache,
        target: &fill.target,
        task: fill.hash(),
        refs: &refs,
        claim_name: &cache.claim_name(),
        attempt: 1,
        secret_version: Some("uid/7"),
        image: IMAGE,
        place: Some(&place),
        kind: JobKind::Fetch(&commit, &endpoint),
        bytes: Some(1),
    };
    serde_json::to_value(kind(&commit, &endpoint, &order)).unwrap()
}

/// The same that downloads.
pub fn fetch(cache: &ModelCache) -> Value {
    built(cache, |_, _, order| job::build(*order))
}

/// The server's refusal, in its own words.
fn refused<T>(answer: Result<T, Error>, what: &str) -> String {
    match answer {
        Err(Error::Api(status)) => status.message.clone(),
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what} is taken"),
    }
}

pub fn dry() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

/// The operator's rights and the administrator's, in one namespace.
struct Both<'a> {
    server: &'a Server,
    operator: Client,
}

impl Both<'_> {
    fn of<K>(client: &Client, server: &Server) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(client.clone(), server.namespace())
    }

    fn mine<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Self::of(&self.operator, self.server)
    }

    fn root<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Self::of(&self.server.client, self.server)
    }

    /// Each object is one that the server takes from an administrator: what refuses it here is the policy.
    async fn cannot_make<K>(&self, base: &Value, takeovers: Vec<(Vec<(&str, Value)>, &str)>)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let mut wrong = Vec::new();
        for (changes, sentence) in takeovers {
            let mut object = base.clone();
            let what = format!("{changes:?}");
            for (place, value) in changes {
                set(&mut object, place, value);
            }
            let object: K = serde_json::from_value(object).unwrap();
            if let Err(error) = self.root::<K>().create(&dry(), &object).await {
                wrong.push(format!("{what} is no object: {error}"));
            }
            match self.mine::<K>().create(&dry(), &object).await {
                Err(Error::Api(status)) if status.message.contains(sentence) => {}
                other => wrong.push(format!("{what}: {:?}", other.map(|_| "is taken"))),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// More than what ships: rights that somebody may bind by hand.
    async fn may_all(&self, resources: &[&str]) {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "all" },
            "rules": [{ "apiGroups": ["", "batch"], "resources": resources, "verbs": ["*"] }],
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "all" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "all" },
            "subjects": [{ "kind": "ServiceAccount", "name": "modelcache", "namespace": "modelcache-system" }],
        });
        let rbac = Self::of::<k8s_openapi::api::rbac::v1::Role>(&self.server.client, self.server);
        rbac.create(&PostParams::default(), &serde_json::from_value(role).unwrap()).await.unwrap();
        let bindings = Self::of::<k8s_openapi::api::rbac::v1::RoleBinding>(&self.server.client, self.server);
        bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    }
}

async fn both(server: &Server) -> Both<'_> {
    Both { server, operator: policies::operator(server).await }
}

impl Server {
    /// A ModelCache as the server has it, with the UID that owns what is made for it.
    pub async fn stored(&self, name: &str, more: &Value) -> ModelCache {
        self.create(name, &spec(more)).await.unwrap();
        self.typed().get(name).await.unwrap()
    }
}

fn with_token() -> Value {
    json!({ "tokenSecretRef": { "name": "hf" } })
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn a_stolen_token_makes_no_job_but_a_download() {
    let server = Server::new().await;
    let both = both(&server).await;
    let base = fetch(&server.stored("llama", &with_token()).await);
    let pod = |field: &str| -> &'static str { format!("/spec/template/spec/{field}").leak() };
    let container =
        |field: &str| -> &'static str { format!("/spec/template/spec/containers/0/{field}").leak() };
    let security = |field: &str| -> &'static str {
        format!("/spec/template/spec/containers/0/securityContext/{field}").leak()
    };
    let one = |place: &'static str, value: Value| vec![(place, value)];
    let exec = json!({ "exec": { "command": ["/bin/sh"] } });
    let secret = json!({ "valueFrom": { "secretKeyRef": { "name": "db", "key": "password" } }, "name": "S" });
    let volume = |source: Value| {
        let mut volume = json!({ "name": "more" });
        merge(&mut volume, &source);
        one(pod("volumes/-"), volume)
    };
    let mount = |more: Value| {
        let mut mount = json!({ "name": "cache", "mountPath": "/more" });
        merge(&mut mount, &more);
        one(container("volumeMounts/-"), mount)
    };
    let second = json!({ "name": "second", "image": IMAGE, "args": ["fetch"] });
    let report = "--report=/dev/termination-log";
    let arguments = |more: &[&str]| {
        one(container("args"), json!([&["fetch", "a/b", "--cache-dir=/cache"], more].concat()))
    };
    let owner = |more: Value| {
        let mut owner = base["metadata"]["ownerReferences"][0].clone();
        merge(&mut owner, &more);
        one("/metadata/ownerReferences", json!([owner]))
    };
    let fields = "the pod of a Job of the operator may not have";
    let container_fields = "the container of a Job of the operator may not have";
    let volumes = "must be one claim, named cache, and at most one key of one Secret";
    let mounts = "must mount the claim at /cache";
    let privileges = "no capabilities, privileges or privilege escalation";
    let owners = "only Jobs that have its labels and are owned by a ModelCache";
    let program = "must fetch into the folder /cache";
    both.cannot_make::<Job>(
        &base,
        vec![
            // Another program.
            (
                one(container("image"), json!("evil")),
                "must run the image of the operator: localhost/modelcache:latest",
            ),
            (
                one(container("image"), json!(format!("{IMAGE}@sha256:{}", "0".repeat(64)))),
                "must run the image",
            ),
            (one(container("command"), json!(["/bin/sh"])), container_fields),
            (one(container("args"), json!(["controller"])), program),
            (arguments(&["--report=/cache/db"]), program),
            (arguments(&[report, "--report=/cache/db"]), program),
            (arguments(&[report, "--cache-dir=/cache/other"]), program),
            (arguments(&[report, "--token-file=/cache/db"]), program),
            (arguments(&[report, "--token-file", "/cache/db"]), program),
            (arguments(&[report, "a/c"]), program),
            (
                one(container("args"), json!(["fetch", "--output=json", "--cache-dir=/cache", report])),
                program,
            ),
            (one(container("workingDir"), json!("/cache")), container_fields),
            (one(container("lifecycle"), json!({ "postStart": exec })), container_fields),
            (one(container("livenessProbe"), exec.clone()), container_fields),
            (one(container("startupProbe"), exec.clone()), container_fields),
            (one(container("stdin"), json!(true)), container_fields),
            (one(container("name"), json!("other")), "must have one container, named fetch"),
            (one(pod("containers/-"), second.clone()), "must have one container, named fetch"),
            (one(pod("initContainers"), json!([second])), fields),
            (
                one(container("env"), json!([{ "name": "LD_PRELOAD", "value": "/cache/evil.so" }])),
                "literal environment variables",
            ),
            // Secrets.
            (one(container("env"), json!([secret])), "literal environment variables"),
            (
                one(
                    container("env"),
                    json!([{ "name": "N", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }]),
                ),
                "literal environment variables",
            ),
            (one(container("envFrom"), json!([{ "secretRef": { "name": "db" } }])), container_fields),
            (volume(json!({ "secret": { "secretName": "db" } })), volumes),
            (one(pod("volumes/1/projected/sources/-"), json!({ "secret": { "name": "db" } })), volumes),
            (one(pod("volumes/1/projected/sources/0"), json!({ "secret": { "name": "db" } })), volumes),
            (
                one(
                    pod("volumes/1/projected/sources/0"),
                    json!({ "serviceAccountToken": { "path": "token" } }),
                ),
                volumes,
            ),
            (one(pod("volumes/1/projected/sources/0"), json!({ "configMap": { "name": "c" } })), volumes),
            (one(pod("automountServiceAccountToken"), json!(true)), "without a service account token"),
            (one(pod("automountServiceAccountToken"), Value::Null), "without a service account token"),
            // The node.
            (one(pod("hostNetwork"), json!(true)), fields),
            (one(pod("hostPID"), json!(true)), fields),
            (one(pod("hostIPC"), json!(true)), fields),
            (one(pod("hostUsers"), json!(true)), fields),
            (one(pod("shareProcessNamespace"), json!(true)), fields),
            (one(pod("nodeName"), json!("control-plane")), fields),
            (one(pod("hostAliases"), json!([{ "ip": "10.0.0.1", "hostnames": ["huggingface.co"] }])), fields),
            (one(pod("dnsConfig"), json!({ "nameservers": ["10.0.0.1"] })), "with the cluster's DNS"),
            (one(pod("dnsConfig"), json!({ "searches": ["evil.example"] })), "with the cluster's DNS"),
            (one(pod("dnsPolicy"), json!("Default")), "with the cluster's DNS"),
            (one(pod("resourceClaims"), json!([{ "name": "gpu", "resourceClaimName": "gpu" }])), fields),
            (
                one(
                    pod("topologySpreadConstraints"),
                    json!([{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway" }]),
                ),
                fields,
            ),
            (one(container("ports"), json!([{ "containerPort": 80, "hostPort": 80 }])), container_fields),
            (volume(json!({ "hostPath": { "path": "/" } })), volumes),
            (volume(json!({ "emptyDir": {} })), volumes),
            (volume(json!({ "nfs": { "server": "s", "path": "/" } })), volumes),
            (volume(json!({ "csi": { "driver": "d" } })), volumes),
            (volume(json!({ "persistentVolumeClaim": { "claimName": "second" } })), volumes),
            (mount(json!({})), mounts),
            (mount(json!({ "mountPath": "/usr", "mountPropagation": "HostToContainer" })), mounts),
            (mount(json!({ "subPathExpr": "$(N)" })), mounts),
            (one(container("volumeMounts/1/readOnly"), json!(false)), mounts),
            (
                vec![
                    (container("volumeMounts"), Value::Null),
                    (container("volumeDevices"), json!([{ "name": "cache", "devicePath": "/dev/x" }])),
                ],
                container_fields,
            ),
            // Privileges.
            (
                vec![
                    (security("privileged"), json!(true)),
                    (security("allowPrivilegeEscalation"), json!(true)),
                ],
                privileges,
            ),
            (one(security("allowPrivilegeEscalation"), json!(true)), privileges),
            (one(security("readOnlyRootFilesystem"), json!(false)), privileges),
            (one(security("capabilities"), json!({ "drop": ["ALL"], "add": ["SYS_ADMIN"] })), privileges),
            (one(security("capabilities"), json!({ "drop": ["CHOWN"] })), privileges),
            (one(container("securityContext"), Value::Null), privileges),
            // Nobody's, and for others.
            (one("/metadata/ownerReferences", Value::Null), owners),
            (owner(json!({ "kind": "Deployment", "apiVersion": "apps/v1" })), owners),
            (owner(json!({ "controller": false })), owners),
            (owner(json!({ "name": "other" })), owners),
            (owner(json!({ "apiVersion": "example.com/v1" })), owners),
            (one("/metadata/labels", json!({ "app": "x" })), owners),
            (one("/spec/template/metadata/labels", Value::Null), "its pod the labels of the Job"),
            (
                vec![(
                    "/metadata/ownerReferences/-",
                    json!({ "apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u" }),
                )],
                "must have one owner",
            ),
            (one("/spec/parallelism", json!(100)), "must create exactly one pod of its own"),
            (vec![("/spec/completions", json!(100))], "must create exactly one pod of its own"),
            (
                vec![
                    ("/spec/manualSelector", json!(true)),
                    (
                        "/spec/selector",
                        json!({ "matchLabels": { "app.kubernetes.io/managed-by": "modelcache" } }),
                    ),
                ],
                "must create exactly one pod of its own",
            ),
            (one("/spec/managedBy", json!("example.com/other")), "must create exactly one pod of its own"),
            (
                vec![("/spec/podFailurePolicy", Value::Null), (pod("restartPolicy"), json!("OnFailure"))],
                "must run once",
            ),
        ],
    )
    .await;

    // For Kubernetes itself.
    let mut object = base.clone();
    object["metadata"]["namespace"] = json!("kube-system");
    let jobs: Api<Job> = Api::namespaced(both.operator.clone(), "kube-system");
    let said = refused(jobs.create(&dry(), &serde_json::from_value(object).unwrap()).await, "kube-system");
    assert!(said.contains("may not create Jobs in the namespaces of Kubernetes itself"), "{said}");
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_stolen_token_makes_no_claim_but_a_new_and_empty_one() {
    let server = Server::new().await;
    let both = both(&server).await;
    let cache = server.stored("llama", &json!({})).await;
    let base = serde_json::to_value(claim::build(&cache, 1 << 30)).unwrap();
    let one = |place: &'static str, value: Value| vec![(place, value)];
    let (labels, empty) = (
        "must have its labels, the name of its ModelCache, and no owner",
        "must request a new, empty volume",
    );
    let source = json!({ "kind": "PersistentVolumeClaim", "name": "postgres-data" });
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u" }]);
    let annotated = |key: &str| one("/metadata/annotations", json!({ key: "true" }));
    both.cannot_make::<PersistentVolumeClaim>(
        &base,
        vec![
            (one("/metadata/name", json!("postgres-data")), labels),
            (one("/metadata/labels", Value::Null), labels),
            (one("/metadata/labels", json!({ "app.kubernetes.io/managed-by": "modelcache" })), labels),
            (one("/metadata/ownerReferences", owner), labels),
            (one("/spec/dataSource", source.clone()), empty),
            (one("/spec/dataSourceRef", source), empty),
            (one("/spec/volumeName", json!("pv-of-others")), empty),
            (one("/spec/selector", json!({ "matchLabels": { "app": "postgres" } })), empty),
            (one("/spec/volumeMode", json!("Block")), empty),
            (annotated("pv.kubernetes.io/bind-completed"), empty),
            (annotated("volume.kubernetes.io/selected-node"), empty),
            (annotated("modelcache.internal/allow-writes"), empty),
        ],
    )
    .await;

    // For Kubernetes itself.
    let mut object = base.clone();
    object["metadata"]["namespace"] = json!("kube-system");
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(both.operator.clone(), "kube-system");
    let said = refused(claims.create(&dry(), &serde_json::from_value(object).unwrap()).await, "kube-system");
    assert!(said.contains("may not create claims in the namespaces of Kubernetes itself"), "{said}");
}

/// Nothing that runs, and nothing that gives rights.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_stolen_token_makes_nothing_else() {
    let server = Server::new().await;
    let both = both(&server).await;
    let reviews: Api<SelfSubjectAccessReview> = Api::all(both.operator.clone());
    let may = async |group: &str, resource: &str, part: &str| {
        let asked = json!({ "spec": { "resourceAttributes": {
            "verb": "create", "group": group, "resource": resource, "subresource": part, "namespace": server.namespace(),
        } } });
        let review =
            reviews.create(&PostParams::default(), &serde_json::from_value(asked).unwrap()).await.unwrap();
        review.status.unwrap().allowed
    };
    assert!(may("batch", "jobs", "").await, "the rights as they ship");
    for (group, resource, part) in [
        ("", "pods", ""),
        ("", "pods", "exec"),
        ("", "pods", "attach"),
        ("", "pods", "ephemeralcontainers"),
        ("", "pods", "portforward"),
        ("", "secrets", ""),
        ("", "configmaps", ""),
        ("", "serviceaccounts", ""),
        ("", "serviceaccounts", "token"),
        ("", "namespaces", ""),
        ("", "nodes", "proxy"),
        ("", "persistentvolumes", ""),
        ("apps", "deployments", ""),
        ("batch", "cronjobs", ""),
        ("rbac.authorization.k8s.io", "roles", ""),
        ("rbac.authorization.k8s.io", "clusterrolebindings", ""),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", ""),
        ("modelcache.internal", "modelcaches", ""),
    ] {
        assert!(!may(group, resource, part).await, "{group}/{resource}/{part}");
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn what_is_there_is_neither_changed_nor_deleted_but_a_job_of_its_own() {
    let server = Server::new().await;
    let both = both(&server).await;
    let cache = server.stored("llama", &json!({})).await;
    let (job, mut claim): (Value, Value) =
        (fetch(&cache), serde_json::to_value(claim::build(&cache, 1 << 30)).unwrap());
    let params = PostParams::default();
    let root = both.root::<Job>();
    let store = async |object: &Value| {
        root.create(&params, &serde_json::from_value(object.clone()).unwrap()).await.unwrap()
    };
    let ours = store(&job).await.name_any();
    let mut foreign = job.clone();
    merge(
        &mut foreign,
        &json!({ "metadata": { "name": "backup", "labels": null, "ownerReferences": null } }),
    );
    store(&foreign).await;
    // What somebody may have labelled, by hand or in a template.
    merge(&mut foreign, &json!({ "metadata": { "name": "labelled", "labels": job["metadata"]["labels"] } }));
    store(&foreign).await;
    merge(&mut claim, &json!({ "metadata": { "name": "postgres-data" } }));
    let claims = both.root::<PersistentVolumeClaim>();
    claims.create(&params, &serde_json::from_value(claim).unwrap()).await.unwrap();

    let now = DeleteParams::background();
    for name in ["backup", "labelled"] {
        let said = refused(both.mine::<Job>().delete(name, &now).await, name);
        assert!(said.contains("only Jobs that have its labels and are owned by a ModelCache"), "{said}");
    }
    // The rights as they ship have no such verb.
    let merge_patch = |patch: Value| Patch::Merge(patch);
    let relabel = merge_patch(json!({ "metadata": { "labels": { "a": "b" } } }));
    let said = refused(both.mine::<Job>().patch("backup", &PatchParams::default(), &relabel).await, "patch");
    assert!(said.contains("cannot patch resource \"jobs\""), "{said}");
    let said = refused(both.mine::<PersistentVolumeClaim>().delete("postgres-data", &now).await, "delete");
    assert!(said.contains("cannot delete resource \"persistentvolumeclaims\""), "{said}");

    // And with more rights than these it is the same.
    both.may_all(&["jobs", "jobs/status", "persistentvolumeclaims", "persistentvolumeclaims/status"]).await;
    let denied = server
        .eventually("the rights", async || {
            let said =
                refused(both.mine::<Job>().patch("backup", &PatchParams::default(), &relabel).await, "patch");
            (!said.contains("cannot patch")).then_some(said)
        })
        .await;
    assert!(denied.contains("may create and delete Jobs, but not change them"), "{denied}");
    for (name, patch) in [
        (&*ours, json!({ "spec": { "suspend": true } })),
        ("backup", json!({ "spec": { "suspend": true } })),
        ("backup", json!({ "spec": { "parallelism": 9 } })),
        ("backup", json!({ "metadata": { "ownerReferences": job["metadata"]["ownerReferences"] } })),
        ("backup", json!({ "metadata": { "finalizers": ["example.com/x"] } })),
    ] {
        let what = format!("{name} {patch}");
        let answer = both.mine::<Job>().patch(name, &PatchParams::default(), &merge_patch(patch)).await;
        let said = refused(answer, &what);
        assert!(said.contains("may create and delete Jobs, but not change them"), "{what}: {said}");
    }
    let status = merge_patch(json!({ "status": { "active": 7 } }));
    let said =
        refused(both.mine::<Job>().patch_status("backup", &PatchParams::default(), &status).await, "status");
    assert!(said.contains("may create and delete Jobs, but not change them"), "{said}");
    let mine = both.mine::<PersistentVolumeClaim>();
    for patch in [
        json!({ "metadata": { "annotations": { "modelcache.internal/allow-writes": "true" } } }),
        json!({ "metadata": { "labels": { "app": "x" } } }),
    ] {
        let what = patch.to_string();
        let answer = mine.patch("postgres-data", &PatchParams::default(), &merge_patch(patch)).await;
        assert!(
            refused(answer, &what).contains("may create claims, but not change or delete them"),
            "{what}"
        );
    }
    let said = refused(mine.delete("postgres-data", &now).await, "delete");
    assert!(said.contains("may create claims, but not change or delete them"), "{said}");

    both.mine::<Job>().delete(&ours, &now).await.unwrap();
}

/// What RBAC alone has to say.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn a_stolen_token_gets_no_other_rights() {
    let server = Server::new().await;
    let both = both(&server).await;
    server.stored("llama", &json!({})).await;
    let secrets = both.mine::<Secret>();
    let secret: Secret = serde_json::from_value(json!({ "metadata": { "name": "new" } })).unwrap();
    let said = refused(secrets.create(&dry(), &secret).await, "a Secret");
    assert!(said.contains("cannot create resource \"secrets\""), "{said}");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "new" }, "spec": { "containers": [{ "name": "a", "image": "a" }] },
    }))
    .unwrap();
    let said = refused(both.mine::<Pod>().create(&dry(), &pod).await, "a pod");
    assert!(said.contains("cannot create resource \"pods\""), "{said}");
    let caches = both.mine::<ModelCache>();
    let patch = Patch::Merge(json!({ "spec": { "suspend": true } }));
    let said = refused(caches.patch("llama", &PatchParams::default(), &patch).await, "a spec");
    assert!(said.contains("cannot patch resource \"modelcaches\""), "{said}");
    let said = refused(caches.delete("llama", &DeleteParams::default()).await, "a ModelCache");
    assert!(said.contains("cannot delete resource \"modelcaches\""), "{said}");
    // By the status nothing else of a ModelCache is changed.
    let patch = Patch::Merge(
        json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "suspend": true }, "status": {} }),
    );
    caches.patch_status("llama", &PatchParams::default(), &patch).await.unwrap();
    let stored = server.typed().get("llama").await.unwrap();
    assert_eq!((stored.spec.suspend, stored.labels().len()), (false, 0));
}

/// Each kind of Job and claim that the operator builds, for a plain ModelCache and for one that sets all there is.
#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn what_the_operator_makes_is_taken() {
    let server = Server::new().await;
    let both = both(&server).await;
    let everything = json!({
        "tokenSecretRef": { "name": "hf", "key": "key" },
        "source": { "include": ["a$$b", "*.json"], "aliases": ["latest"] },
        "storage": { "subPath": "models/hub", "claim": { "size": "1Gi", "storageClassName": "local-path", "accessModes": ["ReadWriteMany"] } },
        "job": {
            "resources": { "requests": { "cpu": "1", "memory": "1Gi" } },
            "nodeSelector": { "gpu": "yes" },
            "tolerations": [{ "operator": "Exists" }],
            "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
                { "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["a"] }] }
            ] } } },
            "serviceAccountName": "default",
            "imagePullSecrets": [{ "name": "pull" }],
            "labels": { "team": "ml" },
            "annotations": { "sidecar.istio.io/inject": "false" },
            "podSecurityContext": { "runAsUser": 0, "fsGroup": 0, "seccompProfile": { "type": "Unconfined" } },
            "logLevel": "Debug",
        },
    });
    for (name, more) in [("plain", json!({})), ("token", with_token()), ("everything", everything)] {
        let cache = server.stored(name, &more).await;
        let fetch = fetch(&cache);
        let recall = built(&cache, |_, _, order| {
            let revision = cache.spec.source.revision.parse().unwrap();
            job::build(JobParams { kind: JobKind::Inspect(&revision), place: None, ..*order })
        });
        let authority = include_str!("../hub_client/tls/ca.pem");
        let way = built(&cache, |commit, endpoint, order| {
            let endpoint = endpoint
                .clone()
                .with_proxy("http://proxy.example:3128".parse().unwrap())
                .with_ca_bundle(authority.parse().unwrap());
            job::build(JobParams { kind: JobKind::Fetch(commit, &endpoint), ..*order })
        });
        for (kind, job) in [("fetch", fetch), ("recall", recall), ("way", way)] {
            let job: Job = serde_json::from_value(job).unwrap();
            both.mine::<Job>()
                .create(&dry(), &job)
                .await
                .unwrap_or_else(|error| panic!("{name}, {kind}: {error}"));
        }
        both.mine::<PersistentVolumeClaim>()
            .create(&dry(), &claim::build(&cache, 1 << 30))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    // Of others, the policies take whatever the server takes.
    let job: DynamicObject = policies::free_job();
    both.root::<Job>().create(&dry(), &serde_json::from_value(json!(job)).unwrap()).await.unwrap();
}
