//! When output came and how large the terminal was: the marks of a recording.
//!
//! Owns the file `marks`, a ring of [`COUNT`] records. The daemon writes it; other processes read it without a lock,
//! like [`crate::ring`]. Knows nothing of the output itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use sandbox_recorder::wire::Size;

use crate::ring::Ring;

/// The number of marks that are kept: 17 minutes of unbroken output, or a working day of typing. 1.5 MiB on disk.
const COUNT: u64 = 65_536;

/// The size of a mark in bytes.
const LENGTH: usize = 24;

/// Output within this time after a mark gets the time of that mark: one frame of a film.
const BURST: Duration = Duration::from_millis(16);

/// States that, from an offset on, output came at this time and the terminal had this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The offset of the first byte that it describes.
    pub(crate) offset: u64,
    /// Milliseconds since the recording began.
    pub(crate) ms: u64,
    /// The size changed here.
    pub(crate) resized: bool,
    /// The terminal's size.
    pub(crate) size: Size,
}

impl Mark {
    fn bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.ms.to_le_bytes());
        bytes[16..18].copy_from_slice(&self.size.cols.to_le_bytes());
        bytes[18..20].copy_from_slice(&self.size.rows.to_le_bytes());
        bytes[20] = u8::from(self.resized);
        bytes
    }

    /// `None` if a mark was not written, for example on a full disk.
    fn read(bytes: &[u8; LENGTH]) -> Option<Self> {
        let u64 = |at| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let u16 = |at| bytes[at..at + 2].try_into().map(u16::from_le_bytes).ok();
        let size = Size::new(u16(16)?, u16(18)?)?;
        Some(Self { offset: u64(0)?, ms: u64(8)?, resized: bytes[20] != 0, size })
    }
}

/// The writing end, which only the daemon has.
pub(crate) struct Marks {
    file: File,
    last: Option<Duration>,
}

impl Marks {
    /// Creates the marks of a new recording.
    pub(crate) fn create(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(dir.join("marks"), flags, Mode::RUSR | Mode::WUSR)?);
        Ok(Self { file, last: None })
    }

    /// Notes that output from `offset` on comes at `now`, unless the last mark is very recent.
    pub(crate) fn output(&mut self, ring: &Ring, offset: u64, size: Size, now: Duration) {
        if self.last.is_none_or(|last| now >= last + BURST) {
            self.put(ring, Mark { offset, ms: now.as_millis() as u64, resized: false, size });
            self.last = Some(now);
        }
    }

    /// Notes that the terminal has a new size from `offset` on.
    pub(crate) fn resized(&mut self, ring: &Ring, offset: u64, size: Size, now: Duration) {
        self.put(ring, Mark { offset, ms: now.as_millis() as u64, resized: true, size });
    }

    fn put(&mut self, ring: &Ring, mark: Mark) {
        let count = &ring.page().marks;
        let number = count.load(Ordering::Relaxed);
        // On a full disk, a time or a size is less exact. The output is not affected.
        let _ = self.file.write_all_at(&mark.bytes(), number % COUNT * LENGTH as u64);
        count.store(number + 1, Ordering::Release);
    }
}

/// Reads marks in order, a few at a time. Skips those that were overwritten.
pub(crate) struct Reader<'a> {
    ring: &'a Ring,
    file: File,
    next: u64,
    read: std::vec::IntoIter<Mark>,
}

/// The number of marks that are read at once.
const CHUNK: u64 = 1024;

impl<'a> Reader<'a> {
    /// Opens the marks that belong to the recording of `ring`.
    pub(crate) fn open(dir: &Path, ring: &'a Ring) -> io::Result<Self> {
        Ok(Self { ring, file: File::open(dir.join("marks"))?, next: 0, read: Vec::new().into_iter() })
    }

    fn refill(&mut self) -> io::Result<()> {
        let count = &self.ring.page().marks;
        // The daemon may be overwriting the oldest mark while it still counts.
        let oldest = |count: u64| (count + 1).saturating_sub(COUNT);
        let end = count.load(Ordering::Acquire);
        self.next = self.next.max(oldest(end));
        let place = self.next % COUNT;
        let wanted = end.saturating_sub(self.next).min(CHUNK).min(COUNT - place) as usize;
        let mut bytes = vec![0; wanted * LENGTH];
        let read = self.file.read_at(&mut bytes, place * LENGTH as u64)?;
        fence(Ordering::SeqCst);
        let torn = oldest(count.load(Ordering::Acquire)).saturating_sub(self.next) as usize;
        let (marks, _) = bytes[..read].as_chunks::<LENGTH>();
        self.read = marks.iter().skip(torn).filter_map(Mark::read).collect::<Vec<_>>().into_iter();
        self.next += wanted as u64;
        Ok(())
    }
}

impl Iterator for Reader<'_> {
    type Item = Mark;

    fn next(&mut self) -> Option<Mark> {
        loop {
            if let Some(mark) = self.read.next() {
                return Some(mark);
            }
            let before = self.next;
            // Without marks, a recording is read with one size and no times.
            if self.refill().is_err() || self.next == before {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_in_order_and_old_ones_give_way() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Ring::create(dir.path(), *crate::ring::SIZES.start()).unwrap();
        let mut marks = Marks::create(dir.path()).unwrap();
        let size = Size { cols: 80, rows: 24 };
        marks.resized(&ring, 0, size, Duration::ZERO);
        for ms in 0..100 {
            marks.output(&ring, ms, size, Duration::from_millis(ms));
        }
        let read: Vec<Mark> = Reader::open(dir.path(), &ring).unwrap().collect();
        assert_eq!(read.len(), 1 + 7, "one for each 16 ms: {read:?}");
        assert_eq!(read[0], Mark { offset: 0, ms: 0, resized: true, size });
        assert_eq!(read[2], Mark { offset: 16, ms: 16, resized: false, size });

        for offset in 100..100 + COUNT {
            marks.resized(&ring, offset, size, Duration::from_secs(1));
        }
        let read: Vec<u64> = Reader::open(dir.path(), &ring).unwrap().map(|mark| mark.offset).collect();
        assert_eq!(read, (101..100 + COUNT).collect::<Vec<_>>());
    }
}
