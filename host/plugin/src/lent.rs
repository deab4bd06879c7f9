//! What the host keeps of what it lent to one Store's guest.
//!
//! Owns the list of futures that may come back, and the count of what the host still reads through the Store: a Store goes
//! when that is nothing. Deliberately knows no Store.

use std::sync::{Arc, Mutex, Weak};

use tokio::sync::watch;
use wasmtime::component::FutureAny;

use crate::net::carry;

/// How a connection of the host ends, until somebody takes it.
pub(crate) type Slot = Mutex<Option<carry::Ended>>;

/// What one Store's guest has of the host.
#[derive(Default)]
pub(crate) struct Lent {
    /// Ends of connections. The engine has no way to take a future out of a Store, but handles can be compared.
    endings: Vec<(FutureAny, Weak<Slot>)>,
    /// What is read through the Store.
    pub(crate) through: Through,
}

impl Lent {
    /// Notes a future. The Store alone holds its slot.
    pub(crate) fn note(&mut self, future: FutureAny, slot: &Arc<Slot>) {
        self.forget_closed();
        self.endings.push((future, Arc::downgrade(slot)));
    }

    /// The slot of a future that was lent.
    pub(crate) fn find(&mut self, future: &FutureAny) -> Option<Arc<Slot>> {
        self.forget_closed();
        self.endings.iter().find(|(known, _)| known == future).and_then(|(_, slot)| slot.upgrade())
    }

    /// A closed future's handle is used again, so what is gone must not be compared.
    fn forget_closed(&mut self) {
        self.endings.retain(|(_, slot)| slot.strong_count() > 0);
    }
}

/// How many streams and futures of a Store the host reads through it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Through(Arc<watch::Sender<usize>>);

impl Through {
    pub(crate) fn count(&self) -> Counted {
        self.0.send_modify(|open| *open += 1);
        Counted(self.clone())
    }

    /// Waits until there is none.
    pub(crate) async fn none(&self) {
        // The sender lives in `self`.
        let _ = self.0.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// One of them.
pub(crate) struct Counted(Through);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.send_modify(|open| *open -= 1);
    }
}
