//! From the session to the client: progress, output, pings.
//!
//! Owns the writing half of a socket and how much output one frame carries.
//! Deliberately knows no input. A slow client makes this wait and nothing
//! else: the session's log keeps its place.

use std::borrow::Cow;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_tungstenite::tungstenite::Message;

use super::ending::Ending;
use super::frames::{BadFrame, ServerFrame, Status};
use super::text::TextStream;
use super::upgrade::Limits;
use super::writer::{Sent, Writer};
use sandbox_broker_session::{Event, Reader, Stage, StageState};

/// Bytes of output in one frame, at most. Under a flood, chunks are joined up
/// to it; beyond it a frame's fixed costs no longer show, and a browser draws
/// it in a fraction of a picture.
pub(super) const MAX_JOINED: usize = 32 * 1024;

/// Writes until the session ends or the client cannot be written to.
pub(super) async fn pump(
    sink: &mut Writer,
    mut reader: Reader,
    mut complaints: mpsc::Receiver<BadFrame>,
    limits: &Limits,
) -> Ending {
    let mut ping = interval_at(Instant::now() + limits.ping_every, limits.ping_every);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut output = Output { sink, text: TextStream::default(), end: 0 };
    loop {
        // Picks only; what is picked is then sent whole.
        let turn = tokio::select! {
            event = reader.next() => Turn::Event(event),
            Some(complaint) = complaints.recv() => Turn::Complaint(complaint),
            _ = ping.tick() => Turn::Ping,
        };
        let sent = match turn {
            Turn::Event(Some(Event::Stage(stage))) => output.stage(&stage).await,
            Turn::Event(Some(Event::Ready { session, offset, provider, isolation, .. })) => {
                output.end = offset;
                let (session, provider, isolation) = (&*session, &*provider, isolation.as_deref());
                output.frame(ServerFrame::Ready { session, offset, provider, isolation }).await
            }
            Turn::Event(Some(Event::Output { bytes, .. })) => output.bytes(bytes, &mut reader).await,
            Turn::Event(Some(Event::Ended(outcome))) => match output.finish().await {
                Ok(()) => return outcome.into(),
                Err(error) => Err(error),
            },
            // The shell waits for this client, and nobody joins its session.
            Turn::Event(Some(Event::Gap { to, .. } | Event::Behind { to, .. })) => {
                reader.go_to(to);
                output.end = to;
                Ok(())
            }
            // The only client has set it.
            Turn::Event(Some(Event::Size(_))) => Ok(()),
            Turn::Event(None) => unreachable!("`Ended` comes first and returns"),
            Turn::Complaint(complaint) => output.frame(ServerFrame::Error { message: &complaint.to_string() }).await,
            Turn::Ping => output.sink.send(Message::Ping(Bytes::new())).await,
        };
        if sent.is_err() {
            return Ending::Gone("the connection broke");
        }
    }
}

/// How far a step is, and how long it took.
pub(super) fn progress(stage: &Stage) -> (&'static str, Option<u64>) {
    let ms = stage.elapsed.as_millis() as u64;
    match stage.state {
        StageState::Started => ("begin", None),
        StageState::Done => ("done", Some(ms)),
        StageState::Failed => ("failed", Some(ms)),
    }
}

enum Turn {
    Event(Option<Event>),
    Complaint(BadFrame),
    Ping,
}

/// What goes to the client, and where in the session's output it is.
struct Output<'a> {
    sink: &'a mut Writer,
    text: TextStream,
    /// Offset after the last byte taken from the session. The text is behind
    /// it by what it holds back.
    end: u64,
}

impl Output<'_> {
    async fn frame(&mut self, frame: ServerFrame<'_>) -> Sent {
        self.sink.send(Message::text(frame.encode())).await
    }

    async fn stage(&mut self, stage: &Stage) -> Sent {
        let (state, ms) = progress(stage);
        let (message, stage) = (&*stage.message, Some(stage.name.as_str()));
        self.frame(ServerFrame::Status(Status { message, stage, state: Some(state), ms })).await
    }

    /// Sends a chunk with as many more as are there and fit, or in parts.
    async fn bytes(&mut self, chunk: Bytes, reader: &mut Reader) -> Sent {
        let mut joined = Cow::Borrowed(&*chunk);
        while joined.len() < MAX_JOINED
            && let Some(more) = reader.try_output(MAX_JOINED - joined.len())
        {
            joined.to_mut().extend_from_slice(&more);
        }
        for part in joined.chunks(MAX_JOINED) {
            let offset = self.end - self.text.held() as u64;
            self.end += part.len() as u64;
            let data = self.text.push(part);
            if !data.is_empty() {
                self.sink.send(Message::text(ServerFrame::Output { data: &data, offset }.encode())).await?;
            }
        }
        Ok(())
    }

    /// Sends what was held back for bytes that will not come.
    async fn finish(&mut self) -> Sent {
        let offset = self.end - self.text.held() as u64;
        match self.text.finish() {
            "" => Ok(()),
            data => self.frame(ServerFrame::Output { data, offset }).await,
        }
    }
}
