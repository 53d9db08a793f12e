//! One content from the Hub to the volume, tried again as long as that makes sense.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, task::spawn_blocking, time::sleep};

use super::{
    FetchError, Limits,
    plan::Missing,
    progress::{FileProgress, Progress},
    retry::{Retry, Waiting},
    writer::{Alive, Writer},
};
use crate::{
    cache::{CacheError, Courtesy, RepoDir, on_its_way, prove},
    hub::{Commit, Hub, HubError, RepoFile, Revision, Token, TokenSource, Trouble, advice},
};

/// How often the lock of another writer is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(250);

/// What all downloads of a fetch share.
pub(super) struct Downloads<'a> {
    pub(super) hub: &'a Hub,
    pub(super) dir: &'a RepoDir,
    pub(super) revision: &'a Revision,
    pub(super) commit: &'a Commit,
    pub(super) source: &'a TokenSource,
    pub(super) token: Mutex<Option<Token>>,
    pub(super) limits: &'a Limits,
    pub(super) progress: &'a Arc<Progress>,
    pub(super) waiting: &'a Waiting,
    pub(super) alive: &'a Alive,
}

/// Why one try ended early.
enum Failure {
    /// The Hub did not begin.
    Open(HubError),
    /// The Hub began and did not finish.
    Read(HubError),
    /// More came than the file has.
    TooMuch(u64),
    /// Not the Hub's fault.
    Own(FetchError),
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Own(error)
    }
}

impl Downloads<'_> {
    /// Brings one content, unless another writer has brought it meanwhile.
    pub(super) async fn bring(&self, missing: &Missing) -> Result<(), FetchError> {
        let Missing { file, copies, spoiled } = missing;
        let progress = self.progress.file(file.path.to_string(), file.size, *copies);
        let (_courtesy, waited) = self.lock(file).await?;
        // Another writer may have ended before we came to the lock. What was wrong when we looked need not be read twice.
        if (waited || !spoiled) && self.is_there(file).await? {
            progress.finish();
            return Ok(());
        }
        let mut again = false;
        loop {
            let error = match self.write(file, &progress).await {
                Ok(()) => break,
                Err(FetchError::Cache(
                    error @ (CacheError::Mismatch { .. } | CacheError::WrongSize { .. }),
                )) => error,
                Err(error) => return Err(error),
            };
            if again {
                return Err(FetchError::Mismatch { path: file.path.clone(), source: error });
            }
            // A broken proxy or disk on the way may do it right the next time, from the first byte.
            tracing::warn!(path = %file.path, %error, "the content is wrong: once more from the beginning");
            progress.restart();
            again = true;
        }
        progress.finish();
        Ok(())
    }

    /// Waits for other programs that use the Hub's locks, as long as their download grows or may yet. Says whether one
    /// of them had it.
    async fn lock(&self, file: &RepoFile) -> Result<(Courtesy, bool), FetchError> {
        let mut waited = None;
        let mut idle = Duration::ZERO;
        let mut last = 0;
        loop {
            let (dir, digest) = (self.dir.clone(), file.digest.clone());
            let looked =
                spawn_blocking(move || (Courtesy::try_take(&dir, &digest), on_its_way(&dir, &digest)));
            let (lock, there) = looked.await?;
            if there != last {
                (last, idle) = (there, Duration::ZERO);
            }
            if !matches!(lock, Courtesy::Busy) || idle >= self.limits.lock {
                return Ok((lock, waited.is_some()));
            }
            waited.get_or_insert_with(|| {
                tracing::info!(path = %file.path, "waiting for another download of the same content");
            });
            sleep(LOCK_PAUSE).await;
            idle += LOCK_PAUSE;
        }
    }

    async fn is_there(&self, file: &RepoFile) -> Result<bool, FetchError> {
        let (place, file) = (self.dir.blob(&file.digest), file.clone());
        Ok(spawn_blocking(move || prove(&place, &file)).await??)
    }

    async fn write(&self, file: &RepoFile, progress: &FileProgress) -> Result<(), FetchError> {
        let mut writer = Writer::start(self.dir.clone(), file.clone(), self.alive.clone());
        self.fill(file, &mut writer, progress).await?;
        writer.finish().await
    }

    /// Hands over all bytes of a file, in as many tries as it takes.
    async fn fill(
        &self,
        file: &RepoFile,
        writer: &mut Writer,
        progress: &FileProgress,
    ) -> Result<(), FetchError> {
        let mut retry = Retry::default();
        let mut token = self.token.lock().await.clone();
        let mut token_is_new = false;
        while writer.taken < file.size {
            let before = writer.taken;
            let (error, reading) = match self.stream(file, token.as_ref(), writer, progress).await {
                Ok(()) if writer.taken >= file.size => break,
                Ok(()) => (self.ended_early(), true),
                Err(Failure::Open(HubError::Refused(refusal))) if refusal.status == 401 && !token_is_new => {
                    // A mounted Secret may have been renewed since.
                    tracing::info!(path = %file.path, "the token is refused: reading it again");
                    token = self.source.read()?;
                    self.token.lock().await.clone_from(&token);
                    token_is_new = true;
                    continue;
                }
                Err(Failure::Open(error)) => (error, false),
                Err(Failure::Read(error)) => (error, true),
                Err(Failure::TooMuch(found)) => {
                    return Err(CacheError::WrongSize { expected: file.size, found }.into());
                }
                Err(Failure::Own(error)) => return Err(error),
            };
            let gained = writer.taken.saturating_sub(before);
            let Some(pause) = retry.after(&error, gained, self.limits, self.waiting, fastrand::f64()) else {
                return Err(self.gave_up(file, error, reading));
            };
            tracing::warn!(
                path = %file.path, %error, have = writer.taken, pause_seconds = pause.as_secs_f32(), "trying again"
            );
            sleep(pause).await;
        }
        Ok(())
    }

    /// One try, from where the last one ended.
    async fn stream(
        &self,
        file: &RepoFile,
        token: Option<&Token>,
        writer: &mut Writer,
        progress: &FileProgress,
    ) -> Result<(), Failure> {
        let mut body = self
            .hub
            .open(self.dir.repo(), self.commit, &file.path, token, writer.taken)
            .await
            .map_err(Failure::Open)?;
        if body.start != writer.taken {
            // A server without ranges begins anew, and so do we.
            writer.restart().await?;
            progress.restart();
        }
        while let Some(piece) = body.next_chunk().await.map_err(Failure::Read)? {
            let length = piece.len() as u64;
            if writer.taken + length > file.size {
                return Err(Failure::TooMuch(writer.taken + length));
            }
            writer.write(piece).await?;
            progress.add(length);
        }
        Ok(())
    }

    fn ended_early(&self) -> HubError {
        let host = self.hub.endpoint().host().to_owned();
        let detail = "the content ended early".to_owned();
        HubError::Unreachable { host, kind: Trouble::Cut, detail }
    }

    fn gave_up(&self, file: &RepoFile, error: HubError, reading: bool) -> FetchError {
        let path = file.path.clone();
        if reading && matches!(error, HubError::Unreachable { kind: Trouble::Timeout, .. }) {
            return FetchError::Stalled { path, quiet: self.limits.stall };
        }
        let subject =
            advice::Subject { repo: self.dir.repo(), revision: self.revision, endpoint: self.hub.endpoint() };
        FetchError::File { path, advice: advice::explain(&error, &subject), source: error }
    }
}
