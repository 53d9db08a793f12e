//! Other programs, as the tests run them.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// A path below the root of the repository.
pub fn root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A tool that the tests build.
pub fn tool(name: &str) -> String {
    said(Command::new(root("tests/tools/get")).arg(name)).unwrap().trim().to_owned()
}

/// Runs a command, and gives what it printed, or all that it said where it failed.
pub fn said(command: &mut Command) -> Result<String, String> {
    told(command.output().unwrap()).map_err(|text| format!("{command:?}: {text}"))
}

/// What a command printed, or all that it said where it failed.
pub fn told(output: Output) -> Result<String, String> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    if output.status.success() { Ok(stdout) } else { Err(stdout + &stderr) }
}
