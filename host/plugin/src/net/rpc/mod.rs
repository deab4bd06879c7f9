//! Calls of the Connect protocol whose messages carry bytes.
//!
//! Owns the life of one call: it is asked for, opened by a message, read to its end. The bytes come out of base64 text in JSON, and those
//! of the other direction go as calls of their own. Deliberately knows no plugin and no server's messages: a plugin says
//! where bytes stand.
//!
//! | file | what it owns |
//! |---|---|
//! | `asking` | requests of the protocol |
//! | `input` | bytes to the other end |
//! | `end` | how a call says that it failed |

mod asking;
mod end;
mod input;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::BodyExt as _;
use tokio::time::timeout;
use wasmtime_wasi_http::Error;

use self::asking::Sort;
use self::end::Refused;
use sandbox_broker_codec::connect::{self, Frame, Frames};
use sandbox_broker_codec::json::{Kind, Messages, Path, Place};

pub(crate) use self::asking::Asking;
pub(crate) use self::input::{Plan, feed};

use super::body::of_bytes;
use super::carry::{self, Broken, Carried, Ending, Outputs};
use super::opening::{NotOpened, Refusal};
use super::sender::{Answered, reflected};
use sandbox_broker_core::sandbox::CHUNK_BYTES;

/// How long an ended call may take to end its answer too, so that its connection can serve again.
const DRAIN: Duration = Duration::from_secs(1);
/// Bytes that a call may give before it is open.
const EARLY_BYTES: usize = 64 << 10;

/// A call, as a plugin describes it.
pub(crate) struct Call {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) message: String,
    /// What the message has that opens the call.
    pub(crate) opens: Path,
    /// Where the bytes of the first output stand, and those of the second.
    pub(crate) outputs: (Path, Option<Path>),
    /// What the message has that closes it.
    pub(crate) closes: Path,
    /// The call is broken after this long without a byte.
    pub(crate) silence: Duration,
}

/// A call that is open.
pub(crate) struct Open {
    pub(crate) headers: HeaderMap,
    /// The message that opened it.
    pub(crate) message: String,
    pub(crate) carried: Carried,
}

/// What one look at the answer gave.
enum Seen {
    /// The message that opened the call.
    Opened(Bytes),
    /// The message that closed it.
    Closed(Bytes),
    /// The end of the stream: an error, or nothing.
    End(Bytes),
    /// Bytes, or nothing at all.
    Bytes,
}

/// The answer of a call.
struct Reading {
    answered: Answered,
    frames: Frames,
    messages: Messages,
    silence: Duration,
    /// Bytes of both outputs that were not handed on.
    out: (Vec<u8>, Vec<u8>),
}

