//! Processes without a terminal: the interface `exec`.

use sandbox_broker_sdk::exec::{Command, Guest, Process};
use sandbox_broker_sdk::stream::StreamReader;
use sandbox_broker_sdk::{Call, Ending, Error, Exit, SandboxRef};

use crate::Plugin;
use crate::config::Config;
use crate::engine::Engine;
use crate::process::{self, Program, mark};
use crate::reference::id;

impl Guest for Plugin {
    async fn run(
        call: Call,
        config: String,
        sandbox: SandboxRef,
        command: Command,
        stdin: StreamReader<u8>,
    ) -> Result<Process, Error> {
        let config = Config::parse(&config)?;
        let program = Program {
            argv: &command.argv,
            cwd: command.cwd.as_deref(),
            env: &command.env,
            user: command.user.as_deref(),
            size: None,
            mark: mark(&call.id),
        };
        let started = process::start(&Engine::new(&config), id(&sandbox)?, &program, stdin).await?;
        let connection = started.connection;
        let done = Ending::Reported(connection.ended);
        Ok(Process { id: started.id, stdout: connection.first, stderr: connection.second, done })
    }

    async fn exit_of(
        _call: Call,
        config: String,
        sandbox: SandboxRef,
        process: String,
        report: Result<String, Error>,
    ) -> Result<Exit, Error> {
        report?;
        let config = Config::parse(&config)?;
        process::exit(&Engine::new(&config), id(&sandbox)?, &process).await
    }

    async fn signal(
        _call: Call,
        config: String,
        sandbox: SandboxRef,
        process: String,
        name: String,
    ) -> Result<(), Error> {
        let config = Config::parse(&config)?;
        process::signal(&Engine::new(&config), id(&sandbox)?, &process, &name).await
    }
}
