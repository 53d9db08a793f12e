//! The places that integration tests play in: a cache to fill from a stand-in Hub, and a real cluster with the operator. Uses
//! modelcache's own types, so it is no use to its unit tests: they are built with other ones of the same names.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::large_futures,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    missing_docs,
    reason = "a story that cannot go on has to fail at that line, in the helpers as in the tests; nothing here is fast or public"
)]

pub mod cluster;
pub mod containers;
pub mod operator;
pub mod stage;
pub mod world;
