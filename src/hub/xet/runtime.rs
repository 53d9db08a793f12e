//! The official client, on a thread of its own. It drops abandoned requests only when they end by themselves, which takes a
//! while where a store hangs; shutting down its thread ends them all.

use std::path::Path;

use tokio::{
    runtime::{Builder, Runtime},
    task::AbortHandle,
};
use xet::{
    XetError,
    xet_session::{XetSession, XetSessionBuilder},
};

use super::settings;

/// The official client and the thread that it runs on.
pub(super) struct XetRuntime {
    pub session: XetSession,
    /// Always there until the drop.
    runtime: Option<Runtime>,
}

impl XetRuntime {
    pub fn start(folder: &Path) -> Result<Self, XetError> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("xet").enable_all().build()?;
        let session = XetSessionBuilder::new_with_config(settings::config())
            .with_tokio_handle(runtime.handle().clone())
            .with_cache_dir(folder)
            .build()?;
        Ok(Self { session, runtime: Some(runtime) })
    }

    /// Starts a task on the official client's one thread. What its work wakes there runs when that work has come to a halt: a
    /// window that fails closes its stream an instant before it notes the error, and whoever is faster misses it.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        match &self.runtime {
            Some(runtime) => runtime.spawn(task).abort_handle(),
            None => tokio::spawn(task).abort_handle(),
        }
    }

    /// Does a piece of the official client's work on its thread, together with all that it starts there.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, XetError>> + Send + 'static,
    ) -> Result<T, XetError> {
        match &self.runtime {
            Some(runtime) => runtime.spawn(work).await?,
            None => work.await,
        }
    }
}

impl Drop for XetRuntime {
    fn drop(&mut self) {
        // Without waiting, which is not allowed on the threads that async code runs on.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
