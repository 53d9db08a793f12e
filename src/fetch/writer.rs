//! The disk side of one connection: a dedicated thread writes and hashes, so that neither blocks the network.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

use super::{FetchError, context::CompletionGuard};
use crate::cache::{CacheError, Part, Partial};

/// The maximum number of chunks that wait for the disk. Backpressure on the network then bounds the memory.
const QUEUE: usize = 4;

enum Command {
    Chunk(Bytes),
    Next(Part),
    Restart,
}

/// Writes a part of a blob.
#[derive(Debug)]
pub(super) struct Writer {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<Result<(), CacheError>>,
    /// The offset of the next byte to write.
    pub(super) at: u64,
    /// The end of the part, exclusive.
    pub(super) end: u64,
}

impl Writer {
    /// Starts with a claimed part.
    pub(super) fn start(partial: Arc<Partial>, mut part: Part, guard: CompletionGuard) -> Self {
        let (commands, mut received) = mpsc::channel(QUEUE);
        let (at, end) = (part.at, part.end);
        let task = spawn_blocking(move || {
            let _guard = guard;
            while let Some(command) = received.blocking_recv() {
                match command {
                    Command::Chunk(piece) => partial.write(&mut part, &piece)?,
                    Command::Next(next) => part = next,
                    Command::Restart => partial.restart(&mut part)?,
                }
            }
            // Complete, or abandoned by the caller.
            Ok(())
        });
        Self { commands, task, at, end }
    }

    /// Queues the next chunk.
    pub(super) async fn write(&mut self, piece: Bytes) -> Result<(), FetchError> {
        self.at += piece.len() as u64;
        self.send(Command::Chunk(piece)).await
    }

    /// Continues with the next part.
    pub(super) async fn next_part(&mut self, next: Part) -> Result<(), FetchError> {
        self.end = next.end;
        self.send(Command::Next(next)).await
    }

    /// Starts over. For blobs in one part.
    pub(super) async fn restart(&mut self) -> Result<(), FetchError> {
        self.at = 0;
        self.send(Command::Restart).await
    }

    /// Waits until everything is written.
    pub(super) async fn finish(self) -> Result<(), FetchError> {
        drop(self.commands);
        Ok(self.task.await??)
    }

    async fn send(&mut self, command: Command) -> Result<(), FetchError> {
        if self.commands.send(command).await.is_ok() {
            return Ok(());
        }
        // The thread has ended; its result says why.
        (&mut self.task).await??;
        Ok(())
    }
}
