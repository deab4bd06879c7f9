//! Terminals: the interface `terminal`.

use sandbox_broker_sdk::net;
use sandbox_broker_sdk::stream::StreamReader;
use sandbox_broker_sdk::terminal::{Attachment, Guest, PtySpec};
use sandbox_broker_sdk::{Call, Code, Ending, Error, Exit, SandboxRef};

use crate::Plugin;
use crate::config::Config;
use crate::envd::{Envd, Live, environment};
use crate::process::{Command, Pty, Sink, Start};
use crate::session;

/// What programs on a terminal need to know, as official clients set it.
const TERMINAL: [(&str, &str); 3] = [("TERM", "xterm-256color"), ("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8")];

impl Guest for Plugin {
    async fn open(
        _call: Call,
        config: String,
        sandbox: SandboxRef,
        spec: PtySpec,
        input: StreamReader<u8>,
    ) -> Result<Attachment, Error> {
        let envd = Envd::of(&Config::parse(&config)?, &sandbox)?;
        let (cmd, args) = program(&spec.command)?;
        let start = Start {
            process: Command { cmd, args, envs: environment(&TERMINAL, &spec.env), cwd: spec.cwd.as_deref() },
            pty: Some(Pty::new(spec.cols, spec.rows)),
            stdin: None,
        };
        let live = envd.start(&start, spec.user.as_deref()).await?;
        Ok(attachment(&envd, live, input))
    }

    async fn attach(
        _call: Call,
        config: String,
        sandbox: SandboxRef,
        pty: String,
        input: StreamReader<u8>,
    ) -> Result<Attachment, Error> {
        let envd = Envd::of(&Config::parse(&config)?, &sandbox)?;
        let live = envd.reconnect(session::pid(&pty)?).await?;
        Ok(attachment(&envd, live, input))
    }

    async fn resize(
        _call: Call,
        config: String,
        sandbox: SandboxRef,
        pty: String,
        cols: u16,
        rows: u16,
    ) -> Result<(), Error> {
        let envd = Envd::of(&Config::parse(&config)?, &sandbox)?;
        session::resize(&envd, session::pid(&pty)?, cols, rows).await
    }

    async fn signal(_call: Call, config: String, sandbox: SandboxRef, pty: String, name: String) -> Result<(), Error> {
        let envd = Envd::of(&Config::parse(&config)?, &sandbox)?;
        session::signal(&envd, session::pid(&pty)?, &name).await
    }

    async fn exit_of(
        _call: Call,
        config: String,
        sandbox: SandboxRef,
        pty: String,
        report: Result<String, Error>,
    ) -> Result<Exit, Error> {
        let envd = Envd::of(&Config::parse(&config)?, &sandbox)?;
        session::exit_of(&envd, session::pid(&pty)?, report).await
    }
}

/// The program and its arguments.
pub fn program(command: &[String]) -> Result<(&str, &[String]), Error> {
    match command {
        [cmd, args @ ..] if !cmd.is_empty() => Ok((cmd, args)),
        _ => Err(Error::new(Code::InvalidArgument, "no program was given")),
    }
}

fn attachment(envd: &Envd, live: Live, input: StreamReader<u8>) -> Attachment {
    let Live { pid, connection } = live;
    let ended = net::feed(&envd.input(pid, Sink::Pty), input, connection.ended);
    Attachment { pty: pid.to_string(), output: connection.first, done: Ending::Reported(ended) }
}
