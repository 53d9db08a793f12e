//! The progress of a fetch: counters that the downloads update and any thread may read.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;

use crate::{activity, text};

use crate::sync::locked;

/// The minimum interval between two printed lines.
const INTERVAL: Duration = Duration::from_secs(2);

/// The counters of one fetch.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicU64,
    done: AtomicU64,
    fetched: AtomicU64,
    files: AtomicU64,
    total_files: AtomicU64,
    current: Mutex<Vec<Arc<Current>>>,
    /// The maximum reported values of `done` and `files`: readers never see them decrease, even if data is downloaded again.
    reported: AtomicU64,
    reported_files: AtomicU64,
}

/// A file that is being downloaded.
#[derive(Debug)]
pub struct Current {
    /// Its path in the repo, safe to display.
    pub path: String,
    /// Its size.
    pub size: u64,
    done: AtomicU64,
}

impl Current {
    /// Its bytes downloaded so far.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }
}

/// A sample of the counters: a line of the log, from which the controller reads the progress of a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename = "progress", rename_all = "camelCase")]
pub struct Event {
    /// Bytes on the volume, including those of earlier runs.
    pub downloaded_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
    /// Files that are complete.
    pub files: u64,
    /// All files.
    pub total_files: u64,
    /// `downloaded_bytes` as a percentage of `total_bytes`, rounded down.
    pub percent: u64,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(flatten)]
    event: Event,
    /// The download rate since the last sample.
    bytes_per_second: u64,
    at: Timestamp,
}

impl Progress {
    /// Sets the totals, and the part that is already on the volume.
    pub(super) fn begin(&self, total: u64, total_files: u64, present: u64, present_files: u64) {
        self.total.store(total, Relaxed);
        self.total_files.store(total_files, Relaxed);
        self.done.store(present, Relaxed);
        self.files.store(present_files, Relaxed);
    }

    /// Adds a file to the current ones, until the value is dropped. `copies`: the number of files with the same blob.
    pub(super) fn file(self: &Arc<Self>, path: &str, size: u64, copies: u64) -> FileProgress {
        let path = text::line(path, text::LINE);
        let file = Arc::new(Current { path, size, done: AtomicU64::new(0) });
        locked(&self.current).push(Arc::clone(&file));
        FileProgress { all: Arc::clone(self), file, copies }
    }

    /// The files being downloaded.
    #[must_use]
    pub fn current(&self) -> Vec<Arc<Current>> {
        locked(&self.current).clone()
    }

    /// Bytes received from the Hub in this run, including failed attempts.
    #[must_use]
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Relaxed)
    }

    /// Samples the counters.
    #[must_use]
    pub fn event(&self) -> Event {
        let total_bytes = self.total.load(Relaxed);
        let highest = |reported: &AtomicU64, now: u64| reported.fetch_max(now, Relaxed).max(now);
        let downloaded_bytes = highest(&self.reported, self.done.load(Relaxed).min(total_bytes));
        Event {
            downloaded_bytes,
            total_bytes,
            files: highest(&self.reported_files, self.files.load(Relaxed)),
            total_files: self.total_files.load(Relaxed),
            percent: u64::try_from(u128::from(downloaded_bytes) * 100 / u128::from(total_bytes.max(1)))
                .unwrap_or(100),
        }
    }

    /// Calls `print` with a line whenever something has changed, at most every two seconds. Never returns.
    pub async fn print_lines(&self, mut print: impl FnMut(&str)) {
        let (mut lines, mut sampled) = (Lines::default(), Instant::now());
        loop {
            tokio::time::sleep(INTERVAL).await;
            let since = sampled.elapsed();
            sampled = Instant::now();
            if let Some(line) = lines.next(self.event(), self.fetched(), since, Timestamp::now())
                && let Ok(line) = serde_json::to_string(&line)
            {
                print(&line);
            }
        }
    }
}

/// The values of the last line.
#[derive(Debug, Default)]
struct Lines {
    fetched: u64,
    last: Option<(Event, bool)>,
}

impl Lines {
    /// The next line, if anything changed. Includes one final line when the download stalls.
    fn next(&mut self, event: Event, fetched: u64, since: Duration, at: Timestamp) -> Option<Line> {
        let came = fetched.saturating_sub(std::mem::replace(&mut self.fetched, fetched));
        let reported = (event, came > 0);
        let is_new = event.total_bytes > 0 && self.last.replace(reported) != Some(reported);
        is_new.then(|| Line { event, bytes_per_second: rate(came, since), at })
    }
}