impl Reading {
    /// Waits for more, and reads until something is to be told.
    async fn next(&mut self) -> Result<Seen, Broken> {
        loop {
            while let Some(frame) = self.frames.next_frame().map_err(|e| Broken::Malformed(e.to_string()))? {
                let message = match frame {
                    Frame::End(end) => return Ok(Seen::End(end)),
                    Frame::Message(message) => message,
                };
                let read = self.messages.read(&message, &mut self.out);
                match read.map_err(|e| Broken::Malformed(e.to_string()))? {
                    Kind::Opens => return Ok(Seen::Opened(message)),
                    Kind::Closes => return Ok(Seen::Closed(message)),
                    Kind::Other if self.out.0.len().max(self.out.1.len()) >= CHUNK_BYTES => return Ok(Seen::Bytes),
                    Kind::Other => {}
                }
            }
            if !self.out.0.is_empty() || !self.out.1.is_empty() {
                return Ok(Seen::Bytes);
            }
            let frame = timeout(self.silence, self.answered.body.frame()).await;
            match frame.map_err(|_| Broken::Silent(self.silence))? {
                None => return Err(Broken::CutOff),
                Some(Err(error)) => return Err(Broken::Io(std::io::Error::other(error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.frames.feed(&data);
                    }
                }
            }
        }
    }

    /// Reads on to the end of the call.
    async fn rest(&mut self, outputs: &mut Outputs) -> Ending {
        loop {
            let seen = self.next().await;
            outputs.send_all(false, std::mem::take(&mut self.out.0)).await?;
            outputs.send_all(true, std::mem::take(&mut self.out.1)).await?;
            let last = match seen? {
                Seen::Opened(_) | Seen::Bytes => continue,
                Seen::Closed(message) => message,
                Seen::End(end) => match Refused::of_end(&end) {
                    Ok(None) => Bytes::new(),
                    _ => end,
                },
            };
            outputs.end().await;
            self.answered.search.clone().piece(last.clone())?;
            return Ok(String::from_utf8_lossy(&last).into_owned());
        }
    }
}

/// Makes a call, and waits until it is open.
pub(crate) async fn call(asking: &Asking, call: Call) -> Result<Open, NotOpened> {
    let Call { uri, headers, message, opens, outputs: (first, second), closes, silence } = call;
    let mut asked = Vec::with_capacity(connect::HEAD + message.len());
    connect::frame(&mut asked, |out| out.extend_from_slice(message.as_bytes()));
    let answered = asking.ask(&uri, &headers, Sort::Stream, of_bytes(asked.into())).await?;
    if answered.head.status != StatusCode::OK {
        let Answered { head, body, search, .. } = answered;
        return Err(asking.sender.refusal(http::Response::from_parts(head, body), search).await);
    }
    let has_second = second.is_some();
    let outputs = (Place::new(first), second.map(Place::new));
    let messages = Messages { outputs, opens, closes };
    let out = Default::default();
    let mut reading = Reading { answered, frames: Frames::default(), messages, silence, out };
    let mut early = (Vec::new(), Vec::new());
    let opened = loop {
        let seen = reading.next().await.map_err(|broken| not_opened(&broken))?;
        early.0.append(&mut reading.out.0);
        early.1.append(&mut reading.out.1);
        match seen {
            Seen::Opened(message) => break message,
            Seen::Bytes if early.0.len().max(early.1.len()) < EARLY_BYTES => {}
            Seen::Bytes | Seen::Closed(_) => return Err(Error::HttpProtocolError.into()),
            Seen::End(end) => return Err(refused(asking, reading.answered, &end)),
        }
    };
    reading.out = early;
    if reading.answered.search.clone().piece(opened.clone()).is_err() {
        return Err(reflected(&asking.sender.permissions).into());
    }
    let message = String::from_utf8_lossy(&opened).into_owned();
    let headers = std::mem::take(&mut reading.answered.head.headers);
    let search = reading.answered.search.clone();
    let carried = carry::spawn(has_second, search, move |mut outputs| async move {
        let ending = reading.rest(&mut outputs).await;
        if ending.is_ok() {
            tokio::spawn(timeout(DRAIN, drain(reading.answered)));
        }
        ending
    });
    Ok(Open { headers, message, carried })
}

/// Reads what is left of an answer whose call has ended.
async fn drain(mut answered: Answered) {
    while let Some(Ok(_)) = answered.body.frame().await {}
}

/// A call that ended before it was open.
fn refused(asking: &Asking, answered: Answered, end: &Bytes) -> NotOpened {
    if answered.search.clone().piece(end.clone()).is_err() {
        return reflected(&asking.sender.permissions).into();
    }
    let Answered { head, .. } = answered;
    NotOpened::Refused(Refusal { status: head.status, headers: head.headers, body: end.to_vec() })
}

/// The error for a call that broke before it was open.
fn not_opened(broken: &Broken) -> NotOpened {
    match broken {
        Broken::Silent(_) => Error::HttpResponseTimeout.into(),
        Broken::Malformed(_) => Error::HttpProtocolError.into(),
        _ => Error::ConnectionTerminated.into(),
    }
}
