//! A provider in memory: does what its script says and records what was asked.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::soon;
use crate::sandbox::*;

/// How one call answers.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Does what it was asked.
    Do,
    /// Fails, having done nothing.
    Fail(Error),
    /// Does what it was asked, and then fails to say so.
    DoThenFail(Error),
    /// Never answers.
    Hang,
}

/// A scripted call. The default answers well and at once.
type Script = VecDeque<(Duration, Reply)>;

/// The far side of a terminal, in the hands of the test.
pub(super) struct Shell {
    pub(super) sandbox: String,
    pub(super) size: Size,
    pub(super) command: Command,
    pub(super) input: mpsc::Receiver<Bytes>,
    pub(super) output: mpsc::Sender<Bytes>,
    pub(super) done: oneshot::Sender<Result<Exit>>,
    pub(super) control: mpsc::Receiver<ControlRequest>,
}

impl Shell {
    pub(super) async fn print(&self, bytes: impl Into<Bytes>) {
        soon(self.output.send(bytes.into())).await.expect("the session listens");
    }

    pub(super) fn exit(self, how: Result<Exit>) {
        drop(self.output);
        let _ = self.done.send(how);
    }

    /// Reads `len` bytes of input.
    pub(super) async fn read(&mut self, len: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while read.len() < len {
            read.extend_from_slice(&soon(self.input.recv()).await.expect("input goes on"));
        }
        read
    }

    /// The next resize and the way to answer it.
    pub(super) async fn resize(&mut self) -> (Size, oneshot::Sender<Result<()>>) {
        match soon(self.control.recv()).await {
            Some(ControlRequest::Resize(size, reply)) => (size, reply),
            other => panic!("{other:?} instead of a resize"),
        }
    }
}

#[derive(Default)]
struct Inner {
    scripts: HashMap<&'static str, Script>,
    /// Id and labels of what lives.
    living: BTreeMap<String, BTreeMap<String, String>>,
    made: usize,
    calls: Vec<(&'static str, Instant)>,
    specs: Vec<Spec>,
    sessions: Vec<Option<String>>,
}

#[derive(Debug)]
pub(super) struct Fake {
    name: &'static str,
    inner: Mutex<Inner>,
    shells: (mpsc::Sender<Shell>, tokio::sync::Mutex<mpsc::Receiver<Shell>>),
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inner")
    }
}

