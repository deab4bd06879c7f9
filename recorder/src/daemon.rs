//! The daemon of a recording: one thread that stands between a terminal and the
//! broker, and goes on when there is none.
//!
//! Owns the order in which things are looked at and every rule of who waits for whom.
//! Knows nothing of how it was started.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use sandbox_recorder::wire::{Hello, MAX_DATA, Size, ToBroker, ToRecorder};

use crate::attachment::{Attachment, Now, Over};
use crate::control::{self, Begin, Request};
use crate::emulator::{Colors, Emulator};
use crate::history;
use crate::marks::Marks;
use crate::picture::Picture;
use crate::pty::{Exit, Shell, Terminal};
use crate::ring::Ring;

/// Of a ring, how much output a broker that is there may not have acknowledged before
/// the shell waits for it: 16 MiB of 64. The rest is for the time that it is away.
const WINDOW: u64 = 4;

/// After the shell's end, while others hold its terminal: output is over when there was
/// none for this long,
const SILENCE: Duration = Duration::from_millis(100);

/// and at the latest then.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// After the shell's end the daemon is there for this long without an attachment, so
/// that a broker that was away learns how it ended.
const LINGER: Duration = Duration::from_secs(600);

/// Bytes of answers to programs that the terminal did not take. What does not fit is not
/// answered: nobody reads.
const MAX_ANSWERS: usize = 64 * 1024;

/// How long a process that connected may take to say what it wants.
const GREETING: Duration = Duration::from_secs(1);

/// The parts of a recording that runs.
pub(crate) struct Daemon {
    dir: PathBuf,
    began: Instant,
    listener: OwnedFd,
    ring: Ring,
    marks: Marks,
    size: Size,
    pid: u32,
    /// Until its last output was read.
    terminal: Option<Terminal>,
    /// Until it ended.
    shell: Option<Shell>,
    exit: Option<Exit>,
    /// Since the shell ended and while its terminal is read on.
    rest: Option<Rest>,
    /// Input that the terminal did not take. Below [`MAX_DATA`] more is read, which is
    /// at most as much again.
    input: Vec<u8>,
    /// Bytes of input that it took.
    taken: u64,
    /// What the screen looks like, for those that ask.
    picture: Picture<(OwnedFd, Request)>,
    /// To programs that asked, which the terminal did not take. Each is whole, but that
    /// the first may be `torn`: then nothing else is written before its rest.
    answers: Vec<u8>,
    torn: bool,
    /// Connected and has not said what it wants.
    guest: Option<(OwnedFd, Instant)>,
    attachment: Option<Attachment>,
    /// Since when there is none.
    alone: Instant,
    buffer: Vec<u8>,
}

/// The last output of a terminal whose shell ended.
#[derive(Clone, Copy)]
struct Rest {
    silent: Instant,
    last: Instant,
}

/// What is polled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Listener,
    Guest,
    Shell,
    Terminal,
    Control,
    Stdin,
    Stdout,
}

impl Daemon {
    /// Puts the parts together. `began` is the time that marks count from.
    pub(crate) fn new(
        dir: PathBuf,
        listener: OwnedFd,
        (ring, mut marks): (Ring, Marks),
        (terminal, shell, size): (Terminal, Shell, Size),
        began: Instant,
    ) -> Self {
        marks.resized(&ring, 0, size, Duration::ZERO);
        Self {
            dir,
            began,
            listener,
            ring,
            marks,
            size,
            pid: shell.pid(),
            terminal: Some(terminal),
            shell: Some(shell),
            exit: None,
            rest: None,
            input: Vec::new(),
            taken: 0,
            picture: Picture::new(size),
            answers: Vec::new(),
            torn: false,
            guest: None,
            attachment: None,
            alone: began,
            buffer: vec![0; MAX_DATA],
        }
    }

