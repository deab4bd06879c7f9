//! From a session to a level 1 client: output within the client's window, what
//! it has missed from the recorder, and control.
//!
//! Owns the writing half of a socket and how far the client is. Deliberately
//! knows no input. A slow client makes this wait and nobody else, unless it
//! drives a session whose shell is to wait for it.
//!
//! ```text
//!         wants bytes           read to its end
//!   Live ────────────▶ Playing ─────────────────▶ Live
//!    │ Behind             │ the recorder does not have it: a gap is told
//!    │ wants screens      ▼
//!    ├──▶ Settling ──▶ Fetching ──▶ Drawing ─────▶ Live
//!    │ with nothing       ▲    the screen, in parts
//!    └────────────────────┘
//! ```

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_tungstenite::tungstenite::{self, Message};
use tracing::warn;

use super::Answer;
use super::frames::{self, Cells, Person, ServerFrame, WINDOW};
use super::query::CatchUp;
use crate::ending::Ending;
use crate::frames::CloseCode;
use crate::outbound::{MAX_JOINED, progress};
use crate::upgrade::Limits;
use crate::writer::{Sent, Writer};
use sandbox_broker_core::sandbox::{CHUNK_BYTES, Exit, Result as SandboxResult, Size};
use sandbox_broker_session::{
    Asker, Client, Company, Durability, Event, Invitation, KEPT, Outcome, Picture, Piece, Playback, Presence, Reader,
    Role, Stage,
};

const NOT_KEPT: &str = "the broker no longer has this output";
const NOT_RECORDED: &str = "the recorder no longer has this output";
const LOST: &str = "this output was lost before it reached the broker";

/// Frames of a screen between two pings. A slow line has the next ping within
/// the time in which a client must answer.
const PARTS_PER_PING: usize = 4;

/// Output that a client may have yet to acknowledge when a screen is drawn for
/// it: as much as a client draws before it says so, and as much again.
const SETTLED: u64 = 128 * 1024;

/// Where output comes from.
enum Source {
    /// The session itself.
    Live,
    /// The client is behind, and has yet to draw what it was sent. A screen that
    /// was drawn now would be old when the line is free for it.
    Settling,
    /// The recorder was asked for the screen.
    Fetching(BoxFuture<'static, SandboxResult<Arc<Picture>>>),
    /// The screen is being sent: one message in many frames, between which no
    /// other message can go.
    Drawing(Drawing),
    /// It tells what comes before this offset.
    Playing(Box<Playback>, u64),
}

/// A screen on its way to the client. The picture is everybody's who waits for
/// it; one client costs one part of it at a time.
struct Drawing {
    picture: Arc<Picture>,
    /// Of its parts, which is next, and how much of that was sent.
    part: usize,
    done: usize,
    /// Frames that were sent.
    frames: usize,
}

impl Drawing {
    /// The next frame of the message, and whether it is the last. Each is at
    /// most six times [`MAX_JOINED`] bytes and some more.
    fn next(&mut self) -> (String, bool) {
        let mut json = String::new();
        if self.frames == 0 {
            json = frames::screen_head(self.picture.offset);
        }
        self.frames += 1;
        if let Some(part) = self.picture.parts.get(self.part) {
            let rest = &part[self.done..];
            let text = &rest[..rest.floor_char_boundary(MAX_JOINED)];
            frames::screen_text(text, &mut json);
            self.done += text.len();
            if self.done == part.len() {
                (self.part, self.done) = (self.part + 1, 0);
            }
        }
        let last = self.part >= self.picture.parts.len();
        if last {
            frames::screen_tail(self.picture.size.into(), &mut json);
        }
        (json, last)
    }
}

pub(super) struct Outbound<'a> {
    sink: &'a mut Writer,
    client: &'a Client,
    reader: Reader,
    company: Company,
    source: Source,
    /// The client has nothing, or may have nothing old: a picture of the screen
    /// will do.
    fresh: bool,
    /// A client that is behind wants the screen, not what it has missed.
    screens: bool,
    /// Offset of the last screen that was sent.
    drawn: u64,
    /// The terminal's size, as far as the client was told.
    size: Option<Size>,
    /// The recorder did not give what it was asked for.
    unrecorded: bool,
    /// Offset after the last byte sent.
    sent: u64,
    /// The client tells that it has consumed what comes before this.
    acked: watch::Receiver<u64>,
    /// What comes before this need not be acknowledged: it was not sent.
    floor: u64,
    ready: bool,
    /// This client's terminal answers what programs ask: it drives, and there is
    /// no recorder.
    answers: bool,
}

