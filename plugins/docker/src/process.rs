//! Processes in a container: how one is started on a connection of its own, how it ended, how it gets a signal.
//!
//! The engine starts a process in two steps: it is described, which gives it an id, and then run on a connection that the
//! engine takes out of HTTP. The host owns that connection's streams, so no byte passes here.

use std::time::Duration;

use sandbox_broker_sdk::net::{self, Connection, Failure, Framing};
use sandbox_broker_sdk::stream::StreamReader;
use sandbox_broker_sdk::time::{self, Instant};
use sandbox_broker_sdk::{Code, Error, Exit, quote};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::container::{self, pairs};
use crate::engine::{Answer, Engine, is_id};
use crate::errors::{Asked, short};

/// Sends a signal, with the tools of the image.
const SIGNAL: &str = include_str!("signal.sh");

/// The variable by which a process is found again: the engine tells only its number outside the container.
const MARK: &str = "SANDBOX_BROKER_PROCESS";

/// Pause between two looks at a process: the first and the longest. The engine takes about 40 ms to start one.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// How long a start may take after the engine has agreed to it.
const START: Duration = Duration::from_secs(20);

/// How long the engine may take to notice that a process ended whose streams have. It takes some seconds when another
/// one in the container left children behind that hold its outputs.
const NOTICE: Duration = Duration::from_secs(20);

/// How long its words about a process that did not start may take.
const SAID: Duration = Duration::from_secs(2);

/// Status of a process that could not be started, as a shell says it.
const NOT_STARTED: i64 = 126;

/// Bytes of the engine's words about a process that did not start.
const MAX_WORDS: usize = 4 << 10;

/// Keys that would end a terminal's connection are always watched for. Nobody types this one eight times in a row.
const DETACH_KEYS: &str = "ctrl-^,ctrl-^,ctrl-^,ctrl-^,ctrl-^,ctrl-^,ctrl-^,ctrl-^";

/// What to run.
pub struct Program<'a> {
    /// Program and arguments.
    pub argv: &'a [String],
    /// Its directory.
    pub cwd: Option<&'a str>,
    /// Added to the container's environment.
    pub env: &'a [(String, String)],
    /// Whose it is.
    pub user: Option<&'a str>,
    /// Columns and rows of its terminal, if it has one.
    pub size: Option<(u16, u16)>,
    /// What tells it from others in the container.
    pub mark: String,
}

/// A process that runs.
pub struct Started {
    /// Its id, for the host: see [`Id`].
    pub id: String,
    /// Its connection.
    pub connection: Connection,
}

/// The engine's id of a process, and its mark.
struct Id<'a> {
    exec: &'a str,
    mark: &'a str,
}

impl<'a> Id<'a> {
    fn parse(id: &'a str) -> Result<Self, Error> {
        match id.split_once('.') {
            Some((exec, mark)) if is_id(exec) && !mark.is_empty() => Ok(Self { exec, mark }),
            _ => Err(Error::new(Code::InvalidArgument, "the process's id is not one of Docker")),
        }
    }
}

/// A mark for the process that a call starts: unique, and plain text for a shell.
pub fn mark(call: &str) -> String {
    let plain: String = call.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    format!("p{plain}")
}

/// What the engine says of a process.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    running: bool,
    exit_code: Option<i64>,
    #[serde(default)]
    pid: u64,
    #[serde(default)]
    process_config: ProcessConfig,
}

#[derive(Debug, Default, Deserialize)]
struct ProcessConfig {
    #[serde(default)]
    user: String,
}

/// Whether a process has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    NotYet,
    Yes,
    Never,
}

impl Inspected {
    fn begun(&self) -> Begun {
        match (self.pid, self.running, self.exit_code) {
            (0, false, Some(NOT_STARTED | 127)) => Begun::Never,
            (0, ..) => Begun::NotYet,
            _ => Begun::Yes,
        }
    }

