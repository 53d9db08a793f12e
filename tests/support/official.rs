//! The official client's own functions as the judge of ours: generated cases, all of them in one Python process.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    thread,
};

use serde_json::Value;

use super::common::{root, venv};

/// The cases are the same in each run. Another seed makes others.
const SEED: u64 = 0x6d6f_6465_6c63_6163;

/// The source of chance for a test, and a line that tells how to get the same again.
pub fn chance(test: &str) -> fastrand::Rng {
    let seed = std::env::var("MODELCACHE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    println!("{test}: MODELCACHE_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// A text of up to `longest` pieces.
pub fn text(chance: &mut fastrand::Rng, pieces: &[&str], longest: usize) -> String {
    let length = chance.usize(..=longest);
    (0..length).map(|_| chance.choice(pieces).copied().unwrap()).collect()
}

/// What the official client says to each case.
pub fn ask(question: &str, cases: &[Value]) -> Vec<Value> {
    let mut child = Command::new(venv().join("bin/python"))
        .arg(root().join("tests/python/official.py"))
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
