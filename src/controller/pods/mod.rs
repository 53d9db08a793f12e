//! Pods that wait for a model behind a scheduling gate: let go once it is there, or told why not.
//!
//! Volume, mounts and gate are put into a pod by the admission policies of `deploy/pods.yaml` alone: a pod's volumes cannot
//! be changed later. So one that came before its ModelCache was known is made again where its owner makes it again, and
//! told of where nobody does.

mod decide;
mod reconcile;
mod told;
mod unmounted;
mod watch;

pub use reconcile::Context;
pub use unmounted::run as find_unmounted;
pub use watch::run;
