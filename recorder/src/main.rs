//! `sandbox-recorder`: a small static program that owns a terminal inside a sandbox. It numbers the terminal's output, keeps
//! the last part of it in a ring on disk, and serves it to a broker that comes and goes.
//!
//! `run` leaves a daemon behind. `attach` hands its own pipes to that daemon, so that a broker needs no more than a process
//! in the sandbox:
//!
//! ```text
//!                     ┌─────────────────── daemon ───────────────────┐
//! broker ◄─ frames ─► attachment ─ input ─► pending ─► pty ◄─► shell │
//!                     │    ▲                              │          │
//!                     │    └──────── ring, marks ◄─ output┤          │
//!                     │   drawing ◄─ emulation ◄──────────┘          │
//!                     └──────────────────────────────────────────────┘
//! ```
//!
//! | role | file | what it owns |
//! |---|---|---|
//! | commands | `main`, `failure` | the command line, messages and exit statuses |
//! | | `run` | makes a recording and starts its daemon |
//! | | `read`, `screen`, `cast` | what they write |
//! | | `files` | files of the sandbox, for providers that have none |
//! | daemon | `daemon` | the poll loop, its deadlines, and who waits for whom |
//! | | `requests` | how `attach` and `screen` hand their pipes to the daemon |
//! | | `attachment` | the frames of one broker |
//! | terminal | `pty` | the terminal and the program on it |
//! | | `pending` | bytes that wait for the terminal |
//! | | `emulation`, `emulator` | what the screen looks like, and answers to programs |
//! | recording | `ring`, `marks` | output on disk, and when it came |
//! | | `history` | what both hold, in order |
//! | | `sanitize` | output that only draws |
//!
//! The frames are in the library, because the broker uses them too.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt as _};
use rustix::fs::MemfdFlags;
use sandbox_recorder::wire::{Size, ToBroker};

mod attachment;
mod cast;
mod daemon;
mod emulation;
mod emulator;
mod failure;
mod files;
mod history;
mod marks;
mod pending;
mod pty;
mod read;
mod requests;
mod ring;
mod run;
mod sanitize;
mod screen;

use failure::{Context as _, Failure};
use requests::Begin;
use ring::Ring;
use run::Recording;

const USAGE: &str = "\
sandbox-recorder run    --dir DIR --cols N --rows N [--ring BYTES] [--patience MS] [--silent] -- PROGRAM ARGS…
sandbox-recorder attach --dir DIR (--since OFFSET | --tail BYTES) [--patience MS]
sandbox-recorder read   --dir DIR --from OFFSET --to OFFSET
sandbox-recorder screen --dir DIR
sandbox-recorder cast   --dir DIR
sandbox-recorder files  (stat | write | remove | make-dir) PATH
sandbox-recorder files  list PATH AFTER
sandbox-recorder files  read PATH OFFSET LENGTH
sandbox-recorder files  rename FROM TO
";

/// The size of the ring by default: minutes of a flood, or weeks of typing.
const RING: u64 = 64 * 1024 * 1024;

/// The patience by default. A broker sends something every 10 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// The exit status for an offset above the end of the output.
const REFUSED: u8 = 2;

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::new(1, format!("{error}\n{USAGE}"))
    }
}

fn main() -> ExitCode {
    match command() {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            // If the standard error is closed, the status must do.
            let _ = writeln!(io::stderr(), "sandbox-recorder: {}", failure.message.trim_end());
            ExitCode::from(failure.status)
        }
    }
}

/// The arguments of all commands.
#[derive(Default)]
struct Arguments {
    command: Option<OsString>,
    dir: Option<PathBuf>,
    cols: Option<u16>,
    rows: Option<u16>,
    ring: Option<u64>,
    patience: Option<u32>,
    silent: bool,
    since: Option<u64>,
    tail: Option<u64>,
    from: Option<u64>,
    to: Option<u64>,
    program: Vec<OsString>,
}

impl Arguments {
    fn read(mut parser: Parser) -> Result<Self, lexopt::Error> {
        let mut arguments = Self::default();
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("dir") => arguments.dir = Some(parser.value()?.into()),
                Arg::Long("cols") => arguments.cols = Some(parser.value()?.parse()?),
                Arg::Long("rows") => arguments.rows = Some(parser.value()?.parse()?),
                Arg::Long("ring") => arguments.ring = Some(parser.value()?.parse()?),
                Arg::Long("patience") => arguments.patience = Some(parser.value()?.parse()?),
                Arg::Long("silent") => arguments.silent = true,
                Arg::Long("since") => arguments.since = Some(parser.value()?.parse()?),
                Arg::Long("tail") => arguments.tail = Some(parser.value()?.parse()?),
                Arg::Long("from") => arguments.from = Some(parser.value()?.parse()?),
                Arg::Long("to") => arguments.to = Some(parser.value()?.parse()?),
                Arg::Value(command) if arguments.command.is_none() => arguments.command = Some(command),
                Arg::Value(program) => {
                    arguments.program = std::iter::once(program).chain(parser.raw_args()?).collect();
                }
                argument => return Err(argument.unexpected()),
            }
        }
        Ok(arguments)
    }
}

