//! Holds the report that a Job left against what the Job was to do. Whoever can write into the pod can forge a report: it
//! counts for the Job's own repo, revision and commit alone, and only where the container ended the way it says. Pure.

use k8s_openapi::api::{batch::v1::Job, core::v1::ContainerStateTerminated};

use super::job;
use crate::{
    cache::{CacheDir, FURTHER_NAMES},
    fetch::Report,
    hub::{Commit, Repo, RepoId, RepoType, Revision},
    reason::{Reason, exit},
};

/// Why there is no report that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The container left nothing that is a report.
    #[error("no report")]
    Missing,
    /// It left one that is not the Job's.
    #[error("a report that does not count: {0}")]
    Foreign(&'static str),
}

/// The options of a Job that are read again.
const OPTIONS: [&str; 2] = ["--type=", job::REVISION];

/// The arguments of a Job that are read again, in their places. The others may be long.
#[must_use]
pub fn read_arguments(all: &[String]) -> Vec<String> {
    let options =
        OPTIONS.iter().filter_map(|option| all.iter().skip(2).find(|text| text.starts_with(option)));
    let refs = all.iter().filter(|text| text.starts_with(job::ALIAS)).take(job::MOST_REFS);
    all.iter().take(2).chain(options).chain(refs).cloned().collect()
}

/// What a Job was to do, from its own arguments.
#[derive(Clone, Debug, PartialEq)]
struct Order {
    repo: Repo,
    revision: Revision,
}

impl Order {
    /// The Job's arguments are written once, when it is made, and no status or annotation changes them.
    fn of(job: &Job) -> Option<Self> {
        let arguments: Vec<String> = job::arguments_of(job)?.collect();
        let option = |name: &str| arguments.iter().find_map(|text| text.strip_prefix(name));
        let kinds = [RepoType::Model, RepoType::Dataset, RepoType::Space];
        let [kind, revision] = OPTIONS;
        let kind = option(kind).and_then(|word| kinds.into_iter().find(|kind| kind.as_str() == word))?;
        let repo = Repo { kind, id: arguments.get(1)?.parse().ok()? };
        Some(Self { repo, revision: option(revision)?.parse().ok()? })
    }
}

/// The report of a container that ended, if it counts.
pub fn report(job: &Job, end: &ContainerStateTerminated) -> Result<Report, ReportError> {
    let foreign = |why| Err(ReportError::Foreign(why));
    let text = end.message.as_deref().ok_or(ReportError::Missing)?;
    let report = Report::parse(text).ok_or(ReportError::Missing)?;
    let Some(order) = Order::of(job) else { return foreign("the Job does not say what it was to do") };
    if report.repo != order.repo.id.as_str() || report.kind != order.repo.kind {
        return foreign("it is about another repo");
    }
    if report.revision != order.revision.as_str() {
        return foreign("it is about another revision");
    }
    let commit = match report.commit.as_deref().map(str::parse::<Commit>) {
        None => None,
        Some(Ok(commit)) => Some(commit),
        Some(Err(_)) => return foreign("it names no commit"),
    };
    if report.names.iter().any(|name| name.parse::<RepoId>().is_err()) {
        return foreign("it names no repo");
    }
    // The API server would take no status with them.
    if report.names.len() > FURTHER_NAMES {
        return foreign("it has more names than a repo");
    }
    if let (Some(wanted), Some(commit)) = (order.revision.as_commit(), &commit)
        && wanted != *commit
    {
        return foreign("it is about another commit");
    }
    let ended_well = end.exit_code == i32::from(exit::OK);
    if report.reason == Reason::Verified {
        let path = commit.map(|commit| CacheDir::new("").repo(&order.repo).snapshot_from_root(&commit));
        if !ended_well {
            return foreign("it says that all is well, and the container failed");
        }
        if path.is_none() || report.path != path {
            return foreign("it names another folder");
        }
        if [report.files, report.bytes].iter().any(|&number| i64::try_from(number).is_err()) {
            return foreign("its numbers are impossible");
        }
    } else if ended_well {
        return foreign("it says that the download failed, and the container ended well");
    } else if !is_an_end(report.reason) {
        return foreign("its reason is none of a download");
    }
    Ok(report)
}

