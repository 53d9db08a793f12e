//! What can go wrong between the controller and the API server or the Hub's client.
//!
//! What a user can fix is never an error here: it is a verdict on the resource.

use super::listing::ObserveError;
use crate::hub::HubError;

/// The controller cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// No API server.
    #[error("cannot reach the Kubernetes API server: {0}")]
    Connect(#[source] kube::Error),
    /// The kubeconfig or the service account is not usable.
    #[error("cannot find out how to reach the Kubernetes API server: {0}")]
    Configure(#[from] kube::config::InferConfigError),
    /// The CRD is missing, or we may not read it.
    #[error("cannot list ModelCaches: {0}; is the CRD installed, and may this service account read them?")]
    NoCrd(#[source] kube::Error),
    /// The Hub's client cannot be set up.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The address for probes and metrics is taken.
    #[error("cannot listen on {address} for probes and metrics: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// The Hub's client cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the client for the Hub: {0}")]
pub struct PreflightError(#[from] HubError);

/// A change cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A Job stays.
    #[error("cannot delete the Job {name}: {source}")]
    DeleteJob {
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: kube::Error,
    },
    /// The claim is not made.
    #[error("cannot make the claim: {0}")]
    MakeClaim(#[source] kube::Error),
    /// The Job is not made.
    #[error("cannot make the Job: {0}")]
    MakeJob(#[source] kube::Error),
    /// The status is not written.
    #[error("cannot write the status as {manager}: {source}")]
    WriteStatus {
        /// The field manager.
        manager: String,
        /// Why not.
        #[source]
        source: kube::Error,
    },
}

/// A waiting pod could not be reconciled; it is retried with growing pauses.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// Whether the model is available is not known.
    #[error("cannot read the ModelCache: {0}")]
    Read(#[source] kube::Error),
    /// The gate stays.
    #[error("cannot remove the scheduling gate: {0}")]
    Release(#[source] kube::Error),
    /// A pod without its volume stays.
    #[error("cannot delete the pod, which its owner is to replace: {0}")]
    Recreate(#[source] kube::Error),
}

/// A ModelCache could not be reconciled; it is retried with growing pauses.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// While reading.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// While changing.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}
