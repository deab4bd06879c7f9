//! The daemon of a recording: one thread between a terminal and the broker. It goes on when there is no broker.
//!
//! Owns the poll loop, its deadlines, and every rule about who waits for whom. Does not know how it was started.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use sandbox_recorder::wire::{Hello, MAX_DATA, Size, ToBroker, ToRecorder};

use crate::attachment::{Attachment, EndReason, Snapshot};
use crate::emulation::Emulation;
use crate::emulator::{Colors, Emulator};
use crate::history;
use crate::marks::Marks;
use crate::pending::Pending;
use crate::pty::{Exit, Shell, Terminal};
use crate::requests::{self, Begin, Request};
use crate::ring::Ring;

/// An attached broker may leave one part in this many of the ring unacknowledged: 16 of 64 MiB. Then the shell waits for
/// it. The rest of the ring is for the time without a broker.
const WINDOW: u64 = 4;

/// Other programs may hold the terminal after the shell has ended. The output is complete after this long without any.
const SILENCE: Duration = Duration::from_millis(100);

/// The output is complete after this long at the latest.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// After the shell has ended, the daemon stays for this long without an attachment, so that a broker that was away learns
/// how it ended.
const LINGER: Duration = Duration::from_secs(600);

/// A process that connected must send its request within this time.
const GREETING: Duration = Duration::from_secs(1);

/// A running recording.
pub(crate) struct Daemon {
    dir: PathBuf,
    began: Instant,
    listener: OwnedFd,
    ring: Ring,
    marks: Marks,
    size: Size,
    pid: u32,
    /// `None` once its last output was read.
    terminal: Option<Terminal>,
    /// `None` once it has ended.
    shell: Option<Shell>,
    exit: Option<Exit>,
    /// Set while the terminal of an ended shell is still read.
    last_output: Option<LastOutput>,
    /// Bytes that the terminal has not taken.
    pending: Pending,
    /// Draws the screen for those that ask.
    emulation: Emulation<(OwnedFd, Request)>,
    /// Whether the broker's client answers programs, so that this does not.
    silent: bool,
    /// A process that connected and has not sent its request, and when it connected.
    new_caller: Option<(OwnedFd, Instant)>,
    attachment: Option<Attachment>,
    /// Since when there is no attachment.
    detached_at: Instant,
    buffer: Vec<u8>,
}

/// When the output of a terminal whose shell has ended counts as complete.
#[derive(Clone, Copy)]
struct LastOutput {
    /// If there is no output until then.
    quiet: Instant,
    /// In any case.
    latest: Instant,
}

/// What the daemon polls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Listener,
    NewCaller,
    Shell,
    Terminal,
    AttachedCaller,
    Stdin,
    Stdout,
}

