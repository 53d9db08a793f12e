//! The Hub cache on disk: its layout, atomic writes to it, and records of what was verified.
//!
//! The layout is that of `huggingface_hub`, whose readers define what is correct. Knows no network.

mod diagnosis;
mod disk;
mod error;
mod hash;
mod inventory;
mod layout;
mod list;
mod lock;
mod names;
mod partial;
mod parts;
mod prune;
mod publish;
mod record;
mod redirect;
mod refs;
mod removal;
mod resolve;
mod resume;
mod root;
mod scan;
mod scratch;
mod snapshot;
mod stale;
#[cfg(test)]
mod testing;
mod tree;
mod verify;
mod volume;
mod walk;

pub use diagnosis::Diagnosis;
pub use error::CacheError;
pub use hash::Hasher;
pub use inventory::{Inventory, State, verify_blob};
pub use layout::{CacheDir, RepoDir, link_target};
pub use list::{Amount, Listed, ListedRevision, Listing, Trust, list};
pub use lock::AdvisoryLock;
pub use partial::{Part, Partial, store, sync_volume};
pub use prune::{Item, Kind, PruneRules, Pruned, Pruning, Unnamed, prune};
pub use publish::Publication;
pub use record::{Record, RecordedFile, Selection};
pub use redirect::{FURTHER_NAMES, add_name, further_names, locate, settle_folder};
pub use refs::{check_refs, commit_of_ref, write_refs};
pub use resume::{IdleThresholds, Resume, resume};
pub use scan::is_there;
pub use scratch::Scratch;
pub use snapshot::Links;
pub use stale::{abandoned, bytes_in_flight, resumable, sweep};
pub use verify::{Checked, Fault, Problem, verify, verify_all};
pub use volume::{diagnose, prepare, require_space};
