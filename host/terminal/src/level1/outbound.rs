//! From a session to a level 1 client: output within the client's window, what
//! it missed from the recorder, and control.
//!
//! Owns how far the client is, and which source its output comes from
//! (`source` draws them). Deliberately knows no input. A slow client makes this
//! wait and nobody else, unless it drives a session whose shell is to wait for
//! it.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_tungstenite::tungstenite::{self, Message};
use tracing::warn;

use super::query::CatchUp;
use super::reply::Reply;
use super::source::{OutputSource, ScreenFrames};
use crate::frames::CloseCode;
use crate::frames::level1::{Cells, Person, ServerFrame, WINDOW, output};
use crate::socket::ending::Ending;
use crate::socket::limits::{Limits, MAX_JOINED};
use crate::socket::writer::{Sent, Writer};
use crate::stage::told_state;
use sandbox_broker_core::sandbox::{CHUNK_BYTES, Exit, Result as SandboxResult, Size};
use sandbox_broker_session::{
    Asker, Client, Company, Durability, Event, Invitation, KEPT, Outcome, Picture, Piece, Presence, Reader, Role, Stage,
};

const NOT_KEPT: &str = "the broker no longer has this output";
const NOT_RECORDED: &str = "the recorder no longer has this output";
const LOST: &str = "this output was lost before it reached the broker";

/// Bytes of output that a client may leave unacknowledged when a screen is taken
/// for it: twice what a client draws before it acknowledges.
const SETTLED: u64 = 128 * 1024;

/// The writing half of a level 1 socket.
pub(super) struct Outbound<'a> {
    sink: &'a mut Writer,
    client: &'a Client,
    reader: Reader,
    company: Company,
    source: OutputSource,
    /// The client has no output yet, or may not have old output. A picture of the
    /// screen will do.
    fresh: bool,
    /// When it is behind, the client wants the screen and not what it missed.
    screens: bool,
    /// Offset of the last screen that was sent.
    drawn: u64,
    /// The size of the terminal that the client was told last.
    size: Option<Size>,
    /// The recorder did not give what it was asked for.
    unrecorded: bool,
    /// Offset after the last byte sent.
    sent: u64,
    /// The client says that it has consumed what comes before this offset.
    acked: watch::Receiver<u64>,
    /// What comes before this offset was not sent, so it is not acknowledged.
    floor: u64,
    /// The client was told that the shell runs.
    ready: bool,
    /// This client's terminal answers what programs ask, because it drives and
    /// there is no recorder.
    answers: bool,
}

/// What happens next.
enum Picked {
    Event(Option<Event>),
    Fetched(SandboxResult<Arc<Picture>>),
    Piece(SandboxResult<Option<Piece>>),
    Acked,
    Company(Option<Role>, Vec<Presence>),
    Handed(u64),
    Reply(Reply),
    Ping,
}

