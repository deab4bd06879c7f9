//! From a session to its level 0 client: progress, output, pings.
//!
//! Owns how output becomes messages of text. Deliberately knows no input. A slow
//! client makes this wait and nothing else: the session's log keeps its place.

use std::borrow::Cow;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_tungstenite::tungstenite::Message;

use crate::frames::BadFrame;
use crate::frames::level0::{ServerFrame, Status};
use crate::socket::ending::Ending;
use crate::socket::limits::{Limits, MAX_JOINED};
use crate::socket::writer::{Sent, Writer};
use crate::stage::told_state;
use sandbox_broker_session::{Event, Reader, Stage};
use sandbox_recorder::text::LossyText;

/// Writes until the session ends or the client cannot be written to.
pub(super) async fn pump(
    sink: &mut Writer,
    mut reader: Reader,
    mut complaints: mpsc::Receiver<BadFrame>,
    limits: &Limits,
) -> Ending {
    let mut ping = interval_at(Instant::now() + limits.ping_every, limits.ping_every);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut output = TextOutput { sink, text: LossyText::default(), end: 0 };
    loop {
        // Only picks. What it picks is then sent whole.
        let picked = tokio::select! {
            event = reader.next() => Picked::Event(event),
            Some(complaint) = complaints.recv() => Picked::Complaint(complaint),
            _ = ping.tick() => Picked::Ping,
        };
        let sent = match picked {
            Picked::Event(Some(Event::Stage(stage))) => output.stage(&stage).await,
            Picked::Event(Some(Event::Ready { session, offset, provider, isolation, .. })) => {
                output.end = offset;
                let (session, provider, isolation) = (&*session, &*provider, isolation.as_deref());
                output.frame(ServerFrame::Ready { session, offset, provider, isolation }).await
            }
            Picked::Event(Some(Event::Output { bytes, .. })) => output.bytes(bytes, &mut reader).await,
            Picked::Event(Some(Event::Ended(outcome))) => match output.finish().await {
                Ok(()) => return outcome.into(),
                Err(error) => Err(error),
            },
            // Does not happen: the shell waits for this client, and nobody joins its session.
            Picked::Event(Some(Event::Gap { to, .. } | Event::Behind { to, .. })) => {
                reader.go_to(to);
                output.end = to;
                Ok(())
            }
            // This client is the only one and has set the size itself.
            Picked::Event(Some(Event::Size(_))) => Ok(()),
            Picked::Event(None) => unreachable!("`Ended` comes first and returns"),
            Picked::Complaint(complaint) => output.frame(ServerFrame::Error { message: &complaint.to_string() }).await,
            Picked::Ping => output.sink.send(Message::Ping(Bytes::new())).await,
        };
        if sent.is_err() {
            return Ending::Gone("the connection broke");
        }
    }
}

/// What happens next.
enum Picked {
    Event(Option<Event>),
    Complaint(BadFrame),
    Ping,
}

/// Output on its way to the client, and its place in the session's output.
struct TextOutput<'a> {
    sink: &'a mut Writer,
    text: LossyText,
    /// Offset after the last byte taken from the session. The text lags behind
    /// by the bytes that it holds back.
    end: u64,
}

impl TextOutput<'_> {
    async fn frame(&mut self, frame: ServerFrame<'_>) -> Sent {
        self.sink.send(Message::text(frame.encode())).await
    }

    async fn stage(&mut self, stage: &Stage) -> Sent {
        let (state, ms) = told_state(stage);
        let (message, stage) = (&*stage.message, Some(stage.name.as_str()));
        self.frame(ServerFrame::Status(Status { message, stage, state: Some(state), ms })).await
    }

    /// Sends a chunk, joined with further chunks that are there and fit, or in
    /// parts.
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

    /// Sends the bytes that were held back, because no more will come.
    async fn finish(&mut self) -> Sent {
        let offset = self.end - self.text.held() as u64;
        match self.text.finish() {
            "" => Ok(()),
            data => self.frame(ServerFrame::Output { data, offset }).await,
        }
    }
}
