//! How the program gets into a sandbox.
//!
//! Owns the rights to it. If the sandbox has a root user, the program belongs to root, in a directory that only root can write
//! to: the session's user runs it and cannot replace it. It always runs as the session's user. If the sandbox has no root,
//! that user owns the program, and a replaced program can do no more than the user can. Deliberately knows nothing of what the
//! program says.

use std::time::Duration;

use bytes::Bytes;
use sandbox_broker_core::sandbox::{
    CHUNK_BYTES, Call, Code, Command, Error, Exit, Fault, Location, PIPE_CHUNKS, Provider, Result, SandboxRef, Upload,
};
use sandbox_stdx::hex::hex;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::process::ended;
use crate::program::{SH, places};

/// Time for one script. It takes a second if each chunk waits for the one before; the rest is for a provider that is busy.
const WITHIN: Duration = Duration::from_secs(60);

/// Where the provider's own way puts the program, best place first. The second is for a user who can write nowhere else.
const PROGRAMS: [&str; 2] = ["/var/lib/sandbox-recorder/program", "/tmp/.sandbox-recorder/program"];

/// The user that owns it.
const ROOT: &str = "root";

/// Lets every user run what root put there, and only root change it.
const OPEN: &str = r#"
cd /var/lib/sandbox-recorder && chown -h 0:0 . program && chmod 755 . program && mkdir -p tapes && chown -h 0:0 tapes && chmod 1777 tapes
"#;