enum Turn {
    Event(Option<Event>),
    Fetched(SandboxResult<Arc<Picture>>),
    Piece(SandboxResult<Option<Piece>>),
    Acked,
    Company(Option<Role>, Vec<Presence>),
    Handed(u64),
    Answer(Answer),
    Ping,
}

impl<'a> Outbound<'a> {
    /// Serves a client that has what comes before `since`, or nothing.
    pub(super) fn new(
        sink: &'a mut Writer,
        client: &'a Client,
        since: Option<u64>,
        catch_up: CatchUp,
        acked: watch::Receiver<u64>,
    ) -> Self {
        let sent = since.unwrap_or(0);
        Outbound {
            sink,
            client,
            reader: client.reader_at(sent, false),
            company: client.company(),
            source: Source::Live,
            fresh: since.is_none(),
            screens: catch_up == CatchUp::Screen,
            drawn: 0,
            size: None,
            unrecorded: false,
            sent,
            acked,
            floor: sent,
            ready: false,
            answers: false,
        }
    }

    /// Writes until the session ends or the client cannot be written to.
    pub(super) async fn pump(mut self, mut answers: mpsc::Receiver<Answer>, limits: &Limits) -> Ending {
        let mut ping = interval_at(Instant::now() + limits.ping_every, limits.ping_every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut handed = self.client.handed();
        loop {
            if matches!(self.source, Source::Drawing(_)) {
                let now = ping.tick().now_or_never().is_some();
                if self.draw(now).await.is_err() {
                    return Ending::Gone("the connection broke");
                }
                continue;
            }
            let acked = *self.acked.borrow_and_update();
            let unacked = self.sent.saturating_sub(self.floor.max(acked));
            if matches!(self.source, Source::Settling) && unacked <= SETTLED && acked >= self.drawn {
                self.fetch();
            }
            // A chunk is sent whole.
            let open = unacked + CHUNK_BYTES as u64 <= WINDOW;
            let settling = matches!(self.source, Source::Settling);
            let (live, fetching, playing) = match &mut self.source {
                Source::Live => (true, None, None),
                Source::Settling | Source::Drawing(_) => (false, None, None),
                Source::Fetching(fetch) => (false, Some(fetch), None),
                Source::Playing(playback, _) => (false, None, Some(playback)),
            };
            // Picks only; what is picked is then sent whole.
            let turn = tokio::select! {
                event = self.reader.next(), if live && open => Turn::Event(event),
                fetched = async { fetching.expect("guarded").await }, if fetching.is_some() => Turn::Fetched(fetched),
                piece = async { playing.expect("guarded").next().await }, if playing.is_some() && open => Turn::Piece(piece),
                () = told(&mut self.acked), if !open || settling => Turn::Acked,
                (role, present) = self.company.changed(), if self.ready => Turn::Company(role, present),
                Ok(()) = handed.changed(), if self.ready => Turn::Handed(*handed.borrow_and_update()),
                Some(answer) = answers.recv() => Turn::Answer(answer),
                _ = ping.tick() => Turn::Ping,
            };
            let sent = match turn {
                Turn::Event(Some(Event::Ended(outcome))) => match self.ended(outcome).await {
                    Ok(ending) => return ending,
                    Err(error) => Err(error),
                },
                Turn::Event(Some(event)) => self.event(event).await,
                Turn::Event(None) => unreachable!("`Ended` comes first and returns"),
                Turn::Fetched(fetched) => {
                    self.fetched(fetched);
                    Ok(())
                }
                Turn::Piece(piece) => self.piece(piece).await,
                Turn::Acked => Ok(()),
                Turn::Company(None, _) => {
                    let why = "another connection took this client's place";
                    return Ending::closed(CloseCode::TakenOver, why);
                }
                Turn::Company(Some(role), present) => {
                    self.reader.hold(role == Role::Driver && self.client.shell_waits());
                    self.answers = role == Role::Driver && self.client.tape().is_none();
                    self.clients(&present).await
                }
                Turn::Handed(seq) => self.control(ServerFrame::InputAck { seq }).await,
                Turn::Answer(Answer::Pong) => self.control(ServerFrame::Pong {}).await,
                Turn::Answer(Answer::Complaint { code, message }) => {
                    self.control(ServerFrame::Error { code, message: &message, retry_ms: None }).await
                }
                Turn::Ping => self.sink.send(Message::Ping(Bytes::new())).await,
            };
            if sent.is_err() {
                return Ending::Gone("the connection broke");
            }
        }
    }

    async fn control(&mut self, frame: ServerFrame<'_>) -> Sent {
        self.sink.send(Message::text(frame.encode())).await
    }

    async fn event(&mut self, event: Event) -> Sent {
        match event {
            Event::Stage(stage) => self.stage(&stage).await,
            Event::Ready { session, mut offset, mut live, provider, isolation, durability, .. } => {
                self.ready = true;
                let mut now = offset;
                if self.client.is_guest() {
                    self.begin_at(live);
                    (offset, now) = (live, live);
                } else if self.fresh && live - offset > KEPT {
                    now = live;
                    self.fetch();
                }
                let size = self.reader.size_at(now).unwrap_or(Size::DEFAULT);
                self.reader.knows_size(offset, size);
                self.size = Some(size);
                let role = self.client.role().unwrap_or_default();
                let recorded = durability == Durability::Durable;
                self.answers = role == Role::Driver && !recorded;
                if self.answers {
                    live = self.client.unanswered(Some(self.sent).filter(|_| !self.fresh), live);
                    self.client.sent(self.sent);
                }
                let invitation = self.client.invitation().filter(|_| !self.client.is_guest());
                let input = *self.client.handed().borrow();
                self.control(ServerFrame::Ready {
                    session: &session,
                    client: self.client.name(),
                    role: role.as_str(),
                    epoch: self.client.epoch(),
                    offset,
                    live,
                    input,
                    provider: &provider,
                    isolation: isolation.as_deref(),
                    durability: durability.as_str(),
                    answers: if recorded { "recorder" } else { "client" },
                    keep_ms: self.client.keep().as_millis() as u64,
                    size: size.into(),
                    invitation: invitation.map(Invitation::expose),
                })
                .await
            }
            Event::Output { offset, bytes } => self.output(offset, bytes, true).await,
            Event::Size(size) => self.resized(size).await,
            Event::Gap { from, to } => self.gap(from, to, LOST).await,
            Event::Behind { to, end, .. } => self.behind(to, end).await,
            Event::Ended(_) => unreachable!("the caller has taken it"),
        }
    }

    async fn stage(&mut self, stage: &Stage) -> Sent {
        let (state, ms) = progress(stage);
        self.control(ServerFrame::Stage { name: stage.name.as_str(), state, message: &stage.message, ms }).await
    }

    async fn clients(&mut self, present: &[Presence]) -> Sent {
        let clients = present
            .iter()
            .map(|one| Person {
                client: &one.client,
                role: one.role.as_str(),
                size: one.size.map(Cells::from),
                sets_size: one.sets_size,
                guest: one.guest.as_deref(),
            })
            .collect();
        self.control(ServerFrame::Clients { clients }).await
    }

    /// From the next byte on the terminal has this size.
    async fn resized(&mut self, size: Size) -> Sent {
        if self.size.replace(size) == Some(size) {
            return Ok(());
        }
        self.control(ServerFrame::Size { offset: self.sent, size: size.into() }).await
    }

    /// Sends a chunk, of the session's own with as many more as are there and
    /// fit, or in parts.
    async fn output(&mut self, offset: u64, chunk: Bytes, join: bool) -> Sent {
        self.fresh = false;
        let mut parts = vec![chunk];
        let mut len = parts[0].len();
        while join
            && len < MAX_JOINED
            && let Some(more) = self.reader.try_output(MAX_JOINED - len)
        {
            len += more.len();
            parts.push(more);
        }
        self.sent = offset;
        if self.answers {
            self.client.sent(offset + len as u64);
        }
        if len <= MAX_JOINED {
            self.sent += len as u64;
            return self.sink.send(Message::Binary(frames::output(offset, parts.iter()))).await;
        }
        // Only a single chunk can be longer.
        for chunk in &mut parts {
            while !chunk.is_empty() {
                let part = chunk.split_to(chunk.len().min(MAX_JOINED));
                let at = self.sent;
                self.sent += part.len() as u64;
                self.sink.send(Message::Binary(frames::output(at, std::iter::once(&part)))).await?;
            }
        }
        Ok(())
    }

    async fn gap(&mut self, from: u64, to: u64, reason: &str) -> Sent {
        (self.fresh, self.sent, self.floor) = (false, to, self.floor.max(to));
        self.control(ServerFrame::Gap { from, to, reason }).await
    }

    /// The session no longer holds what comes before `to`; its output ends at
    /// `end` now.
    async fn behind(&mut self, to: u64, end: u64) -> Sent {
        let Some(tape) = self.client.tape().filter(|_| !self.unrecorded) else {
            self.reader.go_to(to);
            let reason = if std::mem::take(&mut self.unrecorded) { NOT_RECORDED } else { NOT_KEPT };
            return self.gap(self.sent, to, reason).await;
        };
        let from = self.sent;
        if self.screens {
            self.source = Source::Settling;
        } else if self.fresh {
            self.fetch();
        } else {
            // To the end: what is older than that is held for long enough.
            self.source = Source::Playing(Box::new(tape.read(from, end)), end);
        }
        Ok(())
    }

    /// The client gets nothing of what comes before `offset` but how the screen
    /// looks.
    fn begin_at(&mut self, offset: u64) {
        self.reader.go_to(offset);
        (self.sent, self.floor) = (offset, offset);
        if offset > 0 {
            self.fetch();
        }
    }

    /// Asks for the screen, where there is a recorder.
    fn fetch(&mut self) {
        let Some(tape) = self.client.tape() else {
            self.source = Source::Live;
            return;
        };
        let (sent, asker) = (self.sent, if self.client.is_guest() { Asker::Guest } else { Asker::Own });
        self.source = Source::Fetching(async move { tape.screen(sent, asker).await }.boxed());
    }

    fn fetched(&mut self, fetched: SandboxResult<Arc<Picture>>) {
        match fetched {
            Ok(picture) => {
                // What is to come may be behind the picture, and begins a little
                // before what was asked for where a sequence was unfinished there.
                let to = picture.offset;
                self.reader.go_to(to);
                self.reader.knows_size(to, picture.size);
                (self.fresh, self.sent, self.floor) = (false, to, self.floor.max(to));
                (self.drawn, self.size) = (to, Some(picture.size));
                self.source = Source::Drawing(Drawing { picture, part: 0, done: 0, frames: 0 });
            }
            Err(error) => {
                warn!(fault = ?error.fault, code = ?error.code, %error, "could not get the screen from the recorder");
                self.give_up();
            }
        }
    }

    /// Sends the next frame of the screen, with a ping `now` and every few
    /// frames: a client that receives for a long time must show that it lives.
    async fn draw(&mut self, now: bool) -> Sent {
        let Source::Drawing(drawing) = &mut self.source else { return Ok(()) };
        if now || (drawing.frames > 0 && drawing.frames.is_multiple_of(PARTS_PER_PING)) {
            self.sink.send(Message::Ping(Bytes::new())).await?;
        }
        let (frame, last) = drawing.next();
        if last {
            self.source = Source::Live;
        }
        self.sink.part(frame, last).await
    }

    /// Goes on with what the session holds; what it does not is a gap.
    fn give_up(&mut self) {
        (self.source, self.unrecorded) = (Source::Live, true);
        self.reader.go_to(self.sent);
    }

    async fn piece(&mut self, piece: SandboxResult<Option<Piece>>) -> Sent {
        let Source::Playing(_, to) = self.source else { return Ok(()) };
        match piece {
            Ok(Some(Piece::Output(offset, bytes))) => {
                if offset != self.sent {
                    self.gap(self.sent, offset, NOT_RECORDED).await?;
                }
                self.output(offset, bytes, false).await
            }
            Ok(Some(Piece::Size(offset, size))) => {
                self.reader.knows_size(offset, size);
                self.resized(size).await
            }
            Ok(Some(Piece::Gap(from, to))) => self.gap(from, to, NOT_RECORDED).await,
            Ok(None) if self.sent >= to => {
                self.source = Source::Live;
                self.reader.go_to(self.sent);
                Ok(())
            }
            Ok(None) => {
                self.give_up();
                Ok(())
            }
            Err(error) => {
                warn!(fault = ?error.fault, code = ?error.code, %error, "old output broke off");
                self.give_up();
                Ok(())
            }
        }
    }

    /// Tells the end, once.
    async fn ended(&mut self, outcome: Outcome) -> Result<Ending, tungstenite::Error> {
        let (code, signal) = match &outcome {
            Outcome::Exited(Exit::Code(code)) => (Some(*code), None),
            Outcome::Exited(Exit::Signal(name)) => (None, Some(name.as_str())),
            Outcome::Exited(Exit::Unknown) | Outcome::Killed | Outcome::Detached => (None, None),
            Outcome::Failed(_)
            | Outcome::Idle(_)
            | Outcome::Aged(_)
            | Outcome::Shutdown
            | Outcome::Draining
            | Outcome::Replaced => {
                return Ok(outcome.into());
            }
        };
        let (reason, offset) = (outcome.to_string(), self.sent);
        self.control(ServerFrame::Exit { code, signal, reason: &reason, offset }).await?;
        Ok(Ending::Told(reason))
    }
}

/// Waits until the client acknowledges more. Whether there is still a client is
/// for the other pump to see.
async fn told(acked: &mut watch::Receiver<u64>) {
    if acked.changed().await.is_err() {
        pending::<()>().await;
    }
}
