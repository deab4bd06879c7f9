//! Makes the directory that a shell is to start in, if it is missing.
//!
//! Owns how it is made in the sandbox, by processes that any provider can run,
//! and what takes its place. Deliberately starts no shell.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, info};

use sandbox_broker_core::sandbox::{Call, Command, Exit, Process, Provider, SandboxRef, await_exit};

/// The user that makes what a session's user may not make.
const ROOT: &str = "root";

/// Longest time for one of the processes. They take milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// Largest size in bytes of an answer. A path has at most 4 KiB.
const ANSWER: usize = 8 << 10;

/// Enters the directory, or makes and enters it if `$2` allows that. Prints
/// which of these it did, then whose process it is, then the home directory.
const ENTER: &str = r#"
if cd "$1" 2>/dev/null; then echo there
elif [ "$2" = make ] && mkdir -p -- "$1" 2>/dev/null && cd "$1"; then echo made
else echo missing; fi
echo "$(id -u):$(id -g)"
cd && pwd -P
"#;

/// Makes the directory, which must not exist, and gives it to the user.
const GIVE: &str = r#"mkdir -p -- "${1%/*}/" && mkdir -- "$1" && chown -h -- "$2" "$1""#;

/// A sandbox in which a directory is looked for.
pub(crate) struct Directory<'a> {
    pub(crate) provider: &'a dyn Provider,
    pub(crate) call: &'a Call,
    pub(crate) sandbox: &'a SandboxRef,
}

/// What was done about a directory that was missing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It is there now.
    Made,
    /// It cannot be made; this is the user's home.
    Elsewhere(String),
}

/// What [`ENTER`] says.
struct Entered {
    state: String,
    owner: String,
    home: Option<String>,
}

impl Directory<'_> {
    /// Makes the directory, as the user if that is possible, else as root for
    /// the user. None if it was not missing, or if nobody can say.
    pub(crate) async fn settle(&self, path: &str, user: Option<&str>) -> Option<Settled> {
        let path = path.trim_end_matches('/');
        let Entered { state, owner, home } = self.enter(path, "make", user).await?;
        match state.as_str() {
            "there" => return None,
            "made" => {}
            _ if self.run(GIVE, [path, &owner], Some(ROOT)).await.is_some() => {}
            _ => return home.map(Settled::Elsewhere),
        }
        info!(sandbox = self.sandbox.id, path, owner, "made the directory that the shell starts in");
        Some(Settled::Made)
    }

    /// The user's home, if the directory is missing.
    pub(crate) async fn home_instead_of(&self, path: &str, user: Option<&str>) -> Option<String> {
        let entered = self.enter(path, "look", user).await?;
        entered.home.filter(|_| entered.state == "missing")
    }

    async fn enter(&self, path: &str, how: &str, user: Option<&str>) -> Option<Entered> {
        let said = self.run(ENTER, [path, how], user).await?;
        let mut lines = said.lines().map(str::to_owned);
        let (state, owner) = (lines.next()?, lines.next()?);
        Some(Entered { state, owner, home: lines.next().filter(|home| home.starts_with('/')) })
    }

    /// What a script printed, if it ended well.
    async fn run(&self, script: &str, arguments: [&str; 2], user: Option<&str>) -> Option<String> {
        let mut argv = ["/bin/sh", "-c", script, "sh"].map(str::to_owned).to_vec();
        argv.extend(arguments.map(str::to_owned));
        let command = Command { argv, cwd: Some("/".to_owned()), user: user.map(str::to_owned), ..Command::default() };
        let done = timeout(DEADLINE, async {
            let (_, no_input) = mpsc::channel(1);
            let mut process = self.provider.run(self.call, self.sandbox, &command, no_input).await?;
            let said = all(&mut process).await;
            Ok::<_, sandbox_broker_core::sandbox::Error>((said, await_exit(&mut process.done).await?))
        });
        match done.await {
            Ok(Ok((said, Exit::Code(0)))) => String::from_utf8(said).ok(),
            other => {
                debug!(sandbox = self.sandbox.id, ?other, "could not check or make a directory");
                None
            }
        }
    }
}

async fn all(process: &mut Process) -> Vec<u8> {
    let mut said = Vec::new();
    while let Some(chunk) = process.stdout.recv().await {
        said.extend_from_slice(&chunk[..chunk.len().min(ANSWER - said.len())]);
    }
    said
}
