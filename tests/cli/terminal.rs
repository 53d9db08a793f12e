//! Output on a real pseudo-terminal.

use std::{os::unix::fs::symlink, process::Command};

use pretty_assertions::assert_eq;
use serde_json::Value;
use standin_hub::{Class, Content, Fault, FaultKind, Repo};

use crate::{client::venv, programs::root, stage::Stage};

/// A minimal terminal emulator, with the escape sequences that progress lines use.
struct Screen {
    columns: usize,
    rows: Vec<Vec<char>>,
    at: (usize, usize),
    /// The maximum number of rows in use.
    tallest: usize,
}

impl Screen {
    fn show(columns: usize, text: &str) -> Self {
        let mut screen = Self { columns, rows: vec![Vec::new()], at: (0, 0), tallest: 0 };
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '\r' => screen.at.1 = 0,
                '\n' => screen.at.0 += 1,
                '\u{1b}' => {
                    assert_eq!(rest.next(), Some('['));
                    let order: String = rest.by_ref().take_while_inclusive();
                    let (count, order) = order.split_at(order.len() - 1);
                    let count: usize = count.parse().unwrap_or(1);
                    match order {
                        "A" => screen.at.0 -= count,
                        "B" => screen.at.0 += count,
                        "K" => screen.row().clear(),
                        other => assert_eq!(other, "m", "an order that this terminal does not know"),
                    }
                }
                other => screen.put(other),
            }
            screen.row();
        }
        screen
    }

    fn row(&mut self) -> &mut Vec<char> {
        while self.rows.len() <= self.at.0 {
            self.rows.push(Vec::new());
        }
        let filled = self.rows.iter().filter(|row| row.iter().any(|c| *c != ' ')).count();
        self.tallest = self.tallest.max(filled);
        &mut self.rows[self.at.0]
    }

    fn put(&mut self, c: char) {
        if self.at.1 == self.columns {
            self.at = (self.at.0 + 1, 0);
        }
        let column = self.at.1;
        let row = self.row();
        while row.len() <= column {
            row.push(' ');
        }
        row[column] = c;
        self.at.1 += 1;
    }

    /// The final content.
    fn lines(&self) -> Vec<String> {
        let lines = self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    }
}

trait TakeWhileInclusive {
    fn take_while_inclusive(self) -> String;
}

impl<I: Iterator<Item = char>> TakeWhileInclusive for I {
    /// The parameters of an escape sequence, and its final letter.
    fn take_while_inclusive(mut self) -> String {
        let mut order = String::new();
        for c in &mut self {
            order.push(c);
            if c.is_ascii_alphabetic() {
                break;
            }
        }
        order
    }
}

/// A Hub slow enough to observe progress.
async fn stage() -> Stage {
    let stage = Stage::with(
        Repo::model("acme/tiny")
            .file("config.json", "{}")
            .lfs("a.bin", Content::random(1, 3_000_000))
            .lfs(
                "a/long/folder/name/that/fits/on/no/line/model-00001-of-00002.safetensors",
                Content::random(2, 2_000_000),
            )
            .branch("main"),
    )
    .await;
    stage.hub.fault(Fault::new(FaultKind::Slow(1_500_000)).on(Class::Cdn));
    stage
}

fn run(stage: &Stage, columns: usize, environment: &[(&str, &str)], arguments: &[&str]) -> (String, i64) {
    let (python, script) = (venv().join("bin/python"), root("tests/python/terminal.py"));
    let size = columns.to_string();
    let starter = [python.to_str().unwrap(), script.to_str().unwrap(), &size, "24"];
    let mut command: Command = stage.modelcache_through(&starter, arguments);
    let output = command.env("TERM", "xterm").envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    (shown["shown"].as_str().unwrap().to_owned(), shown["code"].as_i64().unwrap())
}

#[tokio::test]
async fn bars_show_progress_rate_and_time_and_are_erased() {
    for columns in [80, 40] {
        let stage = stage().await;
        let (shown, code) = run(&stage, columns, &[], &["fetch", "acme/tiny"]);
        assert_eq!(code, 0, "{shown}");
        for part in ["Asking the Hub…", "1/3 files", " %", " MiB/s", "…", "a.bin", "safetensors"] {
            assert!(shown.contains(part), "{part:?} is missing at {columns}: {shown:?}");
        }
        assert!(columns < 80 || (shown.contains("s left") && shown.contains('━')), "{shown:?}");
        let screen = Screen::show(columns, &shown);
        let end = screen.lines().concat();
        let snapshot = stage.snapshot();
        assert!(
            end.starts_with(snapshot.to_str().unwrap()) && end.contains("Verified: acme/tiny at "),
            "{end:?}"
        );
        assert!(!end.contains('%') && !end.contains("files ━"), "something is left of the bars: {end:?}");
        // One overall line and one per file, or the final lines: the terminal wrapped none.
        assert!(screen.tallest <= 4.max(screen.lines().len()), "{} at {columns}: {shown:?}", screen.tallest);
    }
}

#[tokio::test]
async fn log_lines_are_printed_above_the_bars() {
    let stage = stage().await;
    let (shown, code) = run(&stage, 200, &[("MODELCACHE_LOG", "info")], &["fetch", "acme/tiny"]);
    assert_eq!(code, 0, "{shown}");
    let lines = Screen::show(200, &shown).lines();
    assert!(lines[0].contains(" INFO ") && lines[0].contains("downloading"), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains(" %") && !line.contains("Asking")), "{lines:?}");
}

#[tokio::test]
async fn progress_is_printed_as_lines_without_a_terminal() {
    let stage = stage().await;
    for environment in [[("TERM", "dumb")], [("NO_COLOR", "1")]] {
        let (shown, code) = run(&stage, 80, &environment, &["fetch", "acme/tiny", "-o", "json"]);
        assert_eq!(code, 0, "{shown}");
        assert!(!shown.contains('\u{1b}') && !shown.contains('━') && !shown.contains("Asking"), "{shown:?}");
        assert!(shown.contains("\"reason\":\"Verified\""), "{shown:?}");
    }
    let piped = stage.modelcache(&["fetch", "acme/tiny"]).env("TERM", "xterm").output().unwrap();
    assert!(!String::from_utf8(piped.stderr).unwrap().contains('\u{1b}'));
}

/// The demo exits at the first missing tool, after its first headline.
#[test]
fn the_demo_prints_escape_codes_only_on_a_terminal() {
    let tools = tempfile::tempdir().unwrap();
    for tool in ["dirname", "readlink", "tput"] {
        symlink(format!("/usr/bin/{tool}"), tools.path().join(tool)).unwrap();
    }
    let demo = |mut starter: Command| {
        starter.arg("/bin/bash").arg(root("demo/run")).env_clear();
        starter.env("PATH", tools.path()).env("HOME", tools.path()).env("TERM", "xterm");
        String::from_utf8(starter.output().unwrap().stdout).unwrap()
    };
    let written = demo(Command::new("/usr/bin/env"));
    assert!(
        written.starts_with("\nPreparing (the first time takes a while") && !written.contains('\u{1b}'),
        "{written:?}"
    );
    let mut terminal = Command::new(venv().join("bin/python"));
    terminal.arg(root("tests/python/terminal.py")).args(["80", "24"]);
    let shown: Value = serde_json::from_str(&demo(terminal)).unwrap();
    let shown = shown["shown"].as_str().unwrap();
    assert!(
        shown.contains("\u{1b}[") && shown.contains("Preparing (the first time takes a while"),
        "{shown:?}"
    );
}
