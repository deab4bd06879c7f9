//! Whether a guest gives way, how much CPU time it uses, and why it was stopped.
//!
//! Owns two bounds. A guest that does not give way for as long as its section allows is stopped. A guest that gives way and
//! still uses more than its share of a core is held back until the share has caught up; if it goes on like that without
//! doing anything for its session, it is stopped as well. All guests of a section share another budget.
//! Deliberately knows no guest and no Store: the engine calls [`Meter::tick`] every [`TICK`] that a guest runs without a
//! pause, streams report what they [moved](Meter::moved), and [`Meter::watch`] sees the rest.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::ready;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Sleep, sleep};

use crate::budget::{CpuBudget, Left};
use crate::permissions::Permissions;

/// Time between two ticks.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Cores that one guest may use in the long run. A terminal that idles uses a thousandth of that.
const SHARE: f64 = 0.25;

/// CPU time that one guest may use at once. A call of a plugin takes some milliseconds.
const BURST: Duration = Duration::from_secs(2);

/// CPU time that a guest earns with each byte that it passes on, so that whoever makes a flood of output is not held back.
/// A plugin in Rust takes 5 ns for a byte, one in JavaScript a hundred.
const OF_A_BYTE: Duration = Duration::from_nanos(100);

/// CPU time that a guest may use while it is being held back, unless it passes on [`WORK`] meanwhile.
const EXCESS: Duration = Duration::from_secs(30);

/// Bytes that show that a guest works for its session.
const WORK: u64 = 1 << 20;

/// The clock of all budgets.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Measures one guest, and records why it was stopped where the trap itself does not say.
#[derive(Debug)]
pub(crate) struct Meter {
    /// What the section may use.
    permissions: Arc<Permissions>,
    own: CpuBudget,
    excess_allowed: Duration,
    /// The guest has been held back before.
    held_back: AtomicBool,
    /// Ticks since the Store began.
    ticks: AtomicU32,
    /// Nanoseconds of CPU time since the guest last gave way.
    busy: AtomicU64,
    /// Nanoseconds of CPU time since the guest's own budget was at half, or since it did some [`WORK`].
    excess: AtomicU64,
    /// Bytes passed on since the last poll, and since `excess` began.
    moved: AtomicU64,
    work: AtomicU64,
    stopped: Stopped,
}

/// Why a guest was stopped.
#[derive(Default, Debug)]
struct Stopped {
    out_of_memory: AtomicBool,
    section_out_of_memory: AtomicBool,
    out_of_time: AtomicBool,
    over_budget: AtomicBool,
}

impl Meter {
    pub(super) fn new(permissions: Arc<Permissions>) -> Self {
        Meter {
            permissions,
            own: CpuBudget::new(SHARE, BURST),
            excess_allowed: EXCESS,
            held_back: AtomicBool::new(false),
            ticks: AtomicU32::new(0),
            busy: AtomicU64::new(0),
            excess: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            work: AtomicU64::new(0),
            stopped: Stopped::default(),
        }
    }

    /// Why the guest was stopped, if it was for its use of memory or of CPU time.
    pub(crate) fn reason(&self) -> Option<String> {
        let Stopped { out_of_memory, section_out_of_memory, out_of_time, over_budget } = &self.stopped;
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if is(section_out_of_memory) {
            Some("all its instances together would have more memory than `limits.total_memory`".to_owned())
        } else if is(out_of_memory) {
            let (most, provider) = (self.permissions.memory >> 20, &self.permissions.provider);
            // Without a section, a plugin is asked about itself.
            let key = if provider.is_empty() { "" } else { ", `limits.memory`" };
            Some(format!("it asked for more memory than its limit of {most} MiB{key}"))
        } else if is(out_of_time) {
            Some(format!("it used {:?} of CPU without giving way", self.permissions.cpu))
        } else if is(over_budget) {
            let (share, excess) = (SHARE * 100.0, self.excess_allowed);
            Some(format!("it used {excess:?} of CPU beyond its {share} % of a core, for no input or output"))
        } else {
            None
        }
    }

    /// Records that the guest asked for too much memory: for itself, or for all guests of its section together.
    pub(super) fn deny_memory(&self, of_section: bool) {
        let Stopped { out_of_memory, section_out_of_memory, .. } = &self.stopped;
        let flag = if of_section { section_out_of_memory } else { out_of_memory };
        flag.store(true, Ordering::Relaxed);
    }

