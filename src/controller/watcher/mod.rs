//! Watches of the API server: what is watched, how it is parsed, and how a lost watch comes back. Knows nothing of what
//! an object means.

mod fields;
mod guard;
mod metadata;
mod pages;
mod stream;

pub use fields::Keep;
pub use guard::{Guarded, Invalid, Parse};
pub use metadata::Metadata;
pub use pages::{ListingError, Pages};
pub use stream::{events, kept, touched};
