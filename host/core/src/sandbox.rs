//! The port: what a session needs of a sandbox provider, in domain words.
//!
//! Owns the vocabulary (sandboxes, terminals, processes, files) and the trait [`Provider`]. Deliberately knows no plugin
//! engine, no wire and no configuration. The crate `plugin` implements the port with components.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::abilities::Abilities;
pub use crate::error::{Code, Error, Fault, Result};
use crate::progress::Progress;

/// Chunks that a byte pipe between a session and a sandbox holds before its writer waits. Eight chunks of at most 64 KiB
/// keep both ends busy without hiding a stalled reader.
pub const PIPE_CHUNKS: usize = 8;

/// Bytes of one chunk in such a pipe, at most.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Who calls and why; goes into logs and to the provider's request logs.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The session, if there is one.
    pub session: Option<String>,
    /// The session's user, if people sign in. Plugins are not told.
    pub user: Option<String>,
    /// The `traceparent` (W3C Trace Context) of this very call. Whoever calls leaves it out, and the provider makes one.
    pub traceparent: Option<String>,
    /// Where `create` and `prepare` report what they are doing, if somebody waits.
    pub progress: Option<Progress>,
}

/// A sandbox, as a value that outlives the plugin instance that made it.
#[derive(Clone, PartialEq, Eq)]
pub struct SandboxRef {
    /// The provider's id of it, at most 256 bytes.
    pub id: String,
    /// What the plugin wants to see again, at most 4 KiB; may hold the
    /// sandbox's own access token, so it is never printed.
    pub state: Bytes,
}

impl fmt::Debug for SandboxRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxRef").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A volume of the provider, attached when the sandbox is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name at the provider, at most 256 bytes.
    pub name: String,
    /// Absolute path in the sandbox.
    pub path: String,
    /// Writing must be refused.
    pub read_only: bool,
}

/// What a person chose for a sandbox. What is none is the provider's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Image or template, at most 512 bytes.
    pub image: Option<String>,
    /// Processor time, thousandths of a core.
    pub cpu_millis: Option<u32>,
    /// Memory, MiB.
    pub memory_mib: Option<u32>,
    /// Disk, MiB.
    pub disk_mib: Option<u32>,
    /// Where, at most 64 bytes.
    pub region: Option<String>,
    /// At most 16.
    pub volumes: Vec<Volume>,
}

/// What sandbox to make.
#[derive(Clone, Default)]
pub struct Spec {
    /// Labels by which `list` finds the sandbox again. At most 8, with keys and values of at most 63 bytes.
    pub labels: BTreeMap<String, String>,
    /// Environment of every process in it; may hold a person's secrets, so it
    /// is never printed.
    pub env: BTreeMap<String, String>,
    /// The sandbox ends by itself this long after its creation or the last `extend`.
    pub ttl: Duration,
    /// What the person chose.
    pub choices: Choices,
}

/// A sandbox found by `list`.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The provider's id of it.
    pub id: String,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made, if known.
    pub created: Option<SystemTime>,
    /// When it ends by itself, if known.
    pub ends: Option<SystemTime>,
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct Page {
    /// In any order.
    pub sandboxes: Vec<Listed>,
    /// Cursor of the next page, if there is one.
    pub next: Option<String>,
}

/// A terminal's size; each side 1 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

impl Size {
    /// The size of a terminal until somebody sets one.
    pub const DEFAULT: Size = Size { cols: 80, rows: 24 };
    /// The largest side.
    pub const MAX: u16 = 1000;

    /// A size within bounds.
    pub fn new(cols: u64, rows: u64) -> Option<Self> {
        let side = |n: u64| u16::try_from(n).ok().filter(|n| (1..=Self::MAX).contains(n));
        Some(Size { cols: side(cols)?, rows: side(rows)? })
    }
}

/// A process to run, on a PTY or without.
#[derive(Clone, Default)]
pub struct Command {
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// Working directory; the sandbox's default when none.
    pub cwd: Option<String>,
    /// Added to the sandbox's environment.
    pub env: BTreeMap<String, String>,
    /// Whose process; the sandbox's default user when none.
    pub user: Option<String>,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By a signal of this name.
    Signal(String),
    /// The provider did not say.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit status {code}"),
            Exit::Signal(name) => write!(f, "ended by {name}"),
            Exit::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// Keeps what serves a terminal, process or stream alive; dropping it ends
/// the service at once (not the process in the sandbox).
pub type Lifetime = AbortOnDropHandle<()>;

/// What to ask of a live process.
#[derive(Debug)]
pub enum ControlRequest {
    /// Set the size; answered when the sandbox has it.
    Resize(Size, oneshot::Sender<Result<()>>),
    /// Send a signal by name.
    Signal(String, oneshot::Sender<Result<()>>),
}

/// Steers a live process. Cheap to clone; fails with `Cancelled` when the
/// service behind it has ended.
#[derive(Clone, Debug)]
pub struct Control(mpsc::Sender<ControlRequest>);

impl Control {
    /// Requests that wait for their turn. A person cannot cause more than a few. Beyond the bound, the caller waits.
    pub const QUEUE: usize = 4;

