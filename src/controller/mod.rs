//! The controller: watches `ModelCache` resources and does what they ask for.
//!
//! One reconcile is: observe → ask the prober what the Hub says → plan, stage by stage → apply → build the status → write it.
//! `stages`, `status` and the builders are pure; only `observe`, the prober and `apply` talk to anyone.

mod access;
mod apply;
mod attempt;
mod backoff;
pub mod claim;
mod coalesce;
mod complaint;
mod consent;
mod error;
mod events;
mod failures;
pub mod fill;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod incidents;
pub mod job;
mod listing;
mod messages;
mod neighbour;
mod observation;
mod observe;
mod patience;
mod pin;
pub mod placement;
mod plan;
mod planner;
mod pods;
mod prober;
mod progress;
mod reconcile;
mod recorder;
mod remarks;
mod round_robin;
mod said;
mod scope;
mod secrets;
mod snapshots;
mod source;
mod stages;
mod standstill;
mod status;
mod stores;
mod unreadable;
mod users;
mod verdict;
mod watch;
mod watcher;
mod workers;

pub use backoff::{Again, Growing, again};
pub use error::{ApplyError, ControllerError, PodError, PreflightError, ReconcileError};
pub use listing::ObserveError;
pub use patience::{Help, help};
pub use prober::{Circuit, Prober};
pub use scope::ScopeError;
pub use scope::{Namespace, NamespaceError};
pub use secrets::Secrets;
pub use watch::{Settings, run};
pub use watcher::{Guarded, Invalid, Keep, ListingError, Parse};
