//! Models that libraries can load, made by `tests/models`.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::programs::{built, root};

/// The folder of a model. What is there is not made again.
pub fn made(kind: &str) -> PathBuf {
    let (out, make) = (built("tmp/models"), root("tests/models/make"));
    let done = Command::new(make).arg(&out).args(["--only", kind]).stdout(Stdio::null()).status();
    assert!(done.unwrap().success());
    out.join(kind)
}
