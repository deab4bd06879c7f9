//! How the recorder gets into a sandbox.
//!
//! Owns the places of the program and the rights to them. If the sandbox has a
//! root user, the program belongs to root, in a directory that only root can
//! write to: the session's user runs it and cannot replace it. It always runs
//! as the session's user. If the sandbox has no root, that user owns the
//! program, and a replaced program can do no more than the user can.
//! Deliberately knows nothing of what the recorder says.

use bytes::Bytes;
use sandbox_broker_core::sandbox::{
    CHUNK_BYTES, Code, Command, Error, Exit, Fault, Location, PIPE_CHUNKS, Result, Upload, await_exit,
};
use tokio::sync::{mpsc, oneshot};

use super::command::SH;
use super::tape::Tape;

/// Where the program is put, best place first. The second is for a user who can
/// write nowhere else.
const PROGRAMS: [&str; 2] = ["/var/lib/sandbox-recorder/program", "/tmp/.sandbox-recorder/program"];

/// The user that owns it.
const ROOT: &str = "root";

/// Lets every user run what root put there, and only root change it.
const OPEN: &str = r#"
cd /var/lib/sandbox-recorder && chown -h 0:0 . program && chmod 755 . program && mkdir -p tapes && chown -h 0:0 tapes && chmod 1777 tapes
"#;

impl Tape {
    /// Puts the program into the sandbox, protected from its user as far as
    /// possible.
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
        let mut process = self.provider.run(&self.call, &self.sandbox.get(), &command, no_input).await?;
        match await_exit(&mut process.done).await? {
            Exit::Code(0) => Ok(()),
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
                // The write has given up. Its own result says why.
                if tx.send(chunk).await.is_err() {
                    return;
                }
            }
            let _ = whole.send(Ok(()));
        };
        let sandbox = self.sandbox.get();
        let (written, ()) = tokio::join!(self.provider.write(&self.call, &sandbox, &at, upload), feed);
        written.map(drop)
    }
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
