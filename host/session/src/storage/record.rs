//! What the session's record in the journal has of one mount.
//!
//! Owns which line of the record it is. Deliberately decides nothing.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use sandbox_broker_core::storage::Grant;
use sandbox_broker_journal as journal;

use crate::ledger::{Ledger, Noted};

/// What the session's record has of one mount.
#[derive(Debug)]
pub(super) struct MountRecord {
    pub(super) ledger: Arc<Ledger>,
    pub(super) index: usize,
}

impl MountRecord {
    pub(super) fn mount(&self) -> journal::Mount {
        self.ledger.entry().storage[self.index].clone()
    }

    /// Writes down what a later broker may know of a grant.
    pub(super) async fn note_grant(&self, grant: &Grant) -> Noted {
        self.note(|mount| mount.grant = Some(BASE64.encode(&grant.kept))).await
    }

    /// Writes a change down, before anything is done that relies on it.
    pub(super) async fn note(&self, change: impl FnOnce(&mut journal::Mount)) -> Noted {
        self.ledger.note(|entry| change(&mut entry.storage[self.index])).await
    }
}
