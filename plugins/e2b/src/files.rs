//! Files in a sandbox: the interface `files`.
//!
//! Where the agent keeps to the acting user's rights, bytes go over its small
//! REST interface and everything else over `filesystem.Filesystem`; elsewhere
//! [`rights`] does all of it by processes of that user.

use std::time::Duration;

use sandbox_broker_sdk::files::{Entries, Entry, Guest, Kind, Location};
use sandbox_broker_sdk::http::{Body, Closed, Method, Request, Response};
use sandbox_broker_sdk::stream::{self, Chunks, FutureReader, StreamReader, StreamWriter};
use sandbox_broker_sdk::{Call, Code, Error, SandboxRef, quote, spawn, time};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Plugin;
use crate::api::unix_ms;
use crate::config::Config;
use crate::envd::{As, Envd};
use crate::part::{Part, Reading, size_behind};
use crate::rights;
use crate::state::Version;
use crate::urls;

/// Most bytes of a file per write: hosts take about this much at once.
const CHUNK: usize = 64 << 10;

/// Entries in a page of a directory. The contract's rule.
const PAGE: usize = 1000;

/// Longest answer to an upload, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Time for taking an unfinished upload away.
const CLEAN: Duration = Duration::from_secs(5);

/// The first agent that takes a file as plain bytes.
const PLAIN_UPLOAD: Version = Version(0, 5, 7);

