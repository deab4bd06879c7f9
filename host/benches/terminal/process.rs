//! What a process costs, as Linux tells it.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::support::eventually;

/// How often a peak is looked for.
const LOOK: Duration = Duration::from_millis(10);

fn status(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// KiB of memory of its own: neither code nor files, which are shared.
pub fn memory(pid: u32) -> u64 {
    status(pid, "RssAnon")
}

/// Operating system threads.
pub fn threads(pid: u32) -> u64 {
    status(pid, "Threads")
}

/// Open descriptors.
pub fn descriptors(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64
}

/// Asks a process that is no child to end, and waits until it has.
pub async fn end(pid: u32) {
    assert!(Command::new("kill").arg(pid.to_string()).status().unwrap().success());
    let gone = async || (!fs::exists(format!("/proc/{pid}")).unwrap()).then_some(());
    eventually("the end of a server", gone).await;
}

/// Finds by how much a process grew in between, at most.
pub struct Peak {
    before: u64,
    stop: Arc<AtomicBool>,
    looking: JoinHandle<u64>,
}

impl Peak {
    pub fn watch(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let looking = thread::spawn(move || {
            let mut peak = 0;
            while !stopped.load(Ordering::Relaxed) {
                peak = peak.max(memory(pid));
                thread::sleep(LOOK);
            }
            peak
        });
        Peak { before: memory(pid), stop, looking }
    }

    /// MiB.
    pub fn growth(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.looking.join().unwrap().saturating_sub(self.before) as f64 / 1024.0
    }
}
