//! The request log. Never contains a token.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::fault::Class;

/// A request and the status of its response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The part of the Hub.
    pub class: Class,
    /// `GET`, `HEAD`…
    pub method: String,
    /// Decoded, without the query.
    pub path: String,
    /// As sent, for the API only: elsewhere it may contain a signature.
    pub query: String,
    /// The status of the response; 0 if there was none.
    pub status: u16,
    /// The bytes of the body sent so far.
    pub bytes: u64,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// Whether it had a token.
    pub authorized: bool,
    /// When it was received, in milliseconds since the start of the Hub.
    pub millis: u64,
}

impl Request {
    /// Whether it requests only the first byte, as a check for access.
    #[must_use]
    pub fn is_for_a_byte(&self) -> bool {
        self.range.as_deref() == Some("bytes=0-0")
    }
}

/// All requests so far, and those that leaked a token.
#[derive(Debug)]
pub(crate) struct Log {
    entries: Mutex<Vec<(Request, Arc<AtomicU64>)>>,
    leaks: Mutex<Vec<String>>,
    changes: watch::Sender<()>,
}

/// Counts the bytes of one response in the log.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    bytes: Arc<AtomicU64>,
    changes: watch::Sender<()>,
}

impl Counter {
    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.changes.send_replace(());
    }
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { entries: Mutex::default(), leaks: Mutex::default(), changes: watch::Sender::new(()) }
    }

    pub(crate) fn record(&self, request: Request) -> Counter {
        let bytes = Arc::new(AtomicU64::new(0));
        locked(&self.entries).push((request, bytes.clone()));
        self.changes.send_replace(());
        Counter { bytes, changes: self.changes.clone() }
    }

    pub(crate) fn record_leak(&self, what: String) {
        locked(&self.leaks).push(what);
        self.changes.send_replace(());
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        let entries = locked(&self.entries);
        let with_bytes = |(request, bytes): &(Request, Arc<AtomicU64>)| Request {
            bytes: bytes.load(Ordering::Relaxed),
            ..request.clone()
        };
        entries.iter().map(with_bytes).collect()
    }

    pub(crate) fn leaks(&self) -> Vec<String> {
        locked(&self.leaks).clone()
    }

    pub(crate) fn clear(&self) {
        locked(&self.entries).clear();
    }

    pub(crate) fn clear_leaks(&self) {
        locked(&self.leaks).clear();
    }

    /// Notified whenever a request is received or bytes are sent.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

/// Ignores poisoning, so that a panicking test's own message is not hidden by a second panic.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
