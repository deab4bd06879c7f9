//! One attachment: the pipes of a broker, what was sent to it, and what it acknowledged.
//!
//! Owns the frames of one connection and when it ends. Does not know the terminal: it passes the broker's orders to the
//! daemon.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use sandbox_recorder::wire::{Decoder, Hello, MAX_DATA, OUTPUT_HEAD, Size, ToBroker, ToRecorder, output_head};

use crate::emulator::Emulator;
use crate::pty::Exit;
use crate::requests::{self, Request};
use crate::ring::{Found, Ring};

/// The number of frames that are sent before the daemon looks at everything else again. They take well below a
/// millisecond.
const TURN: usize = 4;

/// The shortest time between two reports of the title and the directory.
const TITLE_INTERVAL: Duration = Duration::from_millis(100);

/// What there is to report to a broker.
pub(crate) struct Snapshot<'a> {
    pub(crate) ring: &'a Ring,
    /// The number of bytes of input that the terminal took.
    pub(crate) input: u64,
    pub(crate) emulator: &'a Emulator,
    pub(crate) exit: Option<Exit>,
    pub(crate) time: Instant,
}

/// Why an attachment ended. The number is the exit status of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The broker closed its end.
    Left = 0,
    /// The broker sent something that is no frame.
    Refused = 2,
    /// A newer attachment took its place.
    Replaced = 4,
    /// The broker sent nothing for too long.
    Silent = 5,
}

/// A broker that the daemon serves.
pub(crate) struct Attachment {
    /// The connection to the process that asked for it and waits for its exit status.
    pub(crate) caller: OwnedFd,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    decoder: Decoder,
    /// One frame. Its first `written` bytes are in the pipe.
    out: Vec<u8>,
    written: usize,
    /// The offset of the next output to send.
    sent: u64,
    /// The broker has all output below this offset.
    acked: u64,
    told_input: u64,
    told_exit: bool,
    /// Sizes that are yet to be sent, with their offsets.
    sizes: VecDeque<(u64, Size)>,
    told_title: String,
    told_directory: String,
    /// The emulator's revision of title and directory when both were sent, and when they may be sent again.
    told_revision: u64,
    titles_from: Instant,
    heard: Instant,
    patience: Duration,
}

impl Attachment {
    /// Begins with HELLO. The output from `since` on follows, with `sizes` in their places.
    pub(crate) fn new(
        caller: OwnedFd,
        request: Request,
        since: u64,
        hello: Hello,
        sizes: VecDeque<(u64, Size)>,
        now: Instant,
    ) -> io::Result<Self> {
        for pipe in [&request.stdin, &request.stdout] {
            let flags = rustix::fs::fcntl_getfl(pipe)?;
            rustix::fs::fcntl_setfl(pipe, flags | OFlags::NONBLOCK)?;
        }
        let mut out = Vec::with_capacity(OUTPUT_HEAD + MAX_DATA);
        ToBroker::Hello(hello).encode(&mut out);
        Ok(Self {
            caller,
            stdin: request.stdin,
            stdout: request.stdout,
            decoder: Decoder::default(),
            out,
            written: 0,
            sent: since,
            acked: since.max(hello.start),
            told_input: hello.input,
            told_exit: false,
            sizes,
            told_title: String::new(),
            told_directory: String::new(),
            told_revision: 0,
            titles_from: now,
            heard: now,
            patience: request.patience,
        })
    }

    /// Reads once from the broker into `buffer`, and passes each frame to `act`.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        now: Instant,
        mut act: impl FnMut(ToRecorder<'_>),
    ) -> Result<(), EndReason> {
        let count = match rustix::io::read(&self.stdin, &mut *buffer) {
            Ok(0) => return Err(EndReason::Left),
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(EndReason::Left),
        };
        let mut bytes = &buffer[..count];
        loop {
            match self.decoder.next::<ToRecorder<'_>>(&mut bytes) {
                Ok(Some(frame)) => {
                    self.heard = now;
                    match frame {
                        // A broker cannot acknowledge what was not sent.
                        ToRecorder::Ack { offset } => self.acked = self.acked.max(offset.min(self.sent)),
                        frame => act(frame),
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    // Inside another frame, the broker would not understand the refusal.
                    if self.written == self.out.len() {
                        self.put(ToBroker::Refused { reason: &error.to_string() });
                        let _ = self.write();
                    }
                    return Err(EndReason::Refused);
                }
            }
        }
    }

    /// Puts output that was just read into a frame if nothing else waits. So it need not be read from the disk, which may
    /// be full.
    pub(crate) fn offer(&mut self, offset: u64, bytes: &[u8]) {
        if self.written == self.out.len() && self.sent == offset && self.sizes.is_empty() {
            self.put_output(offset, bytes.len(), |place| place.copy_from_slice(bytes));
            self.sent = offset + bytes.len() as u64;
        }
    }

    /// Notes that the terminal has a new size from `offset` on, which is the end of the output.
    pub(crate) fn resized(&mut self, offset: u64, size: Size) {
        self.sizes.pop_back_if(|(last, _)| *last == offset);
        self.sizes.push_back((offset, size));
    }

