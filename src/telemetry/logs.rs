//! Logs: to stderr, as text for a person at a terminal and as JSON for everything else.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use tracing_subscriber::EnvFilter;

use crate::fetch::above;

/// The variable that says what is logged.
pub const VARIABLE: &str = "MODELCACHE_LOG";

/// Starts them. `MODELCACHE_LOG`, else `RUST_LOG`, says what is logged.
pub fn start() {
    let terminal = io::stderr().is_terminal();
    let given =
        [VARIABLE, "RUST_LOG"].into_iter().find_map(|name| env::var(name).ok().map(|value| (name, value)));
    // At a terminal the bars tell what goes on.
    let usual = if terminal { "warn" } else { "info" };
    let asked = given.as_ref().map_or(usual, |(_, value)| value);
    let read = filter(asked);
    let is_wrong = read.is_none();
    let filter = read.unwrap_or_else(|| EnvFilter::new(with_default(usual)));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Stderr)
        // A line that cannot be written would be told with `eprintln!`, which panics when nobody reads stderr any more.
        .log_internal_errors(false);
    if terminal {
        logs.without_time().with_target(false).init();
    } else {
        logs.json().flatten_event(true).init();
    }
    if let Some((variable, _)) = given.filter(|_| is_wrong) {
        tracing::warn!(
            variable,
            used = usual,
            "the log filter is not one, such as `info` or `modelcache=debug,warn`; the usual one is used"
        );
    }
}

/// The filter for a text. None where it is no filter: the parser's own error repeats the text, which may be a secret in
/// the wrong place.
fn filter(text: &str) -> Option<EnvFilter> {
    EnvFilter::builder().parse(with_default(text)).ok()
}

/// A line goes above the bars, where there are any.
struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        above(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// What is logged where nothing else is said. The official Xet client is silent: it tells of each request, and of addresses
/// and tokens in places. What goes wrong there is told by who asked it.
fn with_default(filter: &str) -> String {
    format!("xet=off,{filter}")
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Who is heard when everybody speaks at this level.
    fn heard(filter: &str) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let filter = super::filter(filter).unwrap();
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || writer.clone());
        tracing::subscriber::with_default(logs.finish(), || {
            tracing::error!(target: "xet_client::cas_client", "official");
            tracing::error!(target: "xet::xet_session", "official");
            tracing::error!(target: "modelcache::hub::xet", "ours");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_official_xet_client_is_heard_only_by_who_asks_for_it() {
        for filter in ["info", "debug", "trace", "modelcache=debug,info"] {
            let heard = heard(filter);
            assert!(heard.contains("ours") && !heard.contains("official"), "{filter}: {heard}");
        }
        assert_eq!(heard("info,xet_client=debug").matches("official").count(), 1);
    }
}
