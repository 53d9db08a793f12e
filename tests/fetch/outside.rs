//! Runs the command as a process: its output, its exit code, and the volume afterwards.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use modelcache::fetch::Report;
use serde_json::Value;

use crate::stage::Stage;

/// How a run of the command ended.
#[derive(Debug)]
pub struct End {
    pub code: Option<i32>,
    pub report: Report,
    pub out: String,
    pub log: String,
}

impl End {
    fn of(output: Output) -> Self {
        let out = String::from_utf8(output.stdout).unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        let report = out.lines().last().and_then(Report::parse);
        let report = report.unwrap_or_else(|| panic!("no report: {out}\n{log}"));
        Self { code: output.status.code(), report, out, log }
    }

    /// The warnings in the log.
    pub fn warnings(&self) -> Vec<Value> {
        let lines = self.log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["level"] == "WARN").collect()
    }

    #[track_caller]
    pub fn assert_done(&self) {
        assert_eq!((self.code, self.report.reason.as_str()), (Some(0), "Verified"), "{self:#?}");
    }
}

/// Runs a `fetch … -o json` to completion, without blocking the test.
pub async fn end(mut command: Command) -> End {
    tokio::task::spawn_blocking(move || End::of(command.output().unwrap())).await.unwrap()
}

/// The command that fetches all of the model.
pub fn fetch(stage: &Stage) -> Command {
    stage.modelcache(&["fetch", "acme/tiny", "-o", "json"])
}

/// Asserts that the snapshot has exactly the Hub's files, byte for byte. Faster than the official client, for many cases.
#[track_caller]
pub fn assert_whole(stage: &Stage) {
    for file in stage.hub.files("acme/tiny", "main") {
        let found = fs::read(stage.snapshot().join(&file.path));
        assert!(
            found.is_ok_and(|bytes| bytes == file.content.to_vec().unwrap()),
            "{} is missing or wrong",
            file.path
        );
    }
    assert_eq!(fs::read_to_string(stage.repo_dir().join("refs/main")).unwrap(), stage.commit());
}

/// Asserts that readers find nothing of the model.
#[track_caller]
pub fn assert_unseen(stage: &Stage) {
    for folder in ["snapshots", "refs", "trees"] {
        let folder = stage.repo_dir().join(folder);
        assert!(files_below(&folder).is_empty(), "{} is not empty", folder.display());
    }
}

/// All files below a folder, links not followed.
pub fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}
