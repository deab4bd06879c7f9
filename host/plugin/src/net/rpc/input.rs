//! Bytes to the other end of a call, in order, each at most once.
//!
//! Owns the requests that carry them. One stream carries all that comes until a pause; a server that lacks such a call gets one
//! request after another. What was sent and not confirmed is never sent again. Deliberately knows nothing of what comes back on the call.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use http::{HeaderMap, StatusCode, Uri};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::asking::{Asking, Sort};
use super::end::{self, Refused, UNIMPLEMENTED};
use crate::bindings::host::types::{Code, Error};
use crate::convert::denial;
use crate::net::body::{of_bytes, of_channel};
use crate::net::carry::{Broken, Ending};
use crate::net::exchange::{failure, place_of};
use sandbox_broker_codec::connect::{Frame, Frames, frame};
use sandbox_broker_codec::json::wrap;

/// Bytes that are kept until the server has shown that it takes the stream: what a person types, or pastes, before a refusal
/// can have come back.
const KEPT_BYTES: usize = 64 << 10;
/// How long a server that lacks the stream may take to say so.
const REFUSES_WITHIN: Duration = Duration::from_secs(15);
/// How long the end of a connection may still come after its input has failed: both fail together when a process dies, in
/// either order.
const GRACE: Duration = Duration::from_secs(2);
/// Messages between the source and the connection.
const MESSAGES: usize = 2;

/// How bytes become requests.
pub(crate) struct Plan {
    /// Headers of every request.
    pub(crate) headers: HeaderMap,
    /// Takes a stream.
    pub(crate) stream: Uri,
    /// The first message of a stream.
    pub(crate) begin: String,
    /// What stands before the bytes in each message after it, and behind them.
    pub(crate) around: (String, String),
    /// Takes one message, with what stands before the bytes in it, and behind them.
    pub(crate) single: Option<(Uri, String, String)>,
    /// What to send at the end of the bytes.
    pub(crate) end: Option<(Uri, String)>,
    /// Bytes of a message, at most.
    pub(crate) size: usize,
    /// Silence that ends a stream.
    pub(crate) pause: Duration,
    /// Time for an answer.
    pub(crate) timeout: Duration,
    /// Codes by which the server says that the other end takes no more.
    pub(crate) over: Vec<String>,
}

/// How a server took what it was sent.
#[derive(Debug)]
enum Verdict {
    /// All of it.
    Taken,
    /// It has no such call: nothing of it was taken.
    Lacking,
    /// The other end takes no more, or is gone. The call itself will tell.
    Over,
    /// It cannot be known what was taken.
    Lost(Error),
}

/// Why a stream was finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Nothing came for a while.
    Pause,
    /// Nothing will come.
    End,
}

/// What comes, in pieces of a bounded size.
struct Source {
    bytes: mpsc::Receiver<Bytes>,
    /// What of the last chunk did not fit.
    rest: Bytes,
    size: usize,
}

impl Source {
    /// The bytes that have come. None at the end. Giving up the wait loses nothing.
    async fn next(&mut self) -> Option<Bytes> {
        while self.rest.is_empty() {
            self.rest = self.bytes.recv().await?;
        }
        let piece = self.rest.split_to(self.size.min(self.rest.len()));
        if !self.rest.is_empty() || piece.len() == self.size {
            return Some(piece);
        }
        let Ok(more) = self.bytes.try_recv() else { return Some(piece) };
        let mut joined = BytesMut::from(&piece[..]);
        let mut next = Some(more);
        while let Some(mut chunk) = next {
            joined.extend_from_slice(&chunk.split_to(chunk.len().min(self.size - joined.len())));
            self.rest = chunk;
            next = if self.rest.is_empty() && joined.len() < self.size { self.bytes.try_recv().ok() } else { None };
        }
        Some(joined.freeze())
    }
}

