//! Lets only one of several runs for the same selection of a commit download while the others wait: small blobs have no
//! locks, and files verified by one run need not be read by the others.

use std::{fs::File, future::pending, sync::Arc, time::Duration};

use tokio::{
    select,
    task::{JoinError, spawn_blocking},
    time::sleep,
};

use crate::{
    activity,
    cache::{AdvisoryLock, RepoDir, Selection},
    hub::Commit,
};

/// The pause between two attempts to take the lock.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Heartbeats per `idle_timeout`.
const HEARTBEATS: u32 = 4;

/// The exclusive right to download a selection. Released on drop.
#[derive(Debug)]
pub(super) struct SingleFlight {
    /// `None` if the file system has no locks, or the holder sends no heartbeats.
    lock: Option<Arc<File>>,
    /// Whether it had to wait for another run.
    pub(super) waited: bool,
    idle_timeout: Duration,
}

impl SingleFlight {
    /// Waits for another run of the same selection, until it sends no heartbeat for `idle_timeout`.
    pub(super) async fn wait(
        dir: &RepoDir,
        commit: &Commit,
        selection: &Selection,
        idle_timeout: Duration,
    ) -> Result<Self, JoinError> {
        let mut waited = false;
        let mut idle = Duration::ZERO;
        let mut last = None;
        loop {
            let (dir, commit, selection) = (dir.clone(), commit.clone(), selection.clone());
            let probed = spawn_blocking(move || {
                // In this order: opening the lock makes a network file system revalidate its modification time.
                let lock = AdvisoryLock::try_selection(&dir, &commit, &selection);
                (lock, AdvisoryLock::last_heartbeat(&dir, &commit, &selection))
            });
            let (lock, heartbeat) = probed.await?;
            if heartbeat != last {
                (last, idle) = (heartbeat, Duration::ZERO);
            }
            let lock = match lock {
                AdvisoryLock::Acquired(file) => Some(Arc::new(file)),
                AdvisoryLock::Contended if idle < idle_timeout => {
                    if !waited {
                        tracing::info!("waiting for another run of the same selection");
                    }
                    waited = true;
                    activity::mark();
                    sleep(RETRY_INTERVAL.min(idle_timeout)).await;
                    idle += RETRY_INTERVAL.min(idle_timeout);
                    continue;
                }
                AdvisoryLock::Contended | AdvisoryLock::Unsupported => None,
            };
            return Ok(Self { lock, waited, idle_timeout });
        }
    }

    /// Runs `work` while sending heartbeats, since the lock alone may be that of a crashed machine.
    pub(super) async fn run_with_heartbeat<T>(&self, work: impl Future<Output = T>) -> T {
        select! { done = work => done, () = self.heartbeat() => pending().await }
    }

    /// Sends heartbeats. Never returns.
    async fn heartbeat(&self) {
        let Some(lock) = &self.lock else { return pending().await };
        loop {
            let lock = Arc::clone(lock);
            let written = spawn_blocking(move || AdvisoryLock::heartbeat(&lock));
            if let Ok(Err(error)) = written.await {
                tracing::debug!(%error, "cannot send a heartbeat to waiting runs");
            }
            sleep(self.idle_timeout / HEARTBEATS).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::CacheDir,
        hub::{Repo, RepoType},
    };

    /// Long enough for a machine that is busy with other tests.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

    fn dir(root: &tempfile::TempDir) -> RepoDir {
        CacheDir::new(root.path())
            .repo(&"org/name".parse().map(|id| Repo { kind: RepoType::Model, id }).unwrap())
    }

    async fn wait(dir: &RepoDir) -> SingleFlight {
        let commit = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
        SingleFlight::wait(dir, &commit, &Selection::default(), IDLE_TIMEOUT).await.unwrap()
    }

    #[tokio::test]
    async fn a_run_with_a_heartbeat_is_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let dir = dir(&root);
        let first = wait(&dir).await;
        assert!(!first.waited);
        let (second, ()) =
            tokio::join!(wait(&dir), async move { first.run_with_heartbeat(sleep(4 * IDLE_TIMEOUT)).await });
        assert!(second.waited && second.lock.is_some());
    }

    #[tokio::test]
    async fn a_run_without_a_heartbeat_is_not_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let dir = dir(&root);
        let _silent = wait(&dir).await;
        let second = wait(&dir).await;
        assert!(second.waited && second.lock.is_none());
        second.run_with_heartbeat(sleep(IDLE_TIMEOUT)).await;
    }
}
