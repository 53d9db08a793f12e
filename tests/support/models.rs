//! Models that libraries can load, made by `tests/models`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The folder of a model. What is there is not made again.
pub fn made(kind: &str) -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("models");
    let make = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/make");
    let done = Command::new(make).arg(&out).args(["--only", kind]).stdout(Stdio::null()).status();
    assert!(done.unwrap().success());
    out.join(kind)
}
