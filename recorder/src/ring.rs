//! The output that is kept: a ring on disk. The daemon writes it, and any process reads it without a lock.
//!
//! Owns the file `ring` of a recording. Its first page holds everything that is known about the recording. Knows
//! nothing of terminals or frames.
//!
//! The byte at offset `o` is at `PAGE + o % size` in the file. The writer raises `start` before it overwrites, and
//! `end` after it has written. A reader copies first and then checks `start` again. So it never takes overwritten bytes
//! for output.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Bytes before the output in the file: the page that is mapped into memory.
const PAGE: usize = 4096;

/// The first bytes of a page with this layout.
const MAGIC: u64 = u64::from_be_bytes(*b"recring1");

/// Bytes of a ring. A smaller ring would make the shell wait for each frame. A larger one would fill the disk of an
/// ordinary sandbox.
pub(crate) const SIZES: std::ops::RangeInclusive<u64> = 256 * 1024..=1024 * 1024 * 1024;

/// What processes share about a recording. Times are in milliseconds.
#[repr(C)]
pub(crate) struct Page {
    magic: AtomicU64,
    size: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
    /// The number of marks that were ever written; see [`crate::marks`].
    pub(crate) marks: AtomicU64,
    /// When the recording began, in milliseconds since 1970.
    pub(crate) began: AtomicU64,
    /// How the shell ended, packed by [`crate::pty::Exit`]; 0 while it runs.
    pub(crate) exit: AtomicU64,
    /// When it ended, in milliseconds since the recording began.
    pub(crate) exited: AtomicU64,
}

/// The ring of one recording.
pub(crate) struct Ring {
    file: File,
    page: NonNull<Page>,
    size: u64,
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the page was mapped with this length and nothing borrows it any more.
        // It cannot fail for what was mapped.
        let _ = unsafe { rustix::mm::munmap(self.page.as_ptr().cast(), PAGE) };
    }
}

/// What a read at an offset found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// This many bytes from the offset on; 0 at the end of the output.
    Bytes(usize),
    /// Everything below this offset is gone.
    From(u64),
}

impl Ring {
    /// Creates the ring of a new recording in `dir`. Fails with [`io::ErrorKind::AlreadyExists`] if there is one.
    pub(crate) fn create(dir: &Path, size: u64) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(dir.join("ring"), flags, Mode::RUSR | Mode::WUSR)?);
        // The page is written before it is mapped. So a full disk is an error here instead of a signal later. Also,
        // filling a hole under a mapping takes a file system milliseconds.
        file.write_all_at(&[0; PAGE], 0)?;
        // The file is sparse: it takes disk space only as output comes.
        file.set_len(PAGE as u64 + size)?;
        let ring = Self { page: map(&file, ProtFlags::READ | ProtFlags::WRITE)?, file, size };
        ring.page().size.store(size, Ordering::Relaxed);
        ring.page().magic.store(MAGIC, Ordering::Release);
        Ok(ring)
    }

    /// Opens the ring of a recording to read it.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let file = File::open(dir.join("ring"))?;
        let length = file.metadata()?.len();
        let torn =
            || io::Error::new(io::ErrorKind::InvalidData, "the file `ring` is not of a recorder of this version");
        // Access to a mapped page beyond the end of the file would kill this process.
        if length < PAGE as u64 {
            return Err(torn());
        }
        let mut ring = Self { page: map(&file, ProtFlags::READ)?, file, size: 0 };
        ring.size = ring.page().size.load(Ordering::Relaxed);
        if ring.page().magic.load(Ordering::Acquire) != MAGIC
            || !SIZES.contains(&ring.size)
            || length != PAGE as u64 + ring.size
        {
            return Err(torn());
        }
        Ok(ring)
    }

    /// What is shared of the recording.
    pub(crate) fn page(&self) -> &Page {
        // SAFETY: the page is mapped for as long as `self` lives, aligned as pages are,
        // and holds only atomics, of which any bytes are values.
        unsafe { self.page.as_ref() }
    }

    /// The largest number of bytes that are kept.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The offset of the oldest byte that is kept.
    pub(crate) fn start(&self) -> u64 {
        self.page().start.load(Ordering::Acquire)
    }

    /// The offset after the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.page().end.load(Ordering::Acquire)
    }

    /// Checks that an offset is not above the end of the output. The error is for a person.
    pub(crate) fn check(&self, offset: u64) -> Result<(), String> {
        let end = self.end();
        if offset > end {
            return Err(format!("offset {offset} is above the end of the output, {end}"));
        }
        Ok(())
    }

    /// Appends up to [`Self::size`] bytes and overwrites the oldest ones. Only the daemon may call this.
    ///
    /// On a full disk, neither these bytes nor anything before them is kept. Readers find a gap, and the offsets of
    /// later bytes are right.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        let end = self.end();
        let new = end + bytes.len() as u64;
        let start = new.saturating_sub(self.size);
        if start > self.start() {
            self.page().start.store(start, Ordering::Release);
            fence(Ordering::SeqCst);
        }
        let at = end % self.size;
        let (first, second) = bytes.split_at(bytes.len().min((self.size - at) as usize));
        let written =
            self.file.write_all_at(first, PAGE as u64 + at).and_then(|()| self.file.write_all_at(second, PAGE as u64));
        if written.is_err() {
            self.page().start.store(new, Ordering::Release);
        }
        self.page().end.store(new, Ordering::Release);
    }

    /// Copies what is kept from `offset` on into `buffer`, as much as fits.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<Found> {
        let (start, end) = (self.start(), self.end());
        if offset < start {
            return Ok(Found::From(start));
        }
        let length = end.saturating_sub(offset).min(buffer.len() as u64).min(self.size) as usize;
        let at = offset % self.size;
        let (first, second) = buffer[..length].split_at_mut(length.min((self.size - at) as usize));
        self.file.read_exact_at(first, PAGE as u64 + at)?;
        self.file.read_exact_at(second, PAGE as u64)?;
        fence(Ordering::SeqCst);
        let start = self.start();
        Ok(if offset < start { Found::From(start) } else { Found::Bytes(length) })
    }
}

