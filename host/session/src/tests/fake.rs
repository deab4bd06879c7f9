//! A provider in memory. It does what its script says and records what it was
//! asked.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::soon;
use sandbox_broker_core::abilities::Abilities;
use sandbox_broker_core::progress::Report;
use sandbox_broker_core::sandbox::*;
use sandbox_broker_core::storage::{self, Explanation, File, Grant, Mounter, Plan, Renewal, Step, Target};

/// The fake's name for every terminal.
const PTY: &str = "1";

/// The name of the process that takes the recorder.
pub(super) const BRING: &str = "bring";

/// How one call answers.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Does what it was asked to do.
    Do,
    /// Fails, having done nothing.
    Fail(Error),
    /// Does what it was asked to do, and then fails to say so.
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

/// A process that was started.
#[derive(Clone)]
pub(super) struct Ran {
    /// Its name in [`Fake::asked`].
    pub(super) name: String,
    pub(super) command: Command,
    /// What it read, if it reads.
    pub(super) stdin: Vec<u8>,
}

/// A process that lives until something ends it.
struct Daemon {
    stderr: mpsc::Sender<Bytes>,
    done: oneshot::Sender<Result<Exit>>,
}

/// The program that lives on.
pub(super) const DAEMON: &str = "mountd";

/// The program that ends it.
pub(super) const UNMOUNT: &str = "umount";

#[derive(Default)]
struct Inner {
    scripts: HashMap<&'static str, Script>,
    /// Id and labels of each living sandbox.
    living: BTreeMap<String, BTreeMap<String, String>>,
    made: usize,
    /// Leases that were renewed. Each renewal brings a new token.
    extended: usize,
    /// The token that each call brought with its sandbox.
    tokens: Vec<(String, Bytes)>,
    /// What the next create or prepare reports, and when, counted from the one before.
    reports: VecDeque<(Duration, Report)>,
    /// Calls of this provider and of its mounter, and the programs that it ran.
    calls: Vec<(String, Instant)>,
    programs: HashMap<&'static str, VecDeque<(Duration, Exit, &'static str)>>,
    /// What programs print, if they print.
    prints: HashMap<&'static str, VecDeque<Vec<Bytes>>>,
    ran: Vec<Ran>,
    daemons: Arc<Mutex<Vec<Daemon>>>,
    specs: Vec<Spec>,
    sessions: Vec<Option<String>>,
}

