//! Streams a range of a file window by window. Does not know where the bytes are written to.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::AbortHandle,
};
use xet::{
    XetError,
    xet_session::{XetDownloadStream, XetFileInfo},
};

use super::{
    access::ReadGrant,
    failure,
    runtime::XetRuntime,
    session::{Session, cut},
    settings::WINDOW,
};
use crate::hub::{HubError, Token};

/// The maximum chunk size in bytes. The official client returns up to a whole window at once, too much for a writer.
const CHUNK: usize = 1 << 20;
/// How often a window that ends early without an error is retried at the same offset.
const EARLY_ENDS: u32 = 2;

/// A range of a file. Dropping it cancels the download.
#[derive(Debug)]
pub struct XetBody {
    /// The offset of the first byte.
    pub start: u64,
    /// The number of bytes that follow.
    pub length: u64,
    left: u64,
    pieces: mpsc::Receiver<Result<Bytes, HubError>>,
    work: AbortHandle,
}

impl XetBody {
    /// The next bytes, in order; `None` at the end. Cancel-safe.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, HubError> {
        match self.pieces.recv().await {
            Some(Ok(piece)) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Ok(Some(piece))
            }
            Some(Err(error)) => Err(error),
            None if self.left == 0 => Ok(None),
            None => Err(cut("the Xet client".to_owned())),
        }
    }

    pub(super) fn start(
        session: Arc<Session>,
        runtime: &XetRuntime,
        hash: String,
        size: u64,
        range: Range<u64>,
        token: Option<Token>,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        let (start, length) = (range.start, range.end.saturating_sub(range.start));
        let (to, pieces) = mpsc::channel(1);
        let reader = Reader { session, file: XetFileInfo::new(hash, size), range, token, to };
        // The official client's stream is not cancel-safe, so a separate task reads it.
        let work = runtime.spawn(reader.run(slot));
        Self { start, length, left: length, pieces, work }
    }
}

impl Drop for XetBody {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// A part of the file requested from the official client.
struct Window {
    end: u64,
    stream: XetDownloadStream,
    grant: Arc<ReadGrant>,
    slot: OwnedSemaphorePermit,
}

/// The state of the next window.
enum Next {
    /// It has been requested.
    Requested(Window),
    /// It can be requested with this permit.
    Permitted(OwnedSemaphorePermit),
}

struct Reader {
    session: Arc<Session>,
    file: XetFileInfo,
    range: Range<u64>,
    token: Option<Token>,
    to: mpsc::Sender<Result<Bytes, HubError>>,
}

/// The receiver was dropped.
struct Cancelled;

/// Why a window is incomplete.
enum Incomplete {
    Failed(HubError),
    /// It ended without an error, or with an unspecific one: the actual error was reported too late.
    Early,
}

impl Reader {
    async fn run(self, slot: OwnedSemaphorePermit) {
        match self.read(slot).await {
            Ok(Ok(())) | Err(Cancelled) => {}
            Ok(Err(error)) => {
                // Without a receiver, the error does not matter.
                let _ = self.to.send(Err(error)).await;
            }
        }
    }

    /// A body keeps the permit for one window to its end: once it has started, it never waits for others.
    async fn read(&self, slot: OwnedSemaphorePermit) -> Result<Result<(), HubError>, Cancelled> {
        let mut at = self.range.start;
        let mut next = Next::Permitted(slot);
        let mut renewed_at = None;
        let mut early = (at, 0);
        while at < self.range.end {
            let mut window = match next {
                Next::Requested(window) => window,
                Next::Permitted(slot) => match self.request(at, slot).await {
                    Ok(window) => window,
                    Err(error) => return Ok(Err(error)),
                },
            };
            let mut ahead = if window.end < self.range.end { self.prefetch(window.end).await } else { None };
            match self.forward(&mut window, &mut at).await? {
                Ok(()) => {}
                // A token of the store expires or is revoked, so request a new one: only once at the same offset, since a store
                // that rejects that one too would be retried forever.
                Err(Incomplete::Failed(error)) if failure::is_refusal(&error) && renewed_at != Some(at) => {
                    renewed_at = Some(at);
                    ahead = None;
                    tracing::debug!(%error, "renewing access to xet");
                    if let Err(error) = self.session.grant(self.token.as_ref(), Some(&window.grant)).await {
                        return Ok(Err(error));
                    }
                }
                // Another request most likely returns the actual error.
                Err(Incomplete::Early) if early != (at, EARLY_ENDS) => {
                    early = if early.0 == at { (at, early.1 + 1) } else { (at, 1) };
                    ahead = None;
                }
                Err(Incomplete::Early) => return Ok(Err(cut(window.grant.host.clone()))),
                Err(Incomplete::Failed(error)) => return Ok(Err(error)),
            }
            next = ahead.map_or(Next::Permitted(window.slot), Next::Requested);
        }
        Ok(Ok(()))
    }

    /// Forwards the bytes of a window.
    async fn forward(&self, window: &mut Window, at: &mut u64) -> Result<Result<(), Incomplete>, Cancelled> {
        while *at < window.end {
            let mut bytes = match window.stream.next().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) | Err(XetError::Internal(_)) => return Ok(Err(Incomplete::Early)),
                Err(error) => return Ok(Err(Incomplete::Failed(failure::of(&error, &window.grant.host)))),
            };
            if bytes.len() as u64 > window.end - *at {
                let what = "it sent more of the file than requested".to_owned();
                let host = window.grant.host.clone();
                return Ok(Err(Incomplete::Failed(HubError::BadAnswer { host, what })));
            }
            while !bytes.is_empty() {
                let piece = bytes.split_to(bytes.len().min(CHUNK));
                *at += piece.len() as u64;
                self.to.send(Ok(piece)).await.map_err(|_| Cancelled)?;
            }
        }
        Ok(Ok(()))
    }

    /// Requests the next window while this one is read, if a permit is free. A body never waits for a permit while it holds one,
    /// which could deadlock.
    async fn prefetch(&self, from: u64) -> Option<Window> {
        let slot = self.session.try_window()?;
        self.request(from, slot).await.ok()
    }

    async fn request(&self, from: u64, slot: OwnedSemaphorePermit) -> Result<Window, HubError> {
        let grant = self.session.grant(self.token.as_ref(), None).await?;
        let end = self.range.end.min(from + WINDOW);
        let failed = |error| failure::of(&error, &grant.host);
        let runtime = self.session.runtime().await.map_err(failed)?;
        let (group, file) = (grant.group.clone(), self.file.clone());
        let requested = runtime.run(async move { group.download_stream(file, Some(from..end)).await });
        let mut stream = requested.await.map_err(failed)?;
        stream.start();
        Ok(Window { end, stream, grant, slot })
    }
}