    /// Records bytes that went through the guest.
    pub(crate) fn moved(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts one tick. Returns whether the guest may go on.
    pub(super) fn tick(&self) -> bool {
        self.ticks.fetch_add(1, Ordering::Relaxed);
        let beyond = |used: &AtomicU64, allowed| Duration::from_nanos(used.load(Ordering::Relaxed)) >= allowed;
        if beyond(&self.busy, self.permissions.cpu) {
            self.stopped.out_of_time.store(true, Ordering::Relaxed);
            return false;
        }
        if beyond(&self.excess, self.excess_allowed) {
            self.stopped.over_budget.store(true, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Runs `future` and notices when the guest gives way. A guest that is interrupted by a tick also returns from a
    /// poll, so only a poll without a tick counts. Holds the guest back while it has used up a budget. The caller pins
    /// the future: a guest's future is large, and this way it is not held twice.
    pub(crate) async fn watch<F: Future + Unpin>(&self, mut future: F) -> F::Output {
        let mut held: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            let precise = loop {
                if let Some(sleep) = &mut held {
                    ready!(sleep.as_mut().poll(cx));
                    held = None;
                }
                match self.left() {
                    Left::Nothing(wait) => {
                        self.tell_of_hold();
                        held = Some(Box::pin(sleep(wait)));
                    }
                    // Time without giving way may stop the guest, so it is not measured by the wall.
                    left => break left == Left::Little || self.busy.load(Ordering::Relaxed) > 0,
                }
            };
            let before = self.ticks.load(Ordering::Relaxed);
            let stopwatch = Stopwatch::start(precise);
            let poll = Pin::new(&mut future).poll(cx);
            self.used(stopwatch.time(), self.ticks.load(Ordering::Relaxed) != before);
            poll
        })
        .await
    }

    /// Logs that the guest is held back, once. What it logs itself cannot keep that out.
    fn tell_of_hold(&self) {
        let provider = &self.permissions.provider;
        if !self.held_back.swap(true, Ordering::Relaxed) {
            tracing::warn!(%provider, "plugin uses more than its share of the processor and is held back");
        }
    }

    fn left(&self) -> Left {
        let now = EPOCH.elapsed();
        match (self.own.left(now), self.permissions.totals.cpu.left(now)) {
            (Left::Nothing(own), Left::Nothing(section)) => Left::Nothing(own.max(section)),
            (Left::Plenty, Left::Plenty) => Left::Plenty,
            (nothing @ Left::Nothing(_), _) | (_, nothing @ Left::Nothing(_)) => nothing,
            _ => Left::Little,
        }
    }

    /// Charges for one poll.
    fn used(&self, cpu: Duration, interrupted: bool) {
        let now = EPOCH.elapsed();
        let moved = self.moved.swap(0, Ordering::Relaxed);
        let earned = OF_A_BYTE.saturating_mul(u32::try_from(moved).unwrap_or(u32::MAX));
        self.own.charge(now, cpu, earned);
        self.permissions.totals.cpu.charge(now, cpu, earned);
        let nanos = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX);
        if interrupted {
            self.busy.fetch_add(nanos, Ordering::Relaxed);
        } else {
            self.busy.store(0, Ordering::Relaxed);
        }
        let work = self.work.fetch_add(moved, Ordering::Relaxed) + moved;
        if work >= WORK || self.own.left(now) == Left::Plenty {
            self.work.store(0, Ordering::Relaxed);
            self.excess.store(0, Ordering::Relaxed);
        } else {
            self.excess.fetch_add(nanos, Ordering::Relaxed);
        }
    }
}

/// Measures the CPU time of one poll.
///
/// The clock that counts CPU time alone is a system call. Wall time costs less, and counts too much on a busy machine. So
/// wall time is used while a guest has plenty left, and nobody is held back for being preempted.
enum Stopwatch {
    Wall(Instant),
    Cpu(Duration),
}

impl Stopwatch {
    fn start(precise: bool) -> Self {
        if precise { Stopwatch::Cpu(thread_time()) } else { Stopwatch::Wall(Instant::now()) }
    }

