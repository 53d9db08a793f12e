//! The official client's settings: those that bound memory and time, and those that keep it quiet. What its own
//! environment variables say does not count: here is where our bounds are, whatever the pod's environment.

use std::time::Duration;

use xet::xet_session::XetConfig;

use super::super::Patience;

/// A file is asked for in windows of this size. The official client has whole parts of a file in memory, which without
/// windows are as large as the store's objects (64 MiB), each with a buffer that grows by doubling.
pub(super) const WINDOW: u64 = 16 << 20;
/// How many windows of all files together are in memory at once.
pub(super) const WINDOWS: usize = 3;

/// Waiting longer for the store is the caller's, who can take plain HTTP instead.
const ATTEMPTS: usize = 2;

pub(super) fn config() -> XetConfig {
    let patience = Patience::default();
    let mut config = XetConfig::default();
    config.telemetry.enabled = false;
    // Never the narrow place: windows are counted before they are asked for. The defaults follow the node's memory.
    let buffer = (2 * WINDOW * WINDOWS as u64).into();
    config.reconstruction.download_buffer_size = buffer;
    config.reconstruction.download_buffer_limit = buffer;
    config.reconstruction.download_buffer_perfile_size = 0.into();
    config.client.ac_max_download_concurrency = 2 * WINDOWS;
    config.client.max_idle_connections = 2 * WINDOWS;
    config.client.connect_timeout = patience.connect;
    config.client.read_timeout = patience.idle;
    config.client.retry_max_attempts = ATTEMPTS;
    config.client.retry_base_delay = Duration::from_millis(300);
    config.client.retry_max_duration = Duration::from_secs(2);
    config
}