impl Guest for Plugin {
    async fn read(
        _call: Call,
        config: String,
        sandbox: SandboxRef,
        at: Location,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Reading, Error> {
        let envd = open(&config, &sandbox, &[&at.path])?;
        if envd.oversteps(at.user.as_deref()) {
            return rights::read(&envd, &at, offset, length).await;
        }
        let answer = download(&envd, &at, offset, length).send().await?;
        let part = match answer.status {
            200 | 206 => Part::of(&answer, offset, length)?,
            416 if size_behind(answer.header("content-range")) == Some(offset) => {
                // The end of the file: nothing to read, and nothing wrong.
                answer.bytes(MAX_ANSWER).await?;
                return Ok(nothing());
            }
            416 => {
                return Err(Error::new(
                    Code::OutOfRange,
                    format!("{} is shorter than {offset} bytes", quote(&at.path)),
                ));
            }
            _ => return Err(envd.refused(answer).await),
        };
        let (to, data) = stream::bytes();
        let (ended, whole) = stream::outcome();
        spawn(async move {
            let end = copy(answer, part, to).await;
            let _ = ended.write(end).await;
        });
        Ok((data, whole))
    }

    async fn write(
        call: Call,
        config: String,
        sandbox: SandboxRef,
        at: Location,
        size: Option<u64>,
        data: StreamReader<u8>,
        complete: FutureReader<Result<(), Error>>,
    ) -> Result<Entry, Error> {
        let envd = open(&config, &sandbox, &[&at.path])?;
        if envd.version < PLAIN_UPLOAD {
            return Err(Error::new(
                Code::FailedPrecondition,
                "the agent of this sandbox is too old to take files: build its template again",
            ));
        }
        // The agent writes as bytes come, so a broken upload would leave half a
        // file under the right name: it goes beside it first.
        let part = beside(&at.path, call.session.as_deref(), &call.id);
        if envd.oversteps(at.user.as_deref()) {
            return rights::write(&envd, &at, &part, data, complete).await;
        }
        let uploaded = upload(&envd, &at, &part, size, data, complete).await;
        let moved = match uploaded {
            Ok(()) => rename(&envd, &at.user, &part, &at.path).await,
            Err(e) => Err(e),
        };
        if moved.is_err() {
            // What failed first is what counts. Once it is told, the host may
            // stop us.
            let _ = time::timeout(CLEAN, remove(&envd, &at.user, &part)).await;
        }
        moved
    }

    async fn list(
        _call: Call,
        config: String,
        sandbox: SandboxRef,
        at: Location,
        cursor: Option<String>,
    ) -> Result<Entries, Error> {
        let envd = open(&config, &sandbox, &[&at.path])?;
        let entries = if envd.oversteps(at.user.as_deref()) {
            rights::list(&envd, &at).await?
        } else {
            let ask = Path { path: &at.path, depth: Some(1) };
            let listing: Listing = call(&envd, "ListDir", &at.user, &ask).await?;
            listing.entries.into_iter().map(Entry::from).collect()
        };
        Ok(page(entries, cursor.as_deref(), PAGE))
    }

    async fn stat(_call: Call, config: String, sandbox: SandboxRef, at: Location) -> Result<Entry, Error> {
        let envd = open(&config, &sandbox, &[&at.path])?;
        if envd.oversteps(at.user.as_deref()) {
            return rights::stat(&envd, &at).await;
        }
        let one: One = call(&envd, "Stat", &at.user, &Path::new(&at.path)).await?;
        Ok(one.entry.into())
    }

    async fn remove(_call: Call, config: String, sandbox: SandboxRef, at: Location) -> Result<(), Error> {
        let envd = open(&config, &sandbox, &[&at.path])?;
        if envd.oversteps(at.user.as_deref()) {
            return rights::remove(&envd, &at).await;
        }
        remove(&envd, &at.user, &at.path).await
    }

    async fn make_dir(_call: Call, config: String, sandbox: SandboxRef, at: Location) -> Result<Entry, Error> {
        let envd = open(&config, &sandbox, &[&at.path])?;
        if envd.oversteps(at.user.as_deref()) {
            return rights::make_dir(&envd, &at).await;
        }
        let one: One = call(&envd, "MakeDir", &at.user, &Path::new(&at.path)).await?;
        Ok(one.entry.into())
    }

    async fn rename(
        _call: Call,
        config: String,
        sandbox: SandboxRef,
        source: Location,
        destination: String,
    ) -> Result<Entry, Error> {
        let envd = open(&config, &sandbox, &[&source.path, &destination])?;
        if envd.oversteps(source.user.as_deref()) {
            return rights::rename(&envd, &source, &destination).await;
        }
        rename(&envd, &source.user, &source.path, &destination).await
    }
}

/// The page that follows the entry of the name `after`. The agent lists the whole directory each time, so a page is right
/// also when entries come and go between two.
fn page(mut entries: Vec<Entry>, after: Option<&str>, most: usize) -> Entries {
    entries.retain(|entry| after.is_none_or(|after| entry.name.as_str() > after));
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let more = entries.len() > most;
    entries.truncate(most);
    let next = entries.last().filter(|_| more).map(|last| last.name.clone());
    Entries { entries, next }
}

fn open(config: &str, sandbox: &SandboxRef, paths: &[&str]) -> Result<Envd, Error> {
    for path in paths {
        if !path.starts_with('/') || path.contains('\0') {
            return Err(Error::new(Code::InvalidArgument, format!("{} is not an absolute path", quote(path))));
        }
    }
    Envd::of(&Config::parse(config)?, sandbox)
}

async fn call<T: for<'d> Deserialize<'d>>(
    envd: &Envd,
    method: &str,
    user: &Option<String>,
    ask: &impl Serialize,
) -> Result<T, Error> {
    let body = serde_json::to_vec(ask).expect("messages are structs with text keys");
    let who = As::User(user.as_deref());
    envd.unary(&format!("filesystem.Filesystem/{method}"), who, body).await
}

async fn rename(envd: &Envd, user: &Option<String>, source: &str, destination: &str) -> Result<Entry, Error> {
    let one: One = call(envd, "Move", user, &Move { source, destination }).await?;
    Ok(one.entry.into())
}

/// Removes; what is not there is removed. A sandbox that is not there is not.
async fn remove(envd: &Envd, user: &Option<String>, path: &str) -> Result<(), Error> {
    match call::<serde::de::IgnoredAny>(envd, "Remove", user, &Path::new(path)).await {
        Err(e) if e.code == Code::NotFound && crate::errors::is_of_agent(&e) => Ok(()),
        other => other.map(drop),
    }
}

/// A request of the REST interface, where users are a part of the query.
fn bytes(envd: &Envd, method: Method, path: &str, user: &Option<String>) -> Request {
    let mut pairs = vec![("path", path)];
    if let Some(user) = envd.user(user.as_deref()) {
        pairs.push(("username", user));
    }
    envd.request(method, &format!("/files{}", urls::query(&pairs)))
}

fn download(envd: &Envd, at: &Location, offset: u64, length: Option<u64>) -> Request {
    let request = bytes(envd, Method::Get, &at.path, &at.user).header("accept-encoding", "identity");
    let range = match (offset, length) {
        (0, None) => return request,
        (_, None) => format!("bytes={offset}-"),
        // No range is empty; one byte too many is cut off again.
        (_, Some(length)) => {
            format!("bytes={offset}-{}", offset.saturating_add(length.max(1) - 1))
        }
    };
    request.header("range", range)
}

fn nothing() -> Reading {
    let (_, data) = stream::bytes();
    let (ended, whole) = stream::outcome();
    spawn(async move {
        let _ = ended.write(Ok(())).await;
    });
    (data, whole)
}

async fn copy(answer: Response, mut part: Part, mut to: StreamWriter<u8>) -> Result<(), Error> {
    let mut body = answer.into_reader();
    let mut piece = Vec::new();
    while body.chunk(&mut piece).await? {
        part.cut(&mut piece);
        if !piece.is_empty() {
            piece = to.write_all(piece).await;
            if !piece.is_empty() {
                return Err(Error::new(Code::Cancelled, "nobody reads the file any more"));
            }
        }
        if part.take == 0 {
            body.drain().await;
            return Ok(());
        }
    }
    if part.skip > 0 {
        return Err(Error::new(Code::OutOfRange, "the file is shorter than the offset"));
    }
    Ok(())
}

/// Where an upload goes until it is whole: in the same directory, so that it
/// can be renamed, under a name that no two calls share.
fn beside(path: &str, session: Option<&str>, call: &str) -> String {
    let directory = path.trim_end_matches('/').rsplit_once('/').map_or("", |(dir, _)| dir);
    let plain = |id: &str| id.chars().filter(char::is_ascii_alphanumeric).take(64).collect::<String>();
    format!("{directory}/.upload-{}-{}.part", plain(session.unwrap_or_default()), plain(call))
}

async fn upload(
    envd: &Envd,
    at: &Location,
    part: &str,
    size: Option<u64>,
    data: StreamReader<u8>,
    complete: FutureReader<Result<(), Error>>,
) -> Result<(), Error> {
    let request = bytes(envd, Method::Post, part, &at.user).header("content-type", "application/octet-stream");
    let answer = request.send_stream(size, async |mut body: Body| {
        let mut data = Chunks::new(data, CHUNK);
        while let Some(piece) = data.next().await {
            if let Err(Closed) = body.write(piece).await {
                // The answer says why; the source is not to blame.
                return std::future::pending().await;
            }
        }
        complete.await?;
        body.finish().await;
        Ok(())
    });
    let answer = answer.await?;
    if !(200..300).contains(&answer.status) {
        return Err(envd.refused(answer).await);
    }
    answer.bytes(MAX_ANSWER).await.map(drop)
}

#[derive(Serialize)]
struct Path<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<u32>,
}

