//! The modelcache binary.
fn main() {}
