//! The program `broker`. Owns the process: what runs before the runtime, the runtime itself, and the exit status.

use std::io::{self, Write as _, stderr};
use std::process::ExitCode;

use clap::Parser;
use sandbox_broker::cli::Arguments;

fn main() -> ExitCode {
    // This program is also the init of a sandbox, which must not have threads. So this comes before the runtime.
    if std::env::args_os().nth(1).is_some_and(|a| a == sandboxd::init::ARGUMENT) {
        sandboxd::init::main();
    }
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(stderr(), "broker: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(arguments.run());
    // Do not wait for blocking work that still runs, such as compiling a plugin.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| {
        // A reader such as `head` has closed our output. A broken network connection does not get here as a bare IO
        // error: it has words around it.
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        // Standard error may be full or closed, which is no reason to panic.
        let _ = writeln!(stderr(), "broker: {error:#}");
        ExitCode::FAILURE
    })
}
