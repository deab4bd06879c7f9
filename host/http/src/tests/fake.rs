//! A provider whose shells are the test itself and whose files are a
//! directory of this machine.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use super::disk::Disk;
use sandbox_broker_core::abilities::Abilities;
use sandbox_broker_core::sandbox::*;

/// The sandbox's end of one shell.
pub(super) struct Shell {
    pub(super) size: Size,
    pub(super) input: mpsc::Receiver<Bytes>,
    pub(super) output: mpsc::Sender<Bytes>,
    pub(super) done: oneshot::Sender<Result<Exit>>,
    control: mpsc::Receiver<ControlRequest>,
}

impl Shell {
    /// Waits for `text` to be typed.
    pub(super) async fn typed(&mut self, text: &str) {
        let mut typed = Vec::new();
        while typed.len() < text.len() {
            typed.extend(super::harness::soon(self.input.recv()).await.expect("the input ended"));
        }
        assert_eq!(String::from_utf8_lossy(&typed), text);
    }

    pub(super) async fn print(&self, output: impl Into<Bytes>) {
        super::harness::soon(self.output.send(output.into())).await.expect("the output is not read any more");
    }

    /// Waits for the next size.
    pub(super) async fn resized(&mut self) -> Size {
        match super::harness::soon(self.control.recv()).await.expect("the shell is not steered any more") {
            ControlRequest::Resize(size, reply) => {
                reply.send(Ok(())).ok();
                size
            }
            other => panic!("{other:?}"),
        }
    }

    /// Ends after all output.
    pub(super) fn exit(self, exit: Exit) {
        drop(self.output);
        self.done.send(Ok(exit)).ok();
    }
}

#[derive(Debug)]
pub(super) struct Fake {
    shells: mpsc::Sender<Shell>,
    /// Sandboxes that live.
    pub(super) alive: watch::Sender<usize>,
    /// Whether a create answers yet.
    pub(super) creates: watch::Sender<bool>,
    /// What a create answers, if not a sandbox.
    pub(super) refusal: Mutex<Option<Error>>,
    pub(super) disk: Disk,
}

impl Fake {
    pub(super) fn new() -> (Self, mpsc::Receiver<Shell>) {
        let (shells, opened) = mpsc::channel(64);
        let (alive, creates) = (watch::Sender::new(0), watch::Sender::new(true));
        (Fake { shells, alive, creates, refusal: Mutex::default(), disk: Disk::new() }, opened)
    }
}

fn unused<T>() -> Result<T> {
    Err(Error::new(Fault::Broker, Code::Unimplemented, "a terminal needs no such call"))
}

#[async_trait]
impl Provider for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn isolation(&self) -> Option<&str> {
        Some("none at all")
    }

    fn abilities(&self) -> Abilities {
        Abilities::ALL
    }

    async fn create(&self, _: &Call, _: &Spec) -> Result<SandboxRef> {
        self.creates.subscribe().wait_for(|go| *go).await.expect("the provider lives");
        if let Some(error) = self.refusal.lock().unwrap().clone() {
            return Err(error);
        }
        self.alive.send_modify(|alive| *alive += 1);
        Ok(SandboxRef { id: "sandbox".to_owned(), state: Bytes::new() })
    }

    async fn connect(&self, _: &Call, sandbox: &SandboxRef, _: Duration) -> Result<SandboxRef> {
        Ok(sandbox.clone())
    }

    async fn extend(&self, _: &Call, sandbox: &SandboxRef, _: Duration) -> Result<SandboxRef> {
        Ok(sandbox.clone())
    }

    async fn kill(&self, _: &Call, _: &SandboxRef) -> Result<()> {
        self.alive.send_modify(|alive| *alive -= 1);
        Ok(())
    }

    async fn list(&self, _: &Call, _: &BTreeMap<String, String>, _: Option<String>) -> Result<Page> {
        Ok(Page { sandboxes: Vec::new(), next: None })
    }

    async fn open(
        &self,
        _: &Call,
        _: &SandboxRef,
        _: &Command,
        size: Size,
        input: mpsc::Receiver<Bytes>,
    ) -> Result<Terminal> {
        let (output, printed) = mpsc::channel(PIPE_CHUNKS);
        let (done, ended) = oneshot::channel();
        let (steer, control) = Control::new();
        self.shells.send(Shell { size, input, output, done, control }).await.expect("the test waits for shells");
        let lifetime = AbortOnDropHandle::new(tokio::spawn(std::future::pending()));
        Ok(Terminal { pty: "pty".to_owned(), output: printed, done: ended, control: steer, lifetime })
    }

    async fn attach(&self, _: &Call, _: &SandboxRef, _: &str, _: mpsc::Receiver<Bytes>) -> Result<Terminal> {
        unused()
    }

    async fn run(&self, _: &Call, _: &SandboxRef, command: &Command, _: mpsc::Receiver<Bytes>) -> Result<Process> {
        self.disk.run(command)
    }

    async fn read(
        &self,
        _: &Call,
        _: &SandboxRef,
        at: &Location,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Download> {
        self.disk.read(at, offset, length)
    }

    async fn write(&self, _: &Call, _: &SandboxRef, at: &Location, upload: Upload) -> Result<Entry> {
        self.disk.write(at, upload).await
    }

    async fn list_dir(&self, _: &Call, _: &SandboxRef, at: &Location, cursor: Option<String>) -> Result<Entries> {
        self.disk.list_dir(at, cursor)
    }

    async fn stat(&self, _: &Call, _: &SandboxRef, at: &Location) -> Result<Entry> {
        self.disk.stat(at)
    }

    async fn remove(&self, _: &Call, _: &SandboxRef, at: &Location) -> Result<()> {
        self.disk.remove(at)
    }

    async fn make_dir(&self, _: &Call, _: &SandboxRef, at: &Location) -> Result<Entry> {
        self.disk.make_dir(at)
    }

    async fn rename(&self, _: &Call, _: &SandboxRef, source: &Location, destination: &str) -> Result<Entry> {
        self.disk.rename(source, destination)
    }

    async fn pause(&self, _: &Call, _: &SandboxRef) -> Result<()> {
        unused()
    }

    async fn route(&self, _: &Call, _: &SandboxRef, _: u16) -> Result<Route> {
        unused()
    }
}
