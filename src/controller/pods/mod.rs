//! Pods that wait for a model behind a scheduling gate: released once the model is available; until then an event on the pod says why
//! not.
//!
//! Volume, mounts and gate are put into a pod by the admission policies of `deploy/pods.yaml` alone: a pod's volumes cannot
//! be changed later. So a pod that was made before its ModelCache was known is deleted where its owner replaces it, and
//! reported where nothing does.

mod decide;
mod dedup;
mod pod;
mod reconcile;
mod unmounted;
mod watch;

pub use reconcile::Context;
pub use unmounted::run as find_unmounted;
pub use watch::{affects_pods, run};
