//! Fills a cache: plan → transfer → verify → publish → report. The same in a Job, an init container and on a workstation.
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

/// What to download, and where to.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The repo.
    pub repo: Repo,
    /// The branch, tag or commit. A branch or tag becomes a ref in the cache too.
    pub revision: Revision,
    /// Further refs to point to the commit.
    pub aliases: Vec<Revision>,
    /// Which files are wanted.
    pub patterns: Patterns,
    /// The cache to fill.
    pub cache: CacheDir,
    /// The Hub to ask.
    pub endpoint: Endpoint,
    /// The token to send.
    pub token: TokenSource,
    /// Whether access to the Hub is disabled.
    pub offline: bool,
    /// Whether to download files in Xet from there rather than over plain HTTP.
    pub xet: bool,
    /// How snapshots hold their files. By default, depends on what the volume supports.
    pub links: Option<Links>,
    /// Concurrency, retries and timeouts.
    pub limits: Limits,
}

/// The concurrency, retries and timeouts of a fetch.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Concurrent connections, each for a file or a part of one.
    pub connections: usize,
    /// Consecutive attempts of one file without progress.
    pub attempts: u32,
    /// The first pause between two attempts; it grows exponentially.
    pub pause: Duration,
    /// How long to wait for a response about the repo.
    pub metadata: Duration,
    /// How long to wait for the first byte of a file: a mirror may have to fetch it first.
    pub first_byte: Duration,
    /// How long a started download may be idle.
    pub stall: Duration,
    /// How long to wait in total for the Hub's rate limits.
    pub rate_limit: Duration,
    /// How long to wait for another program that holds the lock of a blob without making progress, and for another run
    /// of the same selection without heartbeats.
    pub lock: Duration,
    /// The age at which the files of crashed writers are removed.
    pub leftover: Duration,
}

/// The upper bound of `stall`, whatever timeout an endpoint has.
const MAX_STALL: Duration = Duration::from_secs(600);

impl Limits {
    /// Overrides the timeouts with those set for an endpoint.
    #[must_use]
    pub fn within(self, timeouts: Timeouts) -> Self {
        let download = timeouts.download.map(Timeout::duration);
        Self {
            metadata: timeouts.metadata.map_or(self.metadata, Timeout::duration),
            first_byte: download.unwrap_or(self.first_byte),
            stall: download.map_or(self.stall, |download| download.min(MAX_STALL)),
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
