//! Watches how much disk space sandboxes take, and says which one must end.
//!
//! Few file systems have quotas per directory, so this measures. It looks often at the free space, which costs nothing,
//! and measures the sandboxes when the free space has changed. There are two rules. No sandbox may take more than its
//! bound. When the disk is nearly full, the sandbox that takes most ends, before the disk is full for everybody. Files
//! without a name that a sandbox holds open count too. Data in transit through a socket does not. Knows nothing of
//! leases.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use sandboxd_init::chore::Chore;

const MIB: u64 = 1 << 20;

/// How often the free space is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// The sandboxes are measured when the free space has changed by this many bytes.
const CHANGE: u64 = 16 * MIB;

/// The pause after a measurement is this many times as long as the measurement. So measuring many files never becomes
/// the machine's main work.
const PAUSE: u32 = 20;

/// The longest time for a measurement.
const DEADLINE: Duration = Duration::from_secs(120);

/// Bytes that stay free for the host and for the other sandboxes. On a smaller disk it is a twentieth of the disk.
const RESERVE: u64 = 2048 * MIB;
const RESERVE_SHARE: u64 = 20;

/// A sandbox that takes less than this is never blamed for a full disk.
const BLAMELESS: u64 = 256 * MIB;

/// Why a sandbox must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// It takes more than a sandbox may.
    Bound,
    /// The disk is nearly full, and this sandbox takes most.
    Reserve,
}

impl Excess {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Bound => "it takes more of the disk than --max-disk allows",
            Self::Reserve => "the disk is nearly full, and it takes most of it",
        }
    }
}

/// Free bytes and inodes, and how many of each are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    bytes: u64,
    inodes: u64,
    bytes_kept: u64,
    inodes_kept: u64,
}

impl Room {
    fn of(path: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(path)?;
        Ok(Self {
            bytes: found.f_bavail * found.f_frsize,
            inodes: found.f_favail,
            bytes_kept: (found.f_blocks * found.f_frsize / RESERVE_SHARE).min(RESERVE),
            // Some file systems do not count inodes.
            inodes_kept: found.f_files / RESERVE_SHARE,
        })
    }

    fn is_short(&self) -> bool {
        self.bytes < self.bytes_kept || self.inodes < self.inodes_kept
    }
}

/// Watches one directory of sandboxes.
#[derive(Debug)]
pub(crate) struct DiskWatch {
    directory: PathBuf,
    program: PathBuf,
    /// Most bytes of one sandbox.
    bound: u64,
    /// At the last measurement.
    measured: Option<Room>,
    not_before: Instant,
}

impl DiskWatch {
    pub(crate) fn new(directory: PathBuf, program: PathBuf, bound: u64) -> Self {
        Self { directory, program, bound, measured: None, not_before: Instant::now() }
    }

    /// Looks once. `sandboxes` are the live ones, each with its id and the pid of its init.
    ///
    /// # Errors
    /// Errors of the measurement. They say nothing about a sandbox.
    pub(crate) async fn look(&mut self, sandboxes: Vec<(String, u32)>) -> io::Result<Vec<(String, Excess)>> {
        let room = Room::of(&self.directory)?;
        let changed = self.measured.is_none_or(|before| before.bytes.abs_diff(room.bytes) >= CHANGE)
            || self.measured.is_some_and(|before| before.inodes.abs_diff(room.inodes) >= CHANGE / 4096);
        let due = changed && Instant::now() >= self.not_before;
        if sandboxes.is_empty() || !(due || room.is_short()) {
            return Ok(Vec::new());
        }
        let begun = Instant::now();
        let usage = self.measure(sandboxes).await?;
        self.measured = Some(room);
        self.not_before = Instant::now() + begun.elapsed() * PAUSE;
        Ok(judge(&usage, self.bound, room.is_short()))
    }

    async fn measure(&self, sandboxes: Vec<(String, u32)>) -> io::Result<HashMap<String, u64>> {
        let chore = Chore::Measure { directory: self.directory.clone(), enough: self.bound, sandboxes };
        let output = chore.command(&self.program).kill_on_drop(true).output();
        let output = tokio::time::timeout(DEADLINE, output).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("{}: {}", output.status, complaint.trim())));
        }
        let lines = String::from_utf8_lossy(&output.stdout);
        let usage = lines.lines().filter_map(|line| {
            let (id, bytes) = line.split_once(' ')?;
            Some((id.to_owned(), bytes.parse().ok()?))
        });
        Ok(usage.collect())
    }
}

fn judge(usage: &HashMap<String, u64>, bound: u64, short: bool) -> Vec<(String, Excess)> {
    let over = usage.iter().filter(|(_, bytes)| **bytes > bound);
    let mut ending: Vec<_> = over.map(|(id, _)| (id.clone(), Excess::Bound)).collect();
    if ending.is_empty() && short {
        let most = usage.iter().max_by_key(|(_, bytes)| **bytes).filter(|(_, bytes)| **bytes >= BLAMELESS);
        ending.extend(most.map(|(id, _)| (id.clone(), Excess::Reserve)));
    }
    ending
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a sandbox above its bound ends. When the disk is nearly full, the one that takes most ends, but none
    /// that takes little.
    #[test]
    fn the_one_to_blame_ends() {
        let usage = |entries: &[(&str, u64)]| entries.iter().map(|(id, bytes)| ((*id).to_owned(), *bytes)).collect();
        let ending = |entries: &[(&str, u64)], short| {
            let mut ending = judge(&usage(entries), 1000 * MIB, short);
            ending.sort_by(|one, other| one.0.cmp(&other.0));
            ending
        };
        let some = [("a", 999 * MIB), ("b", 300 * MIB), ("c", MIB)];
        assert_eq!(ending(&some, false), []);
        assert_eq!(ending(&some, true), [("a".to_owned(), Excess::Reserve)]);
        assert_eq!(ending(&some[2..], true), []);
        let over = [("a", 1001 * MIB), ("b", 2000 * MIB), ("c", 1000 * MIB)];
        let both = [("a".to_owned(), Excess::Bound), ("b".to_owned(), Excess::Bound)];
        assert_eq!(ending(&over, false), both);
        assert_eq!(ending(&over, true), both);
    }
}
