//! What both programs do with a file that they have found.

use std::{fmt::Debug, fs, io, path::Path};

/// The file with the mark, in a repo of this type.
#[must_use]
pub fn file_of(kind: &str) -> &'static str {
    if kind == "dataset" { "data/train.jsonl" } else { "config.json" }
}

/// What tells this revision of this repo from all others.
pub fn mark(path: &Path) -> io::Result<String> {
    let content: serde_json::Value = serde_json::from_slice(&fs::read(path)?)?;
    Ok(content["mark"].as_str().unwrap_or_default().to_owned())
}

/// What is printed: the mark, or the name of the error.
pub fn row<E: Debug>(loaded: Result<String, E>) -> String {
    loaded.unwrap_or_else(|error| {
        let error = format!("{error:?}");
        format!("cannot: {}", error.split(['(', ' ']).next().unwrap_or_default())
    })
}
