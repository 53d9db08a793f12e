//! The disk's side of a download: a thread of its own hashes and writes, so that neither holds up the network of others.

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

use super::FetchError;
use crate::{
    cache::{BlobWriter, CacheError, RepoDir},
    hub::RepoFile,
};

/// So many pieces may wait for the disk. The network stops when it is slower, which bounds the memory.
const WAITING: usize = 8;

enum Command {
    Piece(Bytes),
    Restart,
    Finish,
}

/// Held by everything that must have ended before a fetch has: the temporary files are gone then.
pub(super) type Alive = mpsc::Sender<()>;

/// A content on its way to the disk. Dropped, it leaves nothing there.
#[derive(Debug)]
pub(super) struct Writer {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<Result<(), CacheError>>,
    /// How many bytes were handed over since the beginning or the last restart.
    pub(super) taken: u64,
}

impl Writer {
    /// Begins the content of `file`.
    pub(super) fn start(dir: RepoDir, file: RepoFile, alive: Alive) -> Self {
        let (commands, mut received) = mpsc::channel(WAITING);
        let task = spawn_blocking(move || {
            let _alive = alive;
            let mut blob = BlobWriter::create(&dir, &file)?;
            while let Some(command) = received.blocking_recv() {
                match command {
                    Command::Piece(piece) => blob.write(&piece)?,
                    Command::Restart => blob.restart()?,
                    // Given up while the disk was busy with the last pieces: syncing all could take long.
                    Command::Finish if received.is_closed() => return Ok(()),
                    Command::Finish => return blob.put(),
                }
            }
            // Given up from outside.
            Ok(())
        });
        Self { commands, task, taken: 0 }
    }

    /// Hands over the next piece.
    pub(super) async fn write(&mut self, piece: Bytes) -> Result<(), FetchError> {
        self.taken += piece.len() as u64;
        self.send(Command::Piece(piece)).await
    }

    /// Forgets all pieces.
    pub(super) async fn restart(&mut self) -> Result<(), FetchError> {
        self.taken = 0;
        self.send(Command::Restart).await
    }

    /// Puts the content in place if it is right.
    pub(super) async fn finish(mut self) -> Result<(), FetchError> {
        self.send(Command::Finish).await?;
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::{
        cache::{CacheDir, prepare},
        hub::{Repo, RepoType},
    };

    #[test]
    fn what_is_given_up_is_not_put_in_place() {
        let root = tempfile::tempdir().unwrap();
        let repo = Repo { kind: RepoType::Model, id: "org/name".parse().unwrap() };
        let dir = CacheDir::new(root.path()).repo(&repo);
        prepare(&dir).unwrap();
        let digest = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391".parse().unwrap();
        let empty =
            RepoFile { path: "empty".parse().unwrap(), size: 0, digest, pointer: None, xet_hash: None };
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            // The one thread is busy until all is said.
            let (release, busy) = sync_channel::<()>(1);
            let blocker = spawn_blocking(move || busy.recv());
            let (alive, mut all_ended) = mpsc::channel(1);
            let mut writer = Writer::start(dir.clone(), empty.clone(), alive);
            writer.send(Command::Finish).await.unwrap();
            drop(writer);
            release.send(()).unwrap();
            blocker.await.unwrap().unwrap();
            assert_eq!(all_ended.recv().await, None);
        });
        assert_eq!(std::fs::read_dir(dir.blobs()).unwrap().count(), 0);
    }
}
