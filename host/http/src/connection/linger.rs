//! The end of a TCP connection, so that our last words arrive.
//!
//! Owns the moment between our last byte and the close. If a socket is closed
//! with unread bytes in it, the kernel sends a reset, and the reset may overtake
//! the last words: a close code, or why a request was refused. Deliberately knows
//! no protocol.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long the peer has to see our end and to close.
const LINGER: Duration = Duration::from_secs(1);

/// A TCP connection. When dropped, it announces its end and discards what still
/// comes, for at most [`LINGER`]. A connection that gives way to others ends at
/// once.
#[derive(Debug)]
pub(crate) struct Linger {
    /// `None` only while dropping.
    stream: Option<TcpStream>,
    place: Arc<OwnedSemaphorePermit>,
    gave_way: CancellationToken,
}

impl Linger {
    /// `place` is held until the connection is closed. Once `gave_way` is
    /// cancelled there are no last words.
    pub(crate) fn new(stream: TcpStream, place: Arc<OwnedSemaphorePermit>, gave_way: CancellationToken) -> Self {
        Linger { stream: Some(stream), place, gave_way }
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("present until dropped"))
    }
}

impl Drop for Linger {
    fn drop(&mut self) {
        let (Some(mut stream), Ok(runtime)) = (self.stream.take(), Handle::try_current()) else { return };
        if self.gave_way.is_cancelled() {
            return;
        }
        let place = self.place.clone();
        let mut waste = [0; 4096];
        if matches!(stream.try_read(&mut waste[..1]), Ok(0)) {
            return; // the peer has closed, so no reset can overtake anything
        }
        runtime.spawn(async move {
            let _place = place;
            let drained = async {
                stream.shutdown().await?;
                while stream.read(&mut waste).await? > 0 {}
                io::Result::Ok(())
            };
            // A timeout or an error changes nothing: the connection ends.
            let _ = timeout(LINGER, drained).await;
        });
    }
}

impl AsyncRead for Linger {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buf)
    }
}

impl AsyncWrite for Linger {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
