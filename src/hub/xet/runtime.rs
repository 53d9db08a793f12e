//! Runs the official client on a dedicated thread. It does not cancel abandoned requests, which take a while when a store
//! hangs; shutting down the thread ends them all.

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

/// The official client and its thread.
pub(super) struct XetRuntime {
    pub session: XetSession,
    /// `Some` until dropped.
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

    /// Spawns a task on the official client's thread. On the same thread, the task runs only after the client's work yields: a
    /// failing window closes its stream just before it records the error, which another thread could miss.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        match &self.runtime {
            Some(runtime) => runtime.spawn(task).abort_handle(),
            None => tokio::spawn(task).abort_handle(),
        }
    }

    /// Runs work of the official client, including everything it spawns, on its thread.
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
        // Without blocking, which is not allowed on async threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