    fn time(self) -> Duration {
        match self {
            // A guest is interrupted at each tick. What takes much longer is a pause of the whole process.
            Stopwatch::Wall(began) => began.elapsed().min(10 * TICK),
            Stopwatch::Cpu(began) => thread_time().saturating_sub(began),
        }
    }
}

/// CPU time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::task::Poll;

    use super::*;
    use crate::totals::Totals;

    const MS: Duration = Duration::from_millis(1);

    fn meter(share: f64, burst: Duration, section: Arc<CpuBudget>) -> Meter {
        let own = CpuBudget::new(share, burst);
        let permissions = Permissions {
            cpu: 30 * MS,
            totals: Totals { cpu: section, ..Totals::default() },
            ..Permissions::default()
        };
        Meter { own, excess_allowed: 200 * MS, ..Meter::new(Arc::new(permissions)) }
    }

    fn ample() -> Arc<CpuBudget> {
        Arc::new(CpuBudget::new(1000.0, Duration::from_secs(1000)))
    }

    /// Uses the thread for a while.
    fn spin(time: Duration) {
        let began = thread_time();
        while thread_time() - began < time {}
    }

    /// Uses `each` of CPU time in a poll and then gives way, until it was polled `times`.
    async fn naps(meter: &Meter, times: u32, each: Duration) {
        let mut left = times;
        let nap = poll_fn(|cx| {
            spin(each);
            left -= 1;
            cx.waker().wake_by_ref();
            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        meter.watch(nap).await;
    }

    #[tokio::test]
    async fn a_guest_that_gives_way_after_every_moment_is_held_to_its_share() {
        let meter = meter(0.25, 20 * MS, ample());
        let began = Instant::now();
        naps(&meter, 24, 5 * MS).await;
        // 120 ms of CPU time, 20 of them at once and the last 5 on credit.
        assert!(began.elapsed() >= 380 * MS, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn all_guests_of_a_section_are_held_to_the_share_of_the_section() {
        let section = Arc::new(CpuBudget::new(0.25, 20 * MS));
        let of = || meter(1000.0, Duration::from_secs(1000), section.clone());
        let (first, second) = (of(), of());
        let began = Instant::now();
        tokio::join!(naps(&first, 12, 5 * MS), naps(&second, 12, 5 * MS));
        assert!(began.elapsed() >= 360 * MS, "{:?}", began.elapsed());
    }

    #[test]
    fn a_guest_that_passes_on_bytes_is_not_held_back() {
        let meter = meter(0.01, 20 * MS, Arc::new(CpuBudget::new(0.01, 20 * MS)));
        for _ in 0..1000 {
            meter.moved(64 << 10);
            meter.used(5 * MS, false);
            assert_eq!(meter.left(), Left::Plenty);
        }
        assert!(meter.tick());
    }

    #[test]
    fn a_guest_in_excess_is_stopped_with_words_unless_it_works() {
        let (idle, works) = (meter(0.01, MS, ample()), meter(0.01, MS, ample()));
        for _ in 0..20 {
            assert!(works.tick(), "{:?}", works.reason());
            idle.used(20 * MS, false);
            // More than its bytes earn, and so it is held back as well.
            works.moved(WORK as usize / 8);
            works.used(20 * MS, false);
        }
        assert!(matches!((idle.left(), works.left()), (Left::Nothing(_), Left::Nothing(_))));
        assert!(!idle.tick());
        let words = idle.reason().unwrap();
        assert!(words.contains("CPU beyond its 25 % of a core"), "{words}");
    }

    #[tokio::test]
    async fn what_a_guest_uses_without_giving_way_is_counted_in_cpu_time() {
        let meter = meter(1000.0, Duration::from_secs(1000), ample());
        let interrupted = poll_fn(|cx| {
            spin(10 * MS);
            if !meter.tick() {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        meter.watch(interrupted).await;
        assert_eq!(meter.reason().unwrap(), "it used 30ms of CPU without giving way");
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_waits_is_left_alone() {
        let meter = meter(0.25, 20 * MS, ample());
        let waits = tokio::time::timeout(Duration::from_secs(3600), meter.watch(Box::pin(pending::<()>())));
        assert!(waits.await.is_err());
        assert!(meter.tick());
    }
}
