//! The recorder in a session's sandbox: a terminal whose output has numbers,
//! and what is left of it on the recorder's disk.
//!
//! Owns the recorder's commands, the connection to it, which is made again
//! when it breaks, and input that the recorder has not yet taken. Deliberately
//! decides nothing about the session, and knows of the sandbox no more than
//! that it takes a file and runs processes.
//!
//! ```text
//!  driver ──input──▶ ┌────────┐ ──stdin──▶ ┌──────────┐ ──▶ PTY
//!         ◀─output── │ Keeper │            │ recorder │ ──▶ ring on disk
//!                    └────────┘ ◀─stdout── └──────────┘ ◀── PTY
//!  readers that are behind ◀── Playback ◀──── ring
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
pub use sandbox_recorder::wire::CAST_END;
use sandbox_recorder::wire::{self, ToRecorder};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, debug, info, warn};

use super::Stage;
pub(super) use super::install::DIRECTORY;
use super::install::argv;
use super::looks::{About, Colors};
use super::patience::{PATIENCE, Pauses, again, may_pass, patiently, pause_after};
use super::said::{Frames, Said, WORDS, from_wire, garbled};
use super::screens::{Asker, Picture, Screens};
use sandbox_broker_core::sandbox::{
    Call, Code, Command, Control, ControlRequest, Error, Exit, Fault, Lifetime, PIPE_CHUNKS, Process, Provider, Result,
    SandboxRef, Size,
};
use sandbox_broker_core::signal;
use sandbox_broker_core::words::clean;

/// Time for the recorder to say that the shell runs. It takes milliseconds;
/// the rest is for a provider that is busy.
const HELLO_DEADLINE: Duration = Duration::from_secs(20);

/// How often the recorder hears from us: a third of what it waits before it
/// takes this broker for dead.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Output after which the recorder is told how far we are: a sixteenth of what
/// it lets us be behind.
const ACK_EVERY: u64 = 1 << 20;

/// Input that the recorder may have yet to take, at most, which is what it
/// holds. Kept, so that a broken connection loses and doubles none; beyond it
/// the shell's own queue is full and input waits.
const UNTAKEN: usize = wire::MAX_DATA;

/// Frames that wait for the pipe to the recorder.
const OUTBOX: usize = 8;

/// Bytes of input that one piece of it holds, where small pieces are joined.
const JOINED: usize = 4 * 1024;

/// First and longest pause before a broken connection is made again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long the end of a process may take after the end of its output. Where
/// the sandbox does not answer, a provider may ask for it much longer.
const END_DEADLINE: Duration = Duration::from_secs(3);

/// News that wait for the session: that the connection is lost, and found.
const NEWS: usize = 2;

/// A recorder's own exit statuses: there is one already, and a newer attachment
/// is served.
const IN_USE: Exit = Exit::Code(3);
const REPLACED: Exit = Exit::Code(4);

/// Bytes of one screen, at most. A cell with two colours of its own takes 41: it
/// is 640 by 300 of them, or half of that on both buffers. The broker holds it
/// once for all who wait for it.
pub const MAX_SCREEN: usize = 8 << 20;

/// Time for the recorder to draw a screen.
const DRAWN_WITHIN: Duration = Duration::from_secs(60);

/// Connections in a row over which the recorder soon said what cannot be. A way
/// that mangles bytes does so seldom; a program that lies goes on.
const LIES: u32 = 5;

/// The recorder of one sandbox.
#[derive(Clone, Debug)]
pub struct Tape {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) call: Call,
    pub(super) sandbox: SandboxRef,
    pub(super) user: Option<String>,
    pub(super) screens: Arc<Screens>,
}