#[derive(Debug)]
pub(super) struct Fake {
    name: &'static str,
    pub(super) abilities: Mutex<Abilities>,
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
        let abilities = Mutex::new(Abilities::ALL);
        Arc::new(Fake { name, abilities, inner: Mutex::default(), shells: (tx, tokio::sync::Mutex::new(rx)) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Scripts the next unscripted `call`.
    pub(super) fn script(&self, call: &'static str, after: Duration, reply: Reply) {
        self.lock().scripts.entry(call).or_default().push_back((after, reply));
    }

    /// What the next create or prepare reports, each so long after the one before.
    pub(super) fn reports(&self, reports: impl IntoIterator<Item = (Duration, &'static str, Option<u8>)>) {
        let report = |(after, message, percent): (_, &str, _)| (after, Report { message: message.to_owned(), percent });
        self.lock().reports = reports.into_iter().map(report).collect();
    }

    /// The token that each call of this name brought.
    pub(super) fn tokens(&self, call: &str) -> Vec<Bytes> {
        self.lock().tokens.iter().filter(|(name, _)| name == call).map(|(_, token)| token.clone()).collect()
    }

    /// Ids of the living sandboxes.
    pub(super) fn living(&self) -> Vec<String> {
        self.lock().living.keys().cloned().collect()
    }

    /// Adds a sandbox that no session made.
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

    /// All calls and programs, in order.
    pub(super) fn diary(&self) -> Vec<String> {
        self.lock().calls.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Scripts the next unscripted run of a program: how long it takes, how it
    /// ends and what it prints to its errors.
    pub(super) fn program(&self, name: &'static str, after: Duration, exit: Exit, words: &'static str) {
        self.lock().programs.entry(name).or_default().push_back((after, exit, words));
    }

    /// Scripts what the next run of a program prints, all of it at once; it
    /// takes no input.
    pub(super) fn prints(&self, name: &'static str, output: Vec<Bytes>) {
        self.lock().prints.entry(name).or_default().push_back(output);
    }

    /// All processes that were started.
    pub(super) fn ran(&self, name: &str) -> Vec<Ran> {
        self.lock().ran.iter().filter(|ran| ran.name == name).cloned().collect()
    }

    /// Breaks the connection to every daemon.
    pub(super) fn lose_daemons(&self) {
        drop(self.daemons());
    }

    fn daemons(&self) -> Vec<Daemon> {
        std::mem::take(&mut self.lock().daemons.lock().unwrap())
    }

    /// Ends every daemon, each with its last words.
    pub(super) fn end_daemons(&self, exit: Exit, words: &'static str) {
        for Daemon { stderr, done } in self.daemons() {
            let _ = stderr.try_send(Bytes::from_static(words.as_bytes()));
            drop(stderr);
            let _ = done.send(Ok(exit.clone()));
        }
    }

    pub(super) fn specs(&self) -> Vec<Spec> {
        self.lock().specs.clone()
    }

    /// The session that each call named.
    pub(super) fn callers(&self) -> Vec<Option<String>> {
        self.lock().sessions.clone()
    }

    /// The session's end of a terminal, whose far side [`Fake::shell`] gets.
    async fn terminal(
        &self,
        sandbox: &SandboxRef,
        command: Command,
        size: Size,
        input: mpsc::Receiver<Bytes>,
    ) -> Terminal {
        let (output_tx, output) = mpsc::channel(PIPE_CHUNKS);
        let (done_tx, done) = oneshot::channel();
        let (control, requests) = Control::new();
        let sandbox = sandbox.id.clone();
        let shell = Shell { sandbox, size, command, input, output: output_tx, done: done_tx, control: requests };
        self.shells.0.send(shell).await.expect("this fake lives");
        let lifetime = AbortOnDropHandle::new(tokio::spawn(std::future::pending()));
        Terminal { pty: PTY.to_owned(), output, done, control, lifetime }
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
    async fn play<T>(&self, name: &str, call: &Call, act: impl FnOnce(&mut Inner) -> Result<T>) -> Result<T> {
        let (after, reply) = {
            let mut inner = self.lock();
            inner.calls.push((name.to_owned(), Instant::now()));
            inner.sessions.push(call.session.clone());
            inner.scripts.get_mut(name).and_then(VecDeque::pop_front).unwrap_or((Duration::ZERO, Reply::Do))
        };
        if let Some(progress) = &call.progress {
            let reports = std::mem::take(&mut self.lock().reports);
            for (after, report) in reports {
                sleep(after).await;
                progress.send_replace(report);
            }
        }
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

    fn abilities(&self) -> Abilities {
        *self.abilities.lock().unwrap()
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

    async fn connect(&self, call: &Call, sandbox: &SandboxRef, _: Duration) -> Result<SandboxRef> {
        self.play("connect", call, |inner| match inner.living.contains_key(&sandbox.id) {
            true => Ok(sandbox.clone()),
            false => Err(error(Fault::Provider, Code::NotFound)),
        })
        .await
    }

    async fn extend(&self, call: &Call, sandbox: &SandboxRef, _: Duration) -> Result<SandboxRef> {
        self.lock().tokens.push(("extend".to_owned(), sandbox.state.clone()));
        self.play("extend", call, |inner| match inner.living.contains_key(&sandbox.id) {
            true => {
                inner.extended += 1;
                let state = format!("token-{}", inner.extended);
                Ok(SandboxRef { state: state.into(), ..sandbox.clone() })
            }
            false => Err(error(Fault::Provider, Code::NotFound)),
        })
        .await
    }

    async fn kill(&self, call: &Call, sandbox: &SandboxRef) -> Result<()> {
        self.play("kill", call, |inner| {
            inner.tokens.push(("kill".to_owned(), sandbox.state.clone()));
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
        Ok(self.terminal(sandbox, command.clone(), size, input).await)
    }

    async fn attach(
        &self,
        call: &Call,
        sandbox: &SandboxRef,
        pty: &str,
        input: mpsc::Receiver<Bytes>,
    ) -> Result<Terminal> {
        assert_eq!(pty, PTY);
        self.play("attach", call, |_| Ok(())).await?;
        Ok(self.terminal(sandbox, Command::default(), Size::DEFAULT, input).await)
    }

    async fn run(
        &self,
        call: &Call,
        _: &SandboxRef,
        command: &Command,
        mut stdin: mpsc::Receiver<Bytes>,
    ) -> Result<Process> {
        // What the host itself runs is a script. With two arguments it makes a
        // mount point, with three it writes a file.
        let name = match (&*command.argv[0], command.argv.len()) {
            ("sh", 6) => "make",
            ("sh", 7) => "put",
            // The broker brings its recorder in.
            ("/bin/sh", 7) if command.argv[3] == "sh" => BRING,
            (name, _) => name,
        };
        // Prints the default user.
        let asks = name == "id";
        if !asks {
            self.play(name, call, |_| Ok(())).await?;
        }
        let scripted = self.lock().prints.get_mut(name).and_then(VecDeque::pop_front);
        let prints = if asks { Some(vec![Bytes::from_static(b"user\n")]) } else { scripted };
        let mut read = Vec::new();
        while prints.is_none()
            && let Some(chunk) = stdin.recv().await
        {
            read.extend_from_slice(&chunk);
        }
        let (out, stdout) = mpsc::channel(1);
        let (err, stderr) = mpsc::channel(1);
        let (done_tx, done) = oneshot::channel();
        let (control, _) = Control::new();
        let mut inner = self.lock();
        if !asks {
            inner.ran.push(Ran { name: name.to_owned(), command: command.clone(), stdin: read });
        }
        let script = inner.programs.get_mut(name).and_then(VecDeque::pop_front);
        let ends = (name == UNMOUNT).then(|| Arc::clone(&inner.daemons));
        let lifetime = match script {
            None if name == DAEMON => {
                inner.daemons.lock().unwrap().push(Daemon { stderr: err, done: done_tx });
                tokio::spawn(std::future::pending())
            }
            script => {
                let (after, exit, words) = script.unwrap_or((Duration::ZERO, Exit::Code(0), ""));
                tokio::spawn(async move {
                    let _stdin = stdin;
                    for chunk in prints.unwrap_or_default() {
                        let _ = out.send(chunk).await;
                    }
                    drop(out);
                    sleep(after).await;
                    if let Some(daemons) = ends.filter(|_| exit == Exit::Code(0)) {
                        daemons.lock().unwrap().drain(..).for_each(|daemon| _ = daemon.done.send(Ok(Exit::Code(0))));
                    }
                    let _ = err.send(Bytes::from_static(words.as_bytes())).await;
                    let _ = done_tx.send(Ok(exit));
                })
            }
        };
        let lifetime = AbortOnDropHandle::new(lifetime);
        Ok(Process { id: "2".to_owned(), stdout, stderr, done, control, lifetime })
    }

    async fn read(&self, _: &Call, _: &SandboxRef, _: &Location, _: u64, _: Option<u64>) -> Result<Download> {
        unreachable!("no session reads files")
    }

    async fn write(&self, _: &Call, _: &SandboxRef, _: &Location, _: Upload) -> Result<Entry> {
        unreachable!("no session writes files")
    }

    async fn list_dir(&self, _: &Call, _: &SandboxRef, _: &Location, _: Option<String>) -> Result<Entries> {
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

    async fn pause(&self, _: &Call, _: &SandboxRef) -> Result<()> {
        unreachable!("no session is put to sleep")
    }

    async fn route(&self, _: &Call, _: &SandboxRef, _: u16) -> Result<Route> {
        unreachable!("no session asks for a port")
    }
}

/// A mounter whose calls are in the diary and the scripts of its provider.
#[derive(Debug)]
pub(super) struct FakeMounter {
    fake: Arc<Fake>,
    /// What `plan` answers, except for its paths.
    pub(super) plan: Mutex<Plan>,
    targets: Mutex<Vec<Target>>,
    planned: Mutex<Vec<Grant>>,
    /// What the next renewals get. The default is what `prepare` got.
    pub(super) renewed: Mutex<VecDeque<Grant>>,
    released: Mutex<Vec<Grant>>,
}

impl FakeMounter {
    pub(super) fn new(fake: &Arc<Fake>) -> Arc<Self> {
        let plan = Plan {
            title: "Azure Blob Storage".to_owned(),
            mount: Vec::new(),
            verify: vec![command("verify")],
            mount_timeout: Duration::from_secs(10),
            watch: vec![command("watch")],
            unmount: vec![Step::Run(command(UNMOUNT))],
            unmount_timeout: Duration::from_secs(20),
            clear: vec![Step::Run(command("clear"))],
            renew_after: None,
        };
        Arc::new(FakeMounter {
            fake: Arc::clone(fake),
            plan: Mutex::new(plan),
            targets: Mutex::default(),
            planned: Mutex::default(),
            renewed: Mutex::default(),
            released: Mutex::default(),
        })
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan.lock().unwrap());
    }

    /// Each target that was planned for.
    pub(super) fn targets(&self) -> Vec<Target> {
        self.targets.lock().unwrap().clone()
    }

    /// Each grant that was planned with.
    pub(super) fn planned(&self) -> Vec<Grant> {
        self.planned.lock().unwrap().clone()
    }

    /// Each grant that was released.
    pub(super) fn released(&self) -> Vec<Grant> {
        self.released.lock().unwrap().clone()
    }
}

/// A grant with a secret part.
pub(super) fn grant(kept: &'static str) -> Grant {
    Grant { kept: Bytes::from_static(kept.as_bytes()), sealed: Bytes::from_static(b"sealed-canary") }
}

fn command(name: &str) -> storage::Command {
    let known = Explanation {
        pattern: "AuthenticationFailed".to_owned(),
        code: Code::Unauthenticated,
        message: "the storage refuses the token".to_owned(),
    };
    storage::Command {
        argv: vec![name.to_owned()],
        env: BTreeMap::new(),
        user: None,
        timeout: Duration::from_secs(8),
        explain: vec![known],
    }
}

fn token(target: &Target) -> Step {
    let path = format!("{}/config", target.workspace);
    Step::WriteFile(File { path, content: Bytes::from_static(b"file-canary"), mode: 0o600 })
}

#[async_trait]
impl Mounter for FakeMounter {
    fn name(&self) -> &str {
        "azure"
    }

    fn title(&self) -> &str {
        "Azure Blob Storage"
    }

    fn settings(&self) -> &str {
        "these"
    }

    async fn prepare(&self, call: &Call, _: &Target) -> Result<Grant> {
        self.fake.play("prepare", call, |_| Ok(grant("grant-canary"))).await
    }

    async fn plan(&self, call: &Call, target: &Target, grant: &Grant) -> Result<Plan> {
        assert!(grant.kept.starts_with(b"grant-canary"));
        self.planned.lock().unwrap().push(grant.clone());
        self.targets.lock().unwrap().push(target.clone());
        let mut plan = self.plan.lock().unwrap().clone();
        plan.mount = vec![token(target), Step::Supervise(command(DAEMON))];
        self.fake.play("plan", call, |_| Ok(plan)).await
    }

    async fn renew(&self, call: &Call, target: &Target, _: &Grant) -> Result<Renewal> {
        let renew_after = self.plan.lock().unwrap().renew_after;
        let grant = self.renewed.lock().unwrap().pop_front().unwrap_or_else(|| grant("grant-canary"));
        self.fake.play("renew", call, |_| Ok(Renewal { steps: vec![token(target)], grant, renew_after })).await
    }

    async fn release(&self, call: &Call, _: &Target, grant: &Grant) -> Result<()> {
        self.fake
            .play("release", call, |_| {
                self.released.lock().unwrap().push(grant.clone());
                Ok(())
            })
            .await
    }
}
