//! The programs that load, each with one library at one version.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{client::environment, programs::root};

/// Python environments: what was new in 2023, and what is new.
pub const OLDEST: &str = "loaders-oldest.txt";
pub const NEWEST: &str = "loaders.txt";

/// A program that prints one line for each `TYPE REPO REVISION`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loader {
    /// `load.py` with the packages of a list, and the name of its function.
    Python(&'static str, &'static str),
    /// A program of the package `rust`, and its arguments.
    Rust(&'static str, &'static [&'static str]),
    /// `load.mjs`, and its arguments.
    JavaScript(&'static [&'static str]),
}

impl Loader {
    /// The words that start it.
    pub fn words(self) -> Vec<PathBuf> {
        let (mut words, arguments) = match self {
            Self::Python(list, function) => {
                let script = root("tests/loaders/load.py");
                (vec![environment(list).join("bin/python"), script, function.into()], &[][..])
            }
            Self::Rust(name, arguments) => (vec![prepared("rust/build").join(name)], arguments),
            Self::JavaScript(arguments) => {
                let node = environment("node.txt").join("bin/node");
                (vec![node, prepared("js/install").join("load.mjs")], arguments)
            }
        };
        words.extend(arguments.iter().map(PathBuf::from));
        words
    }
}

/// The folder that one of our scripts prints.
fn prepared(script: &str) -> PathBuf {
    let output = Command::new(root("tests/loaders").join(script)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Path::new(str::from_utf8(&output.stdout).unwrap().trim()).to_owned()
}
