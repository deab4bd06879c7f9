//! One listener of a process: a bounded queue, its end in the pump and its end in an answer's body.
//!
//! The body adds what belongs to one stream only: keepalives, a deadline, and the end-of-stream envelope. Knows no process.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::event;
use crate::envd::connect::{self, Code, ConnectError};

/// Frames that wait for one listener. With at most 43 KiB each, a listener costs at most 350 KiB here.
pub(super) const QUEUE: usize = 8;

/// How long a listener may stall while others listen too; then it is dropped.
pub(super) const STALL: Duration = Duration::from_secs(5);

/// The pump's end.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) queue: mpsc::Sender<Bytes>,
    fault: Arc<OnceLock<ConnectError>>,
}

impl Subscriber {
    /// Ends the stream with an error once what is queued has been read.
    pub(super) fn fail(self, error: ConnectError) {
        let _ = self.fault.set(error);
    }

    /// Queues a last frame on a fresh subscriber.
    pub(super) fn send_last(self, frame: Bytes) {
        let _ = self.queue.try_send(frame);
    }
}

/// The reader's end.
#[derive(Debug)]
pub(crate) struct Subscription {
    queue: mpsc::Receiver<Bytes>,
    fault: Arc<OnceLock<ConnectError>>,
}

/// Makes both ends; the `start` event is already queued.
pub(super) fn pair(pid: u32) -> (Subscriber, Subscription) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let fault = Arc::new(OnceLock::new());
    let subscriber = Subscriber { queue: sender, fault: fault.clone() };
    subscriber.queue.try_send(event::start(pid)).expect("the queue is empty");
    (subscriber, Subscription { queue, fault })
}

impl Subscription {
    /// The body of a stream. After `deadline` it ends with `deadline_exceeded`; when idle it sends keepalives.
    pub(crate) fn into_body(self, keepalive: Duration, deadline: Option<Duration>) -> EventBody {
        let now = Instant::now();
        EventBody {
            subscription: Some(self),
            interval: keepalive,
            last: now,
            keepalive: Box::pin(tokio::time::sleep_until(now + keepalive)),
            deadline: deadline.map(|deadline| Box::pin(tokio::time::sleep_until(now + deadline))),
        }
    }
}

/// A body that yields one envelope per frame.
#[derive(Debug)]
pub(crate) struct EventBody {
    /// Empty once the end-of-stream envelope went out.
    subscription: Option<Subscription>,
    interval: Duration,
    /// When the last frame went out. The timer is moved when it fires, not for every frame.
    last: Instant,
    keepalive: Pin<Box<Sleep>>,
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
        let Some(subscription) = &mut this.subscription else { return Poll::Ready(None) };
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            this.subscription = None;
            let error = ConnectError::new(Code::DeadlineExceeded, "the time limit of the stream has passed");
            return Poll::Ready(Some(Ok(Frame::data(error.end_of_stream()))));
        }
        match subscription.queue.poll_recv(context) {
            Poll::Ready(Some(frame)) => {
                this.last = Instant::now();
                return Poll::Ready(Some(Ok(Frame::data(frame))));
            }
            Poll::Ready(None) => {
                let last = subscription.fault.get().map_or_else(connect::end_of_stream, ConnectError::end_of_stream);
                this.subscription = None;
                return Poll::Ready(Some(Ok(Frame::data(last))));
            }
            Poll::Pending => {}
        }
        loop {
            ready!(this.keepalive.as_mut().poll(context));
            let due = this.last + this.interval;
            let now = Instant::now();
            if due <= now {
                this.last = now;
                this.keepalive.as_mut().reset(now + this.interval);
                // Registers the timer again: the queue is polled anew before the next frame.
                return Poll::Ready(Some(Ok(Frame::data(event::keepalive()))));
            }
            this.keepalive.as_mut().reset(due);
        }
    }
}
