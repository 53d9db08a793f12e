//! Detects a process without progress: work reports activity, and a watchdog fires when there is none. Knows nothing of the
//! work itself.

use std::{
    io,
    pin::pin,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::time::timeout;

/// The interval between marks while something is expected.
const INTERVAL: Duration = Duration::from_secs(1);

/// Milliseconds between the first mark and the latest.
static LATEST: AtomicU64 = AtomicU64::new(0);
static FIRST: OnceLock<Instant> = OnceLock::new();

fn now() -> u64 {
    u64::try_from(FIRST.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Reports progress: work was done, or is waiting for something known to make progress.
pub fn mark() {
    LATEST.fetch_max(now(), Relaxed);
}

/// Awaits a future that may take up to `within`, which counts as progress until then.
pub async fn expect<T>(within: Duration, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let began = Instant::now();
    loop {
        if began.elapsed() < within {
            mark();
        }
        if let Ok(result) = timeout(INTERVAL, &mut future).await {
            return result;
        }
    }
}

/// The time since the latest mark.
fn idle() -> Duration {
    Duration::from_millis(now().saturating_sub(LATEST.load(Relaxed)))
}

/// Calls `stalled` once there has been no mark for `limit`. On a dedicated thread, since a hanging file system may block all
/// threads of the runtime.
pub fn watch(limit: Duration, stalled: impl FnOnce() + Send + 'static) -> io::Result<()> {
    mark();
    thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        while let Some(left) = limit.checked_sub(idle()).filter(|left| !left.is_zero()) {
            thread::sleep(left);
        }
        stalled();
    })?;
    Ok(())
}
