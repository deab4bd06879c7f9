//! Where the server listens, and how many connections it keeps.
//!
//! Owns the listening socket, who may connect to a Unix one, and the bound on connections of which nobody knows yet
//! whether they are anybody's: such a one has a few seconds to show a key, and the oldest makes place for the newest. So
//! whoever floods the port keeps nobody out who has something to say. Does not know what a key is.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

/// Connections at once that have shown a key.
const MAX_KNOWN: usize = 4096;

/// Connections at once that have not. One more ends the oldest.
const MAX_UNKNOWN: usize = 512;

/// How long a connection may take to show one. A client sends its first request when it has connected.
const INTRODUCTION: Duration = Duration::from_secs(10);

/// Bytes of a Unix socket's path that the kernel takes, its end included.
const MAX_SOCKET_PATH: usize = 108;

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

pub(crate) type Stream = Either<TcpStream, UnixStream>;

#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens there; a socket that an earlier server left is replaced.
    pub(crate) async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Address::Unix(path) => {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                let (place, _held) = short(path)?;
                let listener = UnixListener::bind(place)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
                Ok(Self::Unix(listener))
            }
        }
    }

    /// The address, with the real port.
    pub(crate) fn address(&self, asked: &Address) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(_) => Ok(asked.clone()),
        }
    }

    /// The next connection; none when it is not one that the server may serve.
    pub(crate) async fn accept(&self) -> io::Result<Option<Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // An echoed byte must not wait for the next. Fails for a connection that is over already.
                Ok(stream.set_nodelay(true).is_ok().then_some(Either::Left(stream)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                if uid == 0 || uid == rustix::process::geteuid().as_raw() {
                    return Ok(Some(Either::Right(stream)));
                }
                tracing::warn!(uid, "another user connected to the server's socket and was refused");
                Ok(None)
            }
        }
    }
}

/// A name of a socket that the kernel takes, however deep its directory is; it holds while the descriptor is open.
fn short(path: &Path) -> io::Result<(PathBuf, Option<OwnedFd>)> {
    if path.as_os_str().len() < MAX_SOCKET_PATH {
        return Ok((path.to_owned(), None));
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory = rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name), Some(directory)))
}

/// What tells two builds of a program apart: its version, size and time of change.
pub fn build() -> String {
    let program = fs::metadata("/proc/self/exe");
    let modified = program.as_ref().ok().and_then(|found| found.modified().ok());
    let modified = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    let size = program.map_or(0, |found| found.len());
    format!("{}+{size:x}.{:x}", env!("CARGO_PKG_VERSION"), modified.as_millis())
}

/// Writes the file as a whole, so that no reader sees half of it.
pub(crate) fn announce(path: &Path, address: &Address, shares_network: bool) -> io::Result<()> {
    #[derive(Serialize)]
    struct Announcement<'a> {
        url: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        socket: Option<&'a Path>,
        pid: u32,
        build: String,
        shares_network: bool,
    }
    let (url, socket) = match address {
        Address::Tcp(address) => (format!("http://{address}"), None),
        Address::Unix(path) => ("http://localhost".to_owned(), Some(path.as_path())),
    };
    let announcement = Announcement { url, socket, pid: std::process::id(), build: build(), shares_network };
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", announcement.pid));
    let _ = fs::remove_file(&draft);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    serde_json::to_writer(file, &announcement)?;
    fs::rename(&draft, path)
}

/// The bounds on a server's connections.
#[derive(Debug, Clone)]
pub(crate) struct Visitors {
    known: Arc<Semaphore>,
    unknown: Arc<Mutex<VecDeque<Visitor>>>,
}

/// A connection, as its requests see it.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    /// Whether it came over the Unix socket: from the server's own user, or root.
    pub(crate) own: bool,
    places: Arc<Semaphore>,
    place: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    known: CancellationToken,
    refused: CancellationToken,
    /// Cancelled with the connection.
    ended: CancellationToken,
}

impl Visitors {
    pub(crate) fn new() -> Self {
        Self { known: Arc::new(Semaphore::new(MAX_KNOWN)), unknown: Arc::default() }
    }

    /// A new connection, of which nothing is known.
    pub(crate) fn enter(&self, own: bool) -> Visitor {
        let visitor = Visitor {
            own,
            places: self.known.clone(),
            place: Arc::default(),
            known: CancellationToken::new(),
            refused: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        if unknown.len() >= MAX_UNKNOWN {
            unknown.retain(|other| !other.known.is_cancelled() && !other.ended.is_cancelled());
            if unknown.len() >= MAX_UNKNOWN
                && let Some(oldest) = unknown.pop_front()
            {
                oldest.refused.cancel();
            }
        }
        unknown.push_back(visitor.clone());
        visitor
    }
}

impl Visitor {
    /// It has shown a key. It is refused when too many others have.
    pub(crate) fn introduce(&self) {
        if self.known.is_cancelled() {
            return;
        }
        match self.places.clone().try_acquire_owned() {
            Ok(place) => {
                *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
                self.known.cancel();
            }
            Err(_) => self.refused.cancel(),
        }
    }

    /// Returns when the connection has to go.
    pub(crate) async fn overstayed(&self) {
        tokio::select! {
            () = self.refused.cancelled() => {}
            () = tokio::time::sleep(INTRODUCTION) => {
                if self.known.is_cancelled() {
                    self.refused.cancelled().await;
                }
            }
        }
    }

    /// The connection has ended.
    pub(crate) fn leave(&self) {
        self.ended.cancel();
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Lets whoever sent a request stay, if it came with a visitor.
pub(crate) fn introduce(extensions: &http::Extensions) {
    if let Some(visitor) = extensions.get::<Visitor>() {
        visitor.introduce();
    }
}
