//! Files by processes of the acting user: the interface `files` for agents
//! whose own calls work as root.
//!
//! A path is looked up by the user's own process, and its bytes go through the
//! descriptor that this process opened, so a link that is exchanged meanwhile
//! leads to nothing that the user could not reach himself. The agent's own calls
//! carry large files two to four times as fast, but cannot be given a file that
//! such a process holds open (`/proc/PID/fd/0`): the process is the user's, so he
//! can put another file there, or run a program with more rights under its
//! number, and a write there gives him the file. Needs of a template
//! `sh`, and `stat`, `find`, `dd`, `mv` and the like of GNU or busybox.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use sandbox_broker_sdk::files::{Entry, Kind, Location};
use sandbox_broker_sdk::stream::{self, Chunks, FutureReader, StreamReader, StreamWriter};
use sandbox_broker_sdk::{Code, Error, quote, spawn, time};

use crate::api::unix_ms;
use crate::envd::{Envd, broke};
use crate::part::{Part, Reading};
use crate::script::{self, Script};

/// What a listing prints, at most: some fifty thousand names of usual length.
const MAX_LISTING: usize = 8 << 20;

/// What a description prints, at most.
const MAX_LINE: usize = 4 << 10;

/// Unit of an offset: what is read and thrown away before a part of a file is
/// less than this.
const BLOCK: u64 = 64 << 10;

/// Bytes that are passed on at once.
const PIECE: usize = 64 << 10;

/// Time for taking an unfinished upload away.
const CLEAN: Duration = Duration::from_secs(5);

/// Describes `$1`, or the link itself where it leads nowhere.
const STAT: &str = r#"stat -L -c '%f %s %y' -- "$1" 2>/dev/null || exec stat -c '%f %s %y' -- "$1""#;

/// Describes what is in the directory `$1`: first everything, a link as a link,
/// then what links lead to. A name has no slash, so one ends it, whatever is in
/// it. What vanishes meanwhile is no error.
const LIST: &str = r#"
if ! cd -- "$1" 2>/dev/null || [ ! -r . ]; then
  stat -L -c %f -- "$1/." >/dev/null || exit
  echo "$1: Permission denied" >&2
  exit 1
fi
stat -c %f . >/dev/null || exit
find . -mindepth 1 -maxdepth 1 -exec stat -c '%f %s %y/%n/' -- {} + 2>/dev/null
case $? in 126 | 127) echo 'find: not found' >&2; exit 127 ;; esac
find . -mindepth 1 -maxdepth 1 -type l -exec stat -L -c '%f %s %y/%n/' -- {} + 2>/dev/null
exit 0"#;

/// Describes the file `$1`, then prints it from block `$2` on, `$3` blocks or
/// all. Both are about the file that was opened, whatever has the name by then.
/// To open a pipe could take for ever.
const READ: &str = r#"
if [ -e "$1" ] && [ ! -f "$1" ] && [ ! -d "$1" ]; then echo "$1: not a regular file" >&2; exit 1; fi
exec <"$1"
stat -L -c '%f %s %y' /proc/self/fd/0 || exit
if [ -d /proc/self/fd/0 ]; then exit 0; fi
exec dd bs=65536 skip="$2" ${3:+count="$3"} iflag=fullblock"#;

/// Writes what comes to `$1`.
const TAKE: &str = r#"mkdir -p -- "${1%/*}/" && exec cat >"$1""#;

/// Renames `$1` to `$2`; with `$3` only if it has so many bytes.
const MOVE: &str = r#"
if [ -n "$3" ] && [ "$(stat -c %s -- "$1")" != "$3" ]; then
  echo "$1: not all of the upload has arrived" >&2
  exit 1
fi
mkdir -p -- "${2%/*}/" && mv -fT -- "$1" "$2" && exec stat -L -c '%f %s %y' -- "$2""#;

/// Makes the directory `$1` and those above it.
const MAKE: &str = r#"mkdir -p -- "${1%/*}/" && mkdir -- "$1" && exec stat -c '%f %s %y' -- "$1""#;

/// Removes `$1` with all that is in it.
const REMOVE: &str = r#"exec rm -rf -- "$1""#;

/// As `files.stat`.
pub async fn stat(envd: &Envd, at: &Location) -> Result<Entry, Error> {
    one(envd, at, STAT, &[bare(&at.path)], &at.path).await
}

/// As `files.list`.
pub async fn list(envd: &Envd, at: &Location) -> Result<Vec<Entry>, Error> {
    let printed = script::run(envd, at.user.as_deref(), LIST, &[bare(&at.path)], MAX_LISTING).await?;
    entries(bare(&at.path), &printed)
}

/// As `files.remove`.
pub async fn remove(envd: &Envd, at: &Location) -> Result<(), Error> {
    script::run(envd, at.user.as_deref(), REMOVE, &[bare(&at.path)], MAX_LINE).await.map(drop)
}

/// As `files.make-dir`.
pub async fn make_dir(envd: &Envd, at: &Location) -> Result<Entry, Error> {
    one(envd, at, MAKE, &[bare(&at.path)], &at.path).await
}