/// A terminal that the recorder owns. As [`sandbox_broker_core::sandbox::Terminal`], with
/// numbered output.
#[derive(Debug)]
pub(super) struct Recorded {
    /// Output and sizes, never a gap: where output does not begin at the last
    /// one's end, the recorder no longer had what lies between.
    pub(super) output: mpsc::Receiver<Piece>,
    /// Offset of the first byte that comes.
    pub(super) begins: u64,
    /// The end of the output when the recorder was attached to.
    pub(super) old: u64,
    /// The size that the terminal had.
    pub(super) size: Size,
    /// What programs say of themselves.
    pub(super) about: watch::Receiver<About>,
    /// How the driver's terminal looks.
    pub(super) colors: watch::Sender<Option<Colors>>,
    /// Bytes of input that the shell's terminal has taken from this broker.
    pub(super) taken: watch::Receiver<u64>,
    /// What becomes of the connection to it.
    pub(super) news: mpsc::Receiver<Stage>,
    pub(super) done: oneshot::Receiver<Result<Exit>>,
    pub(super) control: Control,
    pub(super) lifetime: Lifetime,
}

/// Part of what the recorder still has.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes from this offset on.
    Output(u64, Bytes),
    /// The bytes from here to there are gone.
    Gap(u64, u64),
    /// From this offset on the terminal had this size.
    Size(u64, Size),
}

impl Tape {
    /// Puts the recorder into the sandbox and starts the shell under it.
    pub(super) async fn start(&self, program: &Bytes, shell: &Command, size: Size) -> Result<Attachment> {
        self.install(program).await?;
        let Size { cols, rows } = size;
        let mut argv = argv("run", ["--cols".to_owned(), cols.to_string(), "--rows".to_owned(), rows.to_string()]);
        argv.push("--".to_owned());
        argv.extend(shell.argv.iter().cloned());
        Attachment::open(self, Command { argv, ..shell.clone() }, |_| 0).await
    }

    /// Comes back to a shell that runs under the recorder, and to its last
    /// `tail` bytes.
    pub(super) async fn resume(&self, tail: u64) -> Result<Attachment> {
        let command = self.attach(["--tail".to_owned(), tail.to_string()]);
        Attachment::open(self, command, |hello| hello.end.saturating_sub(tail).max(hello.start)).await
    }

    /// Serves a connection, and makes it again when it breaks.
    pub(super) fn keep(self, attachment: Attachment, input: mpsc::Receiver<Bytes>, lease: Duration) -> Recorded {
        let (output, numbered) = mpsc::channel(PIPE_CHUNKS);
        let (told, taken) = watch::channel(0);
        let (done, how) = oneshot::channel();
        let (control, requests) = Control::new();
        let (tell, news) = mpsc::channel(NEWS);
        let (colors, looks) = watch::channel(None);
        let (says, about) = watch::channel(About::default());
        let Attachment { hello, begins, .. } = attachment;
        let size = from_wire(hello.size);
        let keeper = Keeper {
            tape: self,
            lease,
            news: tell,
            input,
            untaken: Untaken { base: hello.input, ..Untaken::default() },
            before: hello.input,
            taken: told,
            about: says,
            colors: looks,
            output,
            end: begins,
            acked: begins,
            lies: 0,
            requests,
        };
        let task = tokio::spawn(async move { _ = done.send(keeper.run(attachment).await) }.in_current_span());
        let lifetime = AbortOnDropHandle::new(task);
        let (output, old, done) = (numbered, hello.end, how);
        Recorded { output, begins, old, size, about, colors, taken, news, done, control, lifetime }
    }

    /// What is left of the output between two offsets, as far as there is
    /// some. Dropping it ends the transfer.
    pub fn read(&self, from: u64, to: u64) -> Playback {
        let reading = Reading::Asking(self.part(Duration::ZERO, from, to), from, to);
        Playback { tape: self.clone(), from, to, reading, pauses: Pauses::new(PAUSE), broke: None }
    }

