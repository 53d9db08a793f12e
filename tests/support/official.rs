//! The official client's own functions as the judge of ours: generated cases, all of them in one Python process.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    thread,
};

use serde_json::Value;

use crate::{client::venv, programs::root};

pub use crate::chance::{chance, text};

/// What the official client says to each case.
pub fn ask(question: &str, cases: &[Value]) -> Vec<Value> {
    let mut child = Command::new(venv().join("bin/python"))
        .arg(root("tests/python/official.py"))
        .arg(question)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines = cases.iter().fold(String::new(), |lines, case| lines + &case.to_string() + "\n");
    let writer = thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the official client has failed");
    let answers: Vec<Value> = output
        .stdout
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(answers.len(), cases.len());
    answers
}
