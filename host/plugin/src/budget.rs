//! CPU time over wall time: a share of a core, with a burst.
//!
//! Owns the arithmetic of a bucket that fills at a steady rate. Deliberately knows no guest and no clock: the caller says
//! what time it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// CPU time that may be used: `burst` at once, and `share` of a core in the long run.
#[derive(Debug)]
pub(crate) struct CpuBudget {
    /// Cores.
    share: f64,
    burst: Duration,
    /// When the bucket is full again, in nanoseconds of the caller's clock.
    full_at: AtomicU64,
}

/// How much a budget has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// At least half of the burst.
    Plenty,
    /// Less than that.
    Little,
    /// Nothing until this much time has passed.
    Nothing(Duration),
}

impl CpuBudget {
    pub(crate) const fn new(share: f64, burst: Duration) -> Self {
        CpuBudget { share, burst, full_at: AtomicU64::new(0) }
    }

    /// Takes the CPU time that was `used` and gives back what was `earned` meanwhile.
    pub(crate) fn charge(&self, now: Duration, used: Duration, earned: Duration) {
        let (now, used, earned) = (nanos(now), self.refill(used), self.refill(earned));
        let charged = |full_at: u64| Some(full_at.max(now).saturating_add(used).saturating_sub(earned));
        let _ = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charged);
    }

    pub(crate) fn left(&self, now: Duration) -> Left {
        let missing = self.full_at.load(Ordering::Relaxed).saturating_sub(nanos(now));
        let whole = self.refill(self.burst);
        match missing.checked_sub(whole) {
            Some(debt) if debt > 0 => Left::Nothing(Duration::from_nanos(debt)),
            _ if missing > whole / 2 => Left::Little,
            _ => Left::Plenty,
        }
    }

    /// Nanoseconds in which this much CPU time flows in.
    fn refill(&self, cpu: Duration) -> u64 {
        nanos(cpu.div_f64(self.share))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const ZERO: Duration = Duration::ZERO;

    #[test]
    fn a_burst_is_free_and_then_a_share_remains() {
        let budget = CpuBudget::new(0.25, 2 * SECOND);
        let began = 100 * SECOND;
        assert_eq!(budget.left(began), Left::Plenty);
        budget.charge(began, SECOND * 3 / 2, ZERO);
        assert_eq!(budget.left(began), Left::Little);
        budget.charge(began, SECOND, ZERO);
        // Half a second too much flows in within two.
        assert_eq!(budget.left(began), Left::Nothing(2 * SECOND));
        assert_eq!(budget.left(began + 2 * SECOND), Left::Little);
        assert_eq!(budget.left(began + 7 * SECOND), Left::Plenty);
    }

    #[test]
    fn what_was_not_used_is_not_saved_beyond_the_burst() {
        let budget = CpuBudget::new(0.5, SECOND);
        budget.charge(1000 * SECOND, SECOND, ZERO);
        assert_eq!(budget.left(1000 * SECOND), Left::Little);
        budget.charge(1000 * SECOND, ZERO, 50 * SECOND);
        budget.charge(1000 * SECOND, SECOND * 2, ZERO);
        assert_eq!(budget.left(1000 * SECOND), Left::Nothing(2 * SECOND), "what was earned is not saved either");
    }

    #[test]
    fn whoever_earns_as_much_as_it_uses_never_waits() {
        let budget = CpuBudget::new(0.1, SECOND);
        for second in 1..1000 {
            budget.charge(second * SECOND, SECOND, SECOND);
            assert_eq!(budget.left(second * SECOND), Left::Plenty);
        }
    }
}
