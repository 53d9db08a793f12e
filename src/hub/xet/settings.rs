//! The configuration of the official client: limits of memory and time, and no telemetry. Its environment variables are
//! ignored, so that the limits hold whatever the pod's environment.

use std::time::Duration;

use xet::xet_session::XetConfig;

use super::super::RequestTimeouts;

/// Files are requested in windows of this size, in bytes. The official client buffers whole parts of a file, which without
/// windows are as large as the store's objects (64 MiB), each with a buffer that grows by doubling.
pub(super) const WINDOW: u64 = 16 << 20;
/// The maximum number of windows in memory, over all files.
pub(super) const WINDOWS: usize = 3;

/// Few, since the caller can fall back to plain HTTP.
const ATTEMPTS: usize = 2;

pub(super) fn config() -> XetConfig {
    let timeouts = RequestTimeouts::default();
    let mut config = XetConfig::default();
    config.telemetry.enabled = false;
    // Never the bottleneck: windows are limited before they are requested. The defaults depend on the node's memory.
    let buffer = (2 * WINDOW * WINDOWS as u64).into();
    config.reconstruction.download_buffer_size = buffer;
    config.reconstruction.download_buffer_limit = buffer;
    config.reconstruction.download_buffer_perfile_size = 0.into();
    config.client.ac_max_download_concurrency = 2 * WINDOWS;
    config.client.max_idle_connections = 2 * WINDOWS;
    config.client.connect_timeout = timeouts.connect;
    config.client.read_timeout = timeouts.idle;
    config.client.retry_max_attempts = ATTEMPTS;
    config.client.retry_base_delay = Duration::from_millis(300);
    config.client.retry_max_duration = Duration::from_secs(2);
    config
}
