//! Other programs, as the tests run them.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A path below the root of the repository.
pub fn root(path: &str) -> PathBuf {
    let support = Path::new(env!("CARGO_MANIFEST_DIR"));
    support.ancestors().nth(2).unwrap().join(path)
}

/// A path below the folder that Cargo builds in.
pub fn built(path: &str) -> PathBuf {
    // In it are the folder of the profile, in that `deps`, and in that the test.
    env::current_exe().unwrap().ancestors().nth(3).unwrap().join(path)
}

/// The program, as Cargo has built it for the suite that runs.
pub fn modelcache() -> PathBuf {
    env::current_exe().unwrap().ancestors().nth(2).unwrap().join("modelcache")
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
