//! Messages of `process.Process` as JSON: what is asked, and how a process begins and ends. The host takes the bytes out
//! of the messages between. Pure.
//!
//! proto3 JSON leaves out zeros, so every member of an answer may be absent.

use std::collections::BTreeMap;

use sandbox_broker_sdk::Exit;
use serde::{Deserialize, Serialize};

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
    /// The member of a message that has the bytes.
    pub fn member(self) -> &'static str {
        match self {
            Self::Pty => "pty",
            Self::Stdin => "stdin",
        }
    }

    /// Most bytes of a message: what a terminal takes at once, or what a pipe holds.
    pub fn size(self) -> u32 {
        match self {
            Self::Pty => 16 << 10,
            Self::Stdin => 64 << 10,
        }
    }

    /// Codes by which an agent says that the process takes no more. A program may close its standard input
    /// whenever it likes; agents tell that as a failed write.
    pub fn over(self) -> &'static [&'static str] {
        match self {
            Self::Pty => &["not_found"],
            Self::Stdin => &["not_found", "internal", "unknown", "invalid_argument", "failed_precondition"],
        }
    }
}

/// The member of the message that says that a process has started.
pub const STARTED: &str = "event.start";

/// The member of the message that says that it has ended.
pub const ENDED: &str = "event.end";

/// The id in the message that says that a process has started.
pub fn started(message: &str) -> serde_json::Result<u32> {
    serde_json::from_str::<Message>(message).map(|m| m.event.and_then(|event| event.start).unwrap_or_default().pid)
}

/// How a process ended, if the message says so.
pub fn ended(message: &str) -> serde_json::Result<Option<Exit>> {
    serde_json::from_str::<Message>(message).map(|m| m.event.and_then(|event| event.end).map(Exit::from))
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    event: Option<Event>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    start: Option<Started>,
    #[serde(default)]
    end: Option<Ended>,
}

#[derive(Default, Deserialize)]
struct Started {
    #[serde(default)]
    pid: u32,
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

    /// An exit's code and signal.
    fn parts(exit: Exit) -> (Option<u8>, Option<String>) {
        match exit {
            Exit::Code(code) => (Some(code), None),
            Exit::Signal(words) => (None, Some(words)),
            Exit::Unknown => (None, None),
        }
    }

    fn exit(end: &str) -> (Option<u8>, Option<String>) {
        parts(ended(&format!(r#"{{"event":{{"end":{end}}}}}"#)).expect("a message").expect("an end"))
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
    fn a_process_begins_and_ends_by_messages() {
        assert_eq!(started(r#"{"event":{"start":{"pid":42}}}"#).expect("a message"), 42);
        let end = r#"{"event":{"end":{"exited":true,"status":"exit status 0"}}}"#;
        assert_eq!(parts(ended(end).expect("a message").expect("an end")), (Some(0), None));
        for other in [r#"{"error":{"code":"internal"}}"#, r#"{"event":{"keepalive":{}}}"#, "{}"] {
            assert!(ended(other).expect("a message").is_none(), "{other}");
        }
        assert!(ended("").is_err());
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
}
