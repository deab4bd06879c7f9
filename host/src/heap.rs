//! Gives memory that sessions and connections have freed back to the system.
//!
//! Owns when to do so. The C library keeps freed memory for the next allocation. That memory is rarely at the end of its
//! heap, so without this a broker would stay as large as it was in its busiest hour. Deliberately knows only how many
//! sessions and connections there are.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

/// How often the number of users is checked.
const LOOK: Duration = Duration::from_secs(5);

/// Gives memory back when the number of users of memory has fallen to half of its peak since the last time. Never returns;
/// cancel-safe.
///
/// Half, so that users who come and go at a steady pace cost nothing.
pub async fn keep_small(users: impl Fn() -> usize) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The start counts as one user, because compiling plugins leaves much freed memory behind.
    let mut most = 1;
    loop {
        look.tick().await;
        let now = users();
        if now < most && now <= most / 2 {
            // Trimming takes some milliseconds for each 100 MB, so it runs off the runtime's threads.
            tokio::task::spawn_blocking(trim).await.expect("giving memory back does not panic");
            most = now;
        }
        most = most.max(now);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: `malloc_trim` takes no pointer, touches free memory only and locks the heap while it runs. Any thread may
    // call it at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give memory back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
