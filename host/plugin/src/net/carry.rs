//! Bytes of an open connection, carried outside every Store.
//!
//! Owns the task of one connection: it reads, takes the framing off, and hands chunks to channels; it writes what comes from
//! another channel. It ends with the connection, or when nobody holds what it returned any more. Deliberately knows no
//! plugin.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::ready;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

use super::opening::{Opened, Stream};
use crate::bindings::host::types as wit;
use sandbox_broker_codec::docker::Frames;
use sandbox_broker_core::sandbox::{CHUNK_BYTES, PIPE_CHUNKS};
use sandbox_broker_secrets::{Reflected, Search};
use sandbox_stdx::words::clean;

/// Bytes of one read. The room is on the stack, so a silent connection holds none.
const READ_BYTES: usize = 16 << 10;
/// Bytes of one WebSocket message, at most. Kubernetes sends 32 KiB.
const MESSAGE_BYTES: usize = 1 << 20;
/// Bytes of a connection's last words that are kept.
const REPORT_BYTES: usize = 64 << 10;
/// Bytes of a reason for closing that a message shows.
const REASON_BYTES: usize = 256;

/// Channels of Kubernetes' protocols.
mod channel {
    pub(super) const STDIN: u8 = 0;
    pub(super) const STDOUT: u8 = 1;
    pub(super) const STDERR: u8 = 2;
    pub(super) const STATUS: u8 = 3;
    /// v5 only: the channel that the next byte names has ended.
    pub(super) const CLOSE: u8 = 255;
}

/// A connection's last words, or why it broke.
pub(crate) type Ending = Result<String, Broken>;

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The connection itself.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The same, for a WebSocket.
    #[error("the connection broke: {0}")]
    WebSocket(#[from] tungstenite::Error),
    /// The server said so.
    #[error("the server closed the connection with {0}")]
    Closed(String),
    /// It ended without the words that end it.
    #[error("the connection ended without a farewell")]
    CutOff,
    /// Bytes that are not of the framing.
    #[error("the server sent what is not {0}")]
    Unframed(&'static str),
    /// Bytes that break the rules of the protocol, for this reason.
    #[error("the server broke the protocol: {0}")]
    Malformed(String),
    /// Nothing came for so long.
    #[error("the server has shown no sign of life for {} s", .0.as_secs())]
    Silent(Duration),
    /// For this reason, in the words for a guest.
    #[error("{}", .0.message)]
    Told(wit::Error),
    /// A secret came back.
    #[error("the server repeated the secret that the request carried")]
    Reflected,
}

impl From<Reflected> for Broken {
    fn from(_: Reflected) -> Self {
        Broken::Reflected
    }
}

/// How bytes stand on a connection that is no WebSocket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Framing {
    Raw,
    Docker,
}

/// What stands in the messages of a WebSocket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Messages {
    Raw,
    /// Messages with channel bytes. Whether the protocol has a message for the end of input.
    Kubernetes {
        ends_input: bool,
    },
}

/// What a connection gives.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) first: mpsc::Receiver<Bytes>,
    pub(crate) second: mpsc::Receiver<Bytes>,
    pub(crate) ended: Ended,
}

/// The end of a connection.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) ending: oneshot::Receiver<Ending>,
    /// Ends it at once, and its outputs with it.
    pub(crate) cut: CancellationToken,
}

/// One output of a connection.
struct Output {
    to: mpsc::Sender<Bytes>,
    search: Search,
}

impl Output {
    /// A closed channel means that nobody reads this output.
    async fn send(&mut self, chunk: Bytes) -> Result<(), Reflected> {
        let chunk = self.search.piece(chunk)?;
        if !chunk.is_empty() {
            let _ = self.to.send(chunk).await;
        }
        Ok(())
    }

    async fn end(&mut self) {
        let held = self.search.end();
        if !held.is_empty() {
            let _ = self.to.send(held).await;
        }
    }
}

/// Both outputs of a connection; `second` is missing where the framing has one.
pub(super) struct Outputs {
    first: Output,
    second: Option<Output>,
}