    /// Runs until nobody needs it any more. An error is one of the system's that
    /// leaves nothing to wait for.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut before = Instant::now();
        loop {
            let ready = self.wait()?;
            let now = Instant::now();
            self.keep_time(before, now);
            before = now;
            if ready.is_empty() || self.picture.is_urgent() {
                self.digest();
            }
            for source in ready {
                self.serve(source, now);
            }
            self.send(now);
            if self.is_over(now) {
                let _ = std::fs::remove_file(self.dir.join(control::SOCKET));
                return Ok(());
            }
        }
    }

    /// Waits until something is ready or a time has come.
    fn wait(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let mut sources = Vec::with_capacity(7);
        let mut fds = Vec::with_capacity(7);
        let mut add = |source, fd, flags| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        if let Some(shell) = &self.shell {
            add(Source::Shell, shell.ended.as_fd(), PollFlags::IN);
        }
        if let Some(terminal) = &self.terminal {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !self.must_wait());
            flags.set(PollFlags::OUT, !(self.input.is_empty() && self.answers.is_empty()));
            // Without a wish it would be told of a hang-up again and again.
            if !flags.is_empty() {
                add(Source::Terminal, terminal.master.as_fd(), flags);
            }
        }
        if let Some(attachment) = &self.attachment {
            add(Source::Control, attachment.control.as_fd(), PollFlags::IN);
            if !self.is_deaf() {
                add(Source::Stdin, attachment.stdin.as_fd(), PollFlags::IN);
            }
            let more = attachment.has_more(&self.now(Instant::now()));
            let flags = if more { PollFlags::OUT } else { PollFlags::empty() };
            add(Source::Stdout, attachment.stdout.as_fd(), flags);
        }
        // Last: a new attachment is not told what the one before it was polled for.
        match &self.guest {
            Some((guest, _)) => add(Source::Guest, guest.as_fd(), PollFlags::IN),
            None => add(Source::Listener, self.listener.as_fd(), PollFlags::IN),
        }
        let timeout = self.deadline().map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(sources.into_iter().zip(fds.iter().map(PollFd::revents)).filter(|(_, flags)| !flags.is_empty()).collect())
    }

    /// The next time at which something is to be done though nothing happens.
    fn deadline(&self) -> Option<Instant> {
        if !self.picture.is_idle() {
            return Some(self.began);
        }
        let rest = self.rest.filter(|_| !self.must_wait()).map(|rest| rest.silent.min(rest.last));
        let guest = self.guest.as_ref().map(|(_, came)| *came + GREETING);
        let attachment = self.attachment.as_ref().filter(|_| !self.is_deaf()).map(Attachment::deadline);
        let linger = (self.exit.is_some() && self.attachment.is_none()).then(|| self.alone + LINGER);
        let names = self.attachment.as_ref().and_then(|attachment| attachment.names_due(self.picture.emulator()));
        [rest, guest, attachment, names, linger].into_iter().flatten().min()
    }

    /// Does what the time asks for.
    fn keep_time(&mut self, before: Instant, now: Instant) {
        if self.guest.as_ref().is_some_and(|(_, came)| now >= *came + GREETING) {
            self.guest = None;
        }
        if self.is_deaf()
            && let Some(attachment) = &mut self.attachment
        {
            attachment.excuse(now);
        }
        if self.attachment.as_ref().is_some_and(|attachment| now >= attachment.deadline()) {
            self.detach(Over::Silent, now);
        }
        let waits = self.must_wait();
        if let Some(rest) = &mut self.rest {
            if waits {
                // Nobody looked whether there is more.
                rest.silent += now - before;
                rest.last += now - before;
            } else if now >= rest.last || now >= rest.silent {
                // This process may have been late, with output there long ago.
                let late = self.read_terminal(now);
                if now >= self.rest.map_or(now, |rest| rest.last) || !late {
                    self.finish(now);
                }
            }
        }
    }

    fn serve(&mut self, (source, flags): (Source, PollFlags), now: Instant) {
        match source {
            Source::Listener => {
                if let Ok(guest) = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
                    self.guest = Some((guest, now));
                }
            }
            Source::Guest => self.greet(now),
            Source::Shell => self.bury(now),
            Source::Terminal => {
                if flags.intersects(PollFlags::OUT) {
                    self.write_terminal();
                }
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) && !self.must_wait() {
                    self.read_terminal(now);
                }
            }
            // Its process ended: it has nothing to say.
            Source::Control => self.detach(Over::Left, now),
            Source::Stdin => self.listen(now),
            Source::Stdout if flags.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) => {
                self.detach(Over::Left, now)
            }
            Source::Stdout => {}
        }
    }

    /// A broker that is there has too much before it, or the emulator has.
    fn must_wait(&self) -> bool {
        let behind = self
            .attachment
            .as_ref()
            .is_some_and(|attachment| attachment.behind(self.ring.end(), self.is_deaf()) > self.ring.size() / WINDOW);
        behind || self.picture.is_full()
    }

    /// What an attachment is told of.
    fn now(&self, time: Instant) -> Now<'_> {
        Now { ring: &self.ring, input: self.taken, emulator: self.picture.emulator(), exit: self.exit, time }
    }

    /// The emulator takes output, for a moment.
    fn digest(&mut self) {
        self.picture.turn(|(control, request), emulator| draw(&control, &request, emulator));
        let answers = self.picture.emulator_mut().take_answers();
        if !answers.is_empty() && self.terminal.is_some() && self.answers.len() + answers.len() <= MAX_ANSWERS {
            self.answers.extend_from_slice(&answers);
            self.write_terminal();
        }
    }

    /// The terminal does not take input, so no more is read.
    fn is_deaf(&self) -> bool {
        self.input.len() >= MAX_DATA
    }

    fn is_over(&self, now: Instant) -> bool {
        self.exit.is_some() && self.attachment.is_none() && self.guest.is_none() && now >= self.alone + LINGER
    }

    /// Reads what the terminal has, up to a frame. Whether there was output.
    fn read_terminal(&mut self, now: Instant) -> bool {
        let Some(terminal) = &self.terminal else { return false };
        let (mut length, mut ended) = (0, false);
        // The kernel gives 4 KiB at a time.
        while length < self.buffer.len() {
            match rustix::io::read(&terminal.master, &mut self.buffer[length..]) {
                Ok(0) => ended = true,
                Ok(count) => {
                    length += count;
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(_) => ended = true,
            }
            break;
        }
        if length > 0 {
            let (offset, bytes) = (self.ring.end(), &self.buffer[..length]);
            self.marks.output(&self.ring, offset, self.size, now - self.began);
            self.ring.append(bytes);
            self.picture.push(bytes);
            if let Some(attachment) = &mut self.attachment {
                attachment.offer(offset, bytes);
            }
            if let Some(rest) = &mut self.rest {
                rest.silent = now + SILENCE;
            }
        }
        if ended {
            self.finish(now);
        }
        length > 0
    }

    /// Writes what waits for the terminal: answers between pieces of input, never within
    /// one, as they may be pasted text.
    fn write_terminal(&mut self) {
        let Some(terminal) = &self.terminal else { return };
        if !self.answers.is_empty() && (self.torn || self.input.is_empty()) {
            // At an error the terminal is about to end.
            if let Ok(count) = rustix::io::write(&terminal.master, &self.answers) {
                self.answers.drain(..count);
                self.torn |= count > 0;
            }
            self.torn &= !self.answers.is_empty();
        }
        if self.torn || self.input.is_empty() {
            return;
        }
        if let Ok(count) = rustix::io::write(&terminal.master, &self.input) {
            self.input.drain(..count);
            self.taken += count as u64;
        }
    }

    /// The shell ended: what is left in its terminal follows.
    fn bury(&mut self, now: Instant) {
        let Some(mut shell) = self.shell.take() else { return };
        // It is a child and ended, so there is a status.
        let exit = shell.wait().unwrap_or(Exit { code: -1, signal: 0 });
        let page = self.ring.page();
        page.exited.store((now - self.began).as_millis() as u64, Ordering::Relaxed);
        page.exit.store(exit.pack(), Ordering::Release);
        self.rest = Some(Rest { silent: now + SILENCE, last: now + LAST_OUTPUT });
        if let Some(terminal) = &mut self.terminal {
            terminal.slave = None;
        }
    }

    /// The terminal is over: its last output was read.
    fn finish(&mut self, now: Instant) {
        self.terminal = None;
        // Hung up under it: its end is still to come.
        if self.shell.is_some() {
            return;
        }
        self.rest = None;
        (self.input, self.answers) = (Vec::new(), Vec::new());
        self.exit = Exit::unpack(self.ring.page().exit.load(Ordering::Acquire));
        self.alone = now;
    }

    /// Reads what a process that connected wants, and serves it.
    fn greet(&mut self, now: Instant) {
        let Some((guest, came)) = self.guest.take() else { return };
        let request = match control::receive(guest.as_fd()) {
            Ok(request) => request,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.guest = Some((guest, came)),
            // It left, or is no recorder.
            Err(_) => return,
        };
        self.attach(guest, request, now);
    }

    /// Serves an attachment in the place of the one before.
    pub(crate) fn attach(&mut self, control: OwnedFd, request: Request, now: Instant) {
        let (start, end) = (self.ring.start(), self.ring.end());
        let since = match request.begin {
            Begin::Since(offset) if offset > end => return refuse(&control, &request, offset, end),
            Begin::Since(offset) => offset,
            Begin::Tail(bytes) => end.saturating_sub(bytes).max(start),
            Begin::Screen => {
                self.picture.want((control, request));
                return self.digest();
            }
        };
        self.detach(Over::Replaced, now);
        let hello = Hello { pid: self.pid, start, end, input: self.taken, size: self.size };
        // Pipes that cannot even be asked are closed.
        let mut sizes = history::sizes(&self.dir, &self.ring, since);
        // HELLO tells it.
        sizes.pop_front_if(|(_, size)| *size == self.size);
        self.attachment = Attachment::new(control, request, since, hello, sizes, now).ok();
    }

    /// Reads what the broker says.
    fn listen(&mut self, now: Instant) {
        let Some(attachment) = &mut self.attachment else { return };
        let (terminal, shell) = (self.terminal.as_ref(), self.shell.as_ref());
        let (input, emulator, mut resized) = (&mut self.input, self.picture.emulator_mut(), None);
        let heard = attachment.read(&mut self.buffer, now, |frame| match frame {
            // A terminal that is over takes nothing.
            ToRecorder::Input(bytes) if terminal.is_some() => input.extend_from_slice(bytes),
            ToRecorder::Resize(new) => {
                if terminal.is_some_and(|terminal| terminal.resize(new).is_ok()) {
                    resized = Some(new);
                }
            }
            ToRecorder::Colors { foreground, background, cursor } => {
                emulator.set_colors(Colors { foreground, background, cursor });
            }
            ToRecorder::Signal { number } => shell.into_iter().for_each(|shell| shell.signal(number)),
            ToRecorder::Input(_) | ToRecorder::Ack { .. } => {}
        });
        if let Some(size) = resized {
            self.resized(size, now);
        }
        // Mostly it takes it at once, and a round of polling is spared.
        if !self.input.is_empty() {
            self.write_terminal();
        }
        if let Err(over) = heard {
            self.detach(over, now);
        }
    }

    /// The terminal has another size from here on.
    fn resized(&mut self, size: Size, now: Instant) {
        if size == std::mem::replace(&mut self.size, size) {
            return;
        }
        self.picture.resize(size);
        let end = self.ring.end();
        self.marks.resized(&self.ring, end, size, now - self.began);
        if let Some(attachment) = &mut self.attachment {
            attachment.resized(end, size);
        }
    }

    fn send(&mut self, time: Instant) {
        let Some(mut attachment) = self.attachment.take() else { return };
        let sent = attachment.send(&self.now(time));
        self.attachment = Some(attachment);
        if let Err(over) = sent {
            self.detach(over, Instant::now());
        }
    }

    /// Ends the attachment, if there is one. Its input that was not taken is dropped,
    /// so that the next one knows from the count alone what it may send.
    fn detach(&mut self, over: Over, now: Instant) {
        if let Some(attachment) = self.attachment.take() {
            attachment.end(over);
            self.input = Vec::new();
            self.alone = now;
        }
    }
}

/// Draws the screen for what asked for it, which gave a file that takes it at once.
fn draw(control: &OwnedFd, request: &Request, emulator: &Emulator) {
    let (offset, text) = emulator.draw();
    let frames = crate::screen::frames(offset, emulator.size(), &text);
    let mut rest = &frames[..];
    while !rest.is_empty() {
        match rustix::io::write(&request.stdout, rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::INTR) => {}
            // What is written is not whole, which is seen.
            Err(_) => break,
        }
    }
    control::answer(control, 0);
}

/// Says that there is no such offset. The pipe of a process that just began is empty.
fn refuse(control: &OwnedFd, request: &Request, since: u64, end: u64) {
    let mut frame = Vec::new();
    ToBroker::Refused { reason: &crate::above(since, end) }.encode(&mut frame);
    let _ = rustix::io::write(&request.stdout, &frame);
    control::answer(control, Over::Refused as u8);
}