/// As `files.rename`.
pub async fn rename(envd: &Envd, source: &Location, destination: &str) -> Result<Entry, Error> {
    one(envd, source, MOVE, &[bare(&source.path), bare(destination), ""], destination).await
}

/// As `files.read`.
pub async fn read(envd: &Envd, at: &Location, offset: u64, length: Option<u64>) -> Result<Reading, Error> {
    let part = Part { skip: offset % BLOCK, take: length.unwrap_or(u64::MAX) };
    let skip = (offset / BLOCK).to_string();
    let count = length.map(|length| part.skip.saturating_add(length).div_ceil(BLOCK).to_string());
    let args = [bare(&at.path), &skip, count.as_deref().unwrap_or_default()];
    let mut script = Script::start(envd, at.user.as_deref(), READ, &args, None).await?;
    let opened = time::timeout(envd.timeout, opened(&mut script, &at.path)).await.unwrap_or_else(|_| {
        Err(Error::new(Code::DeadlineExceeded, format!("{} could not be opened in time", quote(&at.path))))
    });
    let refused = match opened {
        Ok((Entry { kind: Kind::File, size, .. }, _)) if offset > size => {
            Error::new(Code::OutOfRange, format!("{} is shorter than {offset} bytes", quote(&at.path)))
        }
        Ok((Entry { kind: Kind::File, .. }, first)) => {
            let (to, data) = stream::bytes();
            let (ended, whole) = stream::outcome();
            spawn(async move {
                let end = pour(script, part, first, to).await;
                let _ = ended.write(end).await;
            });
            return Ok((data, whole));
        }
        Ok(_) => Error::new(Code::InvalidArgument, format!("{} is not a regular file", quote(&at.path))),
        Err(e) => e,
    };
    script.kill().await;
    Err(refused)
}

/// The description of what [`READ`] has opened, and the first bytes of it that
/// came with that.
async fn opened(script: &mut Script, path: &str) -> Result<(Entry, Vec<u8>), Error> {
    let mut printed = Vec::new();
    loop {
        if let Some(end) = printed.iter().position(|byte| *byte == b'\n') {
            let rest = printed.split_off(end + 1);
            return Ok((entry(path, &printed[..end])?, rest));
        }
        if printed.len() > MAX_LINE || !script.print(&mut printed).await? {
            return Err(nonsense());
        }
    }
}

/// Carries a file to whoever reads it.
async fn pour(mut script: Script, mut part: Part, mut piece: Vec<u8>, mut to: StreamWriter<u8>) -> Result<(), Error> {
    loop {
        part.cut(&mut piece);
        if !piece.is_empty() {
            piece = to.write_all(piece).await;
            if !piece.is_empty() {
                script.kill().await;
                return Err(Error::new(Code::Cancelled, "nobody reads the file any more"));
            }
        }
        match script.print(&mut piece).await {
            Ok(true) => {}
            Ok(false) if part.skip > 0 => {
                return Err(Error::new(Code::OutOfRange, "the file is shorter than the offset"));
            }
            Ok(false) => return Ok(()),
            Err(e) => {
                script.kill().await;
                return Err(e);
            }
        }
    }
}

/// As `files.write`, by way of the file `part` beside it.
pub async fn write(
    envd: &Envd,
    at: &Location,
    part: &str,
    data: StreamReader<u8>,
    complete: FutureReader<Result<(), Error>>,
) -> Result<Entry, Error> {
    let written = match upload(envd, at, part, data, complete).await {
        Ok(size) => one(envd, at, MOVE, &[part, bare(&at.path), &size.to_string()], &at.path).await,
        Err(e) => Err(e),
    };
    if written.is_err() {
        // What failed first is what counts. Once it is told, the host may
        // stop us.
        let part = Location { path: part.to_owned(), user: at.user.clone() };
        let _ = time::timeout(CLEAN, remove(envd, &part)).await;
    }
    written
}

/// Takes all bytes to `part`; returns how many those were.
async fn upload(
    envd: &Envd,
    at: &Location,
    part: &str,
    data: StreamReader<u8>,
    complete: FutureReader<Result<(), Error>>,
) -> Result<u64, Error> {
    let (mut to, input) = stream::bytes();
    let mut script = Script::start(envd, at.user.as_deref(), TAKE, &[part], Some(input)).await?;
    let taken = {
        let end = pin!(async {
            let mut printed = Vec::new();
            while script.print(&mut printed).await? {
                printed.clear();
            }
            Ok(())
        });
        // The end of its input ends the process, so that comes after the source
        // has said that this was all.
        let feed = pin!(async {
            let mut source = Chunks::new(data, PIECE);
            let mut size = 0;
            while let Some(bytes) = source.next().await {
                size += bytes.len() as u64;
                if !to.write_all(bytes).await.is_empty() {
                    // A process that takes no more says why.
                    return pending().await;
                }
            }
            complete.await?;
            drop(to);
            Ok(size)
        });
        match select(end, feed).await {
            Either::Left((Ok(()), _)) => Err(broke("the sandbox took only a part of the file")),
            Either::Left((Err(e), _)) | Either::Right((Err(e), _)) => Err(e),
            Either::Right((Ok(size), end)) => end.await.map(|()| size),
        }
    };
    if taken.is_err() {
        script.kill().await;
    }
    taken
}