impl Daemon {
    /// Puts the parts together. The times of marks count from `began`.
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
            last_output: None,
            pending: Pending::default(),
            emulation: Emulation::new(size),
            silent: false,
            new_caller: None,
            attachment: None,
            detached_at: began,
            buffer: vec![0; MAX_DATA],
        }
    }

    /// Answers no program: the broker's client does.
    pub(crate) fn be_silent(&mut self) {
        self.silent = true;
    }

    /// Runs until nobody needs the recording. Fails only if the system cannot poll.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut before = Instant::now();
        loop {
            let ready = self.wait()?;
            let now = Instant::now();
            self.check_deadlines(before, now);
            before = now;
            if ready.is_empty() || self.emulation.is_urgent() {
                self.run_emulator();
            }
            for source in ready {
                self.serve(source, now);
            }
            self.send(now);
            if self.is_done(now) {
                let _ = std::fs::remove_file(self.dir.join(requests::SOCKET));
                return Ok(());
            }
        }
    }

    /// Waits until something is ready or a deadline has come.
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
            flags.set(PollFlags::IN, !self.output_must_wait());
            flags.set(PollFlags::OUT, !self.pending.is_empty());
            // Even without flags, a poll reports a hang-up, again and again.
            if !flags.is_empty() {
                add(Source::Terminal, terminal.master.as_fd(), flags);
            }
        }
        if let Some(attachment) = &self.attachment {
            add(Source::AttachedCaller, attachment.caller.as_fd(), PollFlags::IN);
            if !self.pending.is_full() {
                add(Source::Stdin, attachment.stdin.as_fd(), PollFlags::IN);
            }
            let more = attachment.has_more(&self.snapshot(Instant::now()));
            let flags = if more { PollFlags::OUT } else { PollFlags::empty() };
            add(Source::Stdout, attachment.stdout.as_fd(), flags);
        }
        // This is last, so that a new attachment does not get the events of its predecessor.
        match &self.new_caller {
            Some((caller, _)) => add(Source::NewCaller, caller.as_fd(), PollFlags::IN),
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

    /// The next time to act even if nothing becomes ready.
    fn deadline(&self) -> Option<Instant> {
        if !self.emulation.is_idle() {
            return Some(self.began);
        }
        let output = self.last_output.filter(|_| !self.output_must_wait()).map(|last| last.quiet.min(last.latest));
        let caller = self.new_caller.as_ref().map(|(_, came)| *came + GREETING);
        let attachment = self.attachment.as_ref().filter(|_| !self.pending.is_full()).map(Attachment::deadline);
        let linger = (self.exit.is_some() && self.attachment.is_none()).then(|| self.detached_at + LINGER);
        let titles = self.attachment.as_ref().and_then(|attachment| attachment.titles_due(self.emulation.emulator()));
        [output, caller, attachment, titles, linger].into_iter().flatten().min()
    }

    /// Acts on the deadlines that have passed.
    fn check_deadlines(&mut self, before: Instant, now: Instant) {
        if self.new_caller.as_ref().is_some_and(|(_, came)| now >= *came + GREETING) {
            self.new_caller = None;
        }
        if self.pending.is_full()
            && let Some(attachment) = &mut self.attachment
        {
            attachment.restart_patience(now);
        }
        if self.attachment.as_ref().is_some_and(|attachment| now >= attachment.deadline()) {
            self.detach(EndReason::Silent, now);
        }
        let waits = self.output_must_wait();
        if let Some(last) = &mut self.last_output {
            if waits {
                // The terminal was not polled meanwhile, so this time does not count.
                last.quiet += now - before;
                last.latest += now - before;
            } else if now >= last.latest || now >= last.quiet {
                // If this process was late, there may be output.
                let found = self.read_terminal(now);
                if now >= self.last_output.map_or(now, |last| last.latest) || !found {
                    self.terminal_ended(now);
                }
            }
        }
    }

    fn serve(&mut self, (source, flags): (Source, PollFlags), now: Instant) {
        match source {
            Source::Listener => {
                if let Ok(caller) = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
                    self.new_caller = Some((caller, now));
                }
            }
            Source::NewCaller => self.read_request(now),
            Source::Shell => self.shell_ended(now),
            Source::Terminal => {
                if flags.intersects(PollFlags::OUT) {
                    self.write_terminal();
                }
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) && !self.output_must_wait() {
                    self.read_terminal(now);
                }
            }
            // The process has ended: it sends nothing after its request.
            Source::AttachedCaller => self.detach(EndReason::Left, now),
            Source::Stdin => self.read_attachment(now),
            Source::Stdout if flags.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) => {
                self.detach(EndReason::Left, now)
            }
            Source::Stdout => {}
        }
    }

    /// The attached broker or the emulator is too far behind, so that the terminal is not read.
    fn output_must_wait(&self) -> bool {
        let behind = self.attachment.as_ref().is_some_and(|attachment| {
            attachment.behind(self.ring.end(), self.pending.is_full()) > self.ring.size() / WINDOW
        });
        behind || self.emulation.is_full()
    }

    /// What an attachment reports to its broker.
    fn snapshot(&self, time: Instant) -> Snapshot<'_> {
        Snapshot {
            ring: &self.ring,
            input: self.pending.taken(),
            emulator: self.emulation.emulator(),
            exit: self.exit,
            time,
        }
    }

    /// Lets the emulator work for one turn.
    fn run_emulator(&mut self) {
        self.emulation.run_turn(|(caller, request), emulator| draw(&caller, &request, emulator));
        let answers = self.emulation.emulator_mut().take_answers();
        if !answers.is_empty() && !self.silent && self.terminal.is_some() && self.pending.push_answers(&answers) {
            self.write_terminal();
        }
    }

    fn is_done(&self, now: Instant) -> bool {
        self.exit.is_some()
            && self.attachment.is_none()
            && self.new_caller.is_none()
            && now >= self.detached_at + LINGER
    }

    /// Reads what the terminal has, up to one frame. Returns whether there was output.
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
            self.emulation.push(bytes);
            if let Some(attachment) = &mut self.attachment {
                attachment.offer(offset, bytes);
            }
            if let Some(last) = &mut self.last_output {
                last.quiet = now + SILENCE;
            }
        }
        if ended {
            self.terminal_ended(now);
        }
        length > 0
    }

    fn write_terminal(&mut self) {
        if let Some(terminal) = &self.terminal {
            self.pending.write(&terminal.master);
        }
    }

    /// Records how the shell ended. The rest of its terminal's output is still read.
    fn shell_ended(&mut self, now: Instant) {
        let Some(mut shell) = self.shell.take() else { return };
        // It is a child that has ended, so this does not block and cannot fail.
        let exit = shell.wait().unwrap_or(Exit { code: -1, signal: 0 });
        let page = self.ring.page();
        page.exited.store((now - self.began).as_millis() as u64, Ordering::Relaxed);
        page.exit.store(exit.pack(), Ordering::Release);
        self.last_output = Some(LastOutput { quiet: now + SILENCE, latest: now + LAST_OUTPUT });
        if let Some(terminal) = &mut self.terminal {
            terminal.slave = None;
        }
    }

    /// The last output of the terminal was read.
    fn terminal_ended(&mut self, now: Instant) {
        self.terminal = None;
        // The terminal hung up before the shell ended.
        if self.shell.is_some() {
            return;
        }
        self.last_output = None;
        self.pending.clear();
        self.exit = Exit::unpack(self.ring.page().exit.load(Ordering::Acquire));
        self.detached_at = now;
    }

    /// Reads the request of a process that connected, and serves it.
    fn read_request(&mut self, now: Instant) {
        let Some((caller, came)) = self.new_caller.take() else { return };
        let request = match requests::receive(caller.as_fd()) {
            Ok(request) => request,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.new_caller = Some((caller, came)),
            // It closed the connection, or it is no recorder.
            Err(_) => return,
        };
        self.attach(caller, request, now);
    }

    /// Serves a request. A new attachment replaces the one before.
    pub(crate) fn attach(&mut self, caller: OwnedFd, request: Request, now: Instant) {
        let (start, end) = (self.ring.start(), self.ring.end());
        let since = match request.begin {
            Begin::Since(offset) => match self.ring.check(offset) {
                Ok(()) => offset,
                Err(reason) => return refuse(&caller, &request, &reason),
            },
            Begin::Tail(bytes) => end.saturating_sub(bytes).max(start),
            Begin::Screen => {
                self.emulation.request_drawing((caller, request));
                return self.run_emulator();
            }
        };
        self.detach(EndReason::Replaced, now);
        let hello = Hello { pid: self.pid, start, end, input: self.pending.taken(), size: self.size };
        let mut sizes = history::sizes(&self.dir, &self.ring, since);
        // HELLO has this size already.
        sizes.pop_front_if(|(_, size)| *size == self.size);
        // If its pipes are closed, there is no attachment.
        self.attachment = Attachment::new(caller, request, since, hello, sizes, now).ok();
    }

    /// Reads and carries out what the broker sent.
    fn read_attachment(&mut self, now: Instant) {
        let Some(attachment) = &mut self.attachment else { return };
        let (terminal, shell) = (self.terminal.as_ref(), self.shell.as_ref());
        let (pending, emulator, mut resized) = (&mut self.pending, self.emulation.emulator_mut(), None);
        let heard = attachment.read(&mut self.buffer, now, |frame| match frame {
            // A terminal that has ended takes no input.
            ToRecorder::Input(bytes) if terminal.is_some() => pending.push_input(bytes),
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
        // The terminal mostly takes input at once, which saves a poll.
        if self.pending.has_input() {
            self.write_terminal();
        }
        if let Err(reason) = heard {
            self.detach(reason, now);
        }
    }

    /// Records that the terminal has a new size from here on.
    fn resized(&mut self, size: Size, now: Instant) {
        if size == std::mem::replace(&mut self.size, size) {
            return;
        }
        self.emulation.resize(size);
        let end = self.ring.end();
        self.marks.resized(&self.ring, end, size, now - self.began);
        if let Some(attachment) = &mut self.attachment {
            attachment.resized(end, size);
        }
    }

    fn send(&mut self, time: Instant) {
        let Some(mut attachment) = self.attachment.take() else { return };
        let sent = attachment.send(&self.snapshot(time));
        self.attachment = Some(attachment);
        if let Err(reason) = sent {
            self.detach(reason, Instant::now());
        }
    }

    /// Ends the attachment, if there is one. Drops the input that the terminal did not take. So the next broker knows from
    /// the count alone what it has to send again.
    fn detach(&mut self, reason: EndReason, now: Instant) {
        if let Some(attachment) = self.attachment.take() {
            attachment.end(reason);
            self.pending.drop_input();
            self.detached_at = now;
        }
    }
}

/// Draws the screen for a caller. Its output is a file in memory, so that writing does not block.
fn draw(caller: &OwnedFd, request: &Request, emulator: &Emulator) {
    let (offset, text) = emulator.draw();
    let frames = crate::screen::frames(offset, emulator.size(), &text);
    let mut rest = &frames[..];
    while !rest.is_empty() {
        match rustix::io::write(&request.stdout, rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::INTR) => {}
            // The caller sees that the frames are incomplete.
            Err(_) => break,
        }
    }
    requests::answer(caller, 0);
}

/// Refuses an offset above the end. The caller's pipe is still empty, so that writing does not block.
fn refuse(caller: &OwnedFd, request: &Request, reason: &str) {
    let mut frame = Vec::new();
    ToBroker::Refused { reason }.encode(&mut frame);
    let _ = rustix::io::write(&request.stdout, &frame);
    requests::answer(caller, EndReason::Refused as u8);
}