    /// A control and the queue that its service reads.
    pub fn new() -> (Self, mpsc::Receiver<ControlRequest>) {
        let (tx, rx) = mpsc::channel(Self::QUEUE);
        (Control(tx), rx)
    }

    /// Sets the size of the terminal.
    pub async fn resize(&self, size: Size) -> Result<()> {
        self.ask(|reply| ControlRequest::Resize(size, reply)).await
    }

    /// Sends a signal by name, `SIGTERM` or `SIGKILL`.
    pub async fn signal(&self, name: &str) -> Result<()> {
        self.ask(|reply| ControlRequest::Signal(name.to_owned(), reply)).await
    }

    async fn ask(&self, request: impl FnOnce(oneshot::Sender<Result<()>>) -> ControlRequest) -> Result<()> {
        let gone = || Error::new(Fault::Provider, Code::Cancelled, "the terminal has ended");
        let (tx, rx) = oneshot::channel();
        self.0.send(request(tx)).await.map_err(|_| gone())?;
        rx.await.map_err(|_| gone())?
    }
}

/// A live terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The provider's id of the process; `attach` takes it.
    pub pty: String,
    /// What the process prints, in chunks of at most [`CHUNK_BYTES`]. The end of the channel alone does not say how the
    /// process ended: see `done`.
    pub output: mpsc::Receiver<Bytes>,
    /// How it ended; sent after the last chunk of `output`. It is dropped without a value only when `lifetime` was
    /// dropped.
    pub done: oneshot::Receiver<Result<Exit>>,
    /// Steers it.
    pub control: Control,
    /// Dropping it ends the connection to the process.
    pub lifetime: Lifetime,
}

/// Waits for the end of a process. Every wait for one goes through here, so that a plugin that stops without reporting the
/// end causes the same error everywhere.
///
/// # Errors
/// Those of the provider, and [`Code::Internal`] with [`Fault::Plugin`] if nobody reports the end.
pub async fn await_exit(done: &mut oneshot::Receiver<Result<Exit>>) -> Result<Exit> {
    done.await.unwrap_or_else(|_| {
        let message = "the provider's plugin stopped without saying how the process ended";
        Err(Error::new(Fault::Plugin, Code::Internal, message))
    })
}

/// A running process without a PTY.
#[derive(Debug)]
pub struct Process {
    /// The provider's id of the process.
    pub id: String,
    /// Its standard output.
    pub stdout: mpsc::Receiver<Bytes>,
    /// Its standard error.
    pub stderr: mpsc::Receiver<Bytes>,
    /// As [`Terminal::done`], after the last chunk of both.
    pub done: oneshot::Receiver<Result<Exit>>,
    /// Steers it.
    pub control: Control,
    /// Dropping it ends the connection to the process.
    pub lifetime: Lifetime,
}

/// A path in a sandbox and who acts on it.
#[derive(Clone, Debug)]
pub struct Location {
    /// Absolute path.
    pub path: String,
    /// Acts as this user; the sandbox's default user when none.
    pub user: Option<String>,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum EntryKind {
    File,
    Directory,
    Symlink,
    Other,
}

/// A directory entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Last part of the path.
    pub name: String,
    /// Absolute path.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes; 0 for what is not a file.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Last change of its content, if known.
    pub modified: Option<SystemTime>,
}

/// One page of a directory.
#[derive(Clone, Debug)]
pub struct Entries {
    /// Sorted by name over all pages.
    pub entries: Vec<Entry>,
    /// Cursor of the next page, if there is one.
    pub next: Option<String>,
}

/// Entries of a directory that are read, at most. It bounds what a listing that never ends costs.
pub const DIRECTORY_ENTRIES: usize = 100_000;

/// Bytes of their names and paths, at most.
const DIRECTORY_BYTES: usize = 32 << 20;

/// Pages of a directory that are read, at most: some more than the entries need.
const DIRECTORY_PAGES: usize = 200;

