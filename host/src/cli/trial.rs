//! `broker try`: proves a provider step by step, as a session uses it.
//!
//! Owns the steps, what each has to show, and that nothing is left behind. Deliberately knows no plugin and no wire: it uses
//! the same port as sessions.

use std::collections::BTreeSet;
use std::io::{Write as _, stderr};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use crate::broker::{Loader, Surroundings, Trial};
use sandbox_broker_core::abilities::{Abilities, Lease};
use sandbox_broker_core::sandbox::{
    Call, Code, Command, Download, Error, Exit, Fault, Location, PIPE_CHUNKS, SandboxRef, Size, Terminal, Upload,
};
use sandbox_broker_session::try_shell;
use sandbox_stdx::words::clean;

/// Time for one thing to be seen: a prompt's echo, the end of a process.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// Time to end what was begun.
const CLEAN_WITHIN: Duration = Duration::from_secs(60);

/// How often to look for a sandbox whose creation was given up, and the pause before each look. A provider may list it
/// late.
const LOOKS: u32 = 3;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Bytes of the file that is written and read: some chunks.
const FILE: usize = 200 * 1024;

/// Bytes of output that are looked at, at most.
const MAX_OUTPUT: usize = 1 << 20;

/// Bytes of a failure's words.
const WORDS: usize = 2048;

/// The detail of an error that a request had on its way.
const TRANSPORT: &str = "transport";

/// The exit status after a signal: what a shell reports for SIGINT.
const INTERRUPTED: u8 = 130;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The section of `[providers]`; by default that of new sessions.
    provider: Option<String>,

    /// Prints one JSON object at the end, instead of lines.
    #[arg(long)]
    json: bool,
}

/// Why a step failed.
struct Failure {
    words: String,
    remedy: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let remedy = match error.fault {
            Fault::Operator => {
                "check the provider's section in broker.toml (key, allow, config), and quotas of the account"
            }
            // The words of a request that did not get there say what to check.
            Fault::Provider if error.attrs.iter().any(|(name, _)| name == TRANSPORT) => {
                "the provider was not reached: check `allow` and the addresses in `config`, and run `broker doctor`"
            }
            Fault::Provider if error.code.is_transient() => "the provider is in trouble: try again later",
            Fault::Provider => {
                "the provider answers otherwise than it should: check `allow` and the addresses in `config`"
            }
            Fault::Plugin => "the plugin is at fault: tell its author, with its version",
            Fault::Caller => "check [sandbox] in broker.toml (shell, user)",
            Fault::Broker => "run it again with RUST_LOG=debug, and tell us what it says",
        };
        Failure { words: error.message, remedy: remedy.to_owned() }
    }
}

fn wrong(words: impl Into<String>, remedy: &str) -> Failure {
    Failure { words: words.into(), remedy: remedy.to_owned() }
}

/// What was tried so far, as it is shown.
struct Report {
    json: bool,
    steps: Vec<Value>,
    good: bool,
    began: Instant,
}

impl Report {
    /// Carries out a step and shows it. None: it failed, and so do those that
    /// need it.
    async fn step<T>(&mut self, name: &str, what: impl Future<Output = Result<T, Failure>>) -> Option<T> {
        let began = Instant::now();
        let done = what.await;
        let ms = began.elapsed().as_millis() as u64;
        match done {
            Ok(done) => {
                self.steps.push(json!({ "step": name, "ok": true, "ms": ms }));
                self.line(&format!("  {name:<8}{ms:>7} ms"));
                Some(done)
            }
            Err(Failure { words, remedy }) => {
                let words = clean(&words, WORDS);
                self.good = false;
                self.line(&format!("  {name:<8}{ms:>7} ms  failed: {words}\n{:21}{remedy}", ""));
                self.steps.push(json!({ "step": name, "ok": false, "ms": ms, "error": words, "remedy": remedy }));
                None
            }
        }
    }

    /// Shows that a step needs an interface that the plugin does not export.
    fn skip(&mut self, name: &str, interface: &str) {
        let why = format!("the plugin does not export `{interface}`, and no recorder can take its place");
        self.line(&format!("  {name:<8}        -     skipped: {why}"));
        self.steps.push(json!({ "step": name, "ok": null, "skipped": why }));
    }

