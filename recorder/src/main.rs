//! `sandbox-recorder`: owns a terminal inside a sandbox, numbers and keeps its output,
//! and serves it to a broker that comes and goes.
//!
//! Owns the command line and the exit statuses. The parts, along the way of a byte:
//!
//! | part | what |
//! |---|---|
//! | `run` | makes a recording and leaves its daemon behind |
//! | `daemon` | one thread between the terminal, the ring and the broker |
//! | `pty` | the terminal and the program on it |
//! | `ring`, `marks` | output on disk, and when it came |
//! | `control` | how `attach` hands its pipes to the daemon |
//! | `attachment` | the frames of one broker |
//! | `picture` | the emulator and what it has yet to take, a little at a time |
//! | `emulator` | what the screen looks like, and what is answered to programs |
//! | `history` | what is held, told in order; for `screen` and `cast` |
//! | `plain` | output that only draws |

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt as _};
use rustix::fs::MemfdFlags;
use sandbox_recorder::wire::{MAX_DATA, Size, ToBroker};

mod attachment;
mod cast;
mod control;
mod daemon;
mod emulator;
mod history;
mod marks;
mod picture;
mod plain;
mod pty;
mod ring;
mod run;
mod screen;

use control::Begin;
use ring::{Piece, Ring};
use run::Recording;

const USAGE: &str = "\
sandbox-recorder run    --dir DIR --cols N --rows N [--ring BYTES] [--patience MS] -- PROGRAM ARGS…
sandbox-recorder attach --dir DIR (--since OFFSET | --tail BYTES) [--patience MS]
sandbox-recorder read   --dir DIR --from OFFSET --to OFFSET
sandbox-recorder screen --dir DIR
sandbox-recorder cast   --dir DIR
";

/// Bytes of output that are held: some minutes of a flood, weeks of typing.
const RING: u64 = 64 * 1024 * 1024;

/// A broker says something every 10 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// There is no such offset.
const REFUSED: u8 = 2;

/// Why this process ends without having done what it should.
struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    fn new(status: u8, message: String) -> Self {
        Self { status, message }
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::new(1, format!("{error}\n{USAGE}"))
    }
}

trait Context<T> {
    /// Says what failed, for a failure with status 1.
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(1, format!("{}: {}", what(), error.into())))
    }
}

fn main() -> ExitCode {
    match command() {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            // Without a standard error there is the status.
            let _ = writeln!(io::stderr(), "sandbox-recorder: {}", failure.message.trim_end());
            ExitCode::from(failure.status)
        }
    }
}

/// Arguments of all commands.
#[derive(Default)]
struct Arguments {
    command: Option<OsString>,
    dir: Option<PathBuf>,
    cols: Option<u16>,
    rows: Option<u16>,
    ring: Option<u64>,
    patience: Option<u32>,
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
    let missing = |what: &str| Failure::new(1, format!("{what}\n{USAGE}"));
    let dir = arguments.dir.clone().ok_or_else(|| missing("--dir is missing"))?;
    let patience = arguments.patience.map_or(PATIENCE, |ms| Duration::from_millis(ms.into()));
    match arguments.command.as_deref().and_then(|name| name.to_str()) {
        Some("run") => {
            let (Some(cols), Some(rows)) = (arguments.cols, arguments.rows) else {
                return Err(missing("--cols or --rows is missing"));
            };
            let size = Size::new(cols, rows).ok_or_else(|| missing("--cols and --rows are 1 to 1000"))?;
            let ring = arguments.ring.unwrap_or(RING);
            if !ring::SIZES.contains(&ring) {
                return Err(missing(&format!("--ring is {} to {}", ring::SIZES.start(), ring::SIZES.end())));
            }
            if arguments.program.is_empty() {
                return Err(missing("the program is missing"));
            }
            let recording = Recording { dir, size, ring, program: arguments.program, patience };
            let control = run::start(&recording)?;
            control::wait(&control).context(|| format!("serving {}", recording.dir.display()))
        }
        Some("attach") => match (arguments.since, arguments.tail) {
            (Some(offset), None) => attach(&dir, Begin::Since(offset), patience),
            (None, Some(bytes)) => attach(&dir, Begin::Tail(bytes), patience),
            _ => Err(missing("one of --since and --tail is needed")),
        },
        Some("read") => {
            let (Some(from), Some(to)) = (arguments.from, arguments.to) else {
                return Err(missing("--from or --to is missing"));
            };
            read(&dir, from, to)
        }
        Some("screen") => screen(&dir, patience),
        Some("cast") => {
            cast::write(&dir, io::stdout().lock()).context(|| format!("telling what {} holds", dir.display()))?;
            Ok(0)
        }
        _ => Err(missing("the command is missing")),
    }
}

fn attach(dir: &Path, begin: Begin, patience: Duration) -> Result<u8, Failure> {
    control::ask(dir, begin, patience, rustix::stdio::stdout())
        .context(|| format!("no recorder serves {}", dir.display()))
}

/// Writes what is held between two offsets.
fn read(dir: &Path, from: u64, to: u64) -> Result<u8, Failure> {
    let ring = Ring::open(dir).context(|| format!("opening what {} holds", dir.display()))?;
    if let Some(status) = refuse(&ring, from)? {
        return Ok(status);
    }
    let mut out = io::stdout().lock();
    let mut tell = |frame: ToBroker<'_>| {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        out.write_all(&bytes)
    };
    let mut buffer = vec![0; MAX_DATA];
    let mut at = from;
    history::sizes(dir, &ring, from)
        .into_iter()
        .map(|(offset, size)| (offset, Some(size)))
        .take_while(|(offset, _)| *offset < to.max(from + 1))
        .chain([(to, None)])
        .try_for_each(|(offset, size)| {
            ring.walk(at, offset.max(at), &mut buffer, |piece| match piece {
                Piece::Bytes(offset, bytes) => tell(ToBroker::Output { offset, bytes }),
                Piece::Gap(from, to) => tell(ToBroker::Gap { from, to }),
            })?;
            at = at.max(offset);
            size.map_or(Ok(()), |size| tell(ToBroker::Size { offset: at, size }))
        })
        .and_then(|()| out.flush())
        .context(|| format!("reading what {} holds", dir.display()))?;
    Ok(0)
}

/// Writes what draws the screen as it is now: as the daemon has it, or where that is gone
/// as the output that is held makes it.
fn screen(dir: &Path, patience: Duration) -> Result<u8, Failure> {
    let dir = dir.canonicalize().context(|| format!("finding {}", dir.display()))?;
    let file =
        rustix::fs::memfd_create("screen", MemfdFlags::CLOEXEC).context(|| "making a file in memory".to_owned())?;
    if control::ask(&dir, Begin::Screen, patience, file.as_fd()).is_ok() {
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

/// Says that there is no such offset, if so.
fn refuse(ring: &Ring, offset: u64) -> Result<Option<u8>, Failure> {
    let end = ring.end();
    if offset <= end {
        return Ok(None);
    }
    let mut frame = Vec::new();
    ToBroker::Refused { reason: &above(offset, end) }.encode(&mut frame);
    write(&frame)?;
    Ok(Some(REFUSED))
}

/// The reason why an offset is refused.
fn above(offset: u64, end: u64) -> String {
    format!("offset {offset} is above the end of the output, {end}")
}

fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context(|| "writing to the standard output".to_owned())
}
