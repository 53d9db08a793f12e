//! The report of a finished fetch: one small JSON object, written as the termination message and read by the controller.

use std::{fs::OpenOptions, io, io::Write as _, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{hub::RepoType, reason::Reason, text};

/// Kubernetes truncates a termination message to 4,096 bytes, which would invalidate the JSON.
const LONGEST: usize = 4095;
/// The only version so far.
const VERSION: u32 = 1;

/// The outcome of a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The version of this format: 1.
    pub version: u32,
    /// The repo's ID.
    pub repo: String,
    /// The repo's type.
    #[serde(rename = "type")]
    pub kind: RepoType,
    /// The requested revision.
    pub revision: String,
    /// The commit it resolved to, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The result: `Verified` on success.
    pub reason: Reason,
    /// The message for the user.
    pub message: String,
    /// The number of selected files.
    #[serde(default)]
    pub files: u64,
    /// Their bytes.
    #[serde(default)]
    pub bytes: u64,
    /// The bytes received from the Hub in this run.
    #[serde(default)]
    pub downloaded_bytes: u64,
    /// The path of the snapshot relative to the cache, if it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Further names of the repo under which programs find the snapshot in the cache.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// When the last file was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// The duration in seconds.
    #[serde(default)]
    pub seconds: u64,
    /// The delay that the Hub requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

impl Report {
    /// A report with a result only.
    pub fn new(
        repo: &impl ToString,
        kind: RepoType,
        revision: &impl ToString,
        reason: Reason,
        message: String,
    ) -> Self {
        Self {
            version: VERSION,
            repo: repo.to_string(),
            kind,
            revision: revision.to_string(),
            commit: None,
            reason,
            message,
            files: 0,
            bytes: 0,
            downloaded_bytes: 0,
            path: None,
            names: Vec::new(),
            verified_at: None,
            seconds: 0,
            retry_after_seconds: None,
        }
    }

    /// Parses the termination message of a pod. `None` if it is not a report: pods can die in other ways, and anyone who may
    /// create pods can write anything there. Also `None` if it is longer than Kubernetes allows, or has an unknown reason.
    /// Texts for the user are sanitized; names are not, since callers only compare them.
    #[must_use]
    pub fn parse(left: &str) -> Option<Self> {
        if left.len() > LONGEST + 1 {
            return None;
        }
        let report: Self = serde_json::from_str(left.trim()).ok()?;
        (report.version == VERSION).then(|| Self {
            message: text::line(&report.message, LONGEST),
            path: report.path.map(|path| text::line(&path, LONGEST)),
            ..report
        })
    }

    /// One line of JSON, safe to display. The message is truncated so that the whole fits into a termination message.
    #[must_use]
    pub fn to_json(&self) -> String {
        let message = text::line(&self.message, LONGEST);
        let json = text::json(&Self { message: message.clone(), ..self.clone() });
        if json.len() <= LONGEST || message.is_empty() {
            return json;
        }
        let bare = Self { message: String::new(), ..self.clone() };
        let room = LONGEST.saturating_sub(text::json(&bare).len());
        Self { message: cut(&message, room), ..bare }.to_json()
    }

    /// Overwrites a file in place: Kubernetes mounts the file itself, so it cannot be replaced by a rename.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all(self.to_json().as_bytes())
    }
}