/// Whether a download can end for this reason. The others are the operator's own.
const fn is_an_end(reason: Reason) -> bool {
    use Reason as R;
    let is_the_operators = matches!(
        reason,
        R::ClaimNotFound
            | R::ClaimPending
            | R::ClaimConflict
            | R::ClaimInUse
            | R::ClaimTerminating
            | R::ClaimLost
            | R::JobRejected
            | R::JobPending
            | R::Suspended
            | R::Downloading
            | R::Evicted
    );
    reason.exit_code() != exit::OK && !is_the_operators
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        chance,
        controller::fixtures::{COMMIT, at, bound, cache, next_job},
        reason::ConditionType,
    };

    const CASES: usize = 600;
    const OTHER: &str = "89abcdef0123456789abcdef0123456789abcdef";

    fn ended(message: &impl ToString, exit_code: i32) -> ContainerStateTerminated {
        ContainerStateTerminated { exit_code, message: Some(message.to_string()), ..Default::default() }
    }

    fn good(reason: Reason) -> Value {
        json!({
            "version": 1, "repo": "acme/tiny", "type": "model", "revision": COMMIT, "commit": COMMIT,
            "reason": reason, "message": "Because.", "files": 3, "bytes": 4,
            "path": format!("models--acme--tiny/snapshots/{COMMIT}"), "verifiedAt": "2026-01-01T12:00:09Z", "seconds": 9,
        })
    }

    fn job() -> Job {
        let (seen, checked) = bound(cache());
        next_job(&seen, &checked, at(0))
    }

    #[test]
    fn a_jobs_order_is_in_its_arguments() {
        let order = Order::of(&job()).unwrap();
        assert_eq!((order.repo.to_string().as_str(), order.revision.as_str()), ("acme/tiny", COMMIT));
        assert_eq!(Order::of(&Job::default()), None);
    }

    #[test]
    fn a_report_of_the_job_counts() {
        let verified = report(&job(), &ended(&good(Reason::Verified), 0)).unwrap();
        assert_eq!((verified.reason, verified.bytes), (Reason::Verified, 4));
        let failed = report(&job(), &ended(&good(Reason::HashMismatch), 65)).unwrap();
        assert_eq!(failed.reason, Reason::HashMismatch);
    }

    /// Each new reason of a download's topic has to be classified here: can a Job end for it, or is it the operator's own?
    #[test]
    fn a_job_ends_for_no_reason_of_the_operators_own() {
        let is_of_jobs =
            |reason: &&Reason| reason.topic() == Some(ConditionType::Downloaded) && is_an_end(**reason);
        let ends: Vec<_> = Reason::ALL.iter().filter(is_of_jobs).copied().collect();
        let expected = [
            Reason::VolumeFull,
            Reason::VolumeNotWritable,
            Reason::RefConflict,
            Reason::VolumeUnsafe,
            Reason::NameNotSupported,
            Reason::TransferStalled,
            Reason::HashMismatch,
            Reason::DownloadFailed,
            Reason::Stopped,
            Reason::OutOfMemory,
        ];
        assert_eq!(ends, expected);
    }

    /// A report with one wrong thing in it, and how its container ended.
    fn wrong(chance: &mut fastrand::Rng) -> (String, i32) {
        let (reason, code) = if chance.bool() { (Reason::Verified, 0) } else { (Reason::VolumeFull, 73) };
        let mut report = good(reason);
        let noise = chance::text(chance, &["a", "/", "..", "$", "é", "\u{202e}", "0", "\n", "\\"], 6);
        match chance.u8(..13) {
            0 => {
                report["repo"] = json!(chance.choice(["acme/other", "ACME/tiny", "", "acme/tiny/"]).unwrap());
            }
            1 => {
                report["type"] = json!(chance.choice(["dataset", "space", "Model", ""]).unwrap());
            }
            2 => {
                report["revision"] = json!(chance.choice([OTHER, "main", "", &noise]).unwrap());
            }
            3 => {
                report["commit"] = json!(chance.choice([OTHER, "main", "", &COMMIT[..39], &noise]).unwrap());
            }
            4 => {
                report["reason"] = json!(chance.choice(["Fine", "", "verified", &noise]).unwrap());
            }
            // Words of ours that no download ends with.
            5 => {
                let others = Reason::ALL.iter().filter(|&&reason| !is_an_end(reason)).collect::<Vec<_>>();
                let other = **chance.choice(&others).unwrap();
                return (
                    good(other).to_string(),
                    if other == Reason::Verified { 1 } else { chance.i32(0..200) },
                );
            }
            6 => return (report.to_string(), if code == 0 { chance.i32(1..256) } else { 0 }),
            7 => {
                report = good(Reason::Verified);
                report["path"] = json!(chance.choice(["", "../..", "/etc", &noise]).unwrap());
                return (report.to_string(), 0);
            }
            8 => {
                report = good(Reason::Verified);
                report["names"] = match chance.choice(["", "a/b/c", "../x", "many"]).unwrap() {
                    "many" => (0..=FURTHER_NAMES).map(|number| format!("acme/name-{number}")).collect(),
                    wrong => json!(["ACME/tiny", wrong]),
                };
                return (report.to_string(), 0);
            }
            9 => {
                report = good(Reason::Verified);
                report["bytes"] = json!(u64::MAX - chance.u64(..1 << 40));
                return (report.to_string(), 0);
            }
            10 => {
                report["version"] = json!(chance.u32(2..));
            }
            11 => {
                report["message"] = json!("x".repeat(chance.usize(4096..9000)));
            }
            _ => {
                let text = report.to_string();
                return (text[..chance.usize(..text.len())].to_owned(), code);
            }
        }
        (report.to_string(), code)
    }

    #[test]
    fn no_report_with_anything_wrong_in_it_counts() {
        let mut chance = chance::chance("reports");
        let job = job();
        for _ in 0..CASES {
            let (text, code) = wrong(&mut chance);
            let found = report(&job, &ended(&text, code));
            assert!(found.is_err(), "exit code {code}: {text}");
        }
        println!("{CASES} reports");
    }
}
