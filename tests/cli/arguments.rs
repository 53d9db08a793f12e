//! No output repeats an invalid value: tries each argument and each environment variable with generated values.

use std::{collections::BTreeSet, process::Command};

use crate::chance::{chance, text};

/// Must not be repeated.
const MARK: &str = "verysecret";
/// Invalid in every argument: control characters, white space, and special characters.
const PIECES: &[&str] = &[
    "\u{1}", " ", "~", "=", ",", "$(A)", "'", "@", "{", "[", "?", "#", "://", "ü", "9", "x", "/", "--", "\n",
];
/// Paths, which error messages may name.
const PLACES: &[&str] = &["--cache-dir", "--filename", "--report", "--endpoints-file"];
/// Accept any text.
const FREE: &[&str] = &["--image", "--container"];
const COMMANDS: &[(&str, &[&str])] = &[
    ("fetch", &["org/name"]),
    ("check", &["org/name"]),
    ("verify", &[]),
    ("list", &[]),
    ("prune", &[]),
    ("mount", &["name"]),
    ("controller", &["--image=i"]),
    ("crd", &[]),
    ("completions", &["bash"]),
    ("man", &[]),
    ("reference", &["cli"]),
];

fn output(words: &[&str], variables: &[(&str, &str)]) -> (String, Option<i32>) {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_modelcache"))
        .args(words)
        .env_clear()
        .env("HOME", home.path())
        .env("HF_HUB_CACHE", home.path())
        .env("HF_ENDPOINT", "http://127.0.0.1:1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let both = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&both).into_owned(), output.status.code())
}

/// An invalid value that contains the mark.
fn garbage(chance: &mut fastrand::Rng) -> String {
    format!("{}{MARK}\u{1}{MARK}{}", text(chance, PIECES, 4), text(chance, PIECES, 4))
}

/// The options of a command that take a value, as its help has them.
fn options(command: &str) -> BTreeSet<String> {
    let (help, _) = output(&[command, "--help"], &[]);
    let of_line = |line: &str| {
        let (name, rest) = line.trim().split_once(" <")?;
        let name = name.rsplit(' ').next()?;
        (name.starts_with("--") && rest.contains('>')).then(|| name.to_owned())
    };
    help.lines().filter_map(of_line).collect()
}

#[test]
fn no_invalid_argument_is_repeated() {
    let mut chance = chance("arguments");
    let (mut cases, mut seen) = (0, BTreeSet::new());
    let mut refuse = |words: &[&str]| {
        let (said, code) = output(words, &[]);
        assert!(!said.contains(MARK), "{words:?}: {said}");
        assert!(code.is_some_and(|code| code > 0), "{words:?} is taken: {said}");
        assert!(said.trim().len() > 10, "{words:?}: {said}");
        cases += 1;
    };
    for (command, usual) in COMMANDS {
        for option in options(command) {
            if PLACES.contains(&option.as_str()) || FREE.contains(&option.as_str()) {
                continue;
            }
            for _ in 0..4 {
                let given = format!("{option}={}", garbage(&mut chance));
                refuse(&[&[*command], *usual, &[&given]].concat());
            }
            seen.insert(option);
        }
        for _ in 0..3 {
            let (one, flag) = (garbage(&mut chance), format!("--{}", garbage(&mut chance)));
            // As a positional argument, and in addition to valid ones.
            if *command != "controller" && *command != "crd" {
                refuse(&[command, &one]);
            }
            refuse(&[&[*command], *usual, &[&one, &one]].concat());
            refuse(&[&[*command], *usual, &[&flag]].concat());
        }
    }
    for _ in 0..8 {
        let one = garbage(&mut chance);
        refuse(&[&one]);
    }
    println!("{cases} cases with {seen:?}");
    for option in
        ["--alias", "--include", "--exclude", "--revision", "--type", "--token-file", "--max-workers"]
    {
        assert!(seen.contains(option), "{option} is not in {seen:?}");
    }
    assert!(cases > 150, "{cases}");
}

#[test]
fn no_invalid_variable_is_repeated() {
    let mut chance = chance("variables");
    for name in [
        "MODELCACHE_LOG",
        "RUST_LOG",
        "HF_ENDPOINT",
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "MODELCACHE_CA_BUNDLE",
        "MODELCACHE_IMAGE",
        "MODELCACHE_ENDPOINTS",
        "MODELCACHE_NAMESPACES",
        "MODELCACHE_SECRETS",
        "MODELCACHE_LISTEN",
    ] {
        for _ in 0..4 {
            // A variable cannot contain NUL, and a log filter with `=` may be valid.
            let value = garbage(&mut chance) + "=[";
            for words in [&["check", "org/name"][..], &["controller"], &["controller", "--help"]] {
                let (said, _) = output(words, &[(name, &value)]);
                assert!(!said.contains(MARK), "{name}={value:?} {words:?}: {said}");
            }
        }
    }
    for name in ["MODELCACHE_LOG", "RUST_LOG"] {
        let (said, _) = output(&["list"], &[(name, "a=verysecret")]);
        assert!(said.contains(name) && !said.contains(MARK), "{said}");
    }
}