    fn line(&self, line: &str) {
        if !self.json {
            // A closed output must not stop the cleaning up.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    fn end(&self, provider: &str, plugin: &str) {
        let ms = self.began.elapsed().as_millis() as u64;
        if self.json {
            let report =
                json!({ "provider": provider, "plugin": plugin, "ok": self.good, "ms": ms, "steps": self.steps });
            let _ = writeln!(std::io::stdout(), "{report:#}");
        } else if self.good {
            self.line(&format!("{provider} works; {ms} ms"));
        } else {
            self.line(&format!("{provider} does not work as sessions need it"));
        }
    }
}

/// What there is to end.
enum Made {
    Nothing,
    /// Its creation was requested, and the outcome is unknown.
    Perhaps,
    This(SandboxRef),
}

pub(super) async fn run(surroundings: Surroundings, options: Options) -> anyhow::Result<ExitCode> {
    let _ = super::log::start("error");
    // The handlers come first, so that no signal is lost.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let loader = Loader::new(surroundings)?;
    let Some(checked) = super::checked::load(&loader).await else { return Ok(ExitCode::FAILURE) };
    let mut report = Report { json: options.json, steps: Vec::new(), good: true, began: Instant::now() };
    let trial = Trial::of(&loader, &checked, options.provider.as_deref()).await?;
    let name = trial.provider.name().to_owned();
    // A start checks only the providers in use.
    let missing = checked.config.missing_of(&name);
    if !missing.is_empty() {
        for mistake in missing {
            writeln!(stderr(), "{mistake}")?;
        }
        return Ok(ExitCode::FAILURE);
    }
    report.line(&format!("{name}: {}", trial.plugin));

    let made = Mutex::new(Made::Nothing);
    let mut signalled = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    };
    let interrupted = tokio::select! {
        () = steps(&mut report, &trial, &made) => false,
        () = signalled() => true,
    };
    if interrupted {
        report.good = false;
        report.line("interrupted; ending the sandbox (once more to leave it to its lease)");
    }
    let made = made.into_inner().expect("nothing panics with it");
    if !matches!(made, Made::Nothing) {
        tokio::select! {
            _ = report.step("clean", clean_up(&trial, made)) => {}
            () = signalled() => return Ok(ExitCode::from(INTERRUPTED)),
        }
    }
    report.end(&name, &trial.plugin);
    Ok(match (interrupted, report.good) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}

async fn steps(report: &mut Report, trial: &Trial, made: &Mutex<Made>) {
    let Some(sandbox) = report.step("create", create(trial, made)).await else { return };
    report.step("labels", labels(trial, &sandbox)).await;
    // Without a way in, the recorder cannot take the place of what the plugin does not export.
    let Abilities { terminal, files: own_files, stdin, .. } = trial.provider.abilities();
    let takes_part = stdin && trial.recorder.is_some();
    if !terminal && !takes_part {
        report.skip("shell", "terminal");
    } else if let Some(mut shell) = report.step("shell", Shell::open(trial, &sandbox)).await {
        report.step("echo", shell.answers("echo try-$((6*7))\n", "try-42")).await;
        report.step("resize", shell.resize()).await;
    }
    report.step("exec", exec(trial, &sandbox)).await;
    if !own_files && !takes_part {
        report.skip("files", "files");
    } else {
        report.step("files", files(trial, &sandbox)).await;
    }
    report.step("kill", kill(trial, &sandbox)).await;
}

fn call() -> Call {
    Call::default()
}

async fn create(trial: &Trial, made: &Mutex<Made>) -> Result<SandboxRef, Failure> {
    let made = |what| *made.lock().expect("nothing panics with it") = what;
    made(Made::Perhaps);
    match trial.provider.create(&call(), &trial.spec()).await {
        Ok(sandbox) => {
            made(Made::This(sandbox.clone()));
            Ok(sandbox)
        }
        Err(error) => {
            // The provider refused at once, so there is no sandbox.
            let refused =
                [Code::Unauthenticated, Code::PermissionDenied, Code::InvalidArgument, Code::FailedPrecondition];
            if refused.contains(&error.code) {
                made(Made::Nothing);
            }
            Err(error.into())
        }
    }
}

/// The sandboxes of this trial, as the provider finds them.
async fn listed(trial: &Trial) -> Result<BTreeSet<String>, Error> {
    let labels = trial.spec().labels;
    let page = trial.provider.list(&call(), &labels, None).await?;
    let ours = page
        .sandboxes
        .into_iter()
        .filter(|found| labels.iter().all(|(key, value)| found.labels.get(key) == Some(value)));
    Ok(ours.map(|found| found.id).collect())
}

async fn labels(trial: &Trial, sandbox: &SandboxRef) -> Result<(), Failure> {
    if listed(trial).await?.contains(&sandbox.id) {
        return Ok(());
    }
    Err(wrong(
        "the sandbox is not found by its labels",
        "without them a sandbox whose creation was not answered lives until its lease ends: tell the plugin's author",
    ))
}

struct Shell {
    terminal: Terminal,
    input: mpsc::Sender<Bytes>,
    output: String,
}

impl Shell {
    async fn open(trial: &Trial, sandbox: &SandboxRef) -> Result<Self, Failure> {
        let (input, typed) = mpsc::channel(PIPE_CHUNKS);
        let terminal = match &trial.recorder {
            Some(recorder) if !trial.provider.abilities().terminal => {
                try_shell(Arc::clone(&trial.provider), sandbox, recorder, &trial.shell(), typed).await?
            }
            _ => trial.provider.open(&call(), sandbox, &trial.shell(), Size::DEFAULT, typed).await?,
        };
        Ok(Shell { terminal, input, output: String::new() })
    }

