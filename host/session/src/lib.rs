//! A session: one terminal in one sandbox, from the request for it until the
//! sandbox is gone.
//!
//! Owns the life of a session and its output. Deliberately knows no
//! transport, no plugin engine, no configuration file and no clock but
//! tokio's, which tests stop and turn.
//!
//! | file | what it is |
//! |---|---|
//! | `sessions` | the table of live sessions: admits, lists, shuts down |
//! | `handle` | what the rest of the broker holds of one session |
//! | `company` | what a client hears of the others |
//! | `handing` | who waits to be told that input was handed on |
//! | `driver` | the one task that owns a session and does what `state` says |
//! | `state` | the policy, pure, with the drawing of its states |
//! | `output` | what the shell prints, on its way into the log |
//! | `log` | what clients read, each from its own offset |
//! | `event` | what they are told |
//! | `sizes` | which size the terminal had where in the output |
//! | `invitation` | lets others watch |
//! | `answers` | what programs asked and nobody answered; pure |
//! | `roster` | who is there, who drives, whose size counts; pure |
//! | `tape` | the recorder in the sandbox: output that outlives the broker |
//! | `said` | what the recorder says, checked |
//! | `screens` | screens for clients that come late, drawn once for all who wait |
//! | `looks` | a terminal's colors, title and directory |
//! | `ledger` | the session's page in the journal |
//! | `opening` | from a sandbox to a shell: a new one, or an earlier broker's |
//! | `directory` | makes the directory that a shell starts in |
//! | `age` | when it ends however much it is used |
//! | `patience` | when what failed is tried again |
//! | `waits` | what the driver waits for of a live terminal |
//! | `lease` | keeps the sandbox alive while the session lives |
//! | `mount` | carries storage's plans out in the sandbox, and keeps them true |
//! | `cleanup` | ends the sandbox for certain, found by label if need be |
//! | `reaper` | ends the sandboxes that no session knows |

mod age;
mod answers;
mod cleanup;
mod company;
mod directory;
mod driver;
mod event;
mod handing;
mod handle;
mod install;
mod invitation;
mod lease;
mod ledger;
mod log;
mod looks;
mod mount;
mod opening;
mod output;
mod patience;
mod reaper;
mod roster;
mod said;
mod screens;
mod sessions;
mod sizes;
mod state;
mod tape;
#[cfg(test)]
mod tests;
mod waits;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use sandbox_broker_core::sandbox::{Command, Error, Exit, Provider};
use sandbox_broker_core::storage::Mounter;
use sandbox_broker_journal::{self as journal, Journal, Owner};

pub use company::{Company, Receipt};
pub use event::{Durability, Event};
pub use handle::{Client, Denied, Ended, Phase, Session, Summary, Workspace};
pub use invitation::{Invitation, Invitations};
pub use log::{Reader, WINDOW};
pub use looks::{About, Colors};
pub use mount::WORKSPACES;
pub use reaper::reap;
pub use roster::{Leaving, MAX_CLIENTS, Presence, Role, SizeRule};
pub use screens::{Asker, Picture};
pub use sessions::{Join, Refused, SHUTDOWN_DEADLINE, Sessions, new_id};
pub use state::PENDING_INPUT;
pub use tape::{CAST_END, MAX_SCREEN, Piece, Playback, Tape};

/// Bytes of output that a session whose clients may come back keeps in memory.
/// With a window on top, within the 2 MiB that a session with a client that
/// reads nothing may cost; older output is read from the recorder.
pub const KEPT: u64 = 1 << 20;

/// Label of every sandbox that a broker makes; its value names the broker.
pub const LABEL_BROKER: &str = "sandbox-broker";

/// Label of every sandbox that a broker makes; its value is the session's id.
pub const LABEL_SESSION: &str = "sandbox-broker-session";

/// Label of every sandbox that a broker makes; its value is new with each
/// attempt to make one.
pub const LABEL_NONCE: &str = "sandbox-broker-nonce";

/// Who waits for a client that does not read, in a session that is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowClient {
    /// Nobody: it misses what the recorder no longer has.
    #[default]
    Gap,
    /// The shell, for its driver.
    Pause,
}

/// What a new session is made of. A session keeps the blueprint that it began
/// with, so a change of configuration never touches a live one; only the
/// secrets of its provider and its storage are live.
#[derive(Clone)]
pub struct Blueprint {
    /// Makes and ends the sandbox.
    pub provider: Arc<dyn Provider>,
    /// Value of [`LABEL_BROKER`]: tells this broker's sandboxes from others.
    pub broker_id: String,
    /// The shell.
    pub command: Command,
    /// Environment of every process in the sandbox; may hold secrets.
    pub sandbox_env: BTreeMap<String, String>,
    /// A session without input and output for this long ends.
    pub idle_timeout: Duration,
    /// A session of this age ends, whatever it does.
    pub max_age: Option<Duration>,
    /// The sandbox ends by itself this long after the broker's last sign of
    /// life. Renewed three times per lease.
    pub lease: Duration,
    /// Which configuration this is; counts up.
    pub generation: u64,
    /// Sessions at once, those included whose sandbox is still being ended.
    pub max_sessions: usize,
    /// The same of one person, where people sign in.
    pub max_sessions_per_user: usize,
    /// Storage in every sandbox, in the order in which it is mounted. The
    /// shell starts in the first one.
    pub mounts: Vec<Mount>,
    /// How long a session that is kept lives on without a client.
    pub keep: Duration,
    /// Who waits for a client that does not read.
    pub slow: SlowClient,
    /// Whose size the terminal has.
    pub size: SizeRule,
    /// The program that keeps output in the sandbox, for sessions that are
    /// kept. Without it they live on the provider's own terminal.
    pub recorder: Option<Bytes>,
    /// Where sessions are written down, and in whose name.
    pub journal: Arc<dyn Journal>,
    /// See `journal`.
    pub owner: Owner,
    /// Makes the invitations to its sessions.
    pub invitations: Invitations,
}

