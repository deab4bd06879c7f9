//! The program `sandboxd`: command line and logging around the library.

use std::process::ExitCode;

use clap::Parser;
use sandbox_stdx::log::OneLine;
use tracing_subscriber::EnvFilter;

/// An E2B-compatible sandbox server for one machine. Its sandboxes share the machine's kernel.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: sandboxd::Options,
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == sandboxd::init::ARGUMENT) {
        sandboxd::init::main();
    }
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| OneLine(std::io::stderr())).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(sandboxd::run(arguments.options));
    // Does not wait for blocking threads: the sandboxes have ended.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the server ended");
            ExitCode::FAILURE
        }
    }
}
