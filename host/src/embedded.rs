//! The embedded sandbox server: `sandboxd` of this very binary.
//!
//! Owns its start, its key and its heartbeat. It runs as a process of its
//! own, so that shells live through a crash or an upgrade of the broker; a
//! broker that comes back finds it by its announcement. With no broker left
//! it ends its sandboxes by their leases and then itself. Deliberately knows
//! nothing of the protocol beyond one cheap request.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::disk;
use crate::secret::Secret;

/// The hidden subcommand that runs the server.
pub const SUBCOMMAND: &str = "sandboxd";
/// This very program, also after an upgrade has put another in its place.
const PROGRAM: &str = "/proc/self/exe";
/// Bytes of the last words of a server.
const LAST_WORDS: u64 = 4096;
/// The template whose sandboxes may mount file systems.
pub const FUSE_TEMPLATE: &str = "fuse";
/// Without requests and sandboxes the server ends after this time.
const IDLE_EXIT: Duration = Duration::from_secs(60);
/// A third of it, so that two lost requests in a row do no harm.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// Bound on the start; measured: 20 ms.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// Bound on one request over the loopback.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// Pause between two looks for the announcement.
const LOOK: Duration = Duration::from_millis(5);

/// Why the embedded server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// The state directory cannot be used.
    #[error("cannot use the state directory {}: {}", path.display(), disk::explain(path, cause))]
    State {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The program cannot be started.
    #[error("cannot start the embedded sandbox server: {0}")]
    Start(io::Error),
    /// It ended, or did not come up in time.
    #[error("the embedded sandbox server did not come up: {why}; its log is {}", log.display())]
    Silent {
        /// What was seen.
        why: String,
        /// Where it writes.
        log: PathBuf,
    },
}

/// A running embedded server. Dropping it stops the heartbeat, nothing else.
#[derive(Debug)]
pub struct Embedded {
    /// Its URL, such as `http://127.0.0.1:40123`. Stays the same when the
    /// server has to be started again.
    pub url: String,
    /// The key that it accepts.
    pub key: Secret,
    _heartbeat: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct Place {
    directory: PathBuf,
    sandboxes: usize,
}

#[derive(Deserialize)]
struct Announcement {
    url: String,
}

impl Embedded {
    /// Finds the server of an earlier broker under `state`, or starts one for
    /// at most `sandboxes` sandboxes.
    ///
    /// # Errors
    /// See [`EmbeddedError`]; bubblewrap missing is the usual cause.
    pub async fn ensure(state: &Path, sandboxes: usize) -> Result<Self, EmbeddedError> {
        let place = Place { directory: state.join("sandboxd"), sandboxes };
        let (url, key) = place.bring_up(None).await?;
        let heartbeat = AbortOnDropHandle::new(tokio::spawn(place.keep_up(url.clone(), key.clone())));
        Ok(Embedded { url, key, _heartbeat: heartbeat })
    }
}

impl Place {
    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The server that answers to its announcement with the key on disk.
    async fn find(&self) -> Option<(String, Secret)> {
        let announcement = fs::read(self.file("announce.json")).ok()?;
        let Announcement { url } = serde_json::from_slice(&announcement).ok()?;
        let key = Secret::new(fs::read_to_string(self.file("api-key")).ok()?.trim());
        answers(&url, &key).await.then_some((url, key))
    }