/// Storage at a path.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Plans it.
    pub mounter: Arc<dyn Mounter>,
    /// Absolute path of the mount point.
    pub path: String,
    /// Whether writing is refused.
    pub read_only: bool,
}

impl Mount {
    /// What a session's page has of one that is new.
    fn to_record(&self) -> journal::Mount {
        journal::Mount {
            id: new_id().to_string(),
            provider: self.mounter.name().to_owned(),
            settings: self.mounter.settings().to_owned(),
            path: self.path.clone(),
            read_only: self.read_only,
            begun: 0,
            grant: None,
        }
    }
}

/// A step on the way to a running shell, or what becomes of it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The storage is looked at, before there is a sandbox.
    Storage,
    /// The provider makes the sandbox.
    Create,
    /// The storage is mounted in it. Told of a live session too: when a mount
    /// is lost and found again, and when its files are saved at the end.
    Mount,
    /// The shell starts in it.
    Shell,
}

impl Step {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Storage => "storage",
            Step::Create => "create",
            Step::Mount => "mount",
            Step::Shell => "shell",
        }
    }
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It runs.
    Started,
    /// It is done.
    Done,
    /// It failed. Before the shell runs the session ends with it.
    Failed,
}

impl Progress {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Progress::Started => "started",
            Progress::Done => "done",
            Progress::Failed => "failed",
        }
    }
}

/// News of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which step.
    pub name: Step,
    /// How far it is.
    pub state: Progress,
    /// Since it started; zero while `state` is `Started`.
    pub elapsed: Duration,
    /// One line for a person.
    pub message: String,
}

impl Stage {
    fn started(name: Step, message: impl Into<String>) -> Self {
        Stage { name, state: Progress::Started, elapsed: Duration::ZERO, message: message.into() }
    }

    /// `what` is done, and how long it took.
    fn done(name: Step, what: &str, elapsed: Duration) -> Self {
        let message = format!("{what} in {:.2} s", elapsed.as_secs_f64());
        Stage { name, state: Progress::Done, elapsed, message }
    }

    fn failed(name: Step, message: impl Into<String>, elapsed: Duration) -> Self {
        Stage { name, state: Progress::Failed, elapsed, message: message.into() }
    }
}

/// How a session ended. `Display` is one line for the person at the terminal.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The shell ended.
    Exited(Exit),
    /// A step or the sandbox failed; the message says which.
    Failed(Error),
    /// Nobody typed and nothing was printed for this long.
    Idle(Duration),
    /// It has reached this age, which is the greatest.
    Aged(Duration),
    /// The broker shuts down.
    Shutdown,
    /// The broker goes away, and the next one goes on with the session.
    Draining,
    /// Another broker goes on with the session already.
    Replaced,
    /// No client is left, or none came back in time.
    Detached,
    /// A client or an operator ended it.
    Killed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Exited(Exit::Code(code)) => write!(f, "the shell ended with exit status {code}"),
            Outcome::Exited(Exit::Signal(name)) => write!(f, "the shell was ended by {name}"),
            Outcome::Exited(Exit::Unknown) => f.write_str("the shell ended; the provider does not say how"),
            Outcome::Failed(error) => error.fmt(f),
            Outcome::Idle(after) => {
                write!(f, "the session ended after {} without input or output", Words(*after))
            }
            Outcome::Aged(limit) => {
                write!(f, "the session ended because it was {} old, the greatest age here", Words(*limit))
            }
            Outcome::Shutdown => f.write_str("the broker is shutting down; connect again to get a new session"),
            Outcome::Draining => f.write_str("the broker restarts; the session goes on, connect to it again"),
            Outcome::Replaced => f.write_str("another broker serves this session now; connect to it again"),
            Outcome::Detached => f.write_str("the last client left"),
            Outcome::Killed => f.write_str("the session was ended"),
        }
    }
}

/// Says first what failed.
fn during(what: &str, mut error: Error) -> Error {
    error.message = format!("{what}: {}", error.message);
    error
}

/// A duration in the largest unit that divides it.
struct Words(Duration);

impl Words {
    /// To the next whole second.
    fn rounded(duration: Duration) -> Self {
        Words(Duration::from_secs(duration.as_millis().div_ceil(1000) as u64))
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{} ms", self.0.as_millis()),
            s if s % 3600 == 0 => write!(f, "{} h", s / 3600),
            s if s % 60 == 0 => write!(f, "{} min", s / 60),
            s => write!(f, "{s} s"),
        }
    }
}
