//! The stand-in Hub as a program.

fn main() {}
