//! `files`: reads, writes, lists and changes files as the user whose process this is.
//!
//! Owns what each operation does, and that its answer ends with how it went. The broker uses it where a provider has no files
//! of its own, so it is one process for each operation and needs no recording. Knows no directory beyond the paths that it
//! gets: who may do what is the system's decision.

use std::collections::BinaryHeap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use sandbox_recorder::wire::MAX_DATA;
use sandbox_recorder::wire::files::{Answer, Kind, PAGE, Why};

mod failed;
mod upload;

use failed::{Context as _, Failed};

/// Runs one operation and writes its answer.
///
/// # Errors
/// If nobody takes the answer.
pub(crate) fn run(words: &[OsString]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let last = match operate(words, &mut out) {
        Ok(more) => encoded(&Answer::Done { more }),
        Err(Failed::Answer(error)) => return Err(error),
        Err(Failed::Operation(why, message)) => encoded(&Answer::Failed { why, message: &message }),
    };
    out.write_all(&last)?;
    out.flush()
}

/// Returns whether there is more than what was answered.
fn operate(words: &[OsString], out: &mut impl Write) -> Result<bool, Failed> {
    let words: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
    match words.split_first().and_then(|(operation, words)| Some((operation.to_str()?, words))) {
        Some(("stat", [path])) => put(out, &describe(bare(path))?)?,
        Some(("list", [path, after])) => return list(bare(path), &from_hex(after)?, out),
        Some(("read", [path, offset, length])) => {
            let length = if length.is_empty() { u64::MAX } else { number(length)? };
            read(bare(path), number(offset)?, length, out)?;
        }
        Some(("write", [path])) => {
            let path = bare(path);
            make_parents(path)?;
            let ready = || out.write_all(&encoded(&Answer::Ready)).and_then(|()| out.flush()).map_err(Failed::Answer);
            upload::write(path, ready)?;
            put(out, &describe(path)?)?;
        }
        Some(("remove", [path])) => remove(bare(path))?,
        Some(("make-dir", [path])) => {
            let path = bare(path);
            make_parents(path)?;
            fs::create_dir(path).about(path)?;
            put(out, &describe(path)?)?;
        }
        Some(("rename", [from, to])) => {
            let (from, to) = (bare(from), bare(to));
            fs::symlink_metadata(from).about(from)?;
            make_parents(to)?;
            fs::rename(from, to).about(to)?;
            put(out, &describe(to)?)?;
        }
        _ => return Err(Failed::of(Why::InvalidArgument, "the operation or the number of its words is wrong")),
    }
    Ok(false)
}

/// What is at a path.
struct Described {
    name: Vec<u8>,
    about: Metadata,
}

impl Described {
    fn answer(&self) -> Answer<'_> {
        let kind = self.about.file_type();
        let kind = match () {
            () if kind.is_file() => Kind::File,
            () if kind.is_dir() => Kind::Directory,
            () if kind.is_symlink() => Kind::Link,
            () => Kind::Other,
        };
        let modified = self.about.mtime().saturating_mul(1000).saturating_add(self.about.mtime_nsec() / 1_000_000);
        Answer::Entry {
            kind,
            mode: self.about.mode() & 0o7777,
            size: if kind == Kind::File { self.about.size() } else { 0 },
            modified,
            name: &self.name,
        }
    }
}

/// A link counts as what it leads to, unless that is nothing.
fn look(path: &Path) -> io::Result<Metadata> {
    fs::metadata(path).or_else(|error| match fs::symlink_metadata(path) {
        Ok(about) if about.is_symlink() => Ok(about),
        _ => Err(error),
    })
}

fn describe(path: &Path) -> Result<Described, Failed> {
    Ok(Described { name: name(path), about: look(path).about(path)? })
}

fn name(path: &Path) -> Vec<u8> {
    path.file_name().unwrap_or_default().as_bytes().to_vec()
}

/// Answers with the entries whose names come after `after`, sorted by name, at most [`PAGE`]. It holds no more names than
/// that, however many there are.
fn list(path: &Path, after: &[u8], out: &mut impl Write) -> Result<bool, Failed> {
    let mut first = BinaryHeap::new();
    let mut more = false;
    for entry in fs::read_dir(path).about(path)? {
        let name = entry.about(path)?.file_name().into_vec();
        if name.as_slice() > after {
            first.push(name);
        }
        if first.len() > PAGE {
            first.pop();
            more = true;
        }
    }
    for name in first.into_sorted_vec() {
        match look(&path.join(OsStr::from_bytes(&name))) {
            Ok(about) => put(out, &Described { name, about })?,
            // It was removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).about(path),
        }
    }
    Ok(more)
}

/// Answers with what was opened, and then with its bytes, whatever has the name by then.
fn read(path: &Path, offset: u64, length: u64, out: &mut impl Write) -> Result<(), Failed> {
    let unfit = || Failed::of(Why::InvalidArgument, format!("{} is not a regular file", path.display()));
    // To open a device could do something.
    if !fs::metadata(path).about(path)?.is_file() {
        return Err(unfit());
    }
    // To open a pipe could take for ever.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).about(path)?;
    let opened = Described { name: name(path), about: file.metadata().about(path)? };
    if !opened.about.is_file() {
        return Err(unfit());
    }
    if offset > opened.about.size() {
        return Err(Failed::of(Why::OutOfRange, format!("{} is shorter than {offset} bytes", path.display())));
    }
    put(out, &opened)?;
    let mut buffer = vec![0; MAX_DATA];
    let (mut at, end) = (offset, offset.saturating_add(length));
    while at < end {
        let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(MAX_DATA);
        let read = file.read_at(&mut buffer[..most], at).about(path)?;
        if read == 0 {
            break;
        }
        out.write_all(&encoded(&Answer::Content(&buffer[..read]))).map_err(Failed::Answer)?;
        at += read as u64;
    }
    Ok(())
}

/// Removes a file, a link itself, or a directory with everything in it. What is gone already is removed.
fn remove(path: &Path) -> Result<(), Failed> {
    let removed = fs::symlink_metadata(path).and_then(|about| match about.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    });
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.about(path),
    }
}

fn make_parents(path: &Path) -> Result<(), Failed> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).about(parent),
        None => Ok(()),
    }
}

fn put(out: &mut impl Write, described: &Described) -> Result<(), Failed> {
    out.write_all(&encoded(&described.answer())).map_err(Failed::Answer)
}

fn encoded(answer: &Answer<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    answer.encode(&mut bytes);
    bytes
}

/// A path without slashes at its end, which would follow a link.
fn bare(path: &OsStr) -> &Path {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(usize::from(!bytes.is_empty()), |last| last + 1);
    Path::new(OsStr::from_bytes(&bytes[..end]))
}

fn number(word: &OsStr) -> Result<u64, Failed> {
    let number = word.to_str().and_then(|word| word.parse().ok());
    number.ok_or_else(|| Failed::of(Why::InvalidArgument, "a number is wrong"))
}

/// Bytes of a name, which a command line may not be able to carry.
fn from_hex(word: &OsStr) -> Result<Vec<u8>, Failed> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = word.as_bytes().chunks(2).map(byte).collect();
    bytes.ok_or_else(|| Failed::of(Why::InvalidArgument, "the place in the directory is wrong"))
}
