//! One attachment: a broker's pipes, what was sent to it and what it has.
//!
//! Owns the frames of one connection and when it is over. Knows nothing of who else
//! there is; what it is told to do to the terminal it hands to the daemon.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use sandbox_recorder::wire::{Decoder, Hello, MAX_DATA, OUTPUT_HEAD, Size, ToBroker, ToRecorder, output_head};

use crate::control::{self, Request};
use crate::emulator::Emulator;
use crate::pty::Exit;
use crate::ring::{Found, Ring};

/// Frames that are sent before the daemon looks at everything else again: with what a
/// pipe holds, well below a millisecond.
const TURN: usize = 4;

/// Titles and directories are told this far apart, at least.
const NAMES: Duration = Duration::from_millis(100);

/// What there is to tell.
pub(crate) struct Now<'a> {
    pub(crate) ring: &'a Ring,
    /// Bytes of input that the terminal took.
    pub(crate) input: u64,
    pub(crate) emulator: &'a Emulator,
    pub(crate) exit: Option<Exit>,
    pub(crate) time: Instant,
}

/// Why an attachment is over: the exit status of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The broker closed its end.
    Left = 0,
    /// The broker sent what is no frame.
    Refused = 2,
    /// A newer attachment is served.
    Replaced = 4,
    /// Nothing was heard of the broker.
    Silent = 5,
}

/// A broker that is served.
pub(crate) struct Attachment {
    /// To the process that asked for it, which waits for its exit status.
    pub(crate) control: OwnedFd,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    decoder: Decoder,
    /// One frame, of which `written` bytes are in the pipe.
    out: Vec<u8>,
    written: usize,
    /// Offset of the next output to send.
    sent: u64,
    /// The broker has all below.
    acked: u64,
    told_input: u64,
    told_exit: bool,
    /// Sizes that are yet to be told, at their offsets.
    sizes: VecDeque<(u64, Size)>,
    told_title: String,
    told_directory: String,
    /// What the emulator counted when they were told, and when they may be told again.
    named: u64,
    names_from: Instant,
    heard: Instant,
    patience: Duration,
}

impl Attachment {
    /// Begins with HELLO; output follows from `since` on, with `sizes` in their places.
    pub(crate) fn new(
        control: OwnedFd,
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
            control,
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
            named: 0,
            names_from: now,
            heard: now,
            patience: request.patience,
        })
    }

    /// Reads once from the broker, with `buffer` for its bytes, and hands each frame
    /// to `act`.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        now: Instant,
        mut act: impl FnMut(ToRecorder<'_>),
    ) -> Result<(), Over> {
        let count = match rustix::io::read(&self.stdin, &mut *buffer) {
            Ok(0) => return Err(Over::Left),
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Over::Left),
        };
        let mut bytes = &buffer[..count];
        loop {
            match self.decoder.next::<ToRecorder<'_>>(&mut bytes) {
                Ok(Some(frame)) => {
                    self.heard = now;
                    match frame {
                        // What was not sent cannot be acknowledged.
                        ToRecorder::Ack { offset } => self.acked = self.acked.max(offset.min(self.sent)),
                        frame => act(frame),
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    // Only between frames the broker would understand it.
                    if self.written == self.out.len() {
                        self.put(ToBroker::Refused { reason: &error.to_string() });
                        let _ = self.write();
                    }
                    return Err(Over::Refused);
                }
            }
        }
    }

    /// Takes output that was just read into a frame when nothing else waits, which
    /// spares its way over the disk, and holds also where the disk is full.
    pub(crate) fn offer(&mut self, offset: u64, bytes: &[u8]) {
        if self.written == self.out.len() && self.sent == offset && self.sizes.is_empty() {
            self.put_output(offset, bytes.len(), |place| place.copy_from_slice(bytes));
            self.sent = offset + bytes.len() as u64;
        }
    }

    /// The terminal has another size from an offset on, which is the end of the output.
    pub(crate) fn resized(&mut self, offset: u64, size: Size) {
        self.sizes.pop_back_if(|(last, _)| *last == offset);
        self.sizes.push_back((offset, size));
    }

    /// Sends what there is, as far as the pipe takes it now: counts of input taken,
    /// output and sizes, names, and at last the exit.
    pub(crate) fn send(&mut self, now: &Now<'_>) -> Result<(), Over> {
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

    /// Something waits for room in the pipe, or would be sent.
    pub(crate) fn has_more(&self, now: &Now<'_>) -> bool {
        self.written < self.out.len()
            || self.told_input != now.input
            || self.sent < now.ring.end()
            || !self.sizes.is_empty()
            || self.may_name(now)
            || (now.exit.is_some() && !self.told_exit)
    }

    /// When a new title or directory may be told that may not be yet.
    pub(crate) fn names_due(&self, emulator: &Emulator) -> Option<Instant> {
        (self.named != emulator.renamed()).then_some(self.names_from).filter(|due| *due > Instant::now())
    }

    fn may_name(&self, now: &Now<'_>) -> bool {
        // Nothing comes after the exit.
        self.named != now.emulator.renamed() && !self.told_exit && (now.time >= self.names_from || now.exit.is_some())
    }

    /// Bytes of output below `end` that the broker does not have. Where it is not
    /// listened to (`deaf`), what is in the pipe counts as there: its acknowledgements
    /// may be behind the input that waits.
    pub(crate) fn behind(&self, end: u64, deaf: bool) -> u64 {
        end.saturating_sub(if deaf { self.sent } else { self.acked })
    }

    /// When it is over unless the broker is heard.
    pub(crate) fn deadline(&self) -> Instant {
        self.heard + self.patience
    }

    /// Its clock begins anew: it was not listened to.
    pub(crate) fn excuse(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Leaves its pipes, then tells its process to end.
    pub(crate) fn end(self, over: Over) {
        let Self { control, stdin, stdout, .. } = self;
        drop((stdin, stdout));
        control::answer(&control, over as u8);
    }

    /// Whether all of `out` is in the pipe.
    fn write(&mut self) -> Result<bool, Over> {
        while self.written < self.out.len() {
            match rustix::io::write(&self.stdout, &self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(_) => return Err(Over::Left),
            }
        }
        Ok(true)
    }

    /// Puts the next frame into `out`, if there is one.
    fn next_frame(&mut self, now: &Now<'_>) -> Result<bool, Over> {
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
                // The disk does not give back what it took.
                Ok(_) | Err(_) => {
                    self.put(ToBroker::Gap { from: offset, to: offset + length as u64 });
                    self.sent += length as u64;
                }
            }
            return Ok(true);
        }
        if self.may_name(now) {
            return Ok(self.name(now));
        }
        if let Some(Exit { code, signal }) = now.exit.filter(|_| !self.told_exit) {
            self.told_exit = true;
            self.put(ToBroker::Exit { code, signal, end });
            return Ok(true);
        }
        Ok(false)
    }

    /// Tells a title or a directory that is new; then that both are told.
    fn name(&mut self, now: &Now<'_>) -> bool {
        let (title, directory) = (now.emulator.title(), now.emulator.directory());
        if self.told_title != title {
            title.clone_into(&mut self.told_title);
            self.put(ToBroker::Title { text: title });
        } else if self.told_directory != directory {
            directory.clone_into(&mut self.told_directory);
            self.put(ToBroker::Directory { path: directory });
        } else {
            self.named = now.emulator.renamed();
            self.names_from = now.time + NAMES;
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
