//! Watches of the API server: what is watched, how it is parsed, and how a lost watch is reopened. Does not know what an object
//! means.

mod fields;
mod guard;
mod metadata;
mod pages;
mod stream;

pub use fields::{Keep, MODEL_POD};
pub use guard::{Guarded, Invalid, Parse};
pub use metadata::Metadata;
pub use pages::{Lister, ListingError, Pages};
pub use stream::events;
