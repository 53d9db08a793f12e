//! The controller: watches `ModelCache` resources and brings about what they ask for.
//!
//! One look at one resource is: observe → what the prober knows of the Hub → decide → carry out → assemble the status → write it.
//! `decide`, `status` and the builders are pure; only `observe`, the prober and `apply` talk to anyone.

mod apply;
mod area;
mod attempt;
mod backoff;
mod checked;
pub mod claim;
mod consent;
mod decide;
mod error;
mod events;
mod failures;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod incidents;
pub mod inputs;
pub mod job;
mod listing;
mod neighbour;
mod observe;
mod patience;
pub mod placement;
mod plan;
mod pods;
mod prober;
mod progress;
mod recall;
mod reconcile;
mod recorder;
mod remarks;
mod said;
mod secrets;
mod source;
mod standstill;
mod status;
mod unreadable;
mod users;
mod verdict;
mod watch;
mod watcher;

pub use area::{Namespace, NamespaceError};
pub use backoff::{Again, Growing, again};
pub use error::{ApplyError, ControllerError, ObserveError, PodError, PreflightError, ReconcileError};
pub use listing::ListingError;
pub use patience::{Help, help};
pub use prober::{Circuit, Prober};
pub use secrets::Secrets;
pub use watch::{Settings, run};
pub use watcher::{Guarded, Invalid, Parse};
