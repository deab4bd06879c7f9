//! The task between the session's task and the recorder.
//!
//! Owns the connection to the recorder, which it makes again when it breaks,
//! and what each end has of the other's bytes. Deliberately decides nothing
//! about the session.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use sandbox_broker_core::sandbox::{
    Code, Control, ControlRequest, Error, Exit, Fault, Lifetime, PIPE_CHUNKS, Result, Size,
};
use sandbox_broker_core::signal;
use sandbox_recorder::wire::{self, ToRecorder};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, info, warn};

use super::attachment::Attachment;
use super::ended::{torn, why_ended};
use super::looks::{About, Colors};
use super::piece::Piece;
use super::said::{Said, from_wire};
use super::tape::{PAUSE, Tape};
use super::untaken::{UNTAKEN, Untaken};
use crate::replaced::is_replaced;
use crate::retry::{PATIENCE, reconnect};
use sandbox_broker_policy::stage::Stage;

/// How often the recorder hears from us: a third of what it waits before it
/// takes this broker for dead.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Bytes of output after which the recorder is told how far this broker is. It
/// is a sixteenth of what the recorder lets a broker be behind.
const ACK_EVERY: u64 = 1 << 20;

/// Number of frames that may wait for the pipe to the recorder.
const OUTBOX: usize = 8;

/// How long the end of a process may take after the end of its output. If the
/// sandbox does not answer, a provider may try for much longer.
const END_DEADLINE: Duration = Duration::from_secs(3);

/// Number of news that may wait for the session: the connection is lost, and it
/// is back.
const NEWS: usize = 2;

/// Connections in a row on which the recorder soon said something impossible. A
/// connection that mangles bytes does so rarely. A program that lies goes on.
const LIES: u32 = 5;

/// A terminal that the recorder owns. As [`sandbox_broker_core::sandbox::Terminal`], with
/// numbered output.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Output and sizes, never a gap. If output does not begin at the end of
    /// the last piece, the recorder no longer had what lies between.
    pub(crate) output: mpsc::Receiver<Piece>,
    /// Offset of the first byte that comes.
    pub(crate) begins: u64,
    /// The end of the output when the recorder was attached to.
    pub(crate) old: u64,
    /// The size that the terminal had.
    pub(crate) size: Size,
    /// What programs say of themselves.
    pub(crate) about: watch::Receiver<About>,
    /// How the driver's terminal looks.
    pub(crate) colors: watch::Sender<Option<Colors>>,
    /// Bytes of input that the shell's terminal has taken from this broker.
    pub(crate) taken: watch::Receiver<u64>,
    /// News of the connection to it.
    pub(crate) news: mpsc::Receiver<Stage>,
    pub(crate) done: oneshot::Receiver<Result<Exit>>,
    pub(crate) control: Control,
    pub(crate) lifetime: Lifetime,
}

impl Tape {
    /// Serves a connection, and makes it again when it breaks.
    pub(crate) fn keep(self, attachment: Attachment, input: mpsc::Receiver<Bytes>, lease: Duration) -> Recorded {
        let (output, numbered) = mpsc::channel(PIPE_CHUNKS);
        let (told, taken) = watch::channel(0);
        let (done, how) = oneshot::channel();
        let (control, requests) = Control::new();
        let (tell, news) = mpsc::channel(NEWS);
        let (colors, looks) = watch::channel(None);
        let (says, about) = watch::channel(About::default());
        let Attachment { hello, begins, .. } = attachment;
        let size = from_wire(hello.size);
        let link = RecorderLink {
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
        let task = tokio::spawn(async move { _ = done.send(link.run(attachment).await) }.in_current_span());
        let lifetime = AbortOnDropHandle::new(task);
        let (output, old, done) = (numbered, hello.end, how);
        Recorded { output, begins, old, size, about, colors, taken, news, done, control, lifetime }
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

/// The task between the session's task and the recorder.
struct RecorderLink {
    tape: Tape,
    /// How long a broken connection is tried again, at least.
    lease: Duration,
    news: mpsc::Sender<Stage>,
    input: mpsc::Receiver<Bytes>,
    untaken: Untaken,
    /// Bytes of input that came before this broker.
    before: u64,
    taken: watch::Sender<u64>,
    about: watch::Sender<About>,
    colors: watch::Receiver<Option<Colors>>,
    output: mpsc::Sender<Piece>,
    /// Offset after the last byte received.
    end: u64,
    /// The offset that the recorder was last told.
    acked: u64,
    /// Connections in a row that ended with something impossible.
    lies: u32,
    requests: mpsc::Receiver<ControlRequest>,
}

impl RecorderLink {
    /// Serves until the shell has ended or can no longer be reached. It is
    /// dropped when nobody wants the terminal any more.
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
            attachment = self.attach_again(error).await?;
            info!(end = self.end, "connected to the recorder again");
        }
    }

    async fn attach_again(&mut self, error: Error) -> Result<Attachment> {
        if is_replaced(&error) {
            return Err(error);
        }
        let (tape, end) = (&self.tape, self.end);
        let once = || async move {
            let command = tape.attach(["--since".to_owned(), end.to_string()]);
            Attachment::open(tape, command, |_| end).await
        };
        reconnect(error, self.lease, PAUSE, &self.news, once).await
    }

    /// Serves one connection until the shell ends.
    async fn serve(&mut self, attachment: Attachment) -> Result<Exit> {
        let Attachment { mut process, stdin, mut frames, hello, .. } = attachment;
        self.taken(hello.input);
        let mut outbox: VecDeque<Bytes> = VecDeque::new();
        // What the last connection did not deliver.
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
                    // The process's output ends too, and its end says why.
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