impl Outputs {
    async fn send(&mut self, second: bool, chunk: Bytes) -> Result<(), Reflected> {
        match (&mut self.second, second) {
            (Some(output), true) => output.send(chunk).await,
            (None, true) => Ok(()),
            (_, false) => self.first.send(chunk).await,
        }
    }

    /// Sends bytes of any number.
    pub(super) async fn send_all(&mut self, second: bool, bytes: Vec<u8>) -> Result<(), Reflected> {
        let mut rest = Bytes::from(bytes);
        while !rest.is_empty() {
            let chunk = rest.split_to(rest.len().min(CHUNK_BYTES));
            self.send(second, chunk).await?;
        }
        Ok(())
    }

    pub(super) async fn end(&mut self) {
        self.first.end().await;
        if let Some(second) = &mut self.second {
            second.end().await;
        }
    }
}

/// Runs `work` in a task until it ends or nobody holds anything of the connection.
pub(super) fn spawn<F>(has_second: bool, search: Search, work: impl FnOnce(Outputs) -> F) -> Carried
where
    F: Future<Output = Ending> + Send + 'static,
{
    let (to_first, first) = mpsc::channel(PIPE_CHUNKS);
    let (to_second, second) = mpsc::channel(PIPE_CHUNKS);
    let (mut end, ending) = oneshot::channel();
    let cut = CancellationToken::new();
    let ended = Ended { ending, cut: cut.clone() };
    let to_second = has_second.then_some(to_second);
    let looked_at = [Some(to_first.clone()), to_second.clone()];
    let second_output = to_second.map(|to| Output { to, search: search.clone() });
    let working = work(Outputs { first: Output { to: to_first, search }, second: second_output });
    tokio::spawn(async move {
        let abandoned = async {
            for to in looked_at.into_iter().flatten() {
                to.closed().await;
            }
            end.closed().await;
        };
        let ending = tokio::select! {
            ending = working => ending,
            () = abandoned => return,
            () = cut.cancelled_owned() => return,
        };
        let _ = end.send(ending);
    });
    Carried { first, second, ended }
}

/// Carries the bytes of a connection. The end of `outgoing` is passed on.
pub(crate) fn bytes<S: Stream + 'static>(
    opened: Opened<S>,
    framing: Framing,
    outgoing: mpsc::Receiver<Bytes>,
) -> Carried {
    let Opened { io, search, place, .. } = opened;
    spawn(matches!(framing, Framing::Docker), search, move |outputs| async move {
        let (reader, mut writer) = tokio::io::split(io);
        let write = async {
            let mut outgoing = outgoing;
            while let Some(chunk) = outgoing.recv().await {
                // The other end may have stopped reading; what it still says is worth more than this.
                if writer.write_all(&chunk).await.is_err() || writer.flush().await.is_err() {
                    return;
                }
            }
            let _ = writer.shutdown().await;
        };
        let ending = beside(write, read(reader, framing, outputs)).await;
        drop(place);
        ending
    })
}

/// Reads to the end of the connection.
async fn read(mut reader: impl AsyncRead + Unpin, framing: Framing, mut outputs: Outputs) -> Ending {
    let mut frames = Frames::default();
    while let Some(chunk) = next_chunk(&mut reader).await? {
        match framing {
            Framing::Raw => outputs.send(false, chunk).await?,
            Framing::Docker => {
                let mut chunk = chunk;
                while let Some((second, piece)) = frames.next(&mut chunk).map_err(Broken::Unframed)? {
                    outputs.send(second, piece).await?;
                }
            }
        }
    }
    outputs.end().await;
    if frames.is_cut_off() { Err(Broken::CutOff) } else { Ok(String::new()) }
}

/// The next bytes; none at the end.
async fn next_chunk(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Bytes>> {
    poll_fn(|cx| {
        let mut room = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut room = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut *reader).poll_read(cx, &mut room))?;
        let filled = room.filled();
        std::task::Poll::Ready(Ok((!filled.is_empty()).then(|| Bytes::copy_from_slice(filled))))
    })
    .await
}