    fn exit(&self) -> Exit {
        self.exit_code.and_then(|code| u8::try_from(code).ok()).map_or(Exit::Unknown, Exit::Code)
    }
}

/// Starts a process in the container `id`.
pub async fn start(
    engine: &Engine<'_>,
    id: &str,
    program: &Program<'_>,
    input: StreamReader<u8>,
) -> Result<Started, Error> {
    let exec = describe(engine, id, &described(engine, program)).await?;
    let terminal = program.size.is_some();
    let request = net::Request {
        method: "POST".to_owned(),
        url: engine.url(&format!("/exec/{exec}/start"), &[]),
        headers: [("content-type", "application/json"), ("upgrade", "tcp")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    };
    let body = json!({ "Detach": false, "Tty": terminal }).to_string();
    let framing = if terminal { Framing::Raw } else { Framing::Docker };
    let connection = match net::upgrade(&request, body.as_bytes(), framing, input).await {
        Ok(connection) => connection,
        Err(Failure::Refused(refusal)) => {
            let answer = Answer { status: refusal.status, body: refusal.body };
            return Err(if answer.is_ok() { no_connection() } else { answer.error(Asked::Sandbox(id)) });
        }
        Err(Failure::Failed(error)) => return Err(engine.of_way(error)),
    };
    if let Some((cols, rows)) = program.size {
        // Waits until the process runs. Its end, or its failure, is told below.
        let _ = resize(engine, &exec, cols, rows).await;
    }
    match begun(engine, &exec).await? {
        Begun::Never => Err(not_started(&said(connection.first).await)),
        Begun::NotYet => Err(Error::new(
            Code::DeadlineExceeded,
            format!("the engine did not start the process within {} s: it may be overloaded", START.as_secs()),
        )),
        Begun::Yes => Ok(Started { id: format!("{exec}.{}", program.mark), connection }),
    }
}

fn described(engine: &Engine<'_>, program: &Program<'_>) -> Value {
    let mut env = pairs(program.env);
    env.push(format!("{MARK}={}", program.mark));
    let mut body = json!({
        "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
        "Tty": program.size.is_some(), "DetachKeys": DETACH_KEYS, "Cmd": program.argv, "Env": env,
    });
    if let Some(user) = program.user.or(engine.config.user.as_deref()) {
        body["User"] = user.into();
    }
    if let Some(cwd) = program.cwd {
        body["WorkingDir"] = cwd.into();
    }
    body
}

/// The engine's id for a process that it has not started.
async fn describe(engine: &Engine<'_>, id: &str, body: &Value) -> Result<String, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Made {
        id: String,
    }
    let made: Made = engine.post_json(&format!("/containers/{id}/exec"), body).await?.json(Asked::Sandbox(id))?;
    if is_id(&made.id) { Ok(made.id) } else { Err(Error::new(Code::Internal, "the engine gave a process an unfit id")) }
}

fn no_connection() -> Error {
    Error::new(
        Code::Unavailable,
        "the engine runs a process and gives no connection to it: a proxy before it may not pass on upgrades",
    )
}

