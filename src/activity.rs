//! Whether this process gets anywhere: a mark that each piece of work sets, and a watchdog that ends the process where none
//! comes. Knows no work.

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

/// Marks come so often while something is expected.
const BEAT: Duration = Duration::from_secs(1);

/// Milliseconds from the first mark to the latest one.
static LATEST: AtomicU64 = AtomicU64::new(0);
static FIRST: OnceLock<Instant> = OnceLock::new();

fn now() -> u64 {
    u64::try_from(FIRST.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A piece of work is done, or waits for something that is known to go on.
pub fn mark() {
    LATEST.fetch_max(now(), Relaxed);
}

/// Waits for something that may take so long: until then it is no standstill.
pub async fn expect<T>(within: Duration, coming: impl Future<Output = T>) -> T {
    let mut coming = pin!(coming);
    let began = Instant::now();
    loop {
        if began.elapsed() < within {
            mark();
        }
        if let Ok(came) = timeout(BEAT, &mut coming).await {
            return came;
        }
    }
}

/// For how long there has been no mark.
fn idle() -> Duration {
    Duration::from_millis(now().saturating_sub(LATEST.load(Relaxed)))
}

/// Calls `stalled` once there has been no mark for `limit`. It has a thread of its own: a file system that does not answer
/// blocks whoever asks it, the threads of the runtime among them.
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
