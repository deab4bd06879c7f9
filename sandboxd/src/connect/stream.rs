//! A server stream: a bounded queue of envelopes between a producer and the body of an answer.
//!
//! The body adds what belongs to a single stream: keepalives, a deadline, and the end-of-stream envelope. Knows no
//! service.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::{Code, ConnectError};

/// Envelopes that wait for one reader. Each holds at most 43 KiB of output, so a reader costs at most 350 KiB here.
const QUEUE: usize = 8;

/// The producer's end. Dropping it ends the stream without an error, after the queued envelopes.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) queue: mpsc::Sender<Bytes>,
    fault: Arc<OnceLock<ConnectError>>,
}

impl Producer {
    /// Ends the stream with an error, after the queued envelopes.
    pub(crate) fn fail(self, error: ConnectError) {
        let _ = self.fault.set(error);
    }
}

/// The reader's end.
#[derive(Debug)]
pub(crate) struct EventStream {
    queue: mpsc::Receiver<Bytes>,
    fault: Arc<OnceLock<ConnectError>>,
    keepalive: Bytes,
}

/// Makes both ends. `first` is already queued. The stream sends `keepalive` when it was idle.
pub(crate) fn channel(first: Bytes, keepalive: Bytes) -> (Producer, EventStream) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let fault = Arc::new(OnceLock::new());
    let producer = Producer { queue: sender, fault: fault.clone() };
    producer.queue.try_send(first).expect("the queue is empty");
    (producer, EventStream { queue, fault, keepalive })
}

impl EventStream {
    /// The body of an answer. It ends with `deadline_exceeded` after `deadline`, and sends a keepalive after `interval`
    /// of silence.
    pub(crate) fn into_body(self, interval: Duration, deadline: Option<Duration>) -> EventBody {
        let now = Instant::now();
        EventBody {
            stream: Some(self),
            interval,
            last: now,
            timer: Box::pin(tokio::time::sleep_until(now + interval)),
            deadline: deadline.map(|deadline| Box::pin(tokio::time::sleep_until(now + deadline))),
        }
    }
}

/// A body that yields one envelope per frame.
#[derive(Debug)]
pub(crate) struct EventBody {
    /// `None` once the end-of-stream envelope was sent.
    stream: Option<EventStream>,
    interval: Duration,
    /// When the last frame was sent. The timer is reset when it fires, not for every frame.
    last: Instant,
    timer: Pin<Box<Sleep>>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for EventBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            this.stream = None;
            let error = ConnectError::new(Code::DeadlineExceeded, "the time limit of the stream has passed");
            return Poll::Ready(Some(Ok(Frame::data(error.end_of_stream()))));
        }
        match stream.queue.poll_recv(context) {
            Poll::Ready(Some(frame)) => {
                this.last = Instant::now();
                return Poll::Ready(Some(Ok(Frame::data(frame))));
            }
            Poll::Ready(None) => {
                let last = stream.fault.get().map_or_else(super::end_of_stream, ConnectError::end_of_stream);
                this.stream = None;
                return Poll::Ready(Some(Ok(Frame::data(last))));
            }
            Poll::Pending => {}
        }
        loop {
            ready!(this.timer.as_mut().poll(context));
            let due = this.last + this.interval;
            let now = Instant::now();
            if due <= now {
                this.last = now;
                this.timer.as_mut().reset(now + this.interval);
                // The queue is polled again before the next frame, which also registers the timer.
                return Poll::Ready(Some(Ok(Frame::data(stream.keepalive.clone()))));
            }
            this.timer.as_mut().reset(due);
        }
    }
}
