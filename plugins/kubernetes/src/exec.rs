//! Processes: the interface `exec`, each a connection to the API server. The host carries the bytes.

use std::time::Duration;

use sandbox_broker_sdk::exec::{Command, Guest, Process};
use sandbox_broker_sdk::net::{self, Connection, Failure, Framing};
use sandbox_broker_sdk::stream::{self, StreamReader};
use sandbox_broker_sdk::time::{self, Instant};
use sandbox_broker_sdk::wasi::clocks::system_clock;
use sandbox_broker_sdk::{Call, Code, Ending, Error, Exit, SandboxRef, quote};

use crate::Plugin;
use crate::api::{Api, USER_AGENT};
use crate::config::Config;
use crate::errors;
use crate::process::{self, PROTOCOLS};
use crate::state::{Pod, Stage};

/// What a process is reported to end with that was killed. So is one whose Pod has ended.
const KILLED: u8 = 128 + 9;

/// At its deadline a Pod is killed first, and said to have failed up to a second later.
const SETTLES: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(200);

/// Whether the Pod's deadline has come, by a clock that may go a little wrong.
fn is_due(pod: &Pod) -> bool {
    let now = u64::try_from(system_clock::now().seconds).unwrap_or_default() * 1000;
    pod.ends_unix_ms().is_some_and(|ends| now + SETTLES.as_secs() * 1000 >= ends)
}

impl Guest for Plugin {
    async fn run(
        call: Call,
        config: String,
        sandbox: SandboxRef,
        command: Command,
        stdin: StreamReader<u8>,
    ) -> Result<Process, Error> {
        let config = Config::parse(&config)?;
        // The ids of calls begin again with each broker. The time tells the brokers apart.
        let id = format!("{}-{}", call.id, system_clock::now().seconds);
        let words = process::start(&command, &id)?;
        let Connection { first, second, ended, .. } = open(&config, &sandbox, &words, stdin).await?;
        Ok(Process { id, stdout: first, stderr: second, done: Ending::Reported(ended) })
    }

    async fn exit_of(
        _call: Call,
        config: String,
        sandbox: SandboxRef,
        _id: String,
        report: Result<String, Error>,
    ) -> Result<Exit, Error> {
        let exit = process::exit(&report?)?;
        if !matches!(exit, Exit::Code(KILLED)) {
            return Ok(exit);
        }
        // It may have been killed with all the Pod.
        let config = Config::parse(&config)?;
        let (api, begun) = (Api::new(&config), Instant::now());
        loop {
            match api.get(&sandbox.id).await {
                Err(e) if e.code == Code::NotFound => return Err(e),
                Err(_) => return Ok(exit),
                Ok(pod) => match pod.stage() {
                    Stage::Ended(why) => return Err(Error::new(Code::NotFound, why)),
                    _ if is_due(&pod) && begun.elapsed() < SETTLES => time::sleep(LOOK).await,
                    _ => return Ok(exit),
                },
            }
        }
    }

    async fn signal(_call: Call, config: String, sandbox: SandboxRef, id: String, name: String) -> Result<(), Error> {
        let config = Config::parse(&config)?;
        let (input, nothing) = stream::bytes();
        drop(input);
        let words = process::signal(&id, &name)?;
        let connection = open(&config, &sandbox, &words, nothing).await?;
        match process::exit(&connection.ended.await?)? {
            Exit::Code(0) => Ok(()),
            Exit::Code(3) => Err(Error::new(Code::NotFound, "the process has ended")),
            _ => Err(Error::new(Code::PermissionDenied, format!("the process does not take {}", quote(&name)))),
        }
    }
}

/// Opens a connection to a new process.
async fn open(
    config: &Config,
    sandbox: &SandboxRef,
    words: &[String],
    stdin: StreamReader<u8>,
) -> Result<Connection, Error> {
    if !process::is_name(&sandbox.id) {
        return Err(Error::new(Code::InvalidArgument, "the sandbox's id is not the name of a Pod"));
    }
    let request = net::Request {
        method: "GET".to_owned(),
        url: process::address(config, &sandbox.id, words)?,
        headers: vec![("user-agent".to_owned(), USER_AGENT.to_owned())],
    };
    let protocols: Vec<String> = PROTOCOLS.map(str::to_owned).into();
    match net::websocket(&request, &protocols, Framing::Kubernetes, stdin).await {
        Ok(connection) => Ok(connection),
        Err(Failure::Refused(refusal)) => Err(match refusal.status {
            // What an API server answers that knows neither of the protocols.
            403 if refusal.body.is_empty() => Error::new(
                Code::FailedPrecondition,
                "the API server knows no protocol of processes that the broker speaks: Kubernetes 1.30 and later do",
            ),
            status => errors::refused(config, status, &refusal.body),
        }),
        Err(Failure::Failed(error)) => Err(error),
    }
}
