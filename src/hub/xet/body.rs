//! The bytes of a range of a file, window after window. Does not know where they go.

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

/// The official client gives up to a whole window at once; that is more than a writer wants.
const PIECE: usize = 1 << 20;
/// How often a window that ends early without an error is requested again at one offset.
const EARLY_ENDS: u32 = 2;

/// Content of a file, from one byte to another. Dropping it ends the work behind it.
#[derive(Debug)]
pub struct XetBody {
    /// The offset of the first byte.
    pub start: u64,
    /// How many bytes follow.
    pub length: u64,
    left: u64,
    pieces: mpsc::Receiver<Result<Bytes, HubError>>,
    work: AbortHandle,
}

impl XetBody {
    /// The next bytes, in order; none at the end. A wait for them can be given up and taken up again.
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
        // The official client's own stream loses bytes when a wait for it is given up; a task of ours is not given up.
        let work = runtime.spawn(reader.run(slot));
        Self { start, length, left: length, pieces, work }
    }
}

impl Drop for XetBody {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// A part of the file that the official client was asked for.
struct Window {
    end: u64,
    stream: XetDownloadStream,
    grant: Arc<ReadGrant>,
    slot: OwnedSemaphorePermit,
}

/// How the reader continues.
enum Next {
    /// The window has been asked for.
    Asked(Window),
    /// There is room to ask for it.
    Room(OwnedSemaphorePermit),
}

struct Reader {
    session: Arc<Session>,
    file: XetFileInfo,
    range: Range<u64>,
    token: Option<Token>,
    to: mpsc::Sender<Result<Bytes, HubError>>,
}

/// The receiver was dropped.
struct Unwanted;

/// Why a window gave less than it should.
enum Broken {
    Failed(HubError),
    /// It ended as if all were well, or for an unknown reason: the error came too late to be seen.
    Early,
}

impl Reader {
    async fn run(self, slot: OwnedSemaphorePermit) {
        match self.read(slot).await {
            Ok(Ok(())) | Err(Unwanted) => {}
            Ok(Err(error)) => {
                // Where nobody listens, nobody needs to know.
                let _ = self.to.send(Err(error)).await;
            }
        }
    }

    /// A body keeps room for one window to its end: once it has begun, it never waits for others.
    async fn read(&self, slot: OwnedSemaphorePermit) -> Result<Result<(), HubError>, Unwanted> {
        let mut at = self.range.start;
        let mut next = Next::Room(slot);
        let mut renewed_at = None;
        let mut early = (at, 0);
        while at < self.range.end {
            let mut window = match next {
                Next::Asked(window) => window,
                Next::Room(slot) => match self.ask(at, slot).await {
                    Ok(window) => window,
                    Err(error) => return Ok(Err(error)),
                },
            };
            let mut ahead = if window.end < self.range.end { self.ask_ahead(window.end).await } else { None };
            match self.pass_on(&mut window, &mut at).await? {
                Ok(()) => {}
                // A token of the store ends at some time, or is taken back. The Hub says whether there is another: at the
                // same place only once, for a store that refuses a new one too would be asked forever.
                Err(Broken::Failed(error)) if failure::is_refusal(&error) && renewed_at != Some(at) => {
                    renewed_at = Some(at);
                    ahead = None;
                    tracing::debug!(%error, "asking the hub for a new right to read from xet");
                    if let Err(error) = self.session.grant(self.token.as_ref(), Some(&window.grant)).await {
                        return Ok(Err(error));
                    }
                }
                // A second request most likely returns the cause.
                Err(Broken::Early) if early != (at, EARLY_ENDS) => {
                    early = if early.0 == at { (at, early.1 + 1) } else { (at, 1) };
                    ahead = None;
                }
                Err(Broken::Early) => return Ok(Err(cut(window.grant.host.clone()))),
                Err(Broken::Failed(error)) => return Ok(Err(error)),
            }
            next = ahead.map_or(Next::Room(window.slot), Next::Asked);
        }
        Ok(Ok(()))
    }

    /// Hands on what a window gives.
    async fn pass_on(&self, window: &mut Window, at: &mut u64) -> Result<Result<(), Broken>, Unwanted> {
        while *at < window.end {
            let mut bytes = match window.stream.next().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) | Err(XetError::Internal(_)) => return Ok(Err(Broken::Early)),
                Err(error) => return Ok(Err(Broken::Failed(failure::of(&error, &window.grant.host)))),
            };
            if bytes.len() as u64 > window.end - *at {
                let what = "more of the file came than was asked for".to_owned();
                let host = window.grant.host.clone();
                return Ok(Err(Broken::Failed(HubError::BadAnswer { host, what })));
            }
            while !bytes.is_empty() {
                let piece = bytes.split_to(bytes.len().min(PIECE));
                *at += piece.len() as u64;
                self.to.send(Ok(piece)).await.map_err(|_| Unwanted)?;
            }
        }
        Ok(Ok(()))
    }

    /// The next window while this one is read, if there is room for it. A body never waits for room while it holds
    /// some, or two of them could wait for each other.
    async fn ask_ahead(&self, from: u64) -> Option<Window> {
        let slot = self.session.try_window()?;
        self.ask(from, slot).await.ok()
    }

    async fn ask(&self, from: u64, slot: OwnedSemaphorePermit) -> Result<Window, HubError> {
        let grant = self.session.grant(self.token.as_ref(), None).await?;
        let end = self.range.end.min(from + WINDOW);
        let failed = |error| failure::of(&error, &grant.host);
        let runtime = self.session.runtime().await.map_err(failed)?;
        let (group, file) = (grant.group.clone(), self.file.clone());
        let asked = runtime.run(async move { group.download_stream(file, Some(from..end)).await });
        let mut stream = asked.await.map_err(failed)?;
        stream.start();
        Ok(Window { end, stream, grant, slot })
    }
}