/// Runs a script that describes what is at `path` when it is done.
async fn one(envd: &Envd, at: &Location, script: &str, args: &[&str], path: &str) -> Result<Entry, Error> {
    let printed = script::run(envd, at.user.as_deref(), script, args, MAX_LINE).await?;
    entry(path, printed.strip_suffix(b"\n").ok_or_else(nonsense)?)
}

/// A path without slashes at its end, which would follow a link.
fn bare(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

fn nonsense() -> Error {
    Error::new(Code::Internal, "the answer of a process in the sandbox makes no sense")
}

/// What `stat` says of `path`: mode, size and time.
fn entry(path: &str, said: &[u8]) -> Result<Entry, Error> {
    let said = std::str::from_utf8(said).map_err(|_| nonsense())?;
    let mut words = said.splitn(3, ' ');
    let mut word = || words.next().ok_or_else(nonsense);
    let mode = u32::from_str_radix(word()?, 16).map_err(|_| nonsense())?;
    // A file has at most 2^63 - 1 bytes; who says otherwise is not believed.
    let size: u64 = word()?.parse::<i64>().ok().and_then(|size| size.try_into().ok()).ok_or_else(nonsense)?;
    // In UTC, as the script's environment asks.
    let modified = word()?.strip_suffix(" +0000").and_then(|time| unix_ms(&format!("{time}Z")));
    let kind = match mode & 0o170_000 {
        0o100_000 => Kind::File,
        0o040_000 => Kind::Directory,
        0o120_000 => Kind::Symlink,
        _ => Kind::Other,
    };
    let path = bare(path);
    Ok(Entry {
        name: path.rsplit('/').next().unwrap_or_default().to_owned(),
        path: path.to_owned(),
        kind,
        size: if kind == Kind::File { size } else { 0 },
        mode: mode & 0o7777,
        modified_unix_ms: modified,
    })
}

/// What [`LIST`] says, sorted by name. Of two descriptions of a name the later
/// one counts. The contract's names are text, so what is not UTF-8 in one is
/// replaced: it is told and counted, but leads to nothing.
fn entries(directory: &str, mut said: &[u8]) -> Result<Vec<Entry>, Error> {
    let mut found = std::collections::BTreeMap::new();
    while !said.is_empty() {
        let slash = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'/').ok_or_else(nonsense);
        let (about, rest) = said.split_at(slash(said)?);
        let rest = rest.strip_prefix(b"/./").ok_or_else(nonsense)?;
        let (name, rest) = rest.split_at(slash(rest)?);
        let path = format!("{}/{}", directory.trim_end_matches('/'), String::from_utf8_lossy(name));
        found.insert(name, entry(&path, about)?);
        said = rest.strip_prefix(b"/\n").ok_or_else(nonsense)?;
    }
    Ok(found.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read_and_a_lie_is_not_believed() {
        let file = entry("/w/a b", b"81a4 5 1970-01-01 00:00:01.500000000 +0000").expect("a file");
        assert_eq!((file.name.as_str(), file.path.as_str(), file.kind), ("a b", "/w/a b", Kind::File));
        assert_eq!((file.size, file.mode, file.modified_unix_ms), (5, 0o644, Some(1500)));
        let directory = entry("/", b"41ed 4096 2026-11-30 07:32:46.000000000 +0000").expect("a directory");
        assert_eq!((directory.path.as_str(), directory.kind, directory.size), ("/", Kind::Directory, 0));
        for lie in ["", "81a4", "81a4 -1 x", "81a4 9223372036854775808 x", "zz 5 x", "81a4 5"] {
            assert!(entry("/w/a", lie.as_bytes()).is_err(), "{lie:?}");
        }
    }

    #[test]
    fn names_are_told_whatever_is_in_them() {
        let mut said = Vec::new();
        for name in [&b"-n"[..], b"a\nb", b"81a4 5 x", b"\xff", "\u{e9}".as_bytes(), b"'\"", b"link"] {
            said.extend_from_slice(b"a1ff 4 1970-01-01 00:00:01.000000000 +0000/./");
            said.extend_from_slice(name);
            said.extend_from_slice(b"/\n");
        }
        said.extend_from_slice(b"81a4 7 1970-01-01 00:00:01.000000000 +0000/./link/\n");
        let found = entries("/w", &said).expect("a listing");
        let names: Vec<&str> = found.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["'\"", "-n", "81a4 5 x", "a\nb", "link", "\u{e9}", "\u{fffd}"]);
        assert_eq!((found[4].kind, found[4].size, found[4].path.as_str()), (Kind::File, 7, "/w/link"));
        assert_eq!(found[0].kind, Kind::Symlink);
        assert!(entries("/w", b"81a4 5 x/./a").is_err());
        assert!(entries("/", b"").expect("empty").is_empty());
    }
}
