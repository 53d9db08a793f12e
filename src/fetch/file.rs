//! One blob from the Hub to the volume: small ones at once, large ones in parts over several connections, resuming
//! what an earlier run downloaded.

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
    hub::{HubError, RemoteFile, RepoFile, Token, Trouble},
};

/// How often the lock of another writer is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(250);
/// What is not larger comes in one piece: it costs neither a thread, nor a lock, nor a sync of its own.
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
            // Another writer may have ended before we came to the lock. What was corrupt in the plan need not be read
            // twice.
            if (waited || !corrupt) && self.is_stored(file).await? {
                progress.finish();
                return Ok(());
            }
            self.large(file, &progress, permit).await?;
        }
        progress.finish();
        Ok(())
    }

    /// Waits for other programs that use the Hub's locks, as long as their download grows or may yet. Says whether one
    /// of them had it.
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
            sleep(LOCK_PAUSE).await;
            idle += LOCK_PAUSE;
        }
    }

    async fn is_stored(&self, file: &RepoFile) -> Result<bool, FetchError> {
        let (dir, file) = (self.dir.clone(), file.clone());
        Ok(spawn_blocking(move || verify_blob(&dir, &dir.blob(&file.digest), &file)).await??)
    }

    /// Downloads again from the first byte if the bytes are wrong: a broken proxy or disk may deliver them right the next time.
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

    /// A blob that is kept in memory until it is whole.
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
                Ok(()) => self.interrupted("the content ended early", Trouble::Cut),
                Err(HubError::Refused(refusal)) if refusal.status == 401 && !token_is_new && !reading => {
                    tracing::info!(path = %file.path, "the token is refused: reading it again");
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
            tracing::warn!(path = %file.path, %error, pause_seconds = pause.as_secs_f32(), "trying again");
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
                return Err(self.interrupted("too little came for too long", Trouble::Timeout));
            }
            // Longer than listed, and so wrong: its size will say so.
            if content.len() as u64 > file.size {
                break;
            }
        }
        Ok(())
    }

    /// A blob that is downloaded in parts, as long as the server supports them.
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
                // What came wrong from Xet may be right elsewhere.
                remote: self.remote(file, again),
                partial: Arc::clone(&partial),
                progress,
                in_parts,
                open: AtomicUsize::new(0),
            };
            let error = match self.transfer(&transfer, first).await {
                Ok(()) => return Ok(()),
                Err(Failure::OnlyWhole) => {
                    tracing::info!(path = %file.path, "the server gives no parts: all of it comes over one connection");
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
            // What an earlier run left may be what was wrong.
            again = !resumed;
        }
    }

    /// A resumed file, or a new one.
    async fn begin(&self, file: &RepoFile, in_parts: bool) -> Result<Partial, FetchError> {
        let silence = IdleThresholds { elsewhere: self.limits.stall, without_locks: self.limits.leftover };
        let latest = Instant::now() + silence.elsewhere + LOCK_PAUSE;
        let mut before = None;
        loop {
            let (dir, file) = (self.dir.clone(), file.clone());
            let path = file.path.clone();
            let found = self.blocking(move || {
                let found = if in_parts { resume(&dir, &file, silence)? } else { Resume::Nothing };
                match found {
                    Resume::Partial(partial) => Ok(Ok(*partial)),
                    // Worth a wait until it is sure that its writer is dead, while it does not grow.
                    Resume::Unknown(bytes)
                        if bytes > file.size / 8
                            && before.is_none_or(|before| before == bytes)
                            && Instant::now() < latest =>
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
                        tracing::info!(%path, "waiting to see whether an unfinished download has ended");
                    }
                    sleep(LOCK_PAUSE).await;
                }
            }
        }
    }

    /// Brings all parts, over as many connections as are free, and puts the content in place.
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

    /// Hashes beside the network what came out of order. Whether it works shows in the end.
    fn catch_up(&self, partial: &Arc<Partial>) {
        let partial = Arc::clone(partial);
        self.blocking(move || {
            if let Err(error) = partial.catch_up() {
                tracing::debug!(%error, "hashing is put off");
            }
        });
    }
}