/// Looks at a process until it has begun or failed to.
async fn begun(engine: &Engine<'_>, exec: &str) -> Result<Begun, Error> {
    let since = Instant::now();
    let (mut pause, longest) = LOOK;
    loop {
        let begun = inspect(engine, exec).await?.begun();
        if begun != Begun::NotYet || since.elapsed() > START {
            return Ok(begun);
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

async fn inspect(engine: &Engine<'_>, exec: &str) -> Result<Inspected, Error> {
    let answer = engine.get(&format!("/exec/{exec}/json"), &[]).await?;
    if answer.status == 404 {
        return Err(Error::new(
            Code::Unavailable,
            "the engine does not know the process any more: it was started again, or the sandbox has ended",
        ));
    }
    answer.json(Asked::Engine)
}

/// The engine's words about a process that did not start: it writes them where the output would be.
async fn said(mut output: StreamReader<u8>) -> String {
    let mut words = Vec::new();
    let read = async {
        while words.len() < MAX_WORDS {
            let (status, buffer) = output.read(std::mem::take(&mut words)).await;
            words = buffer;
            words.reserve(MAX_WORDS);
            if !matches!(status, sandbox_broker_sdk::stream::StreamResult::Complete(_)) {
                break;
            }
        }
    };
    let _ = time::timeout(SAID, read).await;
    quote(&String::from_utf8_lossy(&words))
}

fn not_started(words: &str) -> Error {
    let words = words.strip_prefix("OCI runtime exec failed: exec failed: ").unwrap_or(words);
    let code = match words {
        _ if words.contains("not found") || words.contains("no such file") => Code::NotFound,
        _ if words.contains("permission denied") => Code::PermissionDenied,
        _ if words.contains("find user") || words.contains("find group") => Code::InvalidArgument,
        _ => Code::FailedPrecondition,
    };
    Error::new(code, format!("the process could not be started: {words}"))
}

/// Sets the size of a terminal.
async fn resize(engine: &Engine<'_>, exec: &str, cols: u16, rows: u16) -> Result<(), Error> {
    let size = [("h", rows.to_string()), ("w", cols.to_string())];
    let query = size.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = engine.post(&format!("/exec/{exec}/resize"), &query).await?;
    if answer.is_ok() { Ok(()) } else { Err(answer.error(Asked::Engine)) }
}

/// Sets the size of the terminal of a process.
pub async fn resize_terminal(engine: &Engine<'_>, id: &str, cols: u16, rows: u16) -> Result<(), Error> {
    resize(engine, Id::parse(id)?.exec, cols, rows).await
}

/// How a process ended whose streams have.
pub async fn exit(engine: &Engine<'_>, sandbox: &str, id: &str) -> Result<Exit, Error> {
    let exec = Id::parse(id)?.exec;
    let since = Instant::now();
    let (mut pause, longest) = LOOK;
    loop {
        let inspected = match inspect(engine, exec).await {
            Ok(inspected) => inspected,
            // If the sandbox is gone, that says more.
            Err(error) => {
                container::inspect(engine, sandbox).await?;
                return Err(error);
            }
        };
        if !inspected.running {
            return Ok(inspected.exit());
        }
        if since.elapsed() > NOTICE {
            return Err(Error::new(
                Code::Unavailable,
                format!("the connection to a process in sandbox {} broke, and it runs on", short(sandbox)),
            ));
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// Sends a signal to a process, by a process of the same user beside it: the engine sends signals only to the first
/// process of a container.
pub async fn signal(engine: &Engine<'_>, sandbox: &str, id: &str, name: &str) -> Result<(), Error> {
    let Id { exec, mark } = Id::parse(id)?;
    let name = signal_name(name)?;
    let inspected = inspect(engine, exec).await?;
    if !inspected.running {
        return Ok(());
    }
    let found = format!("{MARK}={mark}");
    let mut body = json!({ "Cmd": ["/bin/sh", "-c", SIGNAL, "signal", name, found] });
    if !inspected.process_config.user.is_empty() {
        body["User"] = inspected.process_config.user.into();
    }
    let helper = describe(engine, sandbox, &body).await?;
    let answer = engine.post_json(&format!("/exec/{helper}/start"), &json!({ "Detach": true })).await?;
    if !answer.is_ok() {
        return Err(answer.error(Asked::Sandbox(sandbox)));
    }
    let since = Instant::now();
    let (mut pause, longest) = LOOK;
    loop {
        let helper = inspect(engine, &helper).await?;
        match (helper.running, helper.exit_code) {
            (false, Some(0)) => return Ok(()),
            // It ended meanwhile.
            (false, Some(3)) if !inspect(engine, exec).await?.running => return Ok(()),
            (false, Some(_)) => {
                return Err(Error::new(
                    Code::Unimplemented,
                    "the process cannot be sent a signal: that takes sh, grep and kill in the image, and the process's environment as it was",
                ));
            }
            _ if since.elapsed() > START => {
                return Err(Error::new(Code::DeadlineExceeded, "the engine did not send the signal in time"));
            }
            _ => {}
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// The name of a signal as `kill` takes it.
fn signal_name(name: &str) -> Result<&str, Error> {
    let short = name.strip_prefix("SIG").unwrap_or(name);
    let fits = (1..=16).contains(&short.len())
        && short.starts_with(|c: char| c.is_ascii_uppercase())
        && short.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if fits { Ok(short) } else { Err(Error::new(Code::InvalidArgument, "no name of a signal was given")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_process_is_described_with_its_mark() {
        let config = Config::parse(r#"{"user":"1000"}"#).expect("fits");
        let engine = Engine::new(&config);
        let argv = ["cat".to_owned()];
        let env = [("A".to_owned(), "b".to_owned())];
        let mut program = Program { argv: &argv, cwd: None, env: &env, user: None, size: None, mark: mark("c-1\n$") };
        let body = described(&engine, &program);
        assert_eq!(body["Env"], json!(["A=b", "SANDBOX_BROKER_PROCESS=pc-1"]));
        assert_eq!((&body["Tty"], &body["User"], &body["WorkingDir"]), (&json!(false), &json!("1000"), &Value::Null));
        program.user = Some("root");
        program.cwd = Some("/w");
        program.size = Some((80, 24));
        let body = described(&engine, &program);
        assert_eq!((&body["Tty"], &body["User"], &body["WorkingDir"]), (&json!(true), &json!("root"), &json!("/w")));
    }

    // As engine 20.10 answers.
    #[test]
    fn a_process_that_never_began_is_told_from_one_that_will() {
        let inspected = |json| serde_json::from_value::<Inspected>(json).expect("an inspection");
        let begun = |json| inspected(json).begun();
        assert_eq!(begun(json!({ "Running": false, "ExitCode": null, "Pid": 0 })), Begun::NotYet);
        assert_eq!(begun(json!({ "Running": true, "ExitCode": null, "Pid": 0 })), Begun::NotYet);
        assert_eq!(begun(json!({ "Running": true, "ExitCode": null, "Pid": 9 })), Begun::Yes);
        assert_eq!(begun(json!({ "Running": false, "ExitCode": 126, "Pid": 9 })), Begun::Yes);
        assert_eq!(begun(json!({ "Running": false, "ExitCode": 126, "Pid": 0 })), Begun::Never);
        let exit = |code: Value| inspected(json!({ "Running": false, "ExitCode": code, "Pid": 9 })).exit();
        assert!(matches!(exit(json!(7)), Exit::Code(7)));
        assert!(matches!(exit(json!(137)), Exit::Code(137)));
        assert!(matches!(exit(Value::Null), Exit::Unknown));
    }

    #[test]
    fn a_start_that_failed_says_why() {
        let error = not_started(
            "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nosuch\": executable file not found in $PATH: unknown",
        );
        assert_eq!(error.code, Code::NotFound);
        assert!(error.message.contains("nosuch"), "{}", error.message);
        let user = "unable to find user nouser: no matching entries in passwd file";
        assert_eq!(not_started(user).code, Code::InvalidArgument);
    }

    #[test]
    fn ids_and_signals_are_checked() {
        assert!(Id::parse("abc.p1").is_ok());
        for bad in ["", "abc", "abc.", "../x.p1", ".p1"] {
            assert!(Id::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(signal_name("SIGTERM").expect("a name"), "TERM");
        assert_eq!(signal_name("RTMIN").expect("a name"), "RTMIN");
        for bad in ["", "SIG", "15", "TERM; x", "term"] {
            assert!(signal_name(bad).is_err(), "{bad}");
        }
    }
}
