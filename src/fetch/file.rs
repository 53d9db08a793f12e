//! Downloads one blob to the volume: a small one in one request, a large one in parts over several connections, resuming an
//! earlier run.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{select, sync::SemaphorePermit, task::spawn_blocking, time::sleep};

use super::{
    FetchError,
    connection::{Failure, Transfer},
    context::Context,
    plan::Missing,
    progress::FileProgress,
    retry::Retry,
    watchdog::Watchdog,
};
use crate::{
    activity,
    cache::{
        AdvisoryLock, CacheError, IdleThresholds, Partial, Resume, bytes_in_flight, resume, store,
        verify_blob,
    },
    hub::{ConnectFailure, HubError, RemoteFile, RepoFile, Token},
};

/// The pause between two attempts to take another writer's lock.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// The largest blob to download in one request, in bytes, without a thread, lock or sync of its own.
const SMALL: u64 = 512 * 1024;

impl Context<'_> {
    /// Downloads one blob, unless another writer has stored it meanwhile.
    pub(super) async fn fetch_file(&self, missing: &Missing<'_>) -> Result<(), FetchError> {
        let Missing { file, copies, corrupt } = missing;
        let permit = self.permit().await?;
        let progress = self.progress.file(file.path.as_str(), file.size, *copies);
        if file.size <= SMALL {
            if !corrupt && self.is_stored(file).await? {
                progress.finish();
                return Ok(());
            }
            self.with_one_restart(file, &progress, || self.small(file, &progress)).await?;
        } else {
            let (_lock, waited) = self.lock(file).await?;
            // Another writer may have finished before we took the lock. A blob found corrupt while planning need not be read
            // again.
            if (waited || !corrupt) && self.is_stored(file).await? {
                progress.finish();
                return Ok(());
            }
            self.large(file, &progress, permit).await?;
        }
        progress.finish();
        Ok(())
    }

    /// Waits for other programs that use the Hub's locks while their download makes progress. Returns whether it had to wait.
    async fn lock(&self, file: &RepoFile) -> Result<(AdvisoryLock, bool), FetchError> {
        let mut waited = None;
        let mut idle = Duration::ZERO;
        let mut last = 0;
        loop {
            let (dir, digest) = (self.dir.clone(), file.digest.clone());
            let probed = spawn_blocking(move || {
                (AdvisoryLock::try_blob(&dir, &digest), bytes_in_flight(&dir, &digest))
            });
            let (lock, there) = probed.await?;
            if there != last {
                (last, idle) = (there, Duration::ZERO);
            }
            if !matches!(lock, AdvisoryLock::Contended) || idle >= self.limits.lock {
                return Ok((lock, waited.is_some()));
            }
            waited.get_or_insert_with(|| {
                tracing::info!(path = %file.path, "waiting for another download of the same blob");
            });
            activity::mark();
            sleep(LOCK_RETRY_INTERVAL).await;
            idle += LOCK_RETRY_INTERVAL;
        }
    }

    async fn is_stored(&self, file: &RepoFile) -> Result<bool, FetchError> {
        let (dir, file) = (self.dir.clone(), file.clone());
        Ok(spawn_blocking(move || verify_blob(&dir, &dir.blob(&file.digest), &file)).await??)
    }

    /// Downloads from scratch once more if the content is corrupt: a faulty proxy or disk may deliver it correctly then.
    async fn with_one_restart<F: Future<Output = Result<(), FetchError>>>(
        &self,
        file: &RepoFile,
        progress: &FileProgress,
        attempt: impl Fn() -> F,
    ) -> Result<(), FetchError> {
        let Err(error) = attempt().await else { return Ok(()) };
        let error = error.into_content_error()?;
        tracing::warn!(path = %file.path, %error, "the file is corrupt: downloading it again from the beginning");
        progress.restart();
        let Err(error) = attempt().await else { return Ok(()) };
        Err(FetchError::Mismatch { path: file.path.clone(), error: error.into_content_error()? })
    }

    /// Downloads a blob into memory and then stores it.
    async fn small(&self, file: &RepoFile, progress: &FileProgress) -> Result<(), FetchError> {
        let remote = self.remote(file, true);
        let mut content = BytesMut::new();
        let mut retry = Retry::default();
        let mut token = self.tokens.current().await;
        let mut token_is_new = false;
        while (content.len() as u64) < file.size {
            content.clear();
            progress.restart();
            let mut reading = false;
            let error = match self.collect(&remote, file, token.as_ref(), &mut content, &mut reading).await {
                Ok(()) if content.len() as u64 >= file.size => {
                    progress.add(file.size);
                    break;
                }
                Ok(()) => self.interrupted("the content ended early", ConnectFailure::Cut),
                Err(HubError::Refused(refusal)) if refusal.status == 401 && !token_is_new && !reading => {
                    tracing::info!(path = %file.path, "the token was rejected: rereading it");
                    token = self.tokens.renew().await?;
                    token_is_new = true;
                    continue;
                }
                Err(error) => error,
            };
            remote.invalidate().await;
            let Some(pause) = retry.after(&error, 0, self.limits, self.rate_limit, fastrand::f64()) else {
                return Err(self.gave_up(file, error, reading));
            };
            tracing::warn!(path = %file.path, %error, pause_seconds = pause.as_secs_f32(), "retrying");
            sleep(pause).await;
        }
        let (dir, file) = (self.dir.clone(), file.clone());
        Ok(self.blocking(move || store(&dir, &file, &content)).await??)
    }

    async fn collect(
        &self,
        remote: &RemoteFile,
        file: &RepoFile,
        token: Option<&Token>,
        content: &mut BytesMut,
        reading: &mut bool,
    ) -> Result<(), HubError> {
        let opened = remote.open(token, 0..file.size);
        let mut body = activity::expect(self.limits.first_byte, opened).await?;
        *reading = true;
        let mut watchdog = Watchdog::new(self.limits);
        while let Some(piece) = body.next_chunk().await? {
            content.extend_from_slice(&piece);
            if watchdog.is_trickle(piece.len() as u64, Instant::now()) {
                return Err(
                    self.interrupted("too little data received for too long", ConnectFailure::Timeout)
                );
            }
            // Longer than listed: `store` will report the wrong size.
            if content.len() as u64 > file.size {
                break;
            }
        }
        Ok(())
    }

    /// Downloads a blob in parts, unless the server turns out not to support range requests.
    async fn large(
        &self,
        file: &RepoFile,
        progress: &FileProgress,
        permit: SemaphorePermit<'_>,
    ) -> Result<(), FetchError> {
        let mut permit = Some(permit);
        let mut in_parts = true;
        let mut again = false;
        loop {
            let partial = Arc::new(self.begin(file, in_parts).await?);
            progress.resume(partial.resumed());
            let resumed = partial.resumed() > 0;
            let first = match permit.take() {
                Some(permit) => permit,
                None => self.permit().await?,
            };
            let transfer = Transfer {
                context: self,
                file,
                // If Xet delivered corrupt data, try plain HTTP.
                remote: self.remote(file, again),
                partial: Arc::clone(&partial),
                progress,
                in_parts,
                open: AtomicUsize::new(0),
            };
            let error = match self.transfer(&transfer, first).await {
                Ok(()) => return Ok(()),
                Err(Failure::OnlyWhole) => {
                    tracing::info!(path = %file.path, "the server does not support range requests: downloading over one connection");
                    in_parts = false;
                    partial.discard();
                    progress.restart();
                    continue;
                }
                Err(Failure::Fetch(error)) => error.into_content_error()?,
            };
            partial.discard();
            if again {
                return Err(FetchError::Mismatch { path: file.path.clone(), error });
            }
            tracing::warn!(path = %file.path, %error, "the file is corrupt: downloading it again from the beginning");
            progress.restart();
            // The corruption may stem from the resumed data.
            again = !resumed;
        }
    }

    /// Resumes an incomplete blob or creates a new one.
    async fn begin(&self, file: &RepoFile, in_parts: bool) -> Result<Partial, FetchError> {
        let idle = IdleThresholds { elsewhere: self.limits.stall, without_locks: self.limits.leftover };
        let deadline = Instant::now() + idle.elsewhere + LOCK_RETRY_INTERVAL;
        let mut before = None;
        loop {
            let (dir, file) = (self.dir.clone(), file.clone());
            let path = file.path.clone();
            let found = self.blocking(move || {
                let found = if in_parts { resume(&dir, &file, idle)? } else { Resume::Nothing };
                match found {
                    Resume::Partial(partial) => Ok(Ok(*partial)),
                    // Worth waiting, while it does not grow, until its writer is known to be dead.
                    Resume::Unknown(bytes)
                        if bytes > file.size / 8
                            && before.is_none_or(|before| before == bytes)
                            && Instant::now() < deadline =>
                    {
                        Ok(Err(bytes))
                    }
                    Resume::Unknown(_) | Resume::Nothing => Partial::create(&dir, &file, !in_parts).map(Ok),
                }
            });
            let found: Result<_, CacheError> = found.await?;
            match found? {
                Ok(partial) => return Ok(partial),
                Err(bytes) => {
                    if before.replace(bytes).is_none() {
                        tracing::info!(%path, "waiting to check whether an unfinished download is still running");
                    }
                    sleep(LOCK_RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// Downloads all parts over as many connections as are free, and puts the blob in place.
    async fn transfer<'a>(
        &'a self,
        transfer: &Transfer<'a>,
        first: SemaphorePermit<'a>,
    ) -> Result<(), Failure> {
        let mut running = FuturesUnordered::new();
        let connection = |permit: SemaphorePermit<'a>, part| async move {
            let _permit = permit;
            transfer.fetch_part(part).await
        };
        running.extend(transfer.claim().map(|part| connection(first, part)));
        loop {
            select! {
                biased;
                permit = self.permit(), if transfer.partial.has_free() => {
                    let permit = permit?;
                    running.extend(transfer.claim().map(|part| connection(permit, part)));
                }
                Some(done) = running.next() => {
                    done?;
                    self.catch_up(&transfer.partial);
                }
                else => break,
            }
        }
        let partial = Arc::clone(&transfer.partial);
        Ok(self.blocking(move || partial.put()).await??)
    }

    /// Hashes, in the background, what was written out of order. Errors surface in the final `put`.
    fn catch_up(&self, partial: &Arc<Partial>) {
        let partial = Arc::clone(partial);
        self.blocking(move || {
            if let Err(error) = partial.catch_up() {
                tracing::debug!(%error, "hashing is postponed");
            }
        });
    }
}