    /// Asks for output after a pause.
    fn part(&self, pause: Duration, from: u64, to: u64) -> BoxFuture<'static, Result<Process>> {
        let tape = self.clone();
        async move {
            sleep(pause).await;
            tape.ask(["read", "--from", &from.to_string(), "--to", &to.to_string()]).await
        }
        .boxed()
    }

    /// What draws the screen as it is now, which is at `offset` or later. All who
    /// wait for one get the same. Tries again while that may help, for a minute.
    pub async fn screen(&self, offset: u64, asker: Asker) -> Result<Arc<Picture>> {
        let draw = || async move {
            let within = || async move {
                let late =
                    |_| Err(Error::new(Fault::Provider, Code::DeadlineExceeded, "the screen was not drawn in time"));
                timeout(DRAWN_WITHIN, self.draw()).await.unwrap_or_else(late)
            };
            patiently("could not get a screen yet", Instant::now() + PATIENCE, within).await
        };
        self.screens.get(offset, asker, draw).await
    }

    async fn draw(&self) -> Result<Picture> {
        let mut process = self.ask(["screen"]).await?;
        let mut frames = Frames::default();
        let (mut whole, mut picture) = (false, None::<Picture>);
        while let Some(chunk) = process.stdout.recv().await {
            frames.push(chunk);
            while let Some(said) = frames.next()? {
                let Said::Screen(offset, size, more) = said else { return Err(said.unexpected()) };
                if whole {
                    return Err(garbled("a screen goes on after its end"));
                }
                let picture = picture.get_or_insert_with(|| Picture::new(offset, size));
                whole = more.is_empty();
                picture.push(&more);
                if picture.len() > MAX_SCREEN {
                    let message = format!("the recorder's screen has more than {} MiB", MAX_SCREEN >> 20);
                    return Err(Error::new(Fault::Provider, Code::OutOfRange, message));
                }
            }
        }
        ended_well(&mut process).await?;
        picture.filter(|_| whole).ok_or_else(torn)
    }

    /// The session so far as asciicast v3, on the process's standard output.
    /// It is whole where it ends with [`CAST_END`].
    pub async fn cast(&self) -> Result<Process> {
        self.ask(["cast"]).await
    }

    /// Runs one of the recorder's commands that answers and ends.
    async fn ask<const N: usize>(&self, arguments: [&str; N]) -> Result<Process> {
        let argv = argv(arguments[0], arguments[1..].iter().map(|argument| (*argument).to_owned()));
        let (_, no_input) = mpsc::channel(1);
        let command = Command { argv, user: self.user.clone(), ..Command::default() };
        self.provider.run(&self.call, &self.sandbox, &command, no_input).await
    }

    fn attach(&self, from: [String; 2]) -> Command {
        Command { argv: argv("attach", from), user: self.user.clone(), ..Command::default() }
    }
}

/// A stretch of the recorder's ring on its way out.
pub struct Playback {
    tape: Tape,
    /// What is yet to come.
    from: u64,
    to: u64,
    reading: Reading,
    /// Before it is asked for again.
    pauses: Pauses,
    /// Since when no piece came.
    broke: Option<Instant>,
}

/// How far a [`Playback`] is.
enum Reading {
    /// Kept across turns: a reader that is given up must not ask anew.
    /// For what lies between two offsets.
    Asking(BoxFuture<'static, Result<Process>>, u64, u64),
    Answer(Box<Process>, Frames),
}

impl Playback {
    /// The next piece; none after the last one. Where it breaks off what is
    /// left is asked for again while that may help, for a minute. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            let error = match self.reading.next().await {
                Ok(None) if self.from < self.to => torn(),
                Ok(piece) => {
                    match &piece {
                        Some(Piece::Gap(_, end)) => self.from = *end,
                        Some(Piece::Output(offset, bytes)) => self.from = offset + bytes.len() as u64,
                        Some(Piece::Size(..)) | None => {}
                    }
                    (self.pauses, self.broke) = (Pauses::new(PAUSE), None);
                    return Ok(piece);
                }
                Err(error) => error,
            };
            let pause = pause_after(&error, &mut self.pauses);
            let broke = *self.broke.get_or_insert_with(Instant::now);
            if !may_pass(&error) || broke.elapsed() + pause > PATIENCE {
                return Err(error);
            }
            debug!(code = ?error.code, %error, from = self.from, to = self.to, "old output broke off; asking again");
            self.reading = Reading::Asking(self.tape.part(pause, self.from, self.to), self.from, self.to);
        }
    }
}

