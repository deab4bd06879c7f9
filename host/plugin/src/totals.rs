//! What all instances of one section may use together.
//!
//! Owns those totals, which outlive every Store. What one Store may use is bounded where it is made; what it uses is
//! reported here. Deliberately knows no Store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use crate::budget::CpuBudget;

/// CPU time that all instances of a section may use at once. A thousand sessions that open at once take about as much.
const BURST: Duration = Duration::from_secs(10);

/// What all instances of one section may use together.
#[derive(Debug)]
pub(crate) struct Totals {
    pub(crate) memory: SectionMemory,
    /// In the long run half of the machine's cores, and at least one.
    pub(crate) cpu: Arc<CpuBudget>,
}

impl Totals {
    /// With this many bytes of memory.
    pub(crate) fn of(memory: usize) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let share = (cores as f64 / 2.0).max(1.0);
        Totals { memory: SectionMemory::new(memory), cpu: Arc::new(CpuBudget::new(share, BURST)) }
    }
}

impl Default for Totals {
    /// Without a bound on memory: for a plugin that is asked about itself and belongs to no section.
    fn default() -> Self {
        Totals::of(usize::MAX)
    }
}

/// The memory of all Stores of a section.
#[derive(Debug)]
pub(crate) struct SectionMemory {
    most: usize,
    held: AtomicUsize,
}

impl SectionMemory {
    pub(crate) fn new(most: usize) -> Self {
        SectionMemory { most, held: AtomicUsize::new(0) }
    }

    /// Takes this many bytes more, if they fit.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let fits = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}