/// A piece of the output, or of a gap in it.
pub(crate) enum Piece<'a> {
    /// Output that begins at an offset.
    Bytes(u64, &'a [u8]),
    /// A gap, from one offset to another.
    Gap(u64, u64),
}

impl Ring {
    /// Passes everything between the offsets `from` and `to` to `take`, in order and in pieces of the size of `buffer`
    /// at most.
    pub(crate) fn walk(
        &self,
        from: u64,
        to: u64,
        buffer: &mut [u8],
        mut take: impl FnMut(Piece<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let to = to.min(self.end());
        let mut at = from;
        while at < to {
            let wanted = (to - at).min(buffer.len() as u64) as usize;
            match self.read(at, &mut buffer[..wanted])? {
                Found::Bytes(count) => {
                    take(Piece::Bytes(at, &buffer[..count]))?;
                    at += count as u64;
                }
                Found::From(start) => {
                    let start = start.min(to);
                    take(Piece::Gap(at, start))?;
                    at = start;
                }
            }
        }
        Ok(())
    }
}

fn map(file: &File, access: ProtFlags) -> io::Result<NonNull<Page>> {
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of
    // ours; `munmap` in `Drop` is its only end.
    let page = unsafe { rustix::mm::mmap(std::ptr::null_mut(), PAGE, access, MapFlags::SHARED, file, 0)? };
    NonNull::new(page.cast()).ok_or_else(|| io::Error::other("a file was mapped at address 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The byte that belongs at an offset.
    fn byte(offset: u64) -> u8 {
        (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
    }

    fn bytes(from: u64, to: u64) -> Vec<u8> {
        (from..to).map(byte).collect()
    }

    #[test]
    fn what_is_held_is_right_and_the_rest_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::create(dir.path(), *SIZES.start()).unwrap();
        assert_eq!(Ring::create(dir.path(), *SIZES.start()).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        let reader = Ring::open(dir.path()).unwrap();
        let size = ring.size();
        let mut buffer = vec![0; size as usize];
        let mut end = 0;
        for length in [1, 4095, 65_536, size - 1, 65_535, size, 7] {
            ring.append(&bytes(end, end + length));
            end += length;
            let start = end.saturating_sub(size);
            assert_eq!((reader.start(), reader.end()), (start, end));
            assert_eq!(reader.read(start, &mut buffer).unwrap(), Found::Bytes((end - start) as usize));
            assert_eq!(buffer[..(end - start) as usize], bytes(start, end));
            assert_eq!(reader.read(end, &mut buffer).unwrap(), Found::Bytes(0));
            if start > 0 {
                assert_eq!(reader.read(start - 1, &mut buffer).unwrap(), Found::From(start));
            }
        }
    }

    #[test]
    fn a_reader_beside_the_writer_never_sees_a_wrong_byte() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::create(dir.path(), *SIZES.start()).unwrap();
        let total = 40 * ring.size();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let reader = Ring::open(dir.path()).unwrap();
                let mut buffer = vec![0; 65_536];
                while reader.end() < total {
                    // The writer overwrites this place next.
                    let at = reader.start();
                    match reader.read(at, &mut buffer).unwrap() {
                        Found::Bytes(count) => {
                            assert!(buffer[..count] == bytes(at, at + count as u64), "wrong bytes from {at}");
                        }
                        Found::From(start) => assert!(start > at, "a gap leads on"),
                    }
                }
            });
            let mut at = 0;
            while at < total {
                let next = (at + 10_007).min(total);
                ring.append(&bytes(at, next));
                at = next;
            }
        });
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for content in [&b""[..], &[0; PAGE], &[1; PAGE + 300_000]] {
            std::fs::write(dir.path().join("ring"), content).unwrap();
            assert_eq!(Ring::open(dir.path()).err().unwrap().kind(), io::ErrorKind::InvalidData);
        }
    }
}
