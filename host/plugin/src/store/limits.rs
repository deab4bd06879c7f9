//! What one Store may hold: memory, tables and core instances.
//!
//! Owns those bounds. CPU time is the [`Meter`]'s, handles and calls are bounded where the Store is made.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use super::meter::Meter;

/// Elements of one table. A Rust plugin has a few hundred.
const TABLE_ELEMENTS: usize = 100_000;
/// Core instances, memories and tables of one Store.
const CORE_ITEMS: usize = 64;

/// The limits of one Store.
pub(super) struct StoreLimits {
    /// Largest linear memory, bytes.
    pub(super) memory: usize,
    /// Learns that memory ran out.
    pub(super) meter: Arc<Meter>,
}

impl ResourceLimiter for StoreLimits {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.memory;
        if !fits {
            self.meter.deny_memory();
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        CORE_ITEMS
    }

    fn tables(&self) -> usize {
        CORE_ITEMS
    }

    fn memories(&self) -> usize {
        CORE_ITEMS
    }
}
