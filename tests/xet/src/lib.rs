//! The official chunk store of Xet, as tests hold it: its server, a door in front of it that looks at tokens and can be
//! broken, and the official client to fill it.
//!
//! The server itself asks for no token. The door asks for one where the real store does, and none at the addresses
//! that stand for signed ones.

mod door;
mod store;

pub use door::Seen;
pub use store::{Store, Stored};
