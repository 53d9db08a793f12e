//! `modelcache mount`: prints what a pod template needs to mount a model without the label.

use std::path::PathBuf;

use kube::{Api, Client, Config, ResourceExt as _};
use serde_json::{Value, json};

use super::{
    manifest::{Manifest, ManifestError, name_of},
    output::{eprint_line, print},
    values::{InvalidValue, container_name, object_name},
};
use crate::{
    api::{ModelCache, condition, mount},
    reason::{ConditionType, exit},
};

/// Print what a pod template needs to mount a ModelCache by hand: volumes, mounts and variables.
///
/// In clusters with the admission policies (Kubernetes 1.36), the label `modelcache.internal/mount: NAME` does the same, and
/// delays pods until the model is available.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    modelcache mount llama -n inference\n  \
    modelcache mount llama -f models/ --container server\n  \
    kubectl patch deployment server --patch \"$(modelcache mount llama --patch)\"")]
pub(super) struct Args {
    /// Name of the ModelCache
    #[arg(value_parser = object_name)]
    name: String,
    /// Namespace of the ModelCache; without -f, that of the current kubectl context by default
    #[arg(short, long, value_parser = object_name)]
    namespace: Option<String>,
    /// File or folder to read the ModelCache from, instead of the cluster; may be repeated
    #[arg(short, long, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Name of the container that needs the model
    #[arg(long, default_value = "server", value_parser = container_name)]
    container: String,
    /// The `HF_HOME` of the container: the cache is mounted read-only at `hub` in it, the rest is writable
    #[arg(long, value_name = "PATH", default_value = mount::MOUNT_PATH, value_parser = mount_path)]
    mount_path: String,
    /// Also set HOME and TMPDIR to that folder, for programs that need them on a read-only root file system
    #[arg(long)]
    home: bool,
    /// Print a patch of `spec.template`, for `kubectl patch` on a Deployment, StatefulSet or DaemonSet
    #[arg(long)]
    patch: bool,
}

impl Args {
    /// Prints the YAML and returns the exit code.
    pub(super) async fn run(self) -> u8 {
        let found = if self.filename.is_empty() { self.in_cluster().await } else { self.in_files() };
        let cache = match found {
            Ok(cache) => cache,
            Err(error) => return error.refuse(),
        };
        match serde_saphyr::to_string(&self.block(&cache)) {
            Ok(yaml) => {
                print(yaml.trim_end());
                eprint_line(&state(&cache));
                exit::OK
            }
            Err(error) => {
                eprint_line(&format!("cannot serialize the pod template: {error}"));
                exit::FAILURE
            }
        }
    }

    fn in_files(&self) -> Result<ModelCache, MountError> {
        let Manifest { mut caches, .. } = Manifest::read(&self.filename)?;
        let names: Vec<_> = caches.iter().map(name_of).collect();
        // If an object has no namespace, `kubectl -n` would set it.
        caches.retain(|cache| {
            let theirs = cache.metadata.namespace.as_ref();
            cache.name_any() == self.name
                && (theirs.is_none() || self.namespace.is_none() || theirs == self.namespace.as_ref())
        });
        let Some((found, others)) = caches.split_last() else {
            return Err(MountError::NotInFiles { name: self.name.clone(), names: names.join(", ") });
        };
        if let Some(other) = others.iter().find(|other| other.spec.storage != found.spec.storage) {
            let found = [other, found].map(name_of).join(" and ");
            return Err(MountError::Ambiguous { name: self.name.clone(), found });
        }
        Ok(found.clone())
    }

    async fn in_cluster(&self) -> Result<ModelCache, MountError> {
        let config = Config::infer().await.map_err(|error| MountError::Cluster(error.to_string()))?;
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| MountError::Cluster(error.to_string()))?;
        let caches: Api<ModelCache> = Api::namespaced(client, &namespace);
        let found = caches.get_opt(&self.name).await;
        found
            .map_err(|error| MountError::Cluster(error.to_string()))?
            .ok_or_else(|| MountError::NotFound { name: self.name.clone(), namespace })
    }

    /// The part of the pod template, as the admission policies would add it.
    fn block(&self, cache: &ModelCache) -> Value {
        let home = &self.mount_path;
        let writable = self.home.then(|| mount::writable(home)).into_iter().flatten();
        let variables = mount::variables(home).into_iter().chain(writable);
        let env: Vec<_> = variables.map(|(name, value)| json!({ "name": name, "value": value })).collect();
        let mut hub = json!({ "name": mount::VOLUME, "mountPath": mount::hub(home), "readOnly": true });
        if let Some(folder) = cache.folder() {
            hub["subPath"] = folder.into();
        }
        let spec = json!({
            "containers": [{
                "name": self.container,
                "env": env,
                "volumeMounts": [{ "name": mount::HOME_VOLUME, "mountPath": home }, hub],
            }],
            "volumes": [
                { "name": mount::HOME_VOLUME, "emptyDir": {} },
                {
                    "name": mount::VOLUME,
                    "persistentVolumeClaim": { "claimName": cache.claim_name(), "readOnly": true },
                },
            ],
        });
        if self.patch { json!({ "spec": { "template": { "spec": spec } } }) } else { json!({ "spec": spec }) }
    }
}

/// Parses a mount path.
fn mount_path(given: &str) -> Result<String, InvalidValue> {
    let path = given.trim_end_matches('/');
    let fits =
        |part: &str| !["", ".", ".."].contains(&part) && !part.contains(|c: char| c == ':' || c.is_control());
    let good = path.strip_prefix('/').is_some_and(|path| path.split('/').all(fits));
    let rule = "it must be absolute, without `:`, `.` and `..`, and without two slashes in a row";
    good.then(|| path.to_owned()).ok_or(InvalidValue(rule))
}

/// The note printed with the YAML.
fn state(cache: &ModelCache) -> String {
    let source = &cache.spec.source;
    let load = format!("It loads as {} at revision {}", source.repo, source.revision);
    match condition::find(cache.conditions(), ConditionType::Ready) {
        _ if cache.is_ready() => format!("{load}."),
        Some(ready) => {
            format!("{load} once the ModelCache is Ready. Now: {}: {}", ready.reason, ready.message)
        }
        None => format!("{load} once the ModelCache is Ready."),
    }
}

/// Why nothing can be printed.
#[derive(Debug, thiserror::Error)]
enum MountError {
    /// The files are invalid.
    #[error(transparent)]
    Files(#[from] ManifestError),
    /// It is not in the files.
    #[error("no ModelCache {name} in the files; they have {names}")]
    NotInFiles { name: String, names: String },
    /// The files have several, with different storage.
    #[error(
        "the files have more than one ModelCache {name}: {found}; select a namespace with -n, or pass fewer files"
    )]
    Ambiguous { name: String, found: String },
    /// It is not in the cluster.
    #[error(
        "no ModelCache {name} in the namespace {namespace}; select another namespace with -n, or a file with -f"
    )]
    NotFound { name: String, namespace: String },
    /// The API server cannot be reached.
    #[error(
        "cannot read the ModelCache from the cluster: {0}; pass a file with -f to do without the cluster"
    )]
    Cluster(String),
}

impl MountError {
    /// Prints it and returns the exit code.
    fn refuse(&self) -> u8 {
        let code = match self {
            Self::Files(error) => return error.refuse(),
            Self::Ambiguous { .. } => exit::USAGE,
            Self::NotInFiles { .. } | Self::NotFound { .. } => exit::NOT_FOUND,
            Self::Cluster(_) => exit::UNREACHABLE,
        };
        eprint_line(&format!("error: {self}"));
        code
    }
}
