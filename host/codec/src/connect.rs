//! The frames of a stream of the Connect protocol: one byte of flags, four of length in network byte order, the message.
//!
//! Owns the format (Connect protocol, "Streaming RPCs", Enveloped-Message). A stream is whole only with its end frame. Deliberately
//! knows no message.

use bytes::{Buf as _, Bytes, BytesMut};

/// Bytes of a frame's head.
pub const HEAD: usize = 5;
/// Bytes of a frame, at most. Servers send some 32 KiB of output in one, which are 43 KiB as base64.
pub const FRAME_BYTES: usize = 1 << 20;

const COMPRESSED: u8 = 0b01;
const END: u8 = 0b10;

/// One whole frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// More may follow.
    Message(Bytes),
    /// Nothing follows.
    End(Bytes),
}

/// What breaks the framing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unframed {
    /// It has so many bytes.
    #[error("a frame of {0} bytes is longer than {FRAME_BYTES}")]
    TooLong(usize),
    /// The request did not allow that.
    #[error("a frame is compressed, which the request did not allow")]
    Compressed,
}

/// Finds frames in what comes.
#[derive(Debug, Default)]
pub struct Frames {
    /// Bytes of which no frame was made. Holds no room while it is empty: most calls are silent most of the time.
    rest: BytesMut,
}

impl Frames {
    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Unframed> {
        let Some((&[flags, a, b, c, d], rest)) = self.rest.split_first_chunk::<HEAD>() else {
            if self.rest.is_empty() {
                self.rest = BytesMut::new();
            }
            return Ok(None);
        };
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len > FRAME_BYTES {
            return Err(Unframed::TooLong(len));
        }
        if flags & COMPRESSED != 0 {
            return Err(Unframed::Compressed);
        }
        if rest.len() < len {
            return Ok(None);
        }
        self.rest.advance(HEAD);
        let message = self.rest.split_to(len).freeze();
        Ok(Some(if flags & END != 0 { Frame::End(message) } else { Frame::Message(message) }))
    }
}

/// Appends one frame with what `write` appends.
pub fn frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; HEAD]);
    write(out);
    let len = u32::try_from(out.len() - at - HEAD).unwrap_or(u32::MAX);
    out[at + 1..at + HEAD].copy_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(frames: &mut Frames) -> Vec<Frame> {
        std::iter::from_fn(|| frames.next_frame().unwrap()).collect()
    }

    #[test]
    fn frames_are_those_of_the_protocol() {
        let mut out = Vec::new();
        frame(&mut out, |out| out.extend_from_slice(b"{}"));
        assert_eq!(out, b"\0\0\0\0\x02{}");
        let mut frames = Frames::default();
        frames.feed(b"\0\0\0\0\x01a\x02\0\0\0\x02{}");
        assert_eq!(all(&mut frames), [Frame::Message("a".into()), Frame::End("{}".into())]);
    }

    #[test]
    fn cuts_of_the_transport_do_not_matter() {
        let messages = [&b""[..], b"a", &[7; 300], b"", b"bc"];
        let mut wire = Vec::new();
        for message in messages {
            frame(&mut wire, |out| out.extend_from_slice(message));
        }
        for cut in 1..wire.len() {
            let mut frames = Frames::default();
            let got: Vec<_> = wire
                .chunks(cut)
                .flat_map(|chunk| {
                    frames.feed(chunk);
                    all(&mut frames)
                })
                .collect();
            assert_eq!(got, messages.map(|message| Frame::Message(Bytes::copy_from_slice(message))), "{cut}");
        }
    }

    #[test]
    fn a_server_does_not_size_our_buffers() {
        let fed = |bytes: &[u8]| {
            let mut frames = Frames::default();
            frames.feed(bytes);
            frames.next_frame()
        };
        assert_eq!(fed(&[0, 0xff, 0xff, 0xff, 0xff]), Err(Unframed::TooLong(0xffff_ffff)));
        assert_eq!(fed(b"\x01\0\0\0\0"), Err(Unframed::Compressed));
    }
}