    /// Puts the key back if it was removed: requests of open sessions carry it.
    fn keep_key(&self, key: &Secret) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        match File::options().write(true).create_new(true).mode(0o600).open(self.file("api-key")) {
            Ok(mut file) => file.write_all(key.expose().as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Finds or starts it, on the address of `before` where there is one.
    async fn bring_up(&self, before: Option<&str>) -> Result<(String, Secret), EmbeddedError> {
        if let Some(found) = self.find().await {
            tracing::info!(url = %found.0, "embedded sandbox server found");
            return Ok(found);
        }
        let started = Instant::now();
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |cause| EmbeddedError::State { path, cause }
        };
        // Also when it was removed while the broker ran.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        made.map_err(unusable(&self.directory))?;
        let log = self.file("sandboxd.log");
        let errors = File::create(&log).map_err(unusable(&log))?;
        let listen = before.and_then(|url| url.strip_prefix("http://")?.parse().ok());
        let listen: SocketAddr = listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut child = Command::new(PROGRAM)
            .arg(SUBCOMMAND)
            .args(["--listen", &listen.to_string()])
            .arg("--state-dir")
            .arg(&self.directory)
            .arg("--api-key-file")
            .arg(self.file("api-key"))
            .arg("--announce")
            .arg(self.file("announce.json"))
            .args(["--exit-when-idle", &IDLE_EXIT.as_secs().to_string()])
            .args(["--max-sandboxes", &self.sandboxes.to_string()])
            .args(["--fuse-template", FUSE_TEMPLATE])
            // Of the broker's environment, which holds its secrets, nothing
            // but what finds programs and sets the log.
            .env_clear()
            .envs(["PATH", "HOME", "RUST_LOG"].into_iter().filter_map(|n| Some((n, std::env::var_os(n)?))))
            .stdin(Stdio::null())
            // Why it does not start, also where its log has no room for that.
            .stdout(Stdio::piped())
            .stderr(errors)
            // Ctrl-C at the broker's terminal is not meant for it.
            .process_group(0)
            .spawn()
            .map_err(EmbeddedError::Start)?;
        loop {
            if let Some(found) = self.find().await {
                tracing::info!(url = %found.0, pid = child.id(), ms = started.elapsed().as_millis() as u64,
                    "embedded sandbox server started");
                reap(child);
                return Ok(found);
            }
            let ended = child.try_wait().map_err(EmbeddedError::Start)?;
            if ended.is_some() || started.elapsed() > START_DEADLINE {
                let said = ended.and_then(|_| last_words(&mut child));
                let logged = || Some(fs::read_to_string(&log).ok()?.lines().last()?.to_owned());
                let last = said.or_else(logged).unwrap_or_else(|| "it said nothing".to_owned());
                let why = match ended {
                    Some(status) => format!("it ended with {status}: {last}"),
                    None => format!("no answer within {} s: {last}", START_DEADLINE.as_secs()),
                };
                return Err(EmbeddedError::Silent { why, log });
            }
            sleep(LOOK).await;
        }
    }

    /// Tells the server that a broker lives, and starts it again when it is
    /// gone. Its sandboxes went with it; their sessions see that by
    /// themselves.
    async fn keep_up(self, url: String, key: Secret) {
        loop {
            sleep(HEARTBEAT).await;
            if answers(&url, &key).await {
                continue;
            }
            tracing::error!(%url, "the embedded sandbox server is gone; starting it again");
            if let Err(error) = self.keep_key(&key) {
                tracing::error!(%error, "cannot keep the key of the embedded sandbox server");
            }
            match self.bring_up(Some(&url)).await {
                Ok((now, _)) if now != url => tracing::error!(%now, %url, "it listens elsewhere; restart the broker"),
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "trying again in {} s", HEARTBEAT.as_secs()),
            }
        }
    }
}

/// What a server that has ended says on its standard output: why it did not
/// start.
fn last_words(child: &mut Child) -> Option<String> {
    let mut said = String::new();
    child.stdout.take()?.take(LAST_WORDS).read_to_string(&mut said).ok()?;
    (!said.is_empty()).then_some(said)
}

/// Whether a server at `url` accepts the key.
async fn answers(url: &str, key: &Secret) -> bool {
    let Ok(client) = reqwest::Client::builder().no_proxy().timeout(REQUEST_DEADLINE).build() else { return false };
    let request = client.get(format!("{url}/v2/sandboxes?limit=1")).header("x-api-key", key.expose());
    request.send().await.is_ok_and(|answer| answer.status().is_success())
}

/// Takes the exit status when the server ends before the broker does, so that
/// it does not stay as a zombie.
fn reap(mut child: Child) {
    let name = "sandboxd-reaper".to_owned();
    // Without the thread a zombie may stay: no reason to fail.
    let _ = std::thread::Builder::new().name(name).spawn(move || child.wait());
}