    /// Types a line and waits for its answer.
    async fn answers(&mut self, line: &'static str, answer: &str) -> Result<(), Failure> {
        self.output.clear();
        let typed = self.input.send(Bytes::from_static(line.as_bytes())).await;
        let read = async {
            while !self.output.contains(answer) && self.output.len() < MAX_OUTPUT {
                let Some(bytes) = self.terminal.output.recv().await else { break };
                self.output.push_str(&String::from_utf8_lossy(&bytes));
            }
        };
        let in_time = timeout(SEEN_WITHIN, read).await.is_ok();
        if self.output.contains(answer) {
            return Ok(());
        }
        let why = match (typed.is_ok(), in_time) {
            (true, false) => format!("no {answer:?} within {} s", SEEN_WITHIN.as_secs()),
            _ => "the shell ended".to_owned(),
        };
        let shown: String = self.output.chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
        Err(wrong(format!("{why}; it showed {shown:?}"), "check sandbox.shell and the sandbox's image"))
    }

    async fn resize(&mut self) -> Result<(), Failure> {
        let size = Size::new(101, 29).expect("within bounds");
        timeout(SEEN_WITHIN, self.terminal.control.resize(size))
            .await
            .map_err(|_| wrong("no answer to a new size", "tell the plugin's author"))??;
        self.answers("stty size\n", "29 101").await
    }
}

/// The content of a pipe, up to [`MAX_OUTPUT`] bytes.
async fn text(mut pipe: mpsc::Receiver<Bytes>) -> String {
    let mut text = Vec::new();
    while let Some(bytes) = pipe.recv().await {
        text.extend_from_slice(&bytes[..bytes.len().min(MAX_OUTPUT - text.len().min(MAX_OUTPUT))]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

async fn exec(trial: &Trial, sandbox: &SandboxRef) -> Result<(), Failure> {
    let command = Command {
        argv: ["/bin/sh", "-c", "cat; echo err >&2; exit 3"].map(str::to_owned).to_vec(),
        user: trial.user.clone(),
        ..Command::default()
    };
    let read = if trial.provider.abilities().stdin { "in" } else { "" };
    let (input, stdin) = mpsc::channel(PIPE_CHUNKS);
    let process = trial.provider.run(&call(), sandbox, &command, stdin).await?;
    let _ = input.send(Bytes::from_static(b"in")).await;
    drop(input);
    let ended = async { tokio::join!(text(process.stdout), text(process.stderr), process.done) };
    let ended = timeout(SEEN_WITHIN, ended).await;
    let remedy = "recorders and mounts are started in this way: tell the plugin's author";
    let (out, err, exit) =
        ended.map_err(|_| wrong(format!("a process did not end within {} s", SEEN_WITHIN.as_secs()), remedy))?;
    let exit = exit.map_err(|_| wrong("nothing is known of the end of a process", remedy))??;
    if (out.as_str(), err.trim_end(), &exit) == (read, "err", &Exit::Code(3)) {
        return Ok(());
    }
    Err(wrong(format!("expected {read:?}, \"err\" and exit status 3, found {out:?}, {err:?} and {exit}"), remedy))
}

async fn files(trial: &Trial, sandbox: &SandboxRef) -> Result<(), Failure> {
    let provider = &trial.provider;
    let at = |path: &str| Location { path: path.to_owned(), user: trial.user.clone() };
    let name = format!("broker-try-{}", std::process::id());
    let (first, second) = (at(&format!("/tmp/{name}")), format!("/tmp/{name}-2"));
    let content: Vec<u8> = (0..FILE).map(|n| (n % 251) as u8).collect();
    let remedy = "the files panel and uploads need this: tell the plugin's author";

    let asked = call();
    let (data, pieces) = mpsc::channel(PIPE_CHUNKS);
    let (complete, whole) = oneshot::channel();
    let upload = Upload { size: Some(FILE as u64), data: pieces, complete: whole };
    let send = async {
        for piece in content.chunks(64 * 1024) {
            if data.send(Bytes::copy_from_slice(piece)).await.is_err() {
                return;
            }
        }
        let _ = complete.send(Ok(()));
        drop(data);
    };
    let (written, ()) = tokio::join!(provider.write(&asked, sandbox, &first, upload), send);
    written?;
    let size = provider.stat(&call(), sandbox, &first).await?.size;
    let Download { mut data, done, lifetime: _lifetime } = provider.read(&call(), sandbox, &first, 0, None).await?;
    let mut read = Vec::with_capacity(FILE);
    while let Some(bytes) = data.recv().await {
        read.extend_from_slice(&bytes);
        if read.len() > FILE {
            break;
        }
    }
    if size != FILE as u64 || read != content {
        return Err(wrong(format!("{FILE} bytes were written, {size} are told and {} came back", read.len()), remedy));
    }
    done.await.map_err(|_| wrong("nothing is known of the end of a download", remedy))??;
    provider.rename(&call(), sandbox, &first, &second).await?;
    let there = provider.list_whole_dir(&call(), sandbox, &at("/tmp")).await?;
    if !there.iter().any(|entry| entry.path == second) {
        return Err(wrong("a file that was renamed is not in its directory", remedy));
    }
    provider.remove(&call(), sandbox, &at(&second)).await?;
    match provider.stat(&call(), sandbox, &at(&second)).await {
        Err(error) if error.code == Code::NotFound => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Err(wrong("a file that was removed is still there", remedy)),
    }
}

async fn kill(trial: &Trial, sandbox: &SandboxRef) -> Result<(), Failure> {
    trial.provider.kill(&call(), sandbox).await?;
    let gone = async {
        while listed(trial).await?.contains(&sandbox.id) {
            sleep(LOOK_EVERY).await;
        }
        Ok::<_, Failure>(())
    };
    timeout(SEEN_WITHIN, gone).await.unwrap_or_else(|_| {
        Err(wrong("the sandbox was ended and is still listed", "look at the provider's own console, and end it there"))
    })
}

/// Ends whatever is left of this trial.
async fn clean_up(trial: &Trial, made: Made) -> Result<(), Failure> {
    let left = match trial.provider.abilities().lease {
        Lease::None => "what is left lives until somebody ends it at the provider".to_owned(),
        _ => format!("what is left ends by itself within {:?}", trial.spec().ttl),
    };
    let clean = async {
        if let Made::This(sandbox) = &made {
            return Ok(trial.provider.kill(&call(), sandbox).await?);
        }
        // The creation may have been carried out after it was given up.
        for look in 0..LOOKS {
            if look > 0 {
                sleep(LOOK_EVERY).await;
            }
            for id in listed(trial).await? {
                trial.provider.kill(&call(), &SandboxRef { id, state: Bytes::new() }).await?;
            }
        }
        Ok::<_, Failure>(())
    };
    let cleaned = timeout(CLEAN_WITHIN, clean).await;
    cleaned
        .unwrap_or_else(|_| Err(wrong(format!("not done within {} s", CLEAN_WITHIN.as_secs()), "")))
        .map_err(|failure| Failure { remedy: left, ..failure })
}
