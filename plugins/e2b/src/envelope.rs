//! The frames of streaming Connect calls: one byte of flags, four of length
//! (big endian), the message. Pure.
//!
//! A stream is whole only with its end frame; a transport that ends without
//! one has broken, however cleanly.

use thiserror::Error;

/// Longest frame that is taken, in bytes. Agents send at most 32 KiB of
/// output per frame, 44 KiB as base64.
pub const MAX_FRAME: usize = 1 << 20;

const HEAD: usize = 5;
const COMPRESSED: u8 = 0b01;
const END: u8 = 0b10;

/// What breaks the framing.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// It would not fit.
    #[error("a frame of {0} bytes is longer than {MAX_FRAME}")]
    TooLong(usize),
    /// We never offer to take them.
    #[error("a frame is compressed")]
    Compressed,
}

/// One whole frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A message.
    Message(&'a [u8]),
    /// The end: an object, with `error` when it failed. Nothing follows.
    End(&'a [u8]),
}

/// Takes the first frame from `buf`, with the number of bytes that it used;
/// none while it is incomplete.
pub fn next(buf: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((&[flags, a, b, c, d], rest)) = buf.split_first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if len > MAX_FRAME {
        return Err(FrameError::TooLong(len));
    }
    if flags & COMPRESSED != 0 {
        return Err(FrameError::Compressed);
    }
    let Some(message) = rest.get(..len) else {
        return Ok(None);
    };
    let frame = if flags & END != 0 { Frame::End(message) } else { Frame::Message(message) };
    Ok(Some((frame, HEAD + len)))
}

/// Appends one message frame whose content `write` appends.
pub fn message(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; HEAD]);
    write(out);
    let len = u32::try_from(out.len() - at - HEAD).expect("messages are far below 4 GiB");
    out[at + 1..at + HEAD].copy_from_slice(&len.to_be_bytes());
}

/// One message frame of JSON.
pub fn json(message_: &impl serde::Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, |out| {
        serde_json::to_writer(out, message_).expect("messages are structs with text keys");
    });
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_match_what_official_clients_put_on_the_wire() {
        let mut out = Vec::new();
        message(&mut out, |out| out.extend_from_slice(b"{}"));
        assert_eq!(out, b"\0\0\0\0\x02{}");
        assert_eq!(next(b"\x02\0\0\0\x02{}rest"), Ok(Some((Frame::End(b"{}"), 7))));
    }

    #[test]
    fn a_peer_does_not_size_our_buffers() {
        assert_eq!(next(&[0, 0xff, 0xff, 0xff, 0xff]), Err(FrameError::TooLong(0xffff_ffff)));
        assert_eq!(next(b"\x01\0\0\0\0"), Err(FrameError::Compressed));
    }

    proptest! {
        #[test]
        fn cuts_of_the_transport_do_not_matter(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            cut in 1_usize..50,
        ) {
            let mut wire = Vec::new();
            for m in &messages {
                message(&mut wire, |out| out.extend_from_slice(m));
            }
            let mut got = Vec::new();
            let mut buf = Vec::new();
            for chunk in wire.chunks(cut) {
                buf.extend_from_slice(chunk);
                while let Some((frame, used)) = next(&buf).expect("well formed") {
                    match frame {
                        Frame::Message(m) => got.push(m.to_vec()),
                        Frame::End(_) => prop_assert!(false, "no end was sent"),
                    }
                    buf.drain(..used);
                }
            }
            prop_assert!(buf.is_empty());
            prop_assert_eq!(got, messages);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some((_, used))) = next(&bytes) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
