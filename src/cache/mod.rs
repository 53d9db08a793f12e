//! The Hub cache on disk: where things lie, how they get there whole, and what is known about them.
//!
//! The layout is that of `huggingface_hub`, whose readers are the judges of it. Knows no network.

mod adopt;
mod diagnosis;
mod disk;
mod error;
mod hash;
mod inventory;
mod layout;
mod leftovers;
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
mod root;
mod scratch;
mod snapshot;
mod survey;
#[cfg(test)]
mod testing;
mod tree;
mod verify;
mod volume;
mod walk;

pub use adopt::{Adopted, Silence, adopt};
pub use diagnosis::Diagnosis;
pub use error::CacheError;
pub use hash::Hasher;
pub use inventory::{Inventory, State, prove};
pub use layout::{CacheDir, RepoDir, link_target};
pub use leftovers::{abandoned, on_its_way, resumable, sweep};
pub use list::{Amount, Listed, ListedRevision, Listing, Trust, list};
pub use lock::Courtesy;
pub use partial::{Part, Partial, settle, store};
pub use prune::{Item, Kind, PruneRules, Pruned, Pruning, Unnamed, prune};
pub use publish::Publication;
pub use record::{Record, RecordedFile, Selection};
pub use redirect::{FURTHER_NAMES, add_name, further_names, locate, settle_folder};
pub use refs::{check_refs, commit_of_ref, write_refs};
pub use scratch::Scratch;
pub use snapshot::Links;
pub use survey::is_there;
pub use verify::{Checked, Fault, Problem, verify, verify_all};
pub use volume::{diagnose, prepare, require_space};