/// Takes the program from the standard input: `$1` bytes whose SHA-256 is `$2`. `$3` is `root` if it shall belong to root.
///
/// It needs a POSIX shell and six small programs, which every busybox has. The program gets its name at the end, by a rename,
/// so it is there whole or not at all. A file system may be mounted without the right to execute, so a script is tried in each
/// place first.
const TAKE: &str = concat!(
    "size=$1 hash=$2 owner=$3\numask 022\nfor place in ",
    places!(),
    r#"; do
    # Nobody else finds it in the home of root.
    case $owner$place in root"${HOME:-/root}"/*) continue ;; esac
    mkdir -p "$place" 2>/dev/null && [ -d "$place" ] && [ ! -L "$place" ] && [ -O "$place" ] || continue
    new=$place/new.$$
    { printf '#!/bin/sh\n' >"$new" && chmod 755 "$new" && "$new"; } 2>/dev/null || { rm -f "$new" 2>/dev/null; continue; }
    trap 'rm -f "$new"' EXIT
    cat >"$new" || exit 74
    [ "$(($(wc -c <"$new")))" = "$size" ] || exit 75
    # Not every image can say it.
    sum=$(sha256sum <"$new" 2>/dev/null) && [ "${sum%% *}" != "$hash" ] && exit 75
    if [ "$owner" = root ]; then
        mkdir -p "$place/tapes" && chmod 755 "$place" && chmod 1777 "$place/tapes" || exit 74
    fi
    mv -f "$new" "$place/program" && exit 0
    exit 74
done
cat >/dev/null
exit 73
"#
);

/// How [`TAKE`] ends if no place is fit, if it could not write, and if it got other bytes.
const NO_PLACE: Exit = Exit::Code(73);
const NOT_WRITTEN: Exit = Exit::Code(74);
const CUT: Exit = Exit::Code(75);

/// How a shell ends if a program cannot be run or is not there.
const NOT_RUN: [Exit; 2] = [Exit::Code(126), Exit::Code(127)];

/// Puts the program into the sandbox for processes of `user`, protected from that user as far as possible. Replaces one that is
/// there. A program that did not arrive whole is not found by [`argv`](crate::program::argv).
///
/// # Errors
/// Those of the provider. [`Code::Unimplemented`] if the sandbox lacks what it takes, and [`Code::FailedPrecondition`] if it has
/// no place for the program. [`Code::Unavailable`] if the program did not arrive whole: trying again may help.
pub async fn install(
    provider: &dyn Provider,
    call: &Call,
    sandbox: &SandboxRef,
    user: Option<&str>,
    program: &Bytes,
) -> Result<()> {
    let new = New { provider, call, sandbox, program };
    let user = user.map(str::to_owned);
    if provider.abilities().files { new.by_files(user).await } else { new.by_exec(user).await }
}

/// A program on its way into a sandbox.
struct New<'a> {
    provider: &'a dyn Provider,
    call: &'a Call,
    sandbox: &'a SandboxRef,
    program: &'a Bytes,
}

impl New<'_> {
    async fn by_files(&self, user: Option<String>) -> Result<()> {
        match self.write_as_root().await {
            Err(error) if is_refusal(&error) => {}
            done => return done,
        }
        match self.write(PROGRAMS[0], user.clone()).await {
            Err(error) if is_refusal(&error) => self.write(PROGRAMS[1], user).await,
            done => done,
        }
    }

    async fn write_as_root(&self) -> Result<()> {
        let root = Some(ROOT.to_owned());
        self.write(PROGRAMS[0], root.clone()).await?;
        match self.run(OPEN, &[], root, Bytes::new()).await? {
            (Exit::Code(0), _) => Ok(()),
            (exit, words) => Err(failed("the recorder could not be made executable", &exit, &words)),
        }
    }

    async fn write(&self, path: &str, user: Option<String>) -> Result<()> {
        let (to, data) = mpsc::channel(PIPE_CHUNKS);
        let (whole, complete) = oneshot::channel();
        let upload = Upload { size: Some(self.program.len() as u64), data, complete };
        let at = Location { path: path.to_owned(), user };
        let feed = async {
            if feed(self.program.clone(), to).await {
                let _ = whole.send(Ok(()));
            }
        };
        let (written, ()) = tokio::join!(self.provider.write(self.call, self.sandbox, &at, upload), feed);
        written.map(drop)
    }

    async fn by_exec(&self, user: Option<String>) -> Result<()> {
        let abilities = self.provider.abilities();
        if !abilities.stdin {
            let message = "the recorder cannot be brought into the sandbox: processes there get no standard input, and the \
                           provider's plugin does not export `files`";
            return Err(Error::new(Fault::Operator, Code::Unimplemented, message));
        }
        if abilities.root && user.as_deref() != Some(ROOT) {
            match self.take(Some(ROOT.to_owned())).await {
                Err(error) if is_refusal(&error) => {}
                done => return done,
            }
        }
        self.take(user).await
    }

    async fn take(&self, user: Option<String>) -> Result<()> {
        let owner = if user.as_deref() == Some(ROOT) { ROOT } else { "" };
        let arguments = [&*self.program.len().to_string(), &hex(&Sha256::digest(self.program)), owner];
        let (exit, words) = self.run(TAKE, &arguments, user, self.program.clone()).await.map_err(|error| {
            let message = format!("the recorder could not be brought into the sandbox by its {SH}: {error}");
            Error { message, ..error }
        })?;
        let error = match exit {
            Exit::Code(0) => return Ok(()),
            NO_PLACE => failed(
                "no directory of the sandbox takes a program: none can be written to and executed from",
                &exit,
                &words,
            ),
            NOT_WRITTEN => failed("the recorder could not be written", &exit, &words),
            CUT => Error::new(Fault::Provider, Code::Unavailable, "the recorder did not arrive whole in the sandbox"),
            exit if NOT_RUN.contains(&exit) => {
                let message = "the sandbox's image lacks `sh`, `cat`, `chmod`, `mkdir`, `mv` or `wc`, by which the recorder is \
                               brought in: use another image, or a plugin that exports `files`";
                Error::new(Fault::Operator, Code::Unimplemented, message)
            }
            exit => failed("the recorder could not be brought into the sandbox", &exit, &words),
        };
        Err(error)
    }

    /// Runs a script to its end.
    async fn run(
        &self,
        script: &str,
        arguments: &[&str],
        user: Option<String>,
        input: Bytes,
    ) -> Result<(Exit, String)> {
        let mut argv = [SH, "-c", script, "sh"].map(str::to_owned).to_vec();
        argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let command = Command { argv, cwd: Some("/".to_owned()), user, ..Command::default() };
        let (to, stdin) = mpsc::channel(PIPE_CHUNKS);
        let ended = async {
            let mut process = self.provider.run(self.call, self.sandbox, &command, stdin).await?;
            ended(&mut process).await
        };
        let done = async { tokio::join!(ended, feed(input, to)).0 };
        let late = || Error::new(Fault::Provider, Code::DeadlineExceeded, "the recorder was not brought in in time");
        timeout(WITHIN, done).await.map_err(|_| late())?
    }
}

/// Sends all bytes in chunks, and then their end. False: nobody takes them, and whoever did says why.
async fn feed(mut bytes: Bytes, to: mpsc::Sender<Bytes>) -> bool {
    while !bytes.is_empty() {
        let chunk = bytes.split_to(bytes.len().min(CHUNK_BYTES));
        if to.send(chunk).await.is_err() {
            return false;
        }
    }
    true
}

fn failed(what: &str, exit: &Exit, words: &str) -> Error {
    let words = format!("{what} ({exit}): {words}");
    Error::new(Fault::Provider, Code::FailedPrecondition, words.trim_end_matches([':', ' ']))
}

/// Whether another user or another place may succeed.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error.code,
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::Unimplemented
    )
}