/// Truncates a text to at most `room` bytes of JSON, and marks the cut.
fn cut(text: &str, room: usize) -> String {
    const MARK: char = '…';
    let mut left = room.saturating_sub(MARK.len_utf8());
    let fits = |c: &char| {
        // Without the quotes around it.
        let length = text::json(c).len() - 2;
        left.checked_sub(length).inspect(|rest| left = *rest).is_some()
    };
    let mut short: String = text.chars().take_while(fits).collect();
    if !short.is_empty() {
        short.push(MARK);
    }
    short
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::{Value, json};

    use super::*;
    use crate::text::testing::{assert_safe, nasty};

    fn report(message: String) -> Report {
        Report::new(&"org/name", RepoType::Dataset, &"main", Reason::HubUnreachable, message)
    }

    #[test]
    fn a_report_round_trips() {
        let full = Report {
            commit: Some("0f".repeat(20)),
            reason: Reason::Verified,
            files: 3,
            bytes: 4,
            downloaded_bytes: 5,
            path: Some("datasets--org--name/snapshots/0f".to_owned()),
            names: vec!["Org/name".to_owned()],
            verified_at: Some("2026-01-02T03:04:05Z".parse().unwrap()),
            seconds: 6,
            retry_after_seconds: Some(7),
            ..report("fine".to_owned())
        };
        assert_eq!(Report::parse(&full.to_json()), Some(full.clone()));
        assert_eq!(
            serde_json::to_value(&full).unwrap(),
            json!({
                "version": 1, "repo": "org/name", "type": "dataset", "revision": "main", "commit": "0f".repeat(20),
                "reason": "Verified", "message": "fine", "files": 3, "bytes": 4, "downloadedBytes": 5,
                "path": "datasets--org--name/snapshots/0f", "names": ["Org/name"], "verifiedAt": "2026-01-02T03:04:05Z", "seconds": 6,
                "retryAfterSeconds": 7,
            })
        );
    }

    #[test]
    fn a_report_fits_regardless_of_its_message() {
        for message in ["x".repeat(9000), "ä".repeat(9000), "\u{1}\"\\".repeat(3000), "🤗".repeat(2000)] {
            let json = report(message.clone()).to_json();
            assert!((4080..4096).contains(&json.len()), "{}", json.len());
            let cut = Report::parse(&json).unwrap().message;
            let message = text::line(&message, usize::MAX);
            assert!(message.starts_with(cut.strip_suffix('…').unwrap()));
        }
        let long = report("x".repeat(3000));
        assert_eq!(Report::parse(&long.to_json()), Some(long));
    }

    #[test]
    fn hostile_texts_are_sanitized_in_own_and_forged_reports() {
        for (case, words) in nasty(300) {
            let ours = report(words.clone()).to_json();
            assert_safe(&ours, LONGEST, case);
            assert!(ours.len() <= LONGEST, "case {case}");
            let written: Value = serde_json::from_str(&ours).unwrap();
            assert_safe(written["message"].as_str().unwrap(), LONGEST, case);
            let forged = json!({
                "version": 1, "repo": "a/b", "type": "model", "revision": "main", "reason": "Verified",
                "message": words, "path": words,
            });
            let forged = forged.to_string();
            let Some(read) = Report::parse(&forged) else {
                assert!(forged.len() > LONGEST, "case {case}: only oversized ones are rejected");
                continue;
            };
            assert_safe(&read.message, LONGEST, case);
            assert_safe(&read.path.unwrap(), LONGEST, case);
        }
    }

    #[test]
    fn garbage_is_rejected_and_unknown_fields_are_ignored() {
        for garbage in ["", "OOMKilled", "{}", "[1]", r#"{"version":2}"#, "{\"version\":1,\"repo\":\"a"] {
            assert_eq!(Report::parse(garbage), None, "{garbage}");
        }
        let mut json = serde_json::to_value(report("x".to_owned())).unwrap();
        json["later"] = json!({"a": 1});
        assert_eq!(Report::parse(&format!(" {json}\n")), Some(report("x".to_owned())));
    }

    #[test]
    fn a_report_file_is_overwritten_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "x".repeat(5000)).unwrap();
        let second_name = dir.path().join("same");
        std::fs::hard_link(&path, &second_name).unwrap();
        report("short".to_owned()).write(&path).unwrap();
        assert_eq!(
            Report::parse(&std::fs::read_to_string(second_name).unwrap()),
            Some(report("short".to_owned()))
        );
    }
}
