//! Watches what sandboxes take of the disk, and says which has to end.
//!
//! A file system that has quotas per directory is rare, so this looks: often at what is free, which costs nothing, and at
//! the sandboxes when that has changed. Two rules: none may take more than its bound, and when the disk is nearly full, the
//! one that takes most ends before it is full for everybody. What a sandbox holds open without a name counts, too; what is
//! only on its way through a socket does not. Knows nothing of leases.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::chore::Chore;

const MIB: u64 = 1 << 20;

/// How often the free space is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// Bytes by which the free space must have changed for the sandboxes to be measured.
const CHANGE: u64 = 16 * MIB;

/// How much longer than a measurement the pause after it is: measuring many files must not become the machine's work.
const PAUSE: u32 = 20;

/// How long a measurement may take at most.
const DEADLINE: Duration = Duration::from_secs(120);

/// Bytes that stay free for the host and for those who do no harm; a twentieth of a smaller disk.
const RESERVE: u64 = 2048 * MIB;
const RESERVE_SHARE: u64 = 20;

/// Below this no sandbox is to blame for a full disk.
const BLAMELESS: u64 = 256 * MIB;

/// Why a sandbox has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// It takes more than a sandbox may.
    Bound,
    /// The disk is nearly full, and it takes most.
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
            // Some file systems have no number of inodes.
            inodes_kept: found.f_files / RESERVE_SHARE,
        })
    }

    fn is_short(&self) -> bool {
        self.bytes < self.bytes_kept || self.inodes < self.inodes_kept
    }
}

/// Watches one directory of sandboxes.
#[derive(Debug)]
pub(crate) struct Watch {
    directory: PathBuf,
    program: PathBuf,
    /// Most bytes of one sandbox.
    bound: u64,
    /// At the last measurement.
    measured: Option<Room>,
    not_before: Instant,
}

impl Watch {
    pub(crate) fn new(directory: PathBuf, program: PathBuf, bound: u64) -> Self {
        Self { directory, program, bound, measured: None, not_before: Instant::now() }
    }

    /// Looks once; `sandboxes` are the ids and the inits' pids of those that live.
    ///
    /// # Errors
    /// Those of looking; none of the sandboxes is to blame.
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

    /// Promise: who takes too much ends; when the disk is nearly full, the one that takes most, but none that takes little.
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
