//! The bytes of `process.ProcessEvent`, as Connect envelopes with JSON. Formats by hand what is on the path of every
//! byte.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

use crate::connect;
use sandboxd_init::wire::ExitStatus;

/// The output of a process that some bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Pty,
    Stdout,
    Stderr,
}

const SUFFIX: &[u8] = b"\"}}}";

/// `data`: one allocation, one pass over the bytes.
pub(super) fn data(channel: Channel, bytes: &[u8]) -> Bytes {
    let prefix: &[u8] = match channel {
        Channel::Pty => b"{\"event\":{\"data\":{\"pty\":\"",
        Channel::Stdout => b"{\"event\":{\"data\":{\"stdout\":\"",
        Channel::Stderr => b"{\"event\":{\"data\":{\"stderr\":\"",
    };
    let encoded = bytes.len().div_ceil(3) * 4;
    let payload = prefix.len() + encoded + SUFFIX.len();
    let mut frame = BytesMut::with_capacity(connect::ENVELOPE + payload);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(payload).expect("a chunk is small"));
    frame.put_slice(prefix);
    let start = frame.len();
    frame.resize(start + encoded, 0);
    STANDARD.encode_slice(bytes, &mut frame[start..]).expect("the space was computed for it");
    frame.put_slice(SUFFIX);
    frame.freeze()
}

/// `start`.
pub(super) fn start(pid: u32) -> Bytes {
    connect::message(&serde_json::json!({ "event": { "start": { "pid": pid } } }))
}

/// `keepalive`.
pub(super) fn keepalive() -> Bytes {
    Bytes::from_static(b"\0\0\0\0\x1a{\"event\":{\"keepalive\":{}}}")
}

/// `end`, with the words of Go's `ProcessState`. Clients of E2B see these words.
pub(super) fn end(status: ExitStatus) -> Bytes {
    let end = match status {
        ExitStatus::Code(0) => serde_json::json!({ "exited": true, "status": "exit status 0" }),
        ExitStatus::Code(code) => {
            let status = format!("exit status {code}");
            serde_json::json!({ "exitCode": code, "exited": true, "status": status, "error": status })
        }
        ExitStatus::Signal(signal) => {
            let status = format!("signal: {}", signal_name(signal));
            serde_json::json!({ "exitCode": -1, "status": status, "error": status })
        }
    };
    connect::message(&serde_json::json!({ "event": { "end": end } }))
}

/// Go's words for all signals that have a name there.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        16 => "stack fault",
        17 => "child exited",
        18 => "continued",
        19 => "stopped (signal)",
        20 => "stopped",
        21 => "stopped (tty input)",
        22 => "stopped (tty output)",
        23 => "urgent I/O condition",
        24 => "CPU time limit exceeded",
        25 => "file size limit exceeded",
        26 => "virtual timer expired",
        27 => "profiling timer expired",
        28 => "window changed",
        29 => "I/O possible",
        30 => "power failure",
        31 => "bad system call",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: the frames have the same bytes as those that were recorded from a real server.
    #[test]
    fn frames_match_the_recorded_ones() {
        assert_eq!(&data(Channel::Pty, b"hi\n")[5..], br#"{"event":{"data":{"pty":"aGkK"}}}"#);
        assert_eq!(&start(42)[5..], br#"{"event":{"start":{"pid":42}}}"#);
        assert_eq!(&keepalive()[5..], br#"{"event":{"keepalive":{}}}"#);
        for frame in [
            data(Channel::Stderr, &[0; 1000]),
            start(1),
            keepalive(),
            end(ExitStatus::Code(0)),
            end(ExitStatus::Signal(9)),
        ] {
            let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]) as usize;
            assert_eq!((frame[0], length), (0, frame.len() - connect::ENVELOPE));
            assert!(serde_json::from_slice::<serde_json::Value>(&frame[5..]).is_ok());
        }
    }
}
