//! The disk's side of one connection: a thread of its own writes and hashes, so that neither holds up the network of
//! others.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

use super::{FetchError, context::CompletionGuard};
use crate::cache::{CacheError, Part, Partial};

/// How many pieces may wait for the disk. The network stops when it is slower, which bounds the memory.
const WAITING: usize = 4;

enum Command {
    BlobFile(Bytes),
    Next(Part),
    Restart,
}

/// A part of a blob on its way to the disk.
#[derive(Debug)]
pub(super) struct Writer {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<Result<(), CacheError>>,
    /// The next byte that is to be handed over.
    pub(super) at: u64,
    /// The end of the part.
    pub(super) end: u64,
}

impl Writer {
    /// Begins a part.
    pub(super) fn start(partial: Arc<Partial>, mut part: Part, guard: CompletionGuard) -> Self {
        let (commands, mut received) = mpsc::channel(WAITING);
        let (at, end) = (part.at, part.end);
        let task = spawn_blocking(move || {
            let _guard = guard;
            while let Some(command) = received.blocking_recv() {
                match command {
                    Command::BlobFile(piece) => partial.write(&mut part, &piece)?,
                    Command::Next(next) => part = next,
                    Command::Restart => partial.restart(&mut part)?,
                }
            }
            // Whole, or given up from outside.
            Ok(())
        });
        Self { commands, task, at, end }
    }

    /// Hands over the next piece.
    pub(super) async fn write(&mut self, piece: Bytes) -> Result<(), FetchError> {
        self.at += piece.len() as u64;
        self.send(Command::BlobFile(piece)).await
    }

    /// Goes on with the part behind this one.
    pub(super) async fn go_on(&mut self, next: Part) -> Result<(), FetchError> {
        self.end = next.end;
        self.send(Command::Next(next)).await
    }

    /// Forgets all pieces, where a blob comes in one part.
    pub(super) async fn restart(&mut self) -> Result<(), FetchError> {
        self.at = 0;
        self.send(Command::Restart).await
    }

    /// Waits until all is written.
    pub(super) async fn finish(self) -> Result<(), FetchError> {
        drop(self.commands);
        Ok(self.task.await??)
    }

    async fn send(&mut self, command: Command) -> Result<(), FetchError> {
        if self.commands.send(command).await.is_ok() {
            return Ok(());
        }
        // The thread has ended, and it alone knows why.
        (&mut self.task).await??;
        Ok(())
    }
}
