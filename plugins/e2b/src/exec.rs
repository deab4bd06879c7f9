//! Processes without a terminal: the interface `exec`.

use sandbox_broker_sdk::exec::{Command as Spec, Guest, Process};
use sandbox_broker_sdk::stream::{self, StreamReader};
use sandbox_broker_sdk::{Call, Ending, Error, Exit, SandboxRef, spawn};

use crate::Plugin;
use crate::config::Config;
use crate::envd::{Envd, environment};
use crate::input::Input;
use crate::process::{Command, Sink, Start};
use crate::pty::program;
use crate::session::{self, Outputs};

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

        let pid = live.pid;
        let (out, stdout) = stream::bytes();
        let (err, stderr) = stream::bytes();
        let (ended, done) = stream::outcome();
        let input = Input::new(envd.clone(), pid, Sink::Stdin, stdin);
        spawn(async move {
            let end = session::run(&envd, live, Outputs::new(out, Some(err)), input).await;
            // The host may have left.
            let _ = ended.write(end).await;
        });
        Ok(Process { id: pid.to_string(), stdout, stderr, done: Ending::Told(done) })
    }

    async fn exit_of(
        _call: Call,
        _config: String,
        _sandbox: SandboxRef,
        _id: String,
        _report: String,
    ) -> Result<Exit, Error> {
        Err(Error::never_reported())
    }

    async fn signal(_call: Call, config: String, sandbox: SandboxRef, id: String, name: String) -> Result<(), Error> {
        let envd = Envd::of(&Config::parse(&config)?, &sandbox)?;
        session::signal(&envd, session::pid(&id)?, &name).await
    }
}
