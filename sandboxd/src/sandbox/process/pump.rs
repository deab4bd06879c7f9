//! The task that moves one process's output to its listeners, and reports its end after the last byte.
//!
//! With one listener the process feels the listener's pace, as on a real terminal: nothing is read ahead and nothing is
//! lost. With several listeners, one that stalls longer than [`STALL`] is dropped. Output without a listener is read
//! and thrown away.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::event::{self, Channel};
use super::table::ProcessTable;
use crate::connect::stream::Producer;
use crate::connect::{Code, ConnectError};
use sandboxd_init::wire::ExitStatus;

/// Bytes of output in one frame. A frame grows only while the kernel has more output ready.
const CHUNK: usize = 32 * 1024;

/// How long a listener may stall while others listen too. After that it is dropped.
pub(super) const STALL: Duration = Duration::from_secs(5);

/// Listeners of one process.
const MAX_LISTENERS: usize = 32;

/// How long the output of an ended process may be silent until it counts as complete. Everything that the process
/// itself wrote is in the kernel by then. The time is for its children, and for the kernel's transfer between the two
/// sides of a terminal.
const DRAIN_SILENCE: Duration = Duration::from_millis(100);

/// How long the children of an ended process may go on writing into its stream.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

thread_local! {
    /// The buffer that output is read into before it is encoded. No process owns one.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pump {
    table: Arc<ProcessTable>,
    /// Cancelled when the sandbox is gone.
    gone: CancellationToken,
    pid: u32,
    sources: Vec<(Channel, Arc<AsyncFd<OwnedFd>>)>,
    joins: mpsc::Receiver<Producer>,
    listeners: Vec<Producer>,
    ended: CancellationToken,
}

impl Pump {
    pub(super) fn new(
        table: Arc<ProcessTable>,
        gone: CancellationToken,
        pid: u32,
        sources: Vec<(Channel, Arc<AsyncFd<OwnedFd>>)>,
        joins: mpsc::Receiver<Producer>,
        first: Producer,
        ended: CancellationToken,
    ) -> Self {
        Self { table, gone, pid, sources, joins, listeners: vec![first], ended }
    }

    /// Runs until the end has been delivered, or the sandbox is gone.
    pub(super) async fn run(mut self, exit: oneshot::Receiver<ExitStatus>) {
        let gone = self.gone.clone();
        let finished = tokio::select! {
            biased;
            () = gone.cancelled() => false,
            finished = self.deliver_everything(exit) => finished,
        };
        self.ended.cancel();
        if !finished {
            self.joins.close();
            while let Ok(late) = self.joins.try_recv() {
                self.listeners.push(late);
            }
            for listener in self.listeners {
                listener.fail(ConnectError::new(Code::Unavailable, "the sandbox ended before the stream completed"));
            }
        }
    }

    /// Returns whether the process ended by itself, before its sandbox.
    async fn deliver_everything(&mut self, mut exit: oneshot::Receiver<ExitStatus>) -> bool {
        let status = loop {
            tokio::select! {
                // Output comes last, so that a flood does not hide the rest.
                biased;
                Some(listener) = self.joins.recv() => self.admit(listener),
                status = &mut exit => match status {
                    Ok(status) => break status,
                    Err(_) => return false,
                },
                frame = next_output(&mut self.sources, !self.listeners.is_empty()), if !self.sources.is_empty() => {
                    self.deliver(frame).await;
                }
            }
        };
        self.ended.cancel();
        self.drain().await;
        let end = event::end(status);
        self.table.end(self.pid, end.clone());
        self.joins.close();
        while let Some(listener) = self.joins.recv().await {
            self.admit(listener);
        }
        self.deliver(Some(end)).await;
        true
    }

    fn admit(&mut self, listener: Producer) {
        self.listeners.retain(|listener| !listener.queue.is_closed());
        if self.listeners.len() < MAX_LISTENERS {
            self.listeners.push(listener);
        } else {
            listener.fail(ConnectError::new(
                Code::ResourceExhausted,
                format!("the process has {MAX_LISTENERS} listeners already"),
            ));
        }
    }

