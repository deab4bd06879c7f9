//! Messages of `process.Process` as JSON: what is asked and what comes back.
//! Pure.
//!
//! proto3 JSON leaves out zeros, so every member of an answer may be absent.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sandbox_broker_sdk::{Error, Exit};
use serde::{Deserialize, Serialize};

use crate::envelope::{self, Frame, FrameError};
use crate::errors;

/// What to start.
#[derive(Debug, Serialize)]
pub struct Start<'a> {
    /// The program.
    pub process: Command<'a>,
    /// Its terminal; none for pipes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pty: Option<Pty>,
    /// Whether it gets a standard input; only without a terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<bool>,
}

/// A program with its surroundings.
#[derive(Debug, Serialize)]
pub struct Command<'a> {
    /// Looked up in PATH.
    pub cmd: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub args: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub envs: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<&'a str>,
}

/// A terminal.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pty {
    /// Its size.
    pub size: Size,
}

/// A size in characters.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Size {
    pub cols: u16,
    pub rows: u16,
}

impl Pty {
    /// A terminal of that size.
    pub fn new(cols: u16, rows: u16) -> Self {
        Self { size: Size { cols, rows } }
    }
}

/// A request about a running process.
#[derive(Debug, Serialize)]
pub struct About {
    pub process: Selector,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pty: Option<Pty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<&'static str>,
}

/// A process by its id; tags are looked up wrongly by some agents.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Selector {
    pub pid: u32,
}

impl About {
    /// The process and nothing more.
    pub fn process(pid: u32) -> Self {
        Self { process: Selector { pid }, pty: None, signal: None }
    }
}

/// Where input goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// To the terminal.
    Pty,
    /// To the standard input.
    Stdin,
}

