//! `cargo xtask …`: builds, runs, tests and checks everything in this repository.
//!
//! Owns the order of the work and what it needs from the machine. Knows nothing
//! of what the programs do: it sees crates, folders, files and exit statuses.
//! Works on Unix; installing packages works on Debian and its kin, and elsewhere
//! the package to install is named.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod azurite;
mod bench;
mod ci;
mod command;
mod golden;
mod plugins;
mod recorder;
mod report;
mod run;
mod setup;
mod test;
mod tidy;
mod wasm_std;
mod web;
mod workspace;

use workspace::Workspace;

/// Builds, runs, tests and checks everything in this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build everything and run the broker on broker.toml
    Run {
        /// Build with optimisation
        #[arg(long)]
        release: bool,
        /// Store files in an Azurite on this machine, so that they outlive sandboxes
        #[arg(long)]
        azure: bool,
        /// Arguments of the broker
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Install what tests need, then run all tests
    Test {
        /// Run only Rust tests whose name contains this
        filter: Option<String>,
        /// Run only this kind; may be repeated
        #[arg(long, value_name = "STEP", value_parser = test::STEPS)]
        only: Vec<String>,
        /// Arguments of the Rust tests, such as --ignored for those that take minutes
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Run every check and report all failures
    Ci {
        /// Run only this step; may be repeated
        #[arg(long, value_name = "STEP", value_parser = ci::STEPS)]
        only: Vec<String>,
    },
    /// Build the plugins to target/plugins, and the recorder to target/recorder
    Plugins,
    /// Build the page to web/dist
    Web,
    /// Install what tests need
    Setup,
    /// Check the invariants of ARCHITECTURE.md
    Tidy,
    /// Let sessions live under a nemesis, for as long as you like
    Soak {
        /// How long new sessions are begun
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// Clients at the same time
        #[arg(long, default_value_t = 20)]
        sessions: u64,
        /// Repeats the decisions of an earlier run
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Measure the broker beside the peers that this machine can have
    Bench {
        /// Measure only what contains this name
        name: Option<String>,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let ws = &Workspace::find()?;
    match task {
        Task::Run { release, azure, args } => run::run(ws, release, azure, &args),
        Task::Test { filter, only, args } => test::test(ws, filter.as_deref(), only, &args),
        Task::Ci { only } => ci::ci(ws, only),
        Task::Plugins => plugins::build(ws).and(golden::build(ws)).and(recorder::build(ws)),
        Task::Web => web::build(ws),
        Task::Setup => setup::setup(ws),
        Task::Tidy => tidy::tidy(ws),
        Task::Soak { minutes, sessions, seed } => test::soak(ws, minutes, sessions, seed),
        Task::Bench { name } => bench::bench(ws, name.as_deref()),
    }
}