/// Carries the messages of a WebSocket.
pub(crate) async fn messages<S: Stream + 'static>(
    opened: Opened<S>,
    messages: Messages,
    outgoing: mpsc::Receiver<Bytes>,
) -> Carried {
    let Opened { io, search, place, .. } = opened;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES))
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0);
    let socket = WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await;
    spawn(matches!(messages, Messages::Kubernetes { .. }), search, move |outputs| async move {
        let (mut sink, stream) = socket.split();
        let write = async {
            let mut outgoing = outgoing;
            while let Some(chunk) = outgoing.recv().await {
                let message = match messages {
                    Messages::Raw => chunk,
                    Messages::Kubernetes { .. } => on_channel(channel::STDIN, &chunk),
                };
                if sink.send(Message::Binary(message)).await.is_err() {
                    return;
                }
            }
            let _ = match messages {
                Messages::Raw => sink.send(Message::Close(None)).await,
                Messages::Kubernetes { ends_input: true } => {
                    sink.send(Message::Binary(on_channel(channel::CLOSE, &[channel::STDIN]))).await
                }
                Messages::Kubernetes { ends_input: false } => Ok(()),
            };
        };
        let ending = beside(write, receive(stream, messages, outputs)).await;
        drop(place);
        ending
    })
}

fn on_channel(channel: u8, bytes: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(bytes.len() + 1);
    message.put_u8(channel);
    message.extend_from_slice(bytes);
    message.freeze()
}

/// Receives messages until the connection ends.
async fn receive(
    mut stream: impl futures_util::Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    messages: Messages,
    mut outputs: Outputs,
) -> Ending {
    let mut report = Vec::new();
    let mut closed = None;
    while let Some(message) = stream.next().await {
        let mut content = match message {
            Ok(Message::Binary(content)) => content,
            Ok(Message::Text(text)) => Bytes::from(text),
            Ok(Message::Close(frame)) => {
                closed = Some(frame);
                continue;
            }
            Ok(_) => continue,
            // What was said before counts.
            Err(_) if !report.is_empty() || closed.is_some() => break,
            Err(e) => return Err(e.into()),
        };
        match messages {
            Messages::Raw => outputs.send(false, content).await?,
            Messages::Kubernetes { .. } => {
                if content.is_empty() {
                    continue;
                }
                let of = content.split_to(1)[0];
                match of {
                    channel::STDOUT => outputs.send(false, content).await?,
                    channel::STDERR => outputs.send(true, content).await?,
                    channel::STATUS => {
                        let room = REPORT_BYTES.saturating_sub(report.len()).min(content.len());
                        report.extend_from_slice(&content[..room]);
                    }
                    channel::CLOSE => {}
                    _ => return Err(Broken::Unframed("of Kubernetes' channels")),
                }
            }
        }
    }
    outputs.end().await;
    if !report.is_empty() {
        let mut search = std::mem::take(&mut outputs.first.search);
        search.piece(Bytes::copy_from_slice(&report))?;
        return Ok(String::from_utf8_lossy(&report).into_owned());
    }
    match closed {
        None => Err(Broken::CutOff),
        Some(None) => Ok(String::new()),
        Some(Some(CloseFrame { code: CloseCode::Normal, .. })) => Ok(String::new()),
        Some(Some(CloseFrame { code, reason })) => {
            let reason = clean(&reason, REASON_BYTES);
            Err(Broken::Closed(format!("{} {reason}", u16::from(code)).trim_end().to_owned()))
        }
    }
}

/// Runs `write` beside `read`, whose end is the end of both.
async fn beside(write: impl Future<Output = ()>, read: impl Future<Output = Ending>) -> Ending {
    let (mut write, mut read) = (std::pin::pin!(write), std::pin::pin!(read));
    tokio::select! {
        ending = &mut read => return ending,
        () = &mut write => {}
    }
    read.await
}

/// Passes the body of an answer on.
pub(crate) fn body(body: wasmtime_wasi_http::WasiBody) -> Carried {
    use http_body_util::BodyExt as _;
    spawn(false, Search::default(), move |mut outputs| async move {
        let mut body = body;
        while let Some(frame) = body.frame().await {
            // The sender's body has looked for secrets.
            let frame = frame.map_err(|e| Broken::Io(io::Error::other(format!("{e:?}"))))?;
            if let Ok(data) = frame.into_data() {
                outputs.send(false, data).await?;
            }
        }
        Ok(String::new())
    })
}