impl Reading {
    /// Cancel-safe.
    async fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            let (process, frames) = match self {
                Reading::Answer(process, frames) => (process, frames),
                Reading::Asking(process, from, to) => {
                    let frames = Frames::between(*from, *to);
                    let process = process.await?;
                    *self = Reading::Answer(Box::new(process), frames);
                    continue;
                }
            };
            match frames.next()? {
                Some(Said::Output(offset, bytes)) => return Ok(Some(Piece::Output(offset, bytes))),
                Some(Said::Gap(from, to)) => return Ok(Some(Piece::Gap(from, to))),
                Some(Said::Size(offset, size)) => return Ok(Some(Piece::Size(offset, size))),
                Some(said) => return Err(said.unexpected()),
                None => {}
            }
            match process.stdout.recv().await {
                Some(chunk) => frames.push(chunk),
                None => return ended_well(process).await.map(|()| None),
            }
        }
    }
}

fn encode(frame: ToRecorder<'_>) -> Bytes {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out.into()
}

fn looks(Colors { foreground, background, cursor }: Colors) -> Bytes {
    encode(ToRecorder::Colors { foreground, background, cursor })
}

/// One connection to the recorder.
pub(super) struct Attachment {
    process: Process,
    stdin: mpsc::Sender<Bytes>,
    frames: Frames,
    hello: wire::Hello,
    /// Offset of the first byte that comes.
    begins: u64,
}

impl Attachment {
    async fn open(tape: &Tape, command: Command, begins: impl FnOnce(&wire::Hello) -> u64) -> Result<Self> {
        let began = Instant::now();
        let (stdin, input) = mpsc::channel(PIPE_CHUNKS);
        let mut process = tape.provider.run(&tape.call, &tape.sandbox, &command, input).await?;
        let mut frames = Frames::default();
        let late = || Error::new(Fault::Provider, Code::DeadlineExceeded, "the recorder did not answer in time");
        let hello = timeout(HELLO_DEADLINE, greeted(&mut process, &mut frames)).await.map_err(|_| late())??;
        debug!(elapsed = ?began.elapsed(), ?hello, "recorder attached");
        let begins = begins(&hello);
        if begins > hello.end {
            return Err(garbled(format_args!("the output ends at {}, and {begins} was told before", hello.end)));
        }
        frames.begin_at(begins);
        Ok(Attachment { process, stdin, frames, begins, hello })
    }
}

async fn greeted(process: &mut Process, frames: &mut Frames) -> Result<wire::Hello> {
    loop {
        match frames.next()? {
            Some(Said::Hello(hello)) => return Ok(hello),
            Some(said) => return Err(said.unexpected()),
            None => {}
        }
        match process.stdout.recv().await {
            Some(chunk) => frames.push(chunk),
            None => return Err(why_ended(process).await),
        }
    }
}

/// Why a process's output has ended that was to go on.
async fn why_ended(process: &mut Process) -> Error {
    let well = ended_well(process).await;
    well.err().unwrap_or_else(|| failed(&Exit::Code(0), &complaint(&mut process.stderr)))
}

/// Input that the recorder has not said to have taken.
#[derive(Default)]
struct Untaken {
    /// Position of the first byte in all input ever.
    base: u64,
    /// Small ones are joined, so that keys cost no more than their bytes.
    chunks: VecDeque<BytesMut>,
    len: usize,
}

impl Untaken {
    fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        match self.chunks.back_mut() {
            Some(last) if last.len() + bytes.len() <= JOINED => last.extend_from_slice(bytes),
            _ => self.chunks.push_back(bytes.into()),
        }
    }

    fn taken(&mut self, until: u64) {
        let mut count = until.saturating_sub(self.base).min(self.len as u64) as usize;
        self.base += count as u64;
        self.len -= count;
        while let Some(first) = self.chunks.front_mut() {
            if first.len() > count {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.chunks.pop_front();
        }
    }
}

/// The task between the driver and the recorder.
struct Keeper {
    tape: Tape,
    /// For how long it is tried to come back, at least.
    lease: Duration,
    news: mpsc::Sender<Stage>,
    input: mpsc::Receiver<Bytes>,
    untaken: Untaken,
    /// Input that came before this broker.
    before: u64,
    taken: watch::Sender<u64>,
    about: watch::Sender<About>,
    colors: watch::Receiver<Option<Colors>>,
    output: mpsc::Sender<Piece>,
    /// Offset after the last byte received.
    end: u64,
    /// What the recorder knows of it.
    acked: u64,
    /// Connections in a row that ended by what cannot be.
    lies: u32,
    requests: mpsc::Receiver<ControlRequest>,
}

