//! What is known of one ModelCache from the Hub, when it is asked again, and when an answer is believed. Pure.

use std::{mem, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::endpoint::Answer;
use crate::{
    api::{ModelCache, Source},
    controller::{access::AccessReport, backoff, observation::Observation, pin},
    hub::{Endpoint, Preflight, TokenStatusCache},
    reason::Remedy,
};

/// A refusal after a good answer is asked for once more, so soon, before it is believed.
pub const SECOND_OPINION: Duration = Duration::from_secs(15);

/// What an answer depends on. The pinned commit is not in it: it follows from the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    uid: Option<String>,
    source: Source,
    secret_version: Option<String>,
    reconcile_at: Option<String>,
    /// The last Job, if it was refused what had been granted: with its refusal, the next one is the second in a row.
    refused_job: Option<String>,
}

impl Inputs {
    /// Of what is observed.
    #[must_use]
    pub fn of(seen: &Observation) -> Self {
        let Observation { cache, secret, attempts, .. } = seen;
        let refused = attempts.last().filter(|last| last.was_denied());
        Self {
            uid: cache.uid(),
            source: cache.spec.source.clone(),
            secret_version: secret.version().map(ToOwned::to_owned),
            reconcile_at: cache.reconcile_at(),
            refused_job: refused.map(|last| last.job.name_any()),
        }
    }
}

/// What is known for one ModelCache as it is now.
#[derive(Debug)]
pub struct Entry {
    /// What an answer depends on.
    pub inputs: Inputs,
    /// The answer has to be at least as new.
    pub since: Timestamp,
    /// The last answer.
    pub report: Option<CachedReport>,
    /// The last one with a snapshot.
    pub listed: Option<Arc<Preflight>>,
    /// What is known of the token that was asked with.
    pub record: Option<Arc<TokenStatusCache>>,
}

impl Entry {
    /// Nothing is known for these inputs.
    #[must_use]
    pub const fn new(inputs: Inputs, since: Timestamp) -> Self {
        Self { inputs, since, report: None, listed: None, record: None }
    }

    /// Takes an answer in; `checked` is what it means to this ModelCache.
    pub fn add(&mut self, answer: &Answer, checked: AccessReport, cache: &ModelCache) -> &CachedReport {
        self.since = backoff::after(answer.asked_at, Duration::from_nanos(1));
        if answer.preflight.snapshot.is_some() {
            self.listed = Some(answer.preflight.clone());
        }
        let report = CachedReport::next(self.report.take(), checked, answer.answered_at, cache);
        self.report.insert(report)
    }
}

/// The last answer.
#[derive(Clone, Debug)]
pub struct CachedReport {
    /// What it said.
    pub checked: AccessReport,
    /// When to ask again.
    pub next: Timestamp,
    /// How often in a row the answer was not a plain yes.
    failures: u32,
    /// The last answer that said anything was good; an outage in between does not change that.
    was_good: bool,
    /// The last answer was a refusal that is not believed yet.
    pub is_doubted: bool,
}

impl CachedReport {
    /// Whether the files that were listed are those of the commit that the resource stays at: one that was found on the
    /// volume later is another than the Hub's newest.
    #[must_use]
    pub fn is_about(&self, cache: &ModelCache) -> bool {
        let listed = self.checked.snapshot.as_ref().map(|snapshot| &snapshot.commit);
        listed.zip(pin::pinned(cache).as_ref()).is_none_or(|(listed, pinned)| listed == pinned)
    }

    /// What an earlier process knew, so that a new one does not believe a single refusal either. It asks at once.
    #[must_use]
    pub fn earlier(cache: &ModelCache, endpoint: &Endpoint, now: Timestamp) -> Option<Self> {
        let checked = AccessReport::earlier(cache, endpoint)?;
        Some(Self { checked, next: now, failures: 0, was_good: true, is_doubted: false })
    }

    /// The answer as it is reported: it is kept without the time of the next question, which others move.
    #[must_use]
    pub fn with_next(&self, next: Timestamp) -> AccessReport {
        let mut checked = self.checked.clone();
        for verdict in checked.conditions_mut() {
            verdict.message = backoff::with_time(mem::take(&mut verdict.message), verdict.reason, next);
        }
        checked
    }

    /// What a new answer makes of what was known.
    #[must_use]
    pub fn next(
        before: Option<Self>,
        answer: AccessReport,
        answered_at: Timestamp,
        cache: &ModelCache,
    ) -> Self {
        let remedy = answer.first_unmet().map_or(Remedy::None, |verdict| verdict.reason.remedy());
        let was_good = before.as_ref().is_some_and(|report| report.was_good);
        if let Some(before) =
            before.clone().filter(|report| was_good && !report.is_doubted && remedy == Remedy::UserAction)
        {
            let next = backoff::after(answered_at, SECOND_OPINION);
            return Self { next, is_doubted: true, ..before };
        }
        let was_good = match remedy {
            Remedy::None => true,
            Remedy::UserAction => false,
            Remedy::Wait | Remedy::Retry => was_good,
        };
        let failures =
            if remedy == Remedy::None { 0 } else { before.map_or(0, |report| report.failures) + 1 };
        let interval = cache.spec.interval.duration();
        let pause = backoff::hub(remedy, failures, answer.retry_after, interval, &cache.name_any());
        let next = backoff::after(answered_at, pause);
        Self { checked: answer, next, failures, was_good, is_doubted: false }
    }
}
