//! Locks that a panic elsewhere does not spread through.
//!
//! Owns the one way in which the broker takes a mutex. Deliberately knows not
//! what is behind it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, also after a panic of a thread that held it. Every holder
/// leaves the value whole at each step, so what it finds can be used.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