impl Keeper {
    /// Serves until the shell has ended or cannot be reached for good. Dropped
    /// when nobody wants the terminal any more.
    async fn run(mut self, mut attachment: Attachment) -> Result<Exit> {
        loop {
            let began = Instant::now();
            let error = match self.serve(attachment).await {
                Ok(exit) => return Ok(exit),
                Err(error) => error,
            };
            if error.code != Code::DataLoss || began.elapsed() > PATIENCE {
                self.lies = 0;
            } else if self.lies == LIES {
                return Err(error);
            } else {
                self.lies += 1;
            }
            warn!(fault = ?error.fault, code = ?error.code, attrs = ?error.attrs, %error, end = self.end,
                "the connection to the recorder broke; making it again");
            attachment = self.again(error).await?;
            info!(end = self.end, "connected to the recorder again");
        }
    }

    async fn again(&mut self, error: Error) -> Result<Attachment> {
        if is_replaced(&error) {
            return Err(error);
        }
        let (tape, end) = (&self.tape, self.end);
        let once = || async move {
            let command = tape.attach(["--since".to_owned(), end.to_string()]);
            Attachment::open(tape, command, |_| end).await
        };
        again(error, self.lease, PAUSE, &self.news, once).await
    }

    /// Serves one connection until the shell ends.
    async fn serve(&mut self, attachment: Attachment) -> Result<Exit> {
        let Attachment { mut process, stdin, mut frames, hello, .. } = attachment;
        self.taken(hello.input);
        let mut outbox: VecDeque<Bytes> = VecDeque::new();
        // What the last connection lost on its way. Not what it delivered.
        outbox.extend(self.untaken.chunks.iter().map(|bytes| encode(ToRecorder::Input(bytes))));
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut exit = None;
        let mut received: VecDeque<Piece> = VecDeque::new();
        outbox.extend(self.colors.borrow_and_update().map(looks));
        loop {
            if received.is_empty() {
                if let Some(exit) = exit.take() {
                    return Ok(exit);
                }
                while let Some(said) = frames.next()? {
                    match said {
                        Said::Output(offset, bytes) => received.push_back(Piece::Output(offset, bytes)),
                        Said::Size(offset, size) => received.push_back(Piece::Size(offset, size)),
                        // The next offset says the same.
                        Said::Gap(from, to) => warn!(from, to, "the recorder no longer has this output"),
                        Said::Taken(input) => self.taken(input),
                        Said::Exit(how) => exit = Some(how),
                        Said::Title(title) => self.about.send_modify(|about| about.title = Some(title)),
                        Said::Directory(path) => self.about.send_modify(|about| about.directory = Some(path)),
                        said => return Err(said.unexpected()),
                    }
                }
                if exit.is_some() {
                    continue;
                }
            }
            let room = outbox.len() < OUTBOX;
            tokio::select! {
                place = self.output.reserve(), if !received.is_empty() => {
                    let (Ok(place), Some(piece)) = (place, received.pop_front()) else {
                        // Nobody wants it; the lifetime is about to be dropped.
                        return std::future::pending().await;
                    };
                    if let Piece::Output(offset, bytes) = &piece {
                        self.end = offset + bytes.len() as u64; // both are checked
                    }
                    place.send(piece);
                    if self.end - self.acked >= ACK_EVERY {
                        self.acked = self.end;
                        outbox.push_back(encode(ToRecorder::Ack { offset: self.end }));
                    }
                }
                chunk = process.stdout.recv(), if received.is_empty() => match chunk {
                    Some(chunk) => frames.push(chunk),
                    None => {
                        let why = timeout(END_DEADLINE, why_ended(&mut process)).await;
                        return Err(why.unwrap_or_else(|_| torn()));
                    }
                },
                Some(bytes) = self.input.recv(), if room && self.untaken.len < UNTAKEN => {
                    outbox.push_back(encode(ToRecorder::Input(&bytes)));
                    self.untaken.push(&bytes);
                }
                Some(request) = self.requests.recv(), if room => match request {
                    ControlRequest::Resize(size, reply) => {
                        let size = wire::Size { cols: size.cols, rows: size.rows };
                        outbox.push_back(encode(ToRecorder::Resize(size)));
                        let _ = reply.send(Ok(()));
                    }
                    ControlRequest::Signal(name, reply) => {
                        let number = signal::number(&name);
                        outbox.extend(number.map(|number| encode(ToRecorder::Signal { number })));
                        let message = format!("the recorder passes no {name}");
                        let known = number.map(drop);
                        let _ = reply.send(known.ok_or_else(|| Error::new(Fault::Caller, Code::Unimplemented, message)));
                    }
                },
                Ok(()) = self.colors.changed(), if room => outbox.extend(self.colors.borrow_and_update().map(looks)),
                place = stdin.reserve(), if !outbox.is_empty() => match (place, outbox.pop_front()) {
                    (Ok(place), Some(frame)) => place.send(frame),
                    // Its output ends too, and says why.
                    _ => outbox.clear(),
                },
                _ = heartbeat.tick(), if room => {
                    self.acked = self.end;
                    outbox.push_back(encode(ToRecorder::Ack { offset: self.end }));
                }
            }
        }
    }

