//! Fills a cache: plan → transfer → verify → publish → report. The same for a Job, an init container and a person.
//! Knows no Kubernetes.

mod bars;
mod connection;
mod context;
mod error;
mod file;
mod plan;
mod progress;
mod report;
mod retry;
mod run;
mod single_flight;
mod watchdog;
mod writer;

use std::time::Duration;

pub use bars::show;
pub use error::FetchError;
pub use progress::{Current, Event, Progress};
pub use report::Report;
pub use run::fetch;

use crate::{
    cache::{CacheDir, Links},
    hub::{Endpoint, Patterns, Repo, Revision, Timeout, Timeouts, TokenSource},
};

/// What to put into the cache.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The repo.
    pub repo: Repo,
    /// Its branch, tag or commit. A branch or tag will name the commit in the cache too.
    pub revision: Revision,
    /// Further refs that will name the commit.
    pub aliases: Vec<Revision>,
    /// Which files are wanted.
    pub patterns: Patterns,
    /// The cache to fill.
    pub cache: CacheDir,
    /// The Hub to ask.
    pub endpoint: Endpoint,
    /// The token to send.
    pub token: TokenSource,
    /// Whether the Hub may not be asked at all.
    pub offline: bool,
    /// Whether files in Xet come from there. Over plain HTTP otherwise.
    pub xet: bool,
    /// How snapshots hold their files; by default what the volume can do.
    pub links: Option<Links>,
    /// Concurrency, retries and timeouts.
    pub limits: Limits,
}

/// How many at once, how often and how long.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at the same time, each for a file or for a part of one.
    pub connections: usize,
    /// Attempts of one file in a row without progress.
    pub attempts: u32,
    /// The first pause between two tries; each further one is longer.
    pub pause: Duration,
    /// An answer about the repo that does not begin for so long is given up.
    pub metadata: Duration,
    /// A file that does not begin for so long is given up: a mirror may have to fetch it first.
    pub first_byte: Duration,
    /// A connection on which nothing more comes for so long is given up.
    pub stall: Duration,
    /// How long to wait in all when the Hub limits the rate.
    pub rate_limit: Duration,
    /// How long to wait for another program that holds the lock of a blob without progress, and for another run
    /// of the same selection that sends no heartbeat.
    pub lock: Duration,
    /// The age at which the files of crashed writers are removed.
    pub leftover: Duration,
}

/// A connection that has begun and is silent for so long has ended, however long an endpoint is to be waited for.
const LONGEST_STALL: Duration = Duration::from_secs(600);

impl Limits {
    /// The same with the times of an endpoint, where some are set.
    #[must_use]
    pub fn within(self, timeouts: Timeouts) -> Self {
        let download = timeouts.download.map(Timeout::duration);
        Self {
            metadata: timeouts.metadata.map_or(self.metadata, Timeout::duration),
            first_byte: download.unwrap_or(self.first_byte),
            stall: download.map_or(self.stall, |download| download.min(LONGEST_STALL)),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8,
            attempts: 6,
            pause: Duration::from_secs(1),
            metadata: Duration::from_secs(60),
            first_byte: Duration::from_secs(300),
            stall: Duration::from_secs(60),
            rate_limit: Duration::from_secs(300),
            lock: Duration::from_secs(60),
            leftover: Duration::from_secs(600),
        }
    }
}
