//! Locks of short sections that cannot be left half-done.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. What a thread that panicked has left is taken as it is.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