/// Sends all `bytes` to the other end of a connection, until that has `ended`. Returns the end that the connection then has.
/// `cut` ends the connection when bytes may be lost.
pub(crate) fn feed<E>(
    asking: Asking,
    plan: Plan,
    bytes: mpsc::Receiver<Bytes>,
    ended: E,
    cut: CancellationToken,
) -> oneshot::Receiver<Ending>
where
    E: Future<Output = Option<Result<String, Error>>> + Send + Unpin + 'static,
{
    let (mut to, ending) = oneshot::channel();
    tokio::spawn(async move {
        let mut ended = ended;
        let joined = async {
            let carried = tokio::select! {
                ended = &mut ended => return ended,
                carried = carry(&asking, plan, bytes) => carried,
            };
            match carried {
                Ok(()) => ended.await,
                Err(mut lost) => {
                    lost.attrs.push(("input".to_owned(), "lost".to_owned()));
                    timeout(GRACE, ended).await.unwrap_or_else(|_| {
                        cut.cancel();
                        Some(Err(lost))
                    })
                }
            }
        };
        let joined = tokio::select! {
            joined = joined => joined,
            () = to.closed() => return,
        };
        if let Some(joined) = joined {
            // Whoever asked may have left.
            let _ = to.send(joined.map_err(Broken::Told));
        }
    });
    ending
}

/// Carries all bytes and their end, or until the other end takes no more.
///
/// # Errors
/// When bytes may be lost while the other end lives.
async fn carry(asking: &Asking, plan: Plan, bytes: mpsc::Receiver<Bytes>) -> Result<(), Error> {
    let mut source = Source { bytes, rest: Bytes::new(), size: plan.size };
    let carrying = Carrying { asking, plan: &plan };
    while let Some(first) = source.next().await {
        let mut kept = Some(first.to_vec());
        drop(first);
        // On the heap: a way of input is silent most of the time.
        match Box::pin(carrying.stream(&mut source, &mut kept)).await {
            Verdict::Taken => {}
            Verdict::Over => return Ok(()),
            Verdict::Lost(error) => return Err(error),
            Verdict::Lacking => {
                let Some(kept) = kept else { return Err(lost("the server stopped taking the input")) };
                match Box::pin(carrying.singly(&mut source, kept.into())).await {
                    Verdict::Taken => break,
                    Verdict::Lacking | Verdict::Over => return Ok(()),
                    Verdict::Lost(error) => return Err(error),
                }
            }
        }
    }
    if let Some((uri, message)) = &plan.end
        && let Verdict::Lost(error) = Box::pin(carrying.send(uri, message.clone().into())).await
    {
        return Err(error);
    }
    Ok(())
}

/// How bytes are carried.
struct Carrying<'a> {
    asking: &'a Asking,
    plan: &'a Plan,
}

