//! Who waits to be told that input was handed on to the sandbox.
//!
//! Owns the order and the bound of those who wait. Deliberately knows neither
//! clients nor the shell.

use std::collections::VecDeque;
use std::sync::Arc;

use sandbox_broker_policy::progress::InputProgress;

/// Number of pieces of input whose senders wait to be told. Beyond it, a
/// client's newest piece replaces its last one, so there are at most as many
/// more as there are clients.
const WAITING: usize = 256;

/// Counts the input that came, and remembers who sent it.
#[derive(Debug, Default)]
pub(crate) struct Handing {
    received: u64,
    /// For each piece of input: its end, its sender and its number.
    waiting: VecDeque<(u64, Arc<InputProgress>, u64)>,
}

impl Handing {
    /// Takes in a piece of input of `len` bytes. `from` is told when it is
    /// handed on.
    pub(crate) fn received(&mut self, len: u64, from: Option<(Arc<InputProgress>, u64)>) {
        self.received += len;
        let Some((progress, seq)) = from else { return };
        if self.waiting.len() >= WAITING
            && let Some(last) = self.waiting.iter().rposition(|(_, one, _)| Arc::ptr_eq(one, &progress))
        {
            self.waiting.remove(last);
        }
        self.waiting.push_back((self.received, progress, seq));
    }

    /// `count` bytes of all input were handed on. Tells those who wait for
    /// that.
    pub(crate) fn handed(&mut self, count: u64) {
        while let Some((_, progress, seq)) = self.waiting.pop_front_if(|(end, ..)| *end <= count) {
            progress.handed.send_if_modified(|handed| {
                let more = *handed < seq;
                *handed = seq.max(*handed);
                more
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of several clients types a byte in turn, and nothing is handed on
    /// for long.
    #[test]
    fn those_who_wait_are_bounded_however_many_clients_alternate() {
        const CLIENTS: usize = 5;
        let clients: Vec<_> = (0..CLIENTS).map(|_| InputProgress::new()).collect();
        let mut handing = Handing::default();
        let last = 10_000;
        for seq in 1..=last {
            for client in &clients {
                handing.received(1, Some((Arc::clone(client), seq)));
            }
        }
        assert!(handing.waiting.len() <= WAITING + CLIENTS, "{}", handing.waiting.len());
        // Nobody is told of what was not handed on, and everybody of all in the end.
        let all = last * CLIENTS as u64;
        handing.handed(all - CLIENTS as u64);
        assert!(clients.iter().all(|client| *client.handed.borrow() < last));
        handing.handed(all);
        assert!(clients.iter().all(|client| *client.handed.borrow() == last));
        assert!(handing.waiting.is_empty());
    }
}
