//! What a look decides on: what shall happen, and what is so until then. Pure.

use std::time::Duration;

use k8s_openapi::{
    api::{batch::v1::Job, core::v1::PersistentVolumeClaim},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt;

use super::{
    backoff,
    checked::Snapshot,
    inputs::Inputs,
    patience::{self, Help},
    standstill::Point,
};
use crate::{
    api::{Cached, Source},
    fetch::Report,
    hub::Commit,
    reason::{Reason, Topic, Verdict},
    units,
};

/// The commit to stay at, of those that do not move by themselves.
#[derive(Clone, Debug, PartialEq)]
pub enum Pin {
    /// The one that the Hub tells, or the one that the status has already.
    AsTold,
    /// None yet: the volume is asked first.
    Open,
    /// The one that was found on the volume.
    Found(Snapshot),
}

/// What shall happen, and what is so until then.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The claim to make.
    pub claim: Option<PersistentVolumeClaim>,
    /// The Job to make.
    pub job: Option<Job>,
    /// Names of Jobs to delete: of other inputs, of earlier attempts, or finished and recorded long ago.
    pub obsolete: Vec<String>,
    /// The answer to "is it downloaded?".
    pub downloaded: Verdict,
    /// Who ends what that answer tells.
    pub help: Help,
    /// How far it is.
    pub point: Point,
    /// Whether a person has mended what the last attempt ended for.
    pub mended: bool,
    /// What is complete on the volume.
    pub cached: Option<Cached>,
    /// The commit to stay at.
    pub pin: Pin,
    /// When the download is to be looked at again, if no event comes before.
    pub look_again: Option<Duration>,
}

impl Plan {
    /// Nothing shall happen.
    #[must_use]
    pub const fn new(downloaded: Verdict, cached: Option<Cached>) -> Self {
        Self {
            claim: None,
            job: None,
            obsolete: Vec::new(),
            help: patience::help(downloaded.reason),
            point: Point::of(downloaded.reason),
            mended: false,
            downloaded,
            cached,
            pin: Pin::AsTold,
            look_again: None,
        }
    }

    /// Nothing shall happen before something else has; it is looked at again without an event, too.
    #[must_use]
    pub fn waits(reason: Reason, message: impl Into<String>, cached: Option<Cached>) -> Self {
        let mut plan = Self::new(Verdict::no(Topic::Downloaded, reason, message), cached);
        plan.look_again = Some(backoff::WAITING);
        plan
    }

    /// The same, where it is known better who ends it.
    #[must_use]
    pub const fn ended_by(mut self, help: Help) -> Self {
        self.help = help;
        self
    }

    /// The API server has refused to make something of it.
    pub fn refused(&mut self, verdict: Verdict, help: Help) {
        self.point = Point::of(verdict.reason);
        (self.downloaded, self.help) = (verdict, help);
    }

    /// The same, where an attempt tells how far it is.
    #[must_use]
    pub const fn at(mut self, point: Point) -> Self {
        self.point = point;
        self
    }
}

/// The data are there.
#[must_use]
pub fn verified(cached: Cached, inputs: &Inputs) -> Plan {
    let size = cached.bytes.and_then(|bytes| u64::try_from(bytes).ok()).map(units::size).unwrap_or_default();
    let message = format!(
        "Commit {} of {} ({size}) is complete and verified on the claim {}.",
        cached.short_commit, inputs.repo.id, cached.claim_name
    );
    Plan::new(Verdict::yes(Topic::Downloaded, Reason::Verified, message), Some(cached))
}

/// What a Job reported as complete.
#[must_use]
pub fn record(
    claim: &PersistentVolumeClaim,
    commit: &Commit,
    source: &Source,
    inputs: &Inputs,
    report: Report,
) -> Plan {
    let cached = Cached {
        commit: commit.to_string(),
        short_commit: commit.short().to_owned(),
        claim_name: claim.name_any(),
        claim_uid: inputs.claim_uid.clone(),
        volume_name: claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()),
        path: match &inputs.sub_path {
            Some(folder) => format!("{folder}/{}", report.path.unwrap_or_default()),
            None => report.path.unwrap_or_default(),
        },
        names: report.names,
        inputs_hash: inputs.hash().to_owned(),
        bytes: i64::try_from(report.bytes).ok(),
        verified_at: report.verified_at.map(Time),
        ..Cached::default()
    };
    verified(cached.of(source), inputs)
}