fn command() -> Result<u8, Failure> {
    let arguments = Arguments::read(Parser::from_env())?;
    if arguments.command.as_deref().is_some_and(|name| name == "files") {
        files::run(&arguments.program).context(|| "writing the answer".to_owned())?;
        return Ok(0);
    }
    let missing = |what: &str| Failure::new(1, format!("{what}\n{USAGE}"));
    let dir = arguments.dir.clone().ok_or_else(|| missing("--dir is missing"))?;
    let patience = arguments.patience.map_or(PATIENCE, |ms| Duration::from_millis(ms.into()));
    match arguments.command.as_deref().and_then(|name| name.to_str()) {
        Some("run") => {
            let (Some(cols), Some(rows)) = (arguments.cols, arguments.rows) else {
                return Err(missing("--cols or --rows is missing"));
            };
            let size = Size::new(cols, rows).ok_or_else(|| missing("--cols and --rows must be 1 to 1000"))?;
            let ring = arguments.ring.unwrap_or(RING);
            if !ring::SIZES.contains(&ring) {
                return Err(missing(&format!("--ring must be {} to {} bytes", ring::SIZES.start(), ring::SIZES.end())));
            }
            if arguments.program.is_empty() {
                return Err(missing("the program is missing"));
            }
            let recording =
                Recording { dir, size, ring, program: arguments.program, patience, silent: arguments.silent };
            let control = run::start(&recording)?;
            requests::wait(&control).context(|| format!("serving {}", recording.dir.display()))
        }
        Some("attach") => match (arguments.since, arguments.tail) {
            (Some(offset), None) => attach(&dir, Begin::Since(offset), patience),
            (None, Some(bytes)) => attach(&dir, Begin::Tail(bytes), patience),
            _ => Err(missing("either --since or --tail is needed")),
        },
        Some("read") => {
            let (Some(from), Some(to)) = (arguments.from, arguments.to) else {
                return Err(missing("--from or --to is missing"));
            };
            let ring = Ring::open(&dir).context(|| format!("opening what {} holds", dir.display()))?;
            if let Err(reason) = ring.check(from) {
                let mut frame = Vec::new();
                ToBroker::Refused { reason: &reason }.encode(&mut frame);
                write(&frame)?;
                return Ok(REFUSED);
            }
            read::write(&dir, &ring, (from, to), io::stdout().lock())
                .context(|| format!("reading what {} holds", dir.display()))?;
            Ok(0)
        }
        Some("screen") => screen(&dir, patience),
        Some("cast") => {
            cast::write(&dir, io::stdout().lock()).context(|| format!("writing the cast of {}", dir.display()))?;
            Ok(0)
        }
        _ => Err(missing("the command is missing")),
    }
}

fn attach(dir: &Path, begin: Begin, patience: Duration) -> Result<u8, Failure> {
    requests::ask(dir, begin, patience, rustix::stdio::stdout())
        .context(|| format!("no recorder serves {}", dir.display()))
}

/// Writes what draws the screen as it is now. Asks the daemon. If there is none, the output in the ring makes the screen.
fn screen(dir: &Path, patience: Duration) -> Result<u8, Failure> {
    let dir = dir.canonicalize().context(|| format!("finding {}", dir.display()))?;
    let file =
        rustix::fs::memfd_create("screen", MemfdFlags::CLOEXEC).context(|| "making a file in memory".to_owned())?;
    if requests::ask(&dir, Begin::Screen, patience, file.as_fd()).is_ok() {
        let mut file = File::from(file);
        let copied = file.rewind().and_then(|()| io::copy(&mut file, &mut io::stdout().lock()));
        copied.context(|| "writing to the standard output".to_owned())?;
        return Ok(0);
    }
    let ring = Ring::open(&dir).context(|| format!("opening what {} holds", dir.display()))?;
    let (offset, size, text) = screen::draw(&dir, &ring).context(|| format!("drawing what {} holds", dir.display()))?;
    write(&screen::frames(offset, size, &text))?;
    Ok(0)
}

fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context(|| "writing to the standard output".to_owned())
}