    /// Reads the rest of an ended process's output.
    async fn drain(&mut self) {
        let mut left = DRAIN_LIMIT;
        while !self.sources.is_empty() && !left.is_zero() {
            let begun = Instant::now();
            let output = next_output(&mut self.sources, !self.listeners.is_empty());
            let Ok(frame) = tokio::time::timeout(DRAIN_SILENCE.min(left), output).await else {
                return;
            };
            // Waiting for listeners does not count: a slow listener must get everything.
            left = left.saturating_sub(begun.elapsed());
            self.deliver(frame).await;
        }
    }

    /// Gives a frame to every listener. Waits for slow ones as described above.
    async fn deliver(&mut self, frame: Option<Bytes>) {
        let Some(frame) = frame else { return };
        let mut deadline = None;
        // Listeners before `index` have the frame, the others do not.
        let mut index = 0;
        while let Some(listener) = self.listeners.get(index) {
            match listener.queue.try_send(frame.clone()) {
                Ok(()) => {
                    index += 1;
                    continue;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    self.listeners.swap_remove(index);
                    continue;
                }
                Err(mpsc::error::TrySendError::Full(_)) => {}
            }
            let alone = self.listeners.len() == 1;
            let give_up = *deadline.get_or_insert_with(|| Instant::now() + STALL);
            if alone {
                deadline = None;
            }
            let queue = listener.queue.clone();
            tokio::select! {
                biased;
                Some(joined) = self.joins.recv() => self.listeners.push(joined),
                room = queue.reserve() => match room {
                    Ok(room) => {
                        room.send(frame.clone());
                        index += 1;
                    }
                    Err(_) => drop(self.listeners.swap_remove(index)),
                },
                () = tokio::time::sleep_until(give_up), if !alone => {
                    tracing::debug!(pid = self.pid, "a listener stalled and was dropped");
                    let message = format!("the stream was not read for {} s while others were: connect again", STALL.as_secs());
                    self.listeners.swap_remove(index).fail(ConnectError::new(Code::ResourceExhausted, message));
                }
            }
        }
    }
}

/// Waits for output and takes what is there, up to a chunk. `None` if there is nothing to deliver: the output is not
/// `wanted`, or a source ended and was removed.
async fn next_output(sources: &mut Vec<(Channel, Arc<AsyncFd<OwnedFd>>)>, wanted: bool) -> Option<Bytes> {
    std::future::poll_fn(|context| {
        for index in 0..sources.len() {
            let (channel, source) = &sources[index];
            match poll_source(*channel, source, wanted, context) {
                Poll::Pending => {}
                Poll::Ready(Output::Some(frame)) => {
                    // Next time the other source comes first.
                    sources.rotate_left(index + 1);
                    return Poll::Ready(frame);
                }
                Poll::Ready(Output::End) => {
                    sources.remove(index);
                    return Poll::Ready(None);
                }
            }
        }
        Poll::Pending
    })
    .await
}

enum Output {
    Some(Option<Bytes>),
    End,
}

fn poll_source(channel: Channel, source: &AsyncFd<OwnedFd>, wanted: bool, context: &mut Context<'_>) -> Poll<Output> {
    loop {
        let mut ready = match source.poll_read_ready(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(ready)) => ready,
            Poll::Ready(Err(_)) => return Poll::Ready(Output::End),
        };
        let output = SCRATCH.with_borrow_mut(|scratch| {
            let mut filled = 0;
            let mut ended = false;
            while filled < scratch.len() {
                match rustix::io::read(source.get_ref(), &mut scratch[filled..]) {
                    // Reading the master of a terminal fails with EIO when nobody holds the other side.
                    Ok(0) => ended = true,
                    Ok(read) => {
                        filled += read;
                        continue;
                    }
                    Err(Errno::INTR) => continue,
                    Err(Errno::WOULDBLOCK) => ready.clear_ready(),
                    Err(_) => ended = true,
                }
                break;
            }
            match filled {
                0 if ended => Some(Output::End),
                0 => None,
                _ => Some(Output::Some(wanted.then(|| event::data(channel, &scratch[..filled])))),
            }
        });
        if let Some(output) = output {
            return Poll::Ready(output);
        }
    }
}