/// How the broker reaches a port of a sandbox.
#[derive(Clone, PartialEq, Eq)]
pub struct Route {
    /// Absolute URL, `http` or `https`.
    pub url: String,
    /// What every request needs; may hold the sandbox's own token, so it is never printed.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Bytes on their way out of a sandbox.
#[derive(Debug)]
pub struct Download {
    /// The bytes, in chunks of at most [`CHUNK_BYTES`].
    pub data: mpsc::Receiver<Bytes>,
    /// Whether that was all of them.
    pub done: oneshot::Receiver<Result<()>>,
    /// Dropping it ends the transfer.
    pub lifetime: Lifetime,
}

/// Bytes on their way into a sandbox.
#[derive(Debug)]
pub struct Upload {
    /// How many there are, if known.
    pub size: Option<u64>,
    /// The bytes.
    pub data: mpsc::Receiver<Bytes>,
    /// `Ok` when `data` was whole. When it is dropped or `Err`, the file is not written.
    pub complete: oneshot::Receiver<Result<()>>,
}

/// A sandbox provider as configured: one section of the configuration at one
/// generation. Sessions hold the one they began with; its secrets are live.
///
/// Every method is bounded in time by the implementation and may be called at
/// any time, at the same time as others. A failure in one call, a trap
/// included, touches no other call. Dropping a future gives the call up; the
/// provider may still carry it out.
#[async_trait]
pub trait Provider: Send + Sync + fmt::Debug {
    /// The section's name, such as `local`.
    fn name(&self) -> &str;

    /// What a person should know about its isolation, if anything.
    fn isolation(&self) -> Option<&str>;

    /// What it can do. A method that needs an ability which is missing fails with [`Code::Unimplemented`].
    fn abilities(&self) -> Abilities;

    /// Makes a sandbox. After an error that does not say whether one was made, `list` by the labels finds out.
    async fn create(&self, call: &Call, spec: &Spec) -> Result<SandboxRef>;

    /// Makes sure that the sandbox runs and lives for at least `ttl` from now.
    async fn connect(&self, call: &Call, sandbox: &SandboxRef, ttl: Duration) -> Result<SandboxRef>;

    /// Sets its end to `ttl` from now. Returns the reference to use from now on.
    async fn extend(&self, call: &Call, sandbox: &SandboxRef, ttl: Duration) -> Result<SandboxRef>;

    /// Ends the sandbox. Succeeds when it is already gone.
    async fn kill(&self, call: &Call, sandbox: &SandboxRef) -> Result<()>;

    /// Finds living sandboxes that carry all `labels`, a page at a time.
    async fn list(&self, call: &Call, labels: &BTreeMap<String, String>, cursor: Option<String>) -> Result<Page>;

    /// Starts a process on a PTY. Chunks of `input` go to it in order, each
    /// at most once.
    async fn open(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        command: &Command,
        size: Size,
        input: mpsc::Receiver<Bytes>,
    ) -> Result<Terminal>;

    /// Attaches again to a process that `open` started.
    async fn attach(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        pty: &str,
        input: mpsc::Receiver<Bytes>,
    ) -> Result<Terminal>;

    /// Starts a process without a PTY; the end of `stdin` closes its input.
    async fn run(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        command: &Command,
        stdin: mpsc::Receiver<Bytes>,
    ) -> Result<Process>;

    /// Reads a file from `offset`, at most `length` bytes.
    async fn read(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        at: &Location,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Download>;

    /// Writes a whole file, replacing an old one. Has no deadline while bytes arrive. Fails when the provider stops taking
    /// bytes, or does not finish the file long after its last byte.
    async fn write(&self, call: &Call, sandbox: &SandboxRef, at: &Location, upload: Upload) -> Result<Entry>;

    /// Lists a directory, sorted by name, a page at a time.
    async fn list_dir(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        at: &Location,
        cursor: Option<String>,
    ) -> Result<Entries>;

    /// Lists all of a directory, sorted by name.
    async fn list_whole_dir(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let mut cursor = None;
        for _ in 0..DIRECTORY_PAGES {
            let page = self.list_dir(call, sandbox, at, cursor).await?;
            bytes += page.entries.iter().map(|entry| entry.name.len() + entry.path.len()).sum::<usize>();
            entries.extend(page.entries);
            cursor = page.next;
            if entries.len() > DIRECTORY_ENTRIES || bytes > DIRECTORY_BYTES {
                break;
            }
            if cursor.is_none() {
                return Ok(entries);
            }
        }
        let message = format!(
            "the listing of {} does not end within {DIRECTORY_ENTRIES} entries or {DIRECTORY_BYTES} bytes of paths",
            at.path
        );
        Err(Error::new(Fault::Provider, Code::ResourceExhausted, message))
    }

    /// Describes one entry, following symbolic links.
    async fn stat(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<Entry>;

    /// Removes a file or a whole directory. Succeeds when it is already gone.
    async fn remove(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<()>;

    /// Makes a directory and its parents.
    async fn make_dir(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<Entry>;

    /// Renames, replacing a file at the destination.
    async fn rename(&self, call: &Call, sandbox: &SandboxRef, source: &Location, destination: &str) -> Result<Entry>;

    /// Puts the sandbox to sleep; `connect` wakes it.
    async fn pause(&self, call: &Call, sandbox: &SandboxRef) -> Result<()>;

    /// Finds the route to a port of the sandbox.
    async fn route(&self, call: &Call, sandbox: &SandboxRef, port: u16) -> Result<Route>;
}
