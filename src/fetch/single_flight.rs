//! Of several that fill the same selection of a commit, one works and the others wait for it: small contents have no
//! locks of their own, and what one has verified need not be read by each.

use std::{fs::File, future::pending, sync::Arc, time::Duration};

use tokio::{
    select,
    task::{JoinError, spawn_blocking},
    time::sleep,
};

use crate::{
    activity,
    cache::{Courtesy, RepoDir, Selection},
    hub::Commit,
};

/// How often it is looked whether it is our turn.
const PAUSE: Duration = Duration::from_millis(500);
/// So many signs of life come in the time for which a silent one is waited for.
const BEATS: u32 = 4;

/// The right to work. Dropping it hands it on.
#[derive(Debug)]
pub(super) struct Turn {
    /// None where it is not sure: there are no locks, or who has it is silent.
    lock: Option<Arc<File>>,
    /// Whether somebody else had it before.
    pub(super) waited: bool,
    patience: Duration,
}

impl Turn {
    /// Waits for whoever fills the same, as long as signs of life come, and for `patience` without one.
    pub(super) async fn wait(
        dir: &RepoDir,
        commit: &Commit,
        selection: &Selection,
        patience: Duration,
    ) -> Result<Self, JoinError> {
        let mut waited = false;
        let mut idle = Duration::ZERO;
        let mut last = None;
        loop {
            let (dir, commit, selection) = (dir.clone(), commit.clone(), selection.clone());
            let looked = spawn_blocking(move || {
                // In this order: to open the lock lets a network file system ask for its time again.
                let lock = Courtesy::try_turn(&dir, &commit, &selection);
                (lock, Courtesy::sign(&dir, &commit, &selection))
            });
            let (lock, sign) = looked.await?;
            if sign != last {
                (last, idle) = (sign, Duration::ZERO);
            }
            let lock = match lock {
                Courtesy::Held(file) => Some(Arc::new(file)),
                Courtesy::Busy if idle < patience => {
                    if !waited {
                        tracing::info!("another run fills the same: waiting for it");
                    }
                    waited = true;
                    activity::mark();
                    sleep(PAUSE.min(patience)).await;
                    idle += PAUSE.min(patience);
                    continue;
                }
                Courtesy::Busy | Courtesy::Impossible => None,
            };
            return Ok(Self { lock, waited, patience });
        }
    }

    /// Does the work, with signs of life beside it. A lock alone may be that of a machine that is gone.
    pub(super) async fn use_for<T>(&self, work: impl Future<Output = T>) -> T {
        select! { done = work => done, () = self.beat() => pending().await }
    }

    /// Never returns.
    async fn beat(&self) {
        let Some(lock) = &self.lock else { return pending().await };
        loop {
            let lock = Arc::clone(lock);
            let written = spawn_blocking(move || Courtesy::beat(&lock));
            if let Ok(Err(error)) = written.await {
                tracing::debug!(%error, "those who wait see no sign of life");
            }
            sleep(self.patience / BEATS).await;
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
    const PATIENCE: Duration = Duration::from_secs(1);

    fn dir(root: &tempfile::TempDir) -> RepoDir {
        CacheDir::new(root.path())
            .repo(&"org/name".parse().map(|id| Repo { kind: RepoType::Model, id }).unwrap())
    }

    async fn wait(dir: &RepoDir) -> Turn {
        let commit = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
        Turn::wait(dir, &commit, &Selection::default(), PATIENCE).await.unwrap()
    }

    #[tokio::test]
    async fn who_shows_signs_of_life_is_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let dir = dir(&root);
        let first = wait(&dir).await;
        assert!(!first.waited);
        let (second, ()) = tokio::join!(wait(&dir), async move { first.use_for(sleep(4 * PATIENCE)).await });
        assert!(second.waited && second.lock.is_some());
    }

    #[tokio::test]
    async fn who_is_silent_is_done_without() {
        let root = tempfile::tempdir().unwrap();
        let dir = dir(&root);
        let _silent = wait(&dir).await;
        let second = wait(&dir).await;
        assert!(second.waited && second.lock.is_none());
        second.use_for(sleep(PATIENCE)).await;
    }
}
