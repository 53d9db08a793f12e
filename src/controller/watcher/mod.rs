//! Watches of the API server: what is watched, how it is parsed, and how a lost watch comes back. Knows nothing of what
//! an object means.

mod guard;
mod metadata;
mod stream;

pub use guard::{Guarded, Invalid, Parse};
pub use metadata::Metadata;
pub use stream::{events, kept, touched};
