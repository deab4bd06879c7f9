//! Files of a provider that has none of its own: by processes of the acting user in the sandbox.
//!
//! Owns one operation as one process of the recorder's command `files`. Where the program is missing, it is brought in first.
//! Everything else is the provider's. Deliberately knows no plugin and no session: to both this is a provider like any other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sandbox_broker_core::abilities::Abilities;
use sandbox_broker_core::sandbox::{
    Call, Code, Command, Control, Download, Entries, Entry, Error, Fault, Location, PIPE_CHUNKS, Page, Process,
    Provider, Result, Route, SandboxRef, Size, Spec, Terminal, Upload,
};
use sandbox_stdx::hex::hex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::answers::{Answers, Missing, Said, nonsense};
use crate::install::install;
use crate::program::argv;
use crate::upload;

/// Time for a short answer, or for the beginning of a long one.
const WITHIN: Duration = Duration::from_secs(60);

/// Time for removing a directory with everything in it.
const REMOVED_WITHIN: Duration = Duration::from_secs(15 * 60);

/// Time for ending a process that did not answer.
const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// A provider whose files are reached by processes.
pub struct FilesByExec {
    provider: Arc<dyn Provider>,
    program: Option<Bytes>,
}

impl fmt::Debug for FilesByExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FilesByExec").field(&self.provider).finish()
    }
}

/// Whose operation it is, and where.
struct Place<'a> {
    call: &'a Call,
    sandbox: &'a SandboxRef,
    user: Option<&'a str>,
}

impl FilesByExec {
    /// The provider with files, by way of the broker's recorder if it has one. A provider that has files is returned as it is.
    pub fn over(provider: Arc<dyn Provider>, program: Option<Bytes>) -> Arc<dyn Provider> {
        if provider.abilities().files { provider } else { Arc::new(FilesByExec { provider, program }) }
    }

    /// Starts an operation and waits for the first part of its answer.
    async fn begin(
        &self,
        at: &Place<'_>,
        words: &[&str],
        within: Duration,
    ) -> Result<(mpsc::Sender<Bytes>, Answers, Said)> {
        match self.attempt(at, words, within).await {
            Err(Missing::Program) => {}
            Err(Missing::Failed(error)) => return Err(error),
            Ok(begun) => return Ok(begun),
        }
        let Some(program) = &self.program else {
            let message = format!(
                "this broker has no sandbox-recorder, by which it would reach files: the plugin of the provider `{}` does \
                 not export the interface `files`",
                self.provider.name()
            );
            return Err(Error::new(Fault::Operator, Code::Unimplemented, message));
        };
        install(&*self.provider, at.call, at.sandbox, at.user, program).await?;
        match self.attempt(at, words, within).await {
            Ok(begun) => Ok(begun),
            Err(Missing::Failed(error)) => Err(error),
            Err(Missing::Program) => {
                let message = "the recorder, by which files are reached, was removed from the sandbox";
                Err(Error::new(Fault::Provider, Code::FailedPrecondition, message))
            }
        }
    }

    async fn attempt(
        &self,
        at: &Place<'_>,
        words: &[&str],
        within: Duration,
    ) -> std::result::Result<(mpsc::Sender<Bytes>, Answers, Said), Missing> {
        let command = Command {
            argv: argv("files", words.iter().map(|word| (*word).to_owned())),
            cwd: Some("/".to_owned()),
            user: at.user.map(str::to_owned),
            ..Command::default()
        };
        let (input, stdin) = mpsc::channel(PIPE_CHUNKS);
        let mut answers = Answers::of(self.provider.run(at.call, at.sandbox, &command, stdin).await?);
        match timeout(within, answers.next()).await {
            Ok(said) => Ok((input, answers, said?)),
            Err(_) => {
                end(&answers.process.control).await;
                let message =
                    format!("the sandbox did not do this within {} s; a mount may not answer", within.as_secs());
                Err(Error::new(Fault::Provider, Code::DeadlineExceeded, message).into())
            }
        }
    }

    /// An operation that answers with one entry, that of `path`.
    async fn entry(&self, at: &Place<'_>, words: &[&str], path: &str) -> Result<Entry> {
        let (_input, mut answers, said) = self.begin(at, words, WITHIN).await?;
        let Said::Entry(_, entry) = said else { return Err(nonsense()) };
        answers.done().await?;
        Ok(Entry { path: bare(path).to_owned(), ..entry })
    }
}

/// Ends a process that nobody waits for. The kernel may wait for a mount. This must not wait for the kernel.
async fn end(control: &Control) {
    let _ = timeout(KILLED_WITHIN, control.signal("SIGKILL")).await;
}

/// A path without slashes at its end.
fn bare(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

/// Carries the bytes of a file to whoever reads it.
async fn pour(mut answers: Answers, to: mpsc::Sender<Bytes>) -> Result<()> {
    loop {
        match answers.next().await {
            Ok(Said::Content(bytes)) => {
                if to.send(bytes).await.is_err() {
                    end(&answers.process.control).await;
                    return Err(Error::new(Fault::Caller, Code::Cancelled, "nobody reads the file any more"));
                }
            }
            Ok(Said::Done { .. }) => return Ok(()),
            Ok(_) | Err(Missing::Program) => return Err(nonsense()),
            Err(Missing::Failed(error)) => return Err(error),
        }
    }
}

fn place<'a>(call: &'a Call, sandbox: &'a SandboxRef, at: &'a Location) -> Place<'a> {
    Place { call, sandbox, user: at.user.as_deref() }
}