    /// Sends what there is, as far as the pipe takes it now: the count of input, output and sizes, the title and the
    /// directory, and at last the exit.
    pub(crate) fn send(&mut self, now: &Snapshot<'_>) -> Result<(), EndReason> {
        for _ in 0..TURN {
            if !self.write()? {
                return Ok(());
            }
            if !self.next_frame(now)? {
                return Ok(());
            }
        }
        self.write().map(drop)
    }

    /// There is something to send.
    pub(crate) fn has_more(&self, now: &Snapshot<'_>) -> bool {
        self.written < self.out.len()
            || self.told_input != now.input
            || self.sent < now.ring.end()
            || !self.sizes.is_empty()
            || self.may_send_titles(now)
            || (now.exit.is_some() && !self.told_exit)
    }

    /// When a new title or directory may be sent, if that is still to come.
    pub(crate) fn titles_due(&self, emulator: &Emulator) -> Option<Instant> {
        (self.told_revision != emulator.title_revision())
            .then_some(self.titles_from)
            .filter(|due| *due > Instant::now())
    }

    fn may_send_titles(&self, now: &Snapshot<'_>) -> bool {
        // No frame follows the exit.
        self.told_revision != now.emulator.title_revision()
            && !self.told_exit
            && (now.time >= self.titles_from || now.exit.is_some())
    }

    /// The number of bytes below `end` that the broker does not have. While the broker is not read (`unread`), what was
    /// sent counts as received, because its acknowledgements may be behind input that waits.
    pub(crate) fn behind(&self, end: u64, unread: bool) -> u64 {
        end.saturating_sub(if unread { self.sent } else { self.acked })
    }

    /// When it ends unless the broker sends something.
    pub(crate) fn deadline(&self) -> Instant {
        self.heard + self.patience
    }

    /// Starts the patience again, because the broker was not read meanwhile.
    pub(crate) fn restart_patience(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Closes its pipes, then tells its process to end.
    pub(crate) fn end(self, reason: EndReason) {
        let Self { caller, stdin, stdout, .. } = self;
        drop((stdin, stdout));
        requests::answer(&caller, reason as u8);
    }

    /// Writes `out` to the pipe. Returns whether all of it is there.
    fn write(&mut self) -> Result<bool, EndReason> {
        while self.written < self.out.len() {
            match rustix::io::write(&self.stdout, &self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(_) => return Err(EndReason::Left),
            }
        }
        Ok(true)
    }

    /// Puts the next frame into `out`. Returns whether there is one.
    fn next_frame(&mut self, now: &Snapshot<'_>) -> Result<bool, EndReason> {
        if self.told_input != now.input {
            self.told_input = now.input;
            self.put(ToBroker::Taken { input: now.input });
            return Ok(true);
        }
        let mut here = None;
        while let Some((_, size)) = self.sizes.pop_front_if(|(offset, _)| *offset <= self.sent) {
            here = Some(size);
        }
        if let Some(size) = here {
            self.put(ToBroker::Size { offset: self.sent, size });
            return Ok(true);
        }
        let end = self.sizes.front().map_or(now.ring.end(), |(offset, _)| *offset);
        if self.sent < end {
            let (offset, length) = (self.sent, (end - self.sent).min(MAX_DATA as u64) as usize);
            let mut found = Ok(Found::Bytes(0));
            self.put_output(offset, length, |place| found = now.ring.read(offset, place));
            match found {
                Ok(Found::Bytes(count)) if count == length => self.sent += length as u64,
                Ok(Found::From(start)) => {
                    self.put(ToBroker::Gap { from: offset, to: start });
                    self.sent = start;
                }
                // The disk does not return what was written.
                Ok(_) | Err(_) => {
                    self.put(ToBroker::Gap { from: offset, to: offset + length as u64 });
                    self.sent += length as u64;
                }
            }
            return Ok(true);
        }
        if self.may_send_titles(now) {
            return Ok(self.put_titles(now));
        }
        if let Some(Exit { code, signal }) = now.exit.filter(|_| !self.told_exit) {
            self.told_exit = true;
            self.put(ToBroker::Exit { code, signal, end });
            return Ok(true);
        }
        Ok(false)
    }

    /// Puts a new title or a new directory into `out`. Without either, notes that both were sent.
    fn put_titles(&mut self, now: &Snapshot<'_>) -> bool {
        let (title, directory) = (now.emulator.title(), now.emulator.directory());
        if self.told_title != title {
            title.clone_into(&mut self.told_title);
            self.put(ToBroker::Title { text: title });
        } else if self.told_directory != directory {
            directory.clone_into(&mut self.told_directory);
            self.put(ToBroker::Directory { path: directory });
        } else {
            self.told_revision = now.emulator.title_revision();
            self.titles_from = now.time + TITLE_INTERVAL;
            return now.exit.is_some();
        }
        true
    }

    fn put(&mut self, frame: ToBroker<'_>) {
        self.out.clear();
        self.written = 0;
        frame.encode(&mut self.out);
    }

    fn put_output(&mut self, offset: u64, length: usize, fill: impl FnOnce(&mut [u8])) {
        self.out.clear();
        self.written = 0;
        self.out.extend_from_slice(&output_head(offset, length));
        self.out.resize(OUTPUT_HEAD + length, 0);
        fill(&mut self.out[OUTPUT_HEAD..]);
    }
}
