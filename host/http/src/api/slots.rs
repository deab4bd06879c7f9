//! How many requests one session's sandbox serves at a time.
//!
//! Owns the count. Deliberately does not know what a request does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sandbox_stdx::lock::lock;

/// Requests about one session's files at a time, at most. Each may hold a few chunks
/// of 64 KiB and an instance of the provider's plugin. A browser keeps at most six
/// connections.
pub(super) const MAX_AT_ONCE: usize = 8;

/// Number of requests under way, by session. It has no more entries than there are
/// requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots(Arc<Mutex<HashMap<String, usize>>>);

/// A place among [`MAX_AT_ONCE`], given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    session: String,
}

impl Slots {
    /// Takes a place, if there is one.
    pub(crate) fn take(&self, session: &str) -> Option<Slot> {
        let mut counts = lock(&self.0);
        let count = counts.entry(session.to_owned()).or_default();
        if *count >= MAX_AT_ONCE {
            return None;
        }
        *count += 1;
        Some(Slot { slots: self.clone(), session: session.to_owned() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = lock(&self.slots.0);
        if let Some(count) = counts.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_has_its_places_and_gets_them_back() {
        let slots = Slots::default();
        let mut held: Vec<_> = (0..MAX_AT_ONCE).map(|_| slots.take("a").unwrap()).collect();
        assert!(slots.take("a").is_none());
        assert!(slots.take("b").is_some(), "another session has its own");
        held.pop();
        held.push(slots.take("a").unwrap());
        drop(held);
        assert!(slots.0.lock().unwrap().is_empty(), "nothing stays behind");
    }
}