#[async_trait]
impl Provider for FilesByExec {
    fn name(&self) -> &str {
        self.provider.name()
    }

    fn isolation(&self) -> Option<&str> {
        self.provider.isolation()
    }

    fn abilities(&self) -> Abilities {
        self.provider.abilities()
    }

    async fn create(&self, call: &Call, spec: &Spec) -> Result<SandboxRef> {
        self.provider.create(call, spec).await
    }

    async fn connect(&self, call: &Call, sandbox: &SandboxRef, ttl: Duration) -> Result<SandboxRef> {
        self.provider.connect(call, sandbox, ttl).await
    }

    async fn extend(&self, call: &Call, sandbox: &SandboxRef, ttl: Duration) -> Result<SandboxRef> {
        self.provider.extend(call, sandbox, ttl).await
    }

    async fn kill(&self, call: &Call, sandbox: &SandboxRef) -> Result<()> {
        self.provider.kill(call, sandbox).await
    }

    async fn list(&self, call: &Call, labels: &BTreeMap<String, String>, cursor: Option<String>) -> Result<Page> {
        self.provider.list(call, labels, cursor).await
    }

    async fn open(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        command: &Command,
        size: Size,
        input: mpsc::Receiver<Bytes>,
    ) -> Result<Terminal> {
        self.provider.open(call, sandbox, command, size, input).await
    }

    async fn attach(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        pty: &str,
        input: mpsc::Receiver<Bytes>,
    ) -> Result<Terminal> {
        self.provider.attach(call, sandbox, pty, input).await
    }

    async fn run(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        command: &Command,
        stdin: mpsc::Receiver<Bytes>,
    ) -> Result<Process> {
        self.provider.run(call, sandbox, command, stdin).await
    }

    async fn read(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        at: &Location,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Download> {
        let length = length.map(|length| length.to_string()).unwrap_or_default();
        let words = ["read", &at.path, &offset.to_string(), &length];
        let (_input, answers, said) = self.begin(&place(call, sandbox, at), &words, WITHIN).await?;
        let Said::Entry(..) = said else { return Err(nonsense()) };
        let (to, data) = mpsc::channel(PIPE_CHUNKS);
        let (tell, done) = oneshot::channel();
        let poured = tokio::spawn(async move { _ = tell.send(pour(answers, to).await) }.in_current_span());
        Ok(Download { data, done, lifetime: AbortOnDropHandle::new(poured) })
    }

    async fn write(&self, call: &Call, sandbox: &SandboxRef, at: &Location, upload: Upload) -> Result<Entry> {
        let (input, mut answers, said) = self.begin(&place(call, sandbox, at), &["write", &at.path], WITHIN).await?;
        let Said::Ready = said else { return Err(nonsense()) };
        let written = upload::write(&mut answers, input, upload).await;
        if written.as_ref().is_err_and(|error| error.code == Code::DeadlineExceeded) {
            end(&answers.process.control).await;
        }
        Ok(Entry { path: bare(&at.path).to_owned(), ..written? })
    }

    async fn list_dir(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        at: &Location,
        cursor: Option<String>,
    ) -> Result<Entries> {
        let words = ["list", &at.path, cursor.as_deref().unwrap_or_default()];
        let (_input, mut answers, mut said) = self.begin(&place(call, sandbox, at), &words, WITHIN).await?;
        let (mut entries, mut last) = (Vec::new(), Vec::new());
        let page = async {
            loop {
                match said {
                    Said::Entry(name, entry) if entries.len() < sandbox_recorder::wire::files::PAGE => {
                        let path = format!("{}/{}", bare(&at.path).trim_end_matches('/'), entry.name);
                        entries.push(Entry { path, ..entry });
                        last = name;
                    }
                    Said::Done { more } => return Ok(Entries { next: more.then(|| hex(&last)), entries }),
                    _ => return Err(nonsense()),
                }
                said = match answers.next().await {
                    Ok(said) => said,
                    Err(Missing::Program) => return Err(nonsense()),
                    Err(Missing::Failed(error)) => return Err(error),
                };
            }
        };
        let late = || Error::new(Fault::Provider, Code::DeadlineExceeded, "the directory was not listed in time");
        timeout(WITHIN, page).await.map_err(|_| late())?
    }

    async fn stat(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<Entry> {
        self.entry(&place(call, sandbox, at), &["stat", &at.path], &at.path).await
    }

    async fn remove(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<()> {
        match self.begin(&place(call, sandbox, at), &["remove", &at.path], REMOVED_WITHIN).await? {
            (_, _, Said::Done { .. }) => Ok(()),
            _ => Err(nonsense()),
        }
    }

    async fn make_dir(&self, call: &Call, sandbox: &SandboxRef, at: &Location) -> Result<Entry> {
        self.entry(&place(call, sandbox, at), &["make-dir", &at.path], &at.path).await
    }

    async fn rename(&self, call: &Call, sandbox: &SandboxRef, source: &Location, destination: &str) -> Result<Entry> {
        let words = ["rename", &source.path, destination];
        self.entry(&place(call, sandbox, source), &words, destination).await
    }

    async fn pause(&self, call: &Call, sandbox: &SandboxRef) -> Result<()> {
        self.provider.pause(call, sandbox).await
    }

    async fn route(&self, call: &Call, sandbox: &SandboxRef, port: u16) -> Result<Route> {
        self.provider.route(call, sandbox, port).await
    }
}