/// Bytes per second.
fn rate(bytes: u64, since: Duration) -> u64 {
    let millis = since.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX)
}

/// The share of one file in the counters.
#[derive(Debug)]
pub(super) struct FileProgress {
    all: Arc<Progress>,
    file: Arc<Current>,
    /// The number of files of the repo with this blob.
    copies: u64,
}

impl FileProgress {
    /// Adds received bytes.
    pub(super) fn add(&self, bytes: u64) {
        activity::mark();
        self.file.done.fetch_add(bytes, Relaxed);
        self.all.done.fetch_add(bytes * self.copies, Relaxed);
        self.all.fetched.fetch_add(bytes, Relaxed);
    }

    /// Adds bytes of an earlier run.
    pub(super) fn resume(&self, bytes: u64) {
        self.file.done.fetch_add(bytes, Relaxed);
        self.all.done.fetch_add(bytes * self.copies, Relaxed);
    }

    /// Discards what was counted so far.
    pub(super) fn restart(&self) {
        let wasted = self.file.done.swap(0, Relaxed);
        self.all.done.fetch_sub(wasted * self.copies, Relaxed);
    }

    /// Marks the file as complete, whichever process downloaded it.
    pub(super) fn finish(&self) {
        activity::mark();
        let left = self.file.size.saturating_sub(self.file.done.swap(self.file.size, Relaxed));
        self.all.done.fetch_add(left * self.copies, Relaxed);
        self.all.files.fetch_add(self.copies, Relaxed);
    }
}

impl Drop for FileProgress {
    fn drop(&mut self) {
        let mut current = locked(&self.all.current);
        current.retain(|file| !Arc::ptr_eq(file, &self.file));
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_has_the_format_that_the_controller_reads() {
        let progress = Arc::new(Progress::default());
        progress.begin(1000, 5, 400, 2);
        let file = progress.file("a", 100, 2);
        file.add(60);
        file.restart();
        file.resume(20);
        file.add(70);
        assert_eq!(progress.current()[0].done(), 90);
        assert_eq!(
            serde_json::to_value(progress.event()).unwrap(),
            json!({
                "event": "progress", "downloadedBytes": 580, "totalBytes": 1000, "files": 2, "totalFiles": 5,
                "percent": 58,
            })
        );
        file.finish();
        drop(file);
        let event = progress.event();
        assert_eq!((event.downloaded_bytes, event.files, progress.fetched()), (600, 4, 130));
        assert!(progress.current().is_empty());
    }

    #[test]
    fn reported_values_never_decrease() {
        let progress = Arc::new(Progress::default());
        progress.begin(100, 2, 50, 1);
        let file = progress.file("a", 50, 1);
        file.add(40);
        assert_eq!(progress.event().downloaded_bytes, 90);
        file.restart();
        assert_eq!(progress.event().downloaded_bytes, 90);
        progress.begin(100, 2, 0, 0);
        assert_eq!((progress.event().percent, progress.event().files), (90, 1));
    }

    #[test]
    fn a_line_has_time_and_rate_and_a_stall_is_reported_once() {
        let (progress, mut lines) = (Arc::new(Progress::default()), Lines::default());
        let at = "2026-01-01T12:00:00Z".parse().unwrap();
        let mut next = |progress: &Progress| lines.next(progress.event(), progress.fetched(), INTERVAL, at);
        assert_eq!(next(&progress), None, "there is nothing yet");
        progress.begin(1000, 1, 0, 0);
        let file = progress.file("a", 1000, 1);
        file.add(400);
        let reported = next(&progress).unwrap();
        assert_eq!(
            serde_json::to_value(&reported).unwrap(),
            json!({
                "event": "progress", "downloadedBytes": 400, "totalBytes": 1000, "files": 0, "totalFiles": 1,
                "percent": 40, "bytesPerSecond": 200, "at": "2026-01-01T12:00:00Z",
            })
        );
        assert_eq!(next(&progress), Some(Line { bytes_per_second: 0, ..reported }));
        assert_eq!(next(&progress), None);
    }

    #[test]
    fn a_rate_is_per_second() {
        assert_eq!(rate(3 << 20, Duration::from_secs(2)), 3 << 19);
        assert_eq!((rate(7, Duration::ZERO), rate(u64::MAX, Duration::from_millis(1))), (7000, u64::MAX));
    }

    #[test]
    fn no_totals_do_not_divide_by_zero() {
        assert_eq!(Progress::default().event().percent, 0);
    }
}
