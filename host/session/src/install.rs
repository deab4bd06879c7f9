//! Where the recorder is in a sandbox, how it gets there, and how it is run.
//!
//! Owns its places and the rights to them. The program belongs to root where the
//! sandbox has one, in a directory that only root can write in: its user runs it
//! and cannot replace it. It never runs as anybody but the session's user, so
//! where that user owns it, because the sandbox has no other, a replaced one can
//! do no more than he can. Deliberately knows nothing of what the recorder says.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::tape::Tape;
use sandbox_broker_core::sandbox::{
    CHUNK_BYTES, Code, Command, Error, Exit, Fault, Location, PIPE_CHUNKS, Result, Upload,
};

/// Where the recorder keeps its files, below the program's own directory and in
/// one that all users may write in. Not among temporary files, which are cleaned
/// away. A sandbox has one shell.
pub(super) const DIRECTORY: &str = "/var/lib/sandbox-recorder/tapes/tape";

/// Where the program is put, best place first. The second is for a user who can
/// write nowhere else.
const PROGRAMS: [&str; 2] = ["/var/lib/sandbox-recorder/program", "/tmp/.sandbox-recorder/program"];

/// Who owns it.
const ROOT: &str = "root";

/// Lets every user run what root has put there, and root alone change it.
const OPEN: &str = r#"
cd /var/lib/sandbox-recorder && chown -h 0:0 . program && chmod 755 . program && mkdir -p tapes && chown -h 0:0 tapes && chmod 1777 tapes
"#;

/// Becomes the recorder, wherever it is: the command, and its words after `--dir`.
const RUN: &str = r#"
command=$1
shift
for tape in /var/lib/sandbox-recorder/tapes/tape /tmp/.sandbox-recorder/tape; do
    program=${tape%%/tape*}/program
    [ -f "$program" ] || continue
    # An upload is not executable everywhere.
    [ -x "$program" ] || chmod 700 "$program"
    exec "$program" "$command" --dir "$tape" "$@"
done
echo 'its program is gone: something in the sandbox has removed it' >&2
exit 66
"#;

/// The shell that runs both.
pub(super) const SH: &str = "/bin/sh";

/// The command line of one of the recorder's commands.
pub(super) fn argv(command: &str, words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut argv = [SH, "-c", RUN, "recorder", command].map(str::to_owned).to_vec();
    argv.extend(words);
    argv
}

impl Tape {
    /// Puts the program into the sandbox, as safe from its user as can be.
    pub(super) async fn install(&self, program: &Bytes) -> Result<()> {
        match self.install_as_root(program).await {
            Err(error) if is_refusal(&error) => {}
            done => return done,
        }
        match self.put(program, PROGRAMS[0], self.user.clone()).await {
            Err(error) if is_refusal(&error) => self.put(program, PROGRAMS[1], self.user.clone()).await,
            done => done,
        }
    }

    async fn install_as_root(&self, program: &Bytes) -> Result<()> {
        let root = Some(ROOT.to_owned());
        self.put(program, PROGRAMS[0], root.clone()).await?;
        let (_, no_input) = mpsc::channel(1);
        let argv = [SH, "-c", OPEN].map(str::to_owned).to_vec();
        let command = Command { argv, cwd: Some("/".to_owned()), user: root, ..Command::default() };
        let process = self.provider.run(&self.call, &self.sandbox, &command, no_input).await?;
        match process.done.await {
            Ok(Ok(Exit::Code(0))) => Ok(()),
            Ok(Err(error)) => Err(error),
            _ => {
                Err(Error::new(Fault::Provider, Code::FailedPrecondition, "the recorder could not be made executable"))
            }
        }
    }

    async fn put(&self, program: &Bytes, path: &str, user: Option<String>) -> Result<()> {
        let (tx, data) = mpsc::channel(PIPE_CHUNKS);
        let (whole, complete) = oneshot::channel();
        let upload = Upload { size: Some(program.len() as u64), data, complete };
        let at = Location { path: path.to_owned(), user };
        let mut rest = program.clone();
        let feed = async move {
            while !rest.is_empty() {
                let chunk = rest.split_to(rest.len().min(CHUNK_BYTES));
                // Who gives up says why by its own result.
                if tx.send(chunk).await.is_err() {
                    return;
                }
            }
            let _ = whole.send(Ok(()));
        };
        let (written, ()) = tokio::join!(self.provider.write(&self.call, &self.sandbox, &at, upload), feed);
        written.map(drop)
    }
}

/// Whether another user, or another place, may fare better.
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
