//! What can go wrong between the controller and the API server or the Hub's client.
//!
//! What a user can mend is never an error here: it is a verdict on the resource.

use std::sync::Arc;

use super::{area::Area, listing::ListingError, watcher::Invalid};
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

/// An area cannot be watched. It is tried again, for both may come later: the namespace and the rights.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot list {what} in {place}: {why}; {remedy}",
    place = area.place(), why = words(source), remedy = area.remedy()
)]
pub struct AreaError {
    /// The plural of the kind.
    pub what: String,
    /// Where.
    pub area: Area,
    /// Why not.
    #[source]
    pub source: kube::Error,
}

/// The API server's own words, without the object that they came in.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// Something around a resource cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// One object.
    #[error("cannot read the {kind} {name}: {source}")]
    Read {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: kube::Error,
    },
    /// One object has a field that is not understood.
    #[error("cannot use the {kind} {name}: {source}")]
    Parse {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Which field.
        #[source]
        source: Arc<Invalid>,
    },
    /// A list of objects.
    #[error("cannot list {kind}: {source}")]
    List {
        /// What they are.
        kind: &'static str,
        /// Why not.
        #[source]
        source: ListingError,
    },
}

impl ObserveError {
    pub(super) fn read(kind: &'static str, name: &str, source: kube::Error) -> Self {
        Self::Read { kind, name: name.to_owned(), source }
    }
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

/// A look at a waiting pod failed; it is tried again with growing pauses.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// Whether the model is there cannot be told.
    #[error("cannot read the ModelCache: {0}")]
    Read(#[source] kube::Error),
    /// The gate stays.
    #[error("cannot take the scheduling gate off: {0}")]
    Release(#[source] kube::Error),
    /// A pod without its volume stays.
    #[error("cannot delete the pod, so that it is made again: {0}")]
    MakeAgain(#[source] kube::Error),
}

/// A look at one resource failed; it is tried again with growing pauses.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// While reading.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// While changing.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}
