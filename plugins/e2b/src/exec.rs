//! Processes without a terminal: the interface `exec`.

use sandbox_broker_sdk::exec::{Command as Spec, Guest, Process};
use sandbox_broker_sdk::net;
use sandbox_broker_sdk::stream::StreamReader;
use sandbox_broker_sdk::{Call, Ending, Error, Exit, SandboxRef};

use crate::Plugin;
use crate::config::Config;
use crate::envd::{Envd, Live, environment};
use crate::process::{Command, Sink, Start};
use crate::pty::program;
use crate::session;

impl Guest for Plugin {
    async fn run(
        _call: Call,
        config: String,
        sandbox: SandboxRef,
        command: Spec,
        stdin: StreamReader<u8>,
    ) -> Result<Process, Error> {
        let envd = Envd::of(&Config::parse(&config)?, &sandbox)?;
        let (cmd, args) = program(&command.argv)?;
        let start = Start {
            process: Command { cmd, args, envs: environment(&[], &command.env), cwd: command.cwd.as_deref() },
            pty: None,
            stdin: Some(true),
        };
        let live = envd.start(&start, command.user.as_deref()).await?;
        let Live { pid, connection } = live;
        let ended = net::feed(&envd.input(pid, Sink::Stdin), stdin, connection.ended);
        let (stdout, stderr) = (connection.first, connection.second);
        Ok(Process { id: pid.to_string(), stdout, stderr, done: Ending::Reported(ended) })
    }

    async fn exit_of(
        _call: Call,
        config: String,
        sandbox: SandboxRef,
        id: String,
        report: Result<String, Error>,
    ) -> Result<Exit, Error> {
        let envd = Envd::of(&Config::parse(&config)?, &sandbox)?;
        session::exit_of(&envd, session::pid(&id)?, report).await
    }

    async fn signal(_call: Call, config: String, sandbox: SandboxRef, id: String, name: String) -> Result<(), Error> {
        let envd = Envd::of(&Config::parse(&config)?, &sandbox)?;
        session::signal(&envd, session::pid(&id)?, &name).await
    }
}
