//! The progress of a download, from the lines that the fetcher logs. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use crate::api::{Progress, condition};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    event: String,
    downloaded_bytes: u64,
    total_bytes: u64,
    bytes_per_second: Option<u64>,
    at: Option<Timestamp>,
}

/// The progress in a line of the log, if it is a progress line.
#[must_use]
pub fn parse_line(line: &str) -> Option<Progress> {
    let Line { event, downloaded_bytes, total_bytes, bytes_per_second, at } =
        serde_json::from_str(line).ok()?;
    if event != "progress" {
        return None;
    }
    let done = downloaded_bytes.min(total_bytes);
    let percent = (u128::from(done) * 100).checked_div(u128::from(total_bytes)).unwrap_or(100);
    Some(Progress {
        downloaded_bytes: i64::try_from(done).unwrap_or(i64::MAX),
        total_bytes: i64::try_from(total_bytes).unwrap_or(i64::MAX),
        percent: i32::try_from(percent).unwrap_or(100),
        bytes_per_second: bytes_per_second.map(|rate| i64::try_from(rate).unwrap_or(i64::MAX)),
        // Kubernetes cannot represent times long before.
        updated_at: at.map(|at| Time(condition::whole_seconds(at.max(Timestamp::UNIX_EPOCH)))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_progress_lines_count() {
        assert_eq!(
            parse_line(r#"{"event":"progress","downloadedBytes":50,"totalBytes":200,"files":3}"#),
            Some(Progress { downloaded_bytes: 50, total_bytes: 200, percent: 25, ..Progress::default() })
        );
        let line = r#"{"event":"progress","downloadedBytes":1,"totalBytes":4,"bytesPerSecond":9,"at":"2026-01-01T12:00:00.5Z"}"#;
        assert_eq!(
            parse_line(line),
            Some(Progress {
                downloaded_bytes: 1,
                total_bytes: 4,
                percent: 25,
                bytes_per_second: Some(9),
                updated_at: Some(Time("2026-01-01T12:00:00Z".parse().unwrap())),
            })
        );
        for other in [
            "",
            "plain",
            "{}",
            r#"{"event":"done","downloadedBytes":1,"totalBytes":1}"#,
            r#"{"event":"progress"}"#,
        ] {
            assert_eq!(parse_line(other), None, "{other}");
        }
    }

    #[test]
    fn strange_numbers_stay_in_bounds() {
        let progress = parse_line(r#"{"event":"progress","downloadedBytes":9,"totalBytes":0}"#).unwrap();
        assert_eq!(progress, Progress { percent: 100, ..Progress::default() });
        let line =
            r#"{"event":"progress","downloadedBytes":0,"totalBytes":1,"at":"-000042-01-01T12:00:00Z"}"#;
        assert_eq!(parse_line(line).unwrap().updated_at, Some(Time(Timestamp::UNIX_EPOCH)));
    }
}