impl<'a> Outbound<'a> {
    /// For a client that has the output before `since`, or none.
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
            source: OutputSource::Live,
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
    pub(super) async fn pump(mut self, mut replies: mpsc::Receiver<Reply>, limits: &Limits) -> Ending {
        let mut ping = interval_at(Instant::now() + limits.ping_every, limits.ping_every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut handed = self.client.handed();
        loop {
            if matches!(self.source, OutputSource::Drawing(_)) {
                let now = ping.tick().now_or_never().is_some();
                if self.draw(now).await.is_err() {
                    return Ending::Gone("the connection broke");
                }
                continue;
            }
            let acked = *self.acked.borrow_and_update();
            let unacked = self.sent.saturating_sub(self.floor.max(acked));
            if matches!(self.source, OutputSource::Settling) && unacked <= SETTLED && acked >= self.drawn {
                self.fetch();
            }
            // A chunk is sent whole, so there must be room for one.
            let open = unacked + CHUNK_BYTES as u64 <= WINDOW;
            let settling = matches!(self.source, OutputSource::Settling);
            let (live, fetching, playing) = match &mut self.source {
                OutputSource::Live => (true, None, None),
                OutputSource::Settling | OutputSource::Drawing(_) => (false, None, None),
                OutputSource::Fetching(fetch) => (false, Some(fetch), None),
                OutputSource::Playing(playback, _) => (false, None, Some(playback)),
            };
            // Only picks. What it picks is then sent whole.
            let picked = tokio::select! {
                event = self.reader.next(), if live && open => Picked::Event(event),
                fetched = async { fetching.expect("guarded").await }, if fetching.is_some() => Picked::Fetched(fetched),
                piece = async { playing.expect("guarded").next().await }, if playing.is_some() && open => Picked::Piece(piece),
                () = acknowledged(&mut self.acked), if !open || settling => Picked::Acked,
                (role, present) = self.company.changed(), if self.ready => Picked::Company(role, present),
                Ok(()) = handed.changed(), if self.ready => Picked::Handed(*handed.borrow_and_update()),
                Some(reply) = replies.recv() => Picked::Reply(reply),
                _ = ping.tick() => Picked::Ping,
            };
            let sent = match picked {
                Picked::Event(Some(Event::Ended(outcome))) => match self.ended(outcome).await {
                    Ok(ending) => return ending,
                    Err(error) => Err(error),
                },
                Picked::Event(Some(event)) => self.event(event).await,
                Picked::Event(None) => unreachable!("`Ended` comes first and returns"),
                Picked::Fetched(fetched) => {
                    self.fetched(fetched);
                    Ok(())
                }
                Picked::Piece(piece) => self.piece(piece).await,
                Picked::Acked => Ok(()),
                Picked::Company(None, _) => {
                    let why = "another connection took this client's place";
                    return Ending::closed(CloseCode::TakenOver, why);
                }
                Picked::Company(Some(role), present) => {
                    self.reader.hold(role == Role::Driver && self.client.shell_waits());
                    self.answers = role == Role::Driver && self.client.tape().is_none();
                    self.clients(&present).await
                }
                Picked::Handed(seq) => self.control(ServerFrame::InputAck { seq }).await,
                Picked::Reply(Reply::Pong) => self.control(ServerFrame::Pong {}).await,
                Picked::Reply(Reply::Complaint { code, message }) => {
                    self.control(ServerFrame::Error { code, message: &message, retry_ms: None }).await
                }
                Picked::Ping => self.sink.send(Message::Ping(Bytes::new())).await,
            };
            if sent.is_err() {
                return Ending::Gone("the connection broke");
            }
        }
    }

    async fn control(&mut self, frame: ServerFrame<&str>) -> Sent {
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
                    size: Some(size.into()),
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
        let (state, ms) = told_state(stage);
        self.control(ServerFrame::Stage { name: stage.name.as_str(), state, message: &stage.message, ms }).await
    }

    async fn clients(&mut self, present: &[Presence]) -> Sent {
        let clients = present
            .iter()
            .map(|one| Person {
                client: &*one.client,
                role: one.role.as_str(),
                size: one.size.map(Cells::from),
                sets_size: one.sets_size,
                guest: one.guest.as_deref(),
            })
            .collect();
        self.control(ServerFrame::Clients { clients }).await
    }

    /// The terminal has this size from the next byte on.
    async fn resized(&mut self, size: Size) -> Sent {
        if self.size.replace(size) == Some(size) {
            return Ok(());
        }
        self.control(ServerFrame::Size { offset: self.sent, size: size.into() }).await
    }

    /// Sends a chunk, or a long one in parts. With `join`, further chunks that the
    /// session has and that fit go into the same frame.
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
            return self.sink.send(Message::Binary(output(offset, parts.iter()))).await;
        }
        // Only a single chunk can be longer.
        for chunk in &mut parts {
            while !chunk.is_empty() {
                let part = chunk.split_to(chunk.len().min(MAX_JOINED));
                let at = self.sent;
                self.sent += part.len() as u64;
                self.sink.send(Message::Binary(output(at, std::iter::once(&part)))).await?;
            }
        }
        Ok(())
    }

    async fn gap(&mut self, from: u64, to: u64, reason: &str) -> Sent {
        (self.fresh, self.sent, self.floor) = (false, to, self.floor.max(to));
        self.control(ServerFrame::Gap { from, to, reason }).await
    }

    /// The session no longer holds what comes before `to`. Its output ends at
    /// `end` now.
    async fn behind(&mut self, to: u64, end: u64) -> Sent {
        let Some(tape) = self.client.tape().filter(|_| !self.unrecorded) else {
            self.reader.go_to(to);
            let reason = if std::mem::take(&mut self.unrecorded) { NOT_RECORDED } else { NOT_KEPT };
            return self.gap(self.sent, to, reason).await;
        };
        let from = self.sent;
        if self.screens {
            self.source = OutputSource::Settling;
        } else if self.fresh {
            self.fetch();
        } else {
            // Play back to the end. The session holds what comes after it for long enough.
            self.source = OutputSource::Playing(Box::new(tape.read(from, end)), end);
        }
        Ok(())
    }

    /// The client gets nothing from before `offset` except the screen.
    fn begin_at(&mut self, offset: u64) {
        self.reader.go_to(offset);
        (self.sent, self.floor) = (offset, offset);
        if offset > 0 {
            self.fetch();
        }
    }

    /// Asks for the screen if there is a recorder.
    fn fetch(&mut self) {
        let Some(tape) = self.client.tape() else {
            self.source = OutputSource::Live;
            return;
        };
        let (sent, asker) = (self.sent, if self.client.is_guest() { Asker::Guest } else { Asker::Own });
        self.source = OutputSource::Fetching(async move { tape.screen(sent, asker).await }.boxed());
    }

    fn fetched(&mut self, fetched: SandboxResult<Arc<Picture>>) {
        match fetched {
            Ok(picture) => {
                // The picture's offset may lie after what was asked for. It lies a little
                // before it if a control sequence was unfinished there.
                let to = picture.offset;
                self.reader.go_to(to);
                self.reader.knows_size(to, picture.size);
                (self.fresh, self.sent, self.floor) = (false, to, self.floor.max(to));
                (self.drawn, self.size) = (to, Some(picture.size));
                self.source = OutputSource::Drawing(ScreenFrames::new(picture));
            }
            Err(error) => {
                warn!(fault = ?error.fault, code = ?error.code, %error, "could not get the screen from the recorder");
                self.give_up();
            }
        }
    }

    /// Sends the next frame of the screen, after a ping if `now` or the screen
    /// itself asks for one.
    async fn draw(&mut self, now: bool) -> Sent {
        let OutputSource::Drawing(screen) = &mut self.source else { return Ok(()) };
        if now || screen.is_ping_due() {
            self.sink.send(Message::Ping(Bytes::new())).await?;
        }
        let (frame, last) = screen.next();
        if last {
            self.source = OutputSource::Live;
        }
        self.sink.part(frame, last).await
    }

    /// Goes on with what the session holds. The rest becomes a gap.
    fn give_up(&mut self) {
        (self.source, self.unrecorded) = (OutputSource::Live, true);
        self.reader.go_to(self.sent);
    }

    async fn piece(&mut self, piece: SandboxResult<Option<Piece>>) -> Sent {
        let OutputSource::Playing(_, to) = self.source else { return Ok(()) };
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
                self.source = OutputSource::Live;
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

    /// Tells the client the end of the session, once.
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

/// Waits until the client acknowledges more. The other pump notices when the
/// client is gone.
async fn acknowledged(acked: &mut watch::Receiver<u64>) {
    if acked.changed().await.is_err() {
        pending::<()>().await;
    }
}