impl Fake {
    pub(super) fn new(name: &'static str) -> Arc<Self> {
        let (tx, rx) = mpsc::channel(64);
        Arc::new(Fake { name, inner: Mutex::default(), shells: (tx, tokio::sync::Mutex::new(rx)) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Scripts the next unscripted `call`.
    pub(super) fn script(&self, call: &'static str, after: Duration, reply: Reply) {
        self.lock().scripts.entry(call).or_default().push_back((after, reply));
    }

    /// Ids of what lives.
    pub(super) fn living(&self) -> Vec<String> {
        self.lock().living.keys().cloned().collect()
    }

    /// Puts a sandbox there that no session made.
    pub(super) fn plant(&self, id: &str, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.lock().living.insert(id.to_owned(), labels);
    }

    pub(super) fn remove(&self, id: &str) {
        self.lock().living.remove(id);
    }

    /// When `call` was asked.
    pub(super) fn asked(&self, call: &str) -> Vec<Instant> {
        self.lock().calls.iter().filter(|(name, _)| *name == call).map(|(_, at)| *at).collect()
    }

    pub(super) fn specs(&self) -> Vec<Spec> {
        self.lock().specs.clone()
    }

    /// The session that each call named.
    pub(super) fn callers(&self) -> Vec<Option<String>> {
        self.lock().sessions.clone()
    }

    /// The next shell that was started.
    pub(super) async fn shell(&self) -> Shell {
        soon(async { self.shells.1.lock().await.recv().await.expect("this fake lives") }).await
    }

    /// From now on `open` panics.
    pub(super) async fn close_shells(&self) {
        self.shells.1.lock().await.close();
    }

    /// Records a call and plays its script; `act` is what it does.
    async fn play<T>(&self, name: &'static str, call: &Call, act: impl FnOnce(&mut Inner) -> Result<T>) -> Result<T> {
        let (after, reply) = {
            let mut inner = self.lock();
            inner.calls.push((name, Instant::now()));
            inner.sessions.push(call.session.clone());
            inner.scripts.get_mut(name).and_then(VecDeque::pop_front).unwrap_or((Duration::ZERO, Reply::Do))
        };
        if !after.is_zero() {
            sleep(after).await;
        }
        match reply {
            Reply::Do => act(&mut self.lock()),
            Reply::Fail(error) => Err(error),
            Reply::DoThenFail(error) => act(&mut self.lock()).and(Err(error)),
            Reply::Hang => std::future::pending().await,
        }
    }
}

pub(super) fn error(fault: Fault, code: Code) -> Error {
    Error::new(fault, code, format!("scripted {code:?}"))
}

pub(super) fn unavailable() -> Error {
    error(Fault::Provider, Code::Unavailable)
}

#[async_trait]
impl Provider for Fake {
    fn name(&self) -> &str {
        self.name
    }

    fn isolation(&self) -> Option<&str> {
        Some("none: a fake")
    }

    async fn create(&self, call: &Call, spec: &Spec) -> Result<SandboxRef> {
        self.play("create", call, |inner| {
            inner.made += 1;
            let id = format!("sbx-{}", inner.made);
            inner.living.insert(id.clone(), spec.labels.clone());
            inner.specs.push(spec.clone());
            Ok(SandboxRef { id, state: Bytes::from_static(b"token") })
        })
        .await
    }

    async fn connect(&self, _: &Call, _: &SandboxRef, _: Duration) -> Result<SandboxRef> {
        unreachable!("no session connects")
    }

    async fn extend(&self, call: &Call, sandbox: &SandboxRef, _: Duration) -> Result<()> {
        self.play("extend", call, |inner| match inner.living.contains_key(&sandbox.id) {
            true => Ok(()),
            false => Err(error(Fault::Provider, Code::NotFound)),
        })
        .await
    }

    async fn kill(&self, call: &Call, sandbox: &SandboxRef) -> Result<()> {
        self.play("kill", call, |inner| {
            inner.living.remove(&sandbox.id);
            Ok(())
        })
        .await
    }

    /// Pages of one; does not filter, as a careless provider would not.
    async fn list(&self, call: &Call, _: &BTreeMap<String, String>, cursor: Option<String>) -> Result<Page> {
        self.play("list", call, |inner| {
            let at: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
            let sandboxes = inner.living.iter().skip(at).take(1);
            let sandboxes = sandboxes
                .map(|(id, labels)| Listed { id: id.clone(), labels: labels.clone(), created: None, ends: None })
                .collect();
            Ok(Page { sandboxes, next: (at + 1 < inner.living.len()).then(|| (at + 1).to_string()) })
        })
        .await
    }

    async fn open(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        command: &Command,
        size: Size,
        input: mpsc::Receiver<Bytes>,
    ) -> Result<Terminal> {
        self.play("open", call, |_| Ok(())).await?;
        let (output_tx, output) = mpsc::channel(PIPE_CHUNKS);
        let (done_tx, done) = oneshot::channel();
        let (control, requests) = Control::new();
        let (sandbox, command) = (sandbox.id.clone(), command.clone());
        let shell = Shell { sandbox, size, command, input, output: output_tx, done: done_tx, control: requests };
        self.shells.0.send(shell).await.expect("this fake lives");
        let lifetime = AbortOnDropHandle::new(tokio::spawn(std::future::pending()));
        Ok(Terminal { pty: "1".to_owned(), output, done, control, lifetime })
    }

    async fn attach(&self, _: &Call, _: &SandboxRef, _: &str, _: mpsc::Receiver<Bytes>) -> Result<Terminal> {
        unreachable!("no session attaches")
    }

    async fn run(&self, _: &Call, _: &SandboxRef, _: &Command, _: mpsc::Receiver<Bytes>) -> Result<Process> {
        unreachable!("no session runs")
    }

    async fn read(&self, _: &Call, _: &SandboxRef, _: &Location, _: u64, _: Option<u64>) -> Result<Download> {
        unreachable!("no session reads files")
    }

    async fn write(&self, _: &Call, _: &SandboxRef, _: &Location, _: Upload) -> Result<Entry> {
        unreachable!("no session writes files")
    }

    async fn list_dir(&self, _: &Call, _: &SandboxRef, _: &Location) -> Result<Vec<Entry>> {
        unreachable!("no session lists files")
    }

    async fn stat(&self, _: &Call, _: &SandboxRef, _: &Location) -> Result<Entry> {
        unreachable!("no session looks at files")
    }

    async fn remove(&self, _: &Call, _: &SandboxRef, _: &Location) -> Result<()> {
        unreachable!("no session removes files")
    }

    async fn make_dir(&self, _: &Call, _: &SandboxRef, _: &Location) -> Result<Entry> {
        unreachable!("no session makes directories")
    }

    async fn rename(&self, _: &Call, _: &SandboxRef, _: &Location, _: &str) -> Result<Entry> {
        unreachable!("no session renames files")
    }
}