impl<'a> Path<'a> {
    fn new(path: &'a str) -> Self {
        Self { path, depth: None }
    }
}

#[derive(Serialize)]
struct Move<'a> {
    source: &'a str,
    destination: &'a str,
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    entries: Vec<Info>,
}

#[derive(Deserialize)]
struct One {
    entry: Info,
}

/// `EntryInfo` of the protocol; zeros are left out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Info {
    name: String,
    path: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(deserialize_with = "int64")]
    size: u64,
    mode: u32,
    modified_time: Option<String>,
}

/// 64-bit integers are texts in proto3 JSON; some servers send numbers.
fn int64<'d, D: Deserializer<'d>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Either::deserialize(from)? {
        Either::Number(n) => Ok(n),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

impl From<Info> for Entry {
    fn from(info: Info) -> Self {
        let kind = match info.kind.as_str() {
            "FILE_TYPE_FILE" => Kind::File,
            "FILE_TYPE_DIRECTORY" => Kind::Directory,
            "FILE_TYPE_SYMLINK" => Kind::Symlink,
            _ => Kind::Other,
        };
        Self {
            name: info.name,
            path: info.path,
            kind,
            size: if kind == Kind::File { info.size } else { 0 },
            mode: info.mode & 0o7777,
            modified_unix_ms: info.modified_time.as_deref().and_then(unix_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envd(state: &str) -> Envd {
        let sandbox = SandboxRef { id: "iabc".into(), state: state.as_bytes().to_vec() };
        open("{}", &sandbox, &[]).expect("a state")
    }

    fn at(path: &str, user: Option<&str>) -> Location {
        Location { path: path.into(), user: user.map(str::to_owned) }
    }

    #[test]
    fn a_part_of_a_file_is_asked_for_uncompressed() {
        let envd = envd(r#"{"v":1,"e":"0.6.4"}"#);
        let ask = |offset, length| {
            let request = download(&envd, &at("/a b", Some("root")), offset, length);
            assert_eq!(request.url, "https://sandbox.e2b.app/files?path=%2Fa%20b&username=root");
            assert_eq!(request.header_value("accept-encoding"), Some("identity"));
            request.header_value("range").map(str::to_owned)
        };
        assert_eq!(ask(0, None), None);
        assert_eq!(ask(5, None).as_deref(), Some("bytes=5-"));
        assert_eq!(ask(5, Some(3)).as_deref(), Some("bytes=5-7"));
        assert_eq!(ask(0, Some(0)).as_deref(), Some("bytes=0-0"));
        assert_eq!(ask(1, Some(u64::MAX)).as_deref(), Some("bytes=1-18446744073709551615"));
    }

    #[test]
    fn old_agents_are_told_whose_file_it_is() {
        let request = download(&envd(r#"{"v":1,"e":"0.3.0"}"#), &at("/a", None), 0, None);
        assert!(request.url.ends_with("/files?path=%2Fa&username=user"), "{}", request.url);
    }

    #[test]
    fn an_unfinished_upload_never_has_the_files_name() {
        let call = "c1-../x/é";
        assert_eq!(beside("/home/user/a.txt", Some("s/1"), call), "/home/user/.upload-s1-c1x.part");
        assert_eq!(beside("/a.txt", None, call), "/.upload--c1x.part");
        let long = "c".repeat(500);
        assert!(beside(&format!("/d/{}", "n".repeat(255)), Some(&long), &long).len() < 200);
    }

    #[test]
    fn entries_are_read_with_zeros_left_out_and_long_numbers_as_text() {
        let listing: Listing = serde_json::from_str(
            r#"{"entries":[{"name":"a","type":"FILE_TYPE_FILE","path":"/a","size":"3","mode":420,"permissions":"-rw-r--r--",
            "owner":"user","group":"user","modifiedTime":"1970-01-01T00:00:01.5Z"},
            {"name":"d","type":"FILE_TYPE_DIRECTORY","path":"/d","size":"4096","mode":493},{"name":"e","path":"/e","type":"FILE_TYPE_FILE"}]}"#,
        )
        .expect("a listing");
        let entries: Vec<Entry> = listing.entries.into_iter().map(Entry::from).collect();
        assert_eq!((entries[0].size, entries[0].mode), (3, 0o644));
        assert_eq!(entries[0].modified_unix_ms, Some(1500));
        assert_eq!((entries[1].kind, entries[1].size), (Kind::Directory, 0));
        assert_eq!((entries[2].size, entries[2].modified_unix_ms), (0, None));
        assert!(serde_json::from_str::<Listing>("{}").expect("empty").entries.is_empty());
    }

    #[test]
    fn a_directory_is_listed_in_pages_that_follow_each_other() {
        let named = |name: &str| Entry {
            name: name.into(),
            path: format!("/{name}"),
            kind: Kind::File,
            size: 0,
            mode: 0o644,
            modified_unix_ms: None,
        };
        let all = || ["c", "a", "e", "b", "d"].map(named).to_vec();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = page(all(), after.as_deref(), 2);
            seen.extend(page.entries.into_iter().map(|entry| entry.name));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
        assert_eq!(page(all(), Some("c"), 2).next, None, "the last page is full and names no other");
    }

    #[test]
    fn paths_are_absolute() {
        let sandbox = SandboxRef { id: "i".into(), state: br#"{"v":1}"#.to_vec() };
        for bad in ["a", "", "~/a", "/a\0b"] {
            let e = open("{}", &sandbox, &[bad]).expect_err("refused");
            assert_eq!(e.code, Code::InvalidArgument, "{bad:?}");
        }
    }
}