    fn taken(&mut self, input: u64) {
        self.untaken.taken(input);
        self.taken.send_replace(input.saturating_sub(self.before));
    }
}

/// The last words of a process, as far as they are there.
fn complaint(stderr: &mut mpsc::Receiver<Bytes>) -> String {
    let mut words = Vec::new();
    while let Ok(chunk) = stderr.try_recv() {
        words.extend_from_slice(&chunk);
    }
    let from = words.len().saturating_sub(WORDS);
    clean(&String::from_utf8_lossy(&words[from..]), WORDS)
}

/// How a process has ended whose output has ended: an error unless well.
async fn ended_well(process: &mut Process) -> Result<()> {
    match (&mut process.done).await {
        Ok(Ok(Exit::Code(0))) => Ok(()),
        Ok(Ok(exit)) => Err(failed(&exit, &complaint(&mut process.stderr))),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(silent()),
    }
}

fn failed(exit: &Exit, words: &str) -> Error {
    if *exit == REPLACED {
        return Error::new(
            Fault::Broker,
            Code::FailedPrecondition,
            "another broker has attached to the recorder in the sandbox",
        );
    }
    let message = format!("the recorder in the sandbox ended ({exit}): {words}");
    let code = if *exit == IN_USE { Code::AlreadyExists } else { Code::FailedPrecondition };
    Error::new(Fault::Provider, code, message.trim_end_matches([':', ' ']))
}

/// Whether another broker serves the session now. To attach again would cut
/// that one off, and two would type into one shell by turns.
pub(super) fn is_replaced(error: &Error) -> bool {
    // No provider blames the broker.
    (error.fault, error.code) == (Fault::Broker, Code::FailedPrecondition)
}

/// A process that ended well, part of whose output was lost: where the way to
/// it breaks, a provider tells of its end all the same.
fn torn() -> Error {
    Error::new(Fault::Provider, Code::Unavailable, "the way to the recorder broke before it had told all")
}

fn silent() -> Error {
    let message = "the provider's plugin stopped without saying how the recorder ended";
    Error::new(Fault::Plugin, Code::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as there may be, a key each: a connection that is made again has
    /// little to send.
    #[test]
    fn input_that_is_not_taken_costs_its_bytes_and_not_its_pieces() {
        let keys: Vec<u8> = (0..UNTAKEN).map(|n| (n % 251) as u8).collect();
        let mut untaken = Untaken { base: 7, ..Untaken::default() };
        keys.iter().for_each(|key| untaken.push(&[*key]));
        assert_eq!(untaken.chunks.len(), UNTAKEN / JOINED);
        for taken in [1, JOINED, JOINED + 1, UNTAKEN - 1, UNTAKEN] {
            untaken.taken(7 + taken as u64);
            let left: Vec<u8> = untaken.chunks.iter().flatten().copied().collect();
            assert_eq!((untaken.len, &left[..]), (UNTAKEN - taken, &keys[taken..]));
        }
        assert!(untaken.chunks.is_empty());
    }
}
