//! Downloads a part of a blob over one connection, with retries.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::{
    FetchError, context::Context, progress::FileProgress, retry::Retry, watchdog::Watchdog, writer::Writer,
};
use crate::{
    activity,
    cache::{CacheError, Part, Partial},
    hub::{Body, ConnectFailure, HubError, RemoteFile, RepoFile, Token},
};

/// A response that ends early, as those of some servers to range requests do, is not a failure if it had this many bytes.
const WORTHWHILE: u64 = 64 * 1024;

/// The state shared by the connections of one blob.
pub(super) struct Transfer<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) file: &'a RepoFile,
    pub(super) remote: RemoteFile,
    pub(super) partial: Arc<Partial>,
    pub(super) progress: &'a FileProgress,
    /// Whether the server supports range requests, as far as is known.
    pub(super) in_parts: bool,
    /// The number of open connections.
    pub(super) open: AtomicUsize,
}

/// Why a blob was not downloaded.
pub(super) enum Failure {
    /// The server ignores range requests, and a part was needed.
    OnlyWhole,
    /// Anything else.
    Fetch(FetchError),
}

impl<E: Into<FetchError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Fetch(error.into())
    }
}

/// Why one attempt ended early.
enum End {
    /// The request failed.
    Open(HubError),
    /// The response body failed.
    Read(HubError),
    /// Not retryable.
    Final(Failure),
}

impl<E: Into<Failure>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

impl Transfer<'_> {
    /// Claims a part for a new connection, which counts as open from now on.
    pub(super) fn claim(&self) -> Option<Part> {
        let part = self.partial.claim()?;
        self.open.fetch_add(1, Relaxed);
        Some(part)
    }

    /// Downloads a claimed part and, if this is the only connection, the free parts after it.
    pub(super) async fn fetch_part(&self, part: Part) -> Result<(), Failure> {
        let mut writer = Writer::start(Arc::clone(&self.partial), part, self.context.guard.clone());
        let filled = self.fill(&mut writer).await;
        self.open.fetch_sub(1, Relaxed);
        filled?;
        Ok(writer.finish().await?)
    }

    /// Downloads all bytes of the part, retrying as needed.
    async fn fill(&self, writer: &mut Writer) -> Result<(), Failure> {
        let Self { context, file, .. } = self;
        let mut retry = Retry::default();
        let mut token = context.tokens.current().await;
        let mut token_is_new = false;
        loop {
            let before = writer.at;
            let (error, reading) = match self.stream(token.as_ref(), writer).await {
                Ok(()) if writer.at >= writer.end => return Ok(()),
                Ok(()) if self.in_parts && writer.at.saturating_sub(before) >= WORTHWHILE => continue,
                Ok(()) => (context.interrupted("the content ended early", ConnectFailure::Cut), true),
                Err(End::Open(HubError::Refused(refusal))) if refusal.status == 401 && !token_is_new => {
                    // A mounted Secret may have changed since.
                    tracing::info!(path = %file.path, "the token was rejected: rereading it");
                    token = context.tokens.renew().await.map_err(FetchError::from)?;
                    token_is_new = true;
                    continue;
                }
                Err(End::Open(error)) => (error, false),
                Err(End::Read(error)) => (error, true),
                Err(End::Final(failure)) => return Err(failure),
            };
            self.remote.invalidate().await;
            let gained = writer.at.saturating_sub(before);
            let (limits, rate_limit) = (context.limits, context.rate_limit);
            let Some(pause) = retry.after(&error, gained, limits, rate_limit, fastrand::f64()) else {
                return Err(context.gave_up(file, error, reading).into());
            };
            tracing::warn!(
                path = %file.path, %error, at = writer.at, pause_seconds = pause.as_secs_f32(), "retrying"
            );
            sleep(pause).await;
        }
    }

    /// One attempt, from where the last one ended.
    async fn stream(&self, token: Option<&Token>, writer: &mut Writer) -> Result<(), End> {
        if writer.at >= writer.end {
            return Ok(());
        }
        let alone = self.open.load(Relaxed) == 1;
        let to = if alone { self.partial.free_until(writer.end) } else { writer.end };
        let opened = self.remote.open(token, writer.at..to);
        let opened = activity::expect(self.context.limits.first_byte, opened).await;
        let mut body = opened.map_err(End::Open)?;
        if body.start != writer.at {
            if self.in_parts {
                return Err(End::Final(Failure::OnlyWhole));
            }
            writer.restart().await?;
            self.progress.restart();
        }
        let mut watchdog = Watchdog::new(self.context.limits);
        while let Some(mut piece) = self.next(&mut body, &mut watchdog).await? {
            while !piece.is_empty() {
                let room = usize::try_from(writer.end - writer.at).unwrap_or(usize::MAX);
                if room == 0 && !self.continue_into_next(writer).await? {
                    return Ok(());
                }
                let front = piece.split_to(piece.len().min(room));
                self.progress.add(front.len() as u64);
                writer.write(front).await?;
            }
        }
        Ok(())
    }

    /// Continues into the next part, unless another connection has claimed it.
    async fn continue_into_next(&self, writer: &mut Writer) -> Result<bool, End> {
        if writer.end >= self.file.size {
            let error = CacheError::WrongSize { expected: self.file.size, found: writer.end + 1 };
            return Err(FetchError::from(error).into());
        }
        let Some(next) = self.partial.claim_at(writer.end) else { return Ok(false) };
        writer.next_part(next).await?;
        Ok(true)
    }

    async fn next(&self, body: &mut Body, watchdog: &mut Watchdog) -> Result<Option<Bytes>, End> {
        // HTTP detects an idle connection itself, but not every transport does.
        let Ok(piece) = timeout(self.context.limits.stall * 2, body.next_chunk()).await else {
            return Err(End::Read(
                self.context.interrupted("no data received for too long", ConnectFailure::Timeout),
            ));
        };
        let piece = piece.map_err(End::Read)?;
        let bytes = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if watchdog.is_trickle(bytes, Instant::now()) {
            return Err(End::Read(
                self.context.interrupted("too little data received for too long", ConnectFailure::Timeout),
            ));
        }
        Ok(piece)
    }
}