impl Sink {
    fn member(self) -> &'static [u8] {
        match self {
            Self::Pty => br#"{"input":{"pty":""#,
            Self::Stdin => br#"{"input":{"stdin":""#,
        }
    }

    /// First frame of `StreamInput`. Agents crash on data before it.
    pub fn stream_start(pid: u32) -> Vec<u8> {
        #[derive(Serialize)]
        struct Open {
            start: About,
        }
        envelope::json(&Open { start: About::process(pid) })
    }

    /// A frame of `StreamInput` with data, appended to `out`.
    pub fn stream_data(self, data: &[u8], out: &mut Vec<u8>) {
        envelope::message(out, |out| {
            out.extend_from_slice(br#"{"data":"#);
            out.extend_from_slice(self.member());
            base64_simd::STANDARD.encode_append(data, out);
            out.extend_from_slice(br#""}}}"#);
        });
    }

    /// The body of one `SendInput`.
    pub fn single(self, pid: u32, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(format!(r#"{{"process":{{"pid":{pid}}},"#).as_bytes());
        out.extend_from_slice(&self.member()[1..]);
        base64_simd::STANDARD.encode_append(data, &mut out);
        out.extend_from_slice(br#""}}"#);
        out
    }
}

/// What a process said since the last look.
#[derive(Debug, Default)]
pub struct Batch {
    /// Its id, when it has just started.
    pub started: Option<u32>,
    /// Output of its terminal or standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// Whether an event came that only a living process has.
    pub alive: bool,
    /// The stream's end frame came, with its error.
    pub end: Option<Option<Error>>,
}

/// What breaks the stream of events.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The frames are unfit.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message is not one of the protocol.
    #[error("an event is unfit: {0}")]
    Json(#[from] serde_json::Error),
    /// Data is not base64.
    #[error("an event holds data that is not base64")]
    Base64,
}

const PTY: &[u8] = br#"{"event":{"data":{"pty":""#;
const STDOUT: &[u8] = br#"{"event":{"data":{"stdout":""#;
const STDERR: &[u8] = br#"{"event":{"data":{"stderr":""#;
const CLOSE: &[u8] = br#""}}}"#;

impl Batch {
    /// Takes all whole frames of `buf`; returns how many bytes they were.
    pub fn take(&mut self, buf: &[u8]) -> Result<usize, EventError> {
        let mut at = 0;
        while self.end.is_none() {
            let Some((frame, used)) = envelope::next(&buf[at..])? else {
                break;
            };
            match frame {
                Frame::Message(message) => self.event(message)?,
                Frame::End(payload) => self.end = Some(errors::of_end_frame(payload)),
            }
            at += used;
        }
        Ok(at)
    }

    fn event(&mut self, message: &[u8]) -> Result<(), EventError> {
        // The usual spelling is decoded in place. A quote or an escape inside
        // is not base64, so no scan for the string's end is needed.
        for (open, err) in [(PTY, false), (STDOUT, false), (STDERR, true)] {
            let data = message.strip_prefix(open).and_then(|rest| rest.strip_suffix(CLOSE));
            if let Some(data) = data {
                let out = if err { &mut self.stderr } else { &mut self.stdout };
                let before = out.len();
                if base64_simd::STANDARD.decode_append(data, out).is_ok() {
                    self.alive = true;
                    return Ok(());
                }
                out.truncate(before);
            }
        }
        self.spelled_otherwise(message)
    }

    fn spelled_otherwise(&mut self, message: &[u8]) -> Result<(), EventError> {
        let Message { event } = serde_json::from_slice(message)?;
        let Some(event) = event else { return Ok(()) };
        if let Some(start) = event.start {
            self.started = Some(start.pid);
        } else if let Some(end) = event.end {
            self.exit = Some(end.into());
        } else {
            self.alive = true;
        }
        if let Some(data) = event.data {
            for (text, out) in [(data.pty.or(data.stdout), &mut self.stdout), (data.stderr, &mut self.stderr)] {
                if let Some(text) = text {
                    let data = base64_simd::forgiving_decode_to_vec(text.as_bytes());
                    out.extend(data.map_err(|_| EventError::Base64)?);
                }
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    event: Option<Event<'a>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default)]
    start: Option<Started>,
    #[serde(borrow, default)]
    data: Option<Data<'a>>,
    #[serde(default)]
    end: Option<Ended>,
}

#[derive(Deserialize)]
struct Started {
    #[serde(default)]
    pid: u32,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, default)]
    stdout: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    stderr: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pty: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    #[serde(default)]
    exit_code: Option<i32>,
    #[serde(default)]
    exited: Option<bool>,
    #[serde(default)]
    status: Option<String>,
}

impl From<Ended> for Exit {
    fn from(end: Ended) -> Self {
        let status = end.status.unwrap_or_default();
        // The host knows what the words of Go's runtime mean.
        if let Some(words) = status.strip_prefix("signal: ") {
            return Self::Signal(sandbox_broker_sdk::quote(words));
        }
        let code = end.exit_code.unwrap_or(0);
        // Zeros are left out: `exited` false and code 0 say nothing at all
        // unless the status does.
        let known = end.exited == Some(true) || code > 0 || status.starts_with("exit status");
        match u8::try_from(code) {
            Ok(code) if known => Self::Code(code),
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(messages: &[&str]) -> Batch {
        let mut wire = Vec::new();
        for m in messages {
            envelope::message(&mut wire, |out| out.extend_from_slice(m.as_bytes()));
        }
        let mut batch = Batch::default();
        assert_eq!(batch.take(&wire).expect("well formed"), wire.len());
        batch
    }

    /// An exit's code and signal.
    fn parts(exit: Exit) -> (Option<u8>, Option<String>) {
        match exit {
            Exit::Code(code) => (Some(code), None),
            Exit::Signal(words) => (None, Some(words)),
            Exit::Unknown => (None, None),
        }
    }

    fn exit(end: &str) -> (Option<u8>, Option<String>) {
        parts(batch(&[&format!(r#"{{"event":{{"end":{end}}}}}"#)]).exit.expect("an end"))
    }

    #[test]
    fn a_terminal_is_started_as_official_clients_start_it() {
        let args = ["-i".to_owned(), "-l".to_owned()];
        let envs = [("TERM", "xterm-256color"), ("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8")];
        let start = Start {
            process: Command { cmd: "/bin/bash", args: &args, envs: envs.into(), cwd: None },
            pty: Some(Pty::new(80, 24)),
            stdin: None,
        };
        assert_eq!(
            serde_json::to_string(&start).expect("json"),
            r#"{"process":{"cmd":"/bin/bash","args":["-i","-l"],"envs":{"LANG":"C.UTF-8","LC_ALL":"C.UTF-8","TERM":"xterm-256color"}},"pty":{"size":{"cols":80,"rows":24}}}"#
        );
    }

    #[test]
    fn input_is_spelled_as_the_agent_reads_it() {
        let mut frame = Vec::new();
        Sink::Pty.stream_data(b"ls\n", &mut frame);
        assert_eq!(&frame[5..], br#"{"data":{"input":{"pty":"bHMK"}}}"#);
        assert_eq!(frame[4] as usize, frame.len() - 5);
        assert_eq!(&Sink::stream_start(42)[5..], br#"{"start":{"process":{"pid":42}}}"#);
        assert_eq!(Sink::Pty.single(42, b"ls\n"), br#"{"process":{"pid":42},"input":{"pty":"bHMK"}}"#);
        assert_eq!(Sink::Stdin.single(7, b""), br#"{"process":{"pid":7},"input":{"stdin":""}}"#);
    }

    #[test]
    fn recorded_events_are_understood() {
        let b = batch(&[
            r#"{"event":{"start":{"pid":42}}}"#,
            r#"{"event":{"data":{"pty":"aGkK"}}}"#,
            r#"{"event":{"keepalive":{}}}"#,
            r#"{"event":{"end":{"exited":true,"status":"exit status 0"}}}"#,
        ]);
        assert_eq!((b.started, b.stdout.as_slice()), (Some(42), &b"hi\n"[..]));
        let exit = b.exit.expect("an end");
        assert_eq!(parts(exit), (Some(0), None));
    }

    #[test]
    fn other_spellings_of_json_mean_the_same() {
        let b = batch(&[
            r#"{ "event" : { "data" : { "pty" : "aGk" } } }"#,
            r#"{"event":{"data":{"pty":"\u0061GkK"},"later":[1]}}"#,
            r#"{"event":{"data":{"stderr":"ZQ=="}}}"#,
            r#"{"event":{"data":{"stdout":"bw=="}}}"#,
            r#"{"event":{"data":{}}}"#,
            "{}",
        ]);
        assert_eq!((b.stdout.as_slice(), b.stderr.as_slice()), (&b"hihi\no"[..], &b"e"[..]));
        assert!(b.alive && b.exit.is_none());
    }

    #[test]
    fn a_forged_string_is_no_output() {
        // Prefix and suffix fit, the middle leaves the string.
        let forged = r#"{"event":{"data":{"pty":"aGk="},"x":{"y":{"z":""}}}"#;
        let mut wire = Vec::new();
        envelope::message(&mut wire, |out| out.extend_from_slice(forged.as_bytes()));
        assert!(Batch::default().take(&wire).is_err());
    }

    #[test]
    fn exits_are_read_with_zeros_left_out() {
        assert_eq!(exit(r#"{"exited":true,"status":"exit status 0"}"#), (Some(0), None));
        assert_eq!(exit(r#"{"exitCode":3,"exited":true,"status":"exit status 3","error":"x"}"#), (Some(3), None));
        assert_eq!(exit(r#"{"exitCode":-1,"status":"signal: killed"}"#), (None, Some("killed".into())));
        assert_eq!(
            exit(r#"{"exitCode":-1,"status":"signal: segmentation fault (core dumped)"}"#),
            (None, Some("segmentation fault (core dumped)".into()))
        );
        assert_eq!(exit("{}"), (None, None));
    }

    #[test]
    fn the_end_frame_stops_reading() {
        let mut b = Batch::default();
        let wire = b"\x02\0\0\0\x02{}\0\0\0\0\x02{}";
        assert_eq!(b.take(wire).expect("well formed"), 7);
        assert!(matches!(b.end, Some(None)));
        assert_eq!(b.take(&wire[7..]).expect("well formed"), 0);
    }
}
