//! Memory that sessions and connections have freed, given back to the system.
//!
//! Owns when. The C library keeps what is freed for the next allocation, in
//! places that are rarely at the end of its heap, so that after a busy hour a
//! broker would stay as large as it was at its busiest. Deliberately knows
//! nothing of either but how many there are.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

/// How often the number is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Gives memory back whenever at most half of the users of memory are left that
/// there were since it did so last. Never returns; cancel-safe.
///
/// Half, so that users that come and go at a steady pace cost nothing.
pub async fn keep_small(users: impl Fn() -> usize) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The start counts as one: compiling plugins leaves much behind.
    let mut most = 1;
    loop {
        look.tick().await;
        let now = users();
        if now < most && now <= most / 2 {
            // It takes milliseconds for each hundred megabytes.
            tokio::task::spawn_blocking(trim).await.expect("giving memory back does not panic");
            most = now;
        }
        most = most.max(now);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: it takes no pointer, touches free memory only and locks the heap
    // while it does; any thread may call it at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give back on their own what they can.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
