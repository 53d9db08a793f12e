//! The custom resource definition, made from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::ModelCache;

/// The definition, as it is installed.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    ModelCache::crd()
}

/// The definition as YAML text.
pub fn crd_yaml() -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&crd())
}
