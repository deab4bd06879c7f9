//! What the server of level 1 says, written by the server and read by a client.
//!
//! Owns the members of each message. The strings are `&str` to write and
//! `String` to read. The server fills every member. A client reads a message of
//! which members are missing that it can do without, and ignores members and
//! types that it does not know. It refuses an offset above [`MAX_OFFSET`], so
//! that sums are exact, and takes what could steer a terminal out of words for
//! a person.

use serde::{Deserialize, Deserializer, Serialize};

use super::MAX_OFFSET;
use sandbox_broker_core::sandbox::Size;
use sandbox_stdx::words::clean;

/// Bytes of words for a person that a client keeps, at most.
pub const MAX_WORDS: usize = 2048;

/// A terminal's size on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cells {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

impl From<Size> for Cells {
    fn from(size: Size) -> Self {
        Cells { cols: size.cols, rows: size.rows }
    }
}

/// One of the session's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person<S> {
    /// The client's name.
    pub client: S,
    /// `driver` or `viewer`.
    pub role: S,
    /// Its size, if it has told one.
    #[serde(flatten)]
    pub size: Option<Cells>,
    /// Its size, or a side of it, is the terminal's.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sets_size: bool,
    /// The name of the guest, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<S>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A server's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[serde(bound(deserialize = "S: From<String> + Default + Deserialize<'de>"))]
pub enum ServerFrame<S> {
    /// A step on the way to the shell, or news of the storage.
    Stage {
        /// Which step.
        #[serde(default)]
        name: S,
        /// `begin`, `done` or `failed`.
        state: S,
        /// For a person to read.
        #[serde(deserialize_with = "words")]
        message: S,
        /// How long it took, in milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        ms: Option<u64>,
    },
    /// The shell runs.
    Ready {
        /// The session's id.
        #[serde(deserialize_with = "words")]
        session: S,
        /// This client's name.
        #[serde(default)]
        client: S,
        /// What it may do: `driver` or `viewer`.
        role: S,
        /// The numbering that offsets belong to.
        epoch: u64,
        /// Offset of the first byte of output that follows.
        #[serde(deserialize_with = "exact")]
        offset: u64,
        /// End of the output now: what comes before it is replay.
        #[serde(deserialize_with = "exact")]
        live: u64,
        /// Highest number of this client's input that was handed on.
        #[serde(deserialize_with = "exact")]
        input: u64,
        /// The section of the configuration that made the sandbox.
        #[serde(default)]
        provider: S,
        /// What a person should know about its isolation.
        #[serde(skip_serializing_if = "Option::is_none")]
        isolation: Option<S>,
        /// `durable` or `best-effort`.
        #[serde(default)]
        durability: S,
        /// Who answers what programs ask of the terminal: `recorder` or `client`.
        #[serde(default)]
        answers: S,
        /// How long the session lives on without a client, in milliseconds.
        #[serde(default)]
        keep_ms: u64,
        /// The terminal's size at `offset`.
        #[serde(skip_serializing_if = "Option::is_none")]
        size: Option<Cells>,
        /// Lets others watch; a guest is not told it.
        #[serde(skip_serializing_if = "Option::is_none")]
        invitation: Option<S>,
    },
    /// The screen as it was at an offset.
    Screen {
        /// Output before it is not sent.
        #[serde(deserialize_with = "exact")]
        offset: u64,
        /// Text that draws the screen on a terminal that was reset.
        data: S,
        /// The terminal's size at `offset`.
        #[serde(skip_serializing_if = "Option::is_none")]
        size: Option<Cells>,
    },
    /// Bytes that this client does not get.
    Gap {
        /// Offset of the first one.
        #[serde(deserialize_with = "exact")]
        from: u64,
        /// Offset of the first byte after them.
        #[serde(deserialize_with = "exact")]
        to: u64,
        /// Why, for a person to read.
        #[serde(deserialize_with = "words")]
        reason: S,
    },
    /// Input up to this number was handed to the sandbox.
    InputAck {
        /// The number.
        seq: u64,
    },
    /// The terminal has this size from an offset on. The message stands there in
    /// the output.
    Size {
        /// Offset of the first byte that was written for it.
        #[serde(default)]
        offset: u64,
        /// The size.
        #[serde(flatten)]
        size: Cells,
    },
    /// The session's clients.
    Clients {
        /// All of them, this client included.
        clients: Vec<Person<S>>,
    },
    /// The session is over.
    Exit {
        /// The shell's exit status.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// The signal that ended it.
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<S>,
        /// How it ended, for a person to read.
        #[serde(default, deserialize_with = "words")]
        reason: S,
        /// End of all output.
        #[serde(default)]
        offset: u64,
    },
    /// The server is there.
    Pong {},
    /// What failed and who can fix it.
    Error {
        /// For a program.
        #[serde(default)]
        code: S,
        /// For a person to read; never holds a secret.
        #[serde(deserialize_with = "words")]
        message: S,
        /// When to connect again, in milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_ms: Option<u64>,
    },
    /// A type that this client does not know. It is only read.
    #[serde(other, skip_serializing)]
    Unknown,
}

impl<S: Serialize> ServerFrame<S> {
    /// Writes the message as JSON text.
    ///
    /// # Panics
    /// For [`ServerFrame::Unknown`], which is only read.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always serialize into memory")
    }
}

impl ServerFrame<String> {
    /// Reads a text message.
    ///
    /// # Errors
    /// When it is no JSON object with a `type`, or a member is missing or is not
    /// what it must be.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// A number that is an offset, or is added to one.
fn exact<'de, D: Deserializer<'de>>(value: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(value)?;
    if number > MAX_OFFSET {
        return Err(serde::de::Error::custom(format!("{number} is above {MAX_OFFSET}")));
    }
    Ok(number)
}

/// Words that a person's terminal shows: they steer nothing.
fn words<'de, D: Deserializer<'de>, S: From<String>>(value: D) -> Result<S, D::Error> {
    String::deserialize(value).map(|words| clean(&words, MAX_WORDS).into())
}
