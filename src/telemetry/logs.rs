//! Logs: to stderr, as text for a person at a terminal and as JSON for everything else.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use tracing_subscriber::EnvFilter;

/// Starts them. `MODELCACHE_LOG`, else `RUST_LOG`, says what is logged.
pub fn start() {
    let terminal = io::stderr().is_terminal();
    let given = ["MODELCACHE_LOG", "RUST_LOG"].into_iter().find_map(|name| env::var(name).ok());
    // At a terminal the bars tell what goes on.
    let filter = given.as_deref().unwrap_or(if terminal { "warn" } else { "info" });
    let filter = EnvFilter::builder().parse_lossy(filter);
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // A line that cannot be written would be told with `eprintln!`, which panics when nobody reads stderr any more.
        .log_internal_errors(false);
    if terminal {
        logs.without_time().with_target(false).init();
    } else {
        logs.json().flatten_event(true).init();
    }
}