impl Carrying<'_> {
    /// One stream, until a pause or the end of the source. `kept` begins with what has to be sent first and collects what would
    /// have to be sent again; none when that is too much.
    async fn stream(&self, source: &mut Source, kept: &mut Option<Vec<u8>>) -> Verdict {
        let (to, frames) = mpsc::channel(MESSAGES);
        let begun = Instant::now();
        let verdict = {
            let mut answer = pin!(self.judged(frames));
            let feed = pin!(self.feed(to, source, kept));
            match select(answer.as_mut(), feed).await {
                Either::Left((Verdict::Taken, _)) => Verdict::Lost(lost("the server stopped taking the input")),
                Either::Left((verdict, _)) => verdict,
                // A program may read its input as late as it likes.
                Either::Right((Stop::Pause, _)) => answer.await,
                Either::Right((Stop::End, _)) => timeout(self.plan.timeout, answer)
                    .await
                    .unwrap_or_else(|_| Verdict::Lost(lost("the server did not confirm the input"))),
            }
        };
        if begun.elapsed() > REFUSES_WITHIN {
            *kept = None;
        }
        verdict
    }

    /// Writes a stream: its first message, then bytes as they come. Returns when it has written the last.
    async fn feed(&self, to: mpsc::Sender<Bytes>, source: &mut Source, kept: &mut Option<Vec<u8>>) -> Stop {
        let mut message = Vec::new();
        frame(&mut message, |out| out.extend_from_slice(self.plan.begin.as_bytes()));
        if let Some(first) = kept {
            self.message(first, &mut message);
        }
        loop {
            if to.send(std::mem::take(&mut message).into()).await.is_err() {
                // The answer says why.
                return pending().await;
            }
            match timeout(self.plan.pause, source.next()).await {
                Ok(Some(bytes)) => {
                    keep(kept, &bytes);
                    self.message(&bytes, &mut message);
                }
                Ok(None) => return Stop::End,
                Err(_) => return Stop::Pause,
            }
        }
    }

    fn message(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let (before, behind) = &self.plan.around;
        frame(out, |out| wrap(before, bytes, behind, out));
    }

    /// Sends a stream, waits for its answer and judges it.
    async fn judged(&self, frames: mpsc::Receiver<Bytes>) -> Verdict {
        let Plan { stream, headers, .. } = self.plan;
        let host = place_of(stream);
        match self.asking.answer(stream, headers, Sort::Stream, of_channel(frames)).await {
            Ok((StatusCode::OK, body)) => self.of_stream(&body, &host),
            Ok((status, body)) => self.of_answer(status, &body, &host),
            Err(error) => Verdict::Lost(failure(&error, &host)),
        }
    }

    /// One request after the other.
    async fn singly(&self, source: &mut Source, first: Bytes) -> Verdict {
        let Some((uri, before, behind)) = &self.plan.single else {
            return Verdict::Lost(denial(Code::Unimplemented, "the server takes no input"));
        };
        let mut next = Some(first);
        while let Some(bytes) = next {
            for piece in bytes.chunks(self.plan.size) {
                let mut message = Vec::new();
                wrap(before, piece, behind, &mut message);
                match self.send(uri, message.into()).await {
                    Verdict::Taken => {}
                    verdict => return verdict,
                }
            }
            next = source.next().await;
        }
        Verdict::Taken
    }

    /// One request with one message.
    async fn send(&self, uri: &Uri, message: Bytes) -> Verdict {
        let host = place_of(uri);
        let sent = self.asking.answer(uri, &self.plan.headers, Sort::Single, of_bytes(message));
        match timeout(self.plan.timeout, sent).await {
            Ok(Ok((StatusCode::OK, _))) => Verdict::Taken,
            Ok(Ok((status, body))) => self.of_answer(status, &body, &host),
            Ok(Err(error)) => Verdict::Lost(failure(&error, &host)),
            Err(_) => Verdict::Lost(failure(&wasmtime_wasi_http::Error::HttpResponseTimeout, &host)),
        }
    }

    /// The verdict in the frames of an answer.
    fn of_stream(&self, body: &[u8], host: &str) -> Verdict {
        let mut frames = Frames::default();
        frames.feed(body);
        while let Ok(Some(frame)) = frames.next_frame() {
            if let Frame::End(end) = frame {
                return match Refused::of_end(&end) {
                    Ok(None) => Verdict::Taken,
                    Ok(Some(refused)) => self.of_refused(&refused, host),
                    Err(_) => Verdict::Lost(denial(Code::Internal, format!("{host} ended a stream with nonsense"))),
                };
            }
        }
        Verdict::Lost(lost("the server did not confirm the input"))
    }

    /// The verdict in an answer that is no success.
    fn of_answer(&self, status: StatusCode, body: &[u8], host: &str) -> Verdict {
        if end::is_missing(status, body) {
            return Verdict::Lacking;
        }
        match Refused::of_body(body) {
            Some(refused) => self.of_refused(&refused, host),
            None => Verdict::Lost(end::foreign(status, host)),
        }
    }

    fn of_refused(&self, refused: &Refused, host: &str) -> Verdict {
        if refused.code == UNIMPLEMENTED {
            Verdict::Lacking
        } else if self.plan.over.contains(&refused.code) {
            Verdict::Over
        } else {
            Verdict::Lost(refused.error(host))
        }
    }
}

/// Keeps `bytes` for sending them again, or gives up on that.
fn keep(kept: &mut Option<Vec<u8>>, bytes: &[u8]) {
    match kept {
        Some(all) if all.len() + bytes.len() <= KEPT_BYTES => all.extend_from_slice(bytes),
        _ => *kept = None,
    }
}

fn lost(what: &str) -> Error {
    denial(Code::Unavailable, format!("{what}; some of it may be lost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_is_joined_and_what_is_long_is_cut() {
        let (to, bytes) = mpsc::channel(8);
        for chunk in ["ab", "c", "", "defgh", "i"] {
            to.send(Bytes::from_static(chunk.as_bytes())).await.unwrap();
        }
        drop(to);
        let mut source = Source { bytes, rest: Bytes::new(), size: 4 };
        let mut pieces = Vec::new();
        while let Some(piece) = source.next().await {
            pieces.push(piece);
        }
        assert_eq!(pieces, ["abcd", "efgh", "i"]);
    }

    #[test]
    fn what_is_kept_for_sending_again_is_bounded() {
        let mut kept = Some(Vec::new());
        keep(&mut kept, &vec![0; KEPT_BYTES]);
        assert_eq!(kept.as_ref().map(Vec::len), Some(KEPT_BYTES));
        keep(&mut kept, b"x");
        assert_eq!(kept, None);
        keep(&mut kept, b"x");
        assert_eq!(kept, None);
    }
}
