//! The machine that all sandboxes share, in numbers. Does not measure a single sandbox.

use axum::Json;
use serde::Serialize;

const MIB: u64 = 1024 * 1024;

/// What one sandbox can use. On this server that is the whole machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) cpus: usize,
    pub(crate) memory_mb: u64,
    pub(crate) disk_mb: u64,
}

/// Measures the machine.
pub(crate) fn describe(state_dir: &std::path::Path) -> Machine {
    let (_, disk) = disk_use(state_dir);
    Machine { cpus: cpus(), memory_mb: memory().0 / MIB, disk_mb: disk / MIB }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Total and available bytes, and bytes of cache.
fn memory() -> (u64, u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    (field("MemTotal:"), field("MemAvailable:"), field("Cached:"))
}

/// Used and total bytes of the file system that holds a path.
fn disk_use(path: &std::path::Path) -> (u64, u64) {
    rustix::fs::statvfs(path).map_or((0, 0), |found| {
        let total = found.f_blocks * found.f_frsize;
        (total - found.f_bfree * found.f_frsize, total)
    })
}

#[derive(Debug, Serialize)]
pub(crate) struct Metrics {
    ts: i64,
    cpu_count: usize,
    cpu_used_pct: f64,
    mem_total: u64,
    mem_used: u64,
    mem_cache: u64,
    mem_total_mib: u64,
    mem_used_mib: u64,
    disk_used: u64,
    disk_total: u64,
}

/// `GET /metrics` of a sandbox's daemon: the machine's numbers, with the load average as the use of its processors.
pub(crate) async fn metrics() -> Json<Metrics> {
    let (mem_total, available, mem_cache) = memory();
    let mem_used = mem_total.saturating_sub(available);
    let (disk_used, disk_total) = disk_use(std::path::Path::new("/"));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    let cpu_count = cpus();
    #[expect(clippy::cast_precision_loss, reason = "processors are few")]
    let cpu_used_pct = (load / cpu_count as f64 * 100.0).min(100.0);
    Json(Metrics {
        ts: jiff::Timestamp::now().as_second(),
        cpu_count,
        cpu_used_pct,
        mem_total,
        mem_used,
        mem_cache,
        mem_total_mib: mem_total / MIB,
        mem_used_mib: mem_used / MIB,
        disk_used,
        disk_total,
    })
}
