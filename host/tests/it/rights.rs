//! Files on a server whose agent would work as root, as E2B's does: the plugin
//! leaves the agent's own calls for files alone and acts by processes of the
//! user, with the tools of GNU and of busybox. The broker does the same by way of
//! its recorder where a plugin has no files at all, and keeps the same promises.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags};
use sandbox_broker_core::sandbox::{
    Call, Code, Command, EntryKind, Error, Exit, Location, Provider, SandboxRef, Spec, Upload,
};
use sandbox_broker_fallback::files::FilesByExec;
use sandbox_broker_plugin::Engine;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::e2b::{provider_at, provider_of};
use crate::support::faults::{Fault, Faults};
use crate::support::{Sandboxd, plugin, recorder};

/// Longer than any test lasts.
const ALWAYS: Duration = Duration::from_secs(3600);

/// Where the tools of busybox are, in the sandbox.
const BUSYBOX: &str = "/home/user/busybox";

/// A sandbox whose server does not say that its agent keeps to a user's rights,
/// and where each of the agent's own calls for files fails.
struct Rig {
    provider: Arc<dyn Provider>,
    sandbox: SandboxRef,
    way: Faults,
    server: Sandboxd,
}

impl Rig {
    async fn new() -> Self {
        Self::on(Sandboxd::start().await, BTreeMap::new()).await
    }

    /// One whose plugin has no files at all: they are reached by way of the recorder.
    async fn bare() -> Self {
        Self::bare_on(Sandboxd::start().await, BTreeMap::new()).await
    }

    /// One whose tools are those of busybox alone.
    async fn of_busybox() -> Self {
        Self::on(Sandboxd::start().await, Self::path()).await.with_busybox().await
    }

    fn path() -> BTreeMap<String, String> {
        BTreeMap::from([("PATH".to_owned(), BUSYBOX.to_owned())])
    }

    async fn with_busybox(self) -> Self {
        let install = format!("/usr/bin/busybox mkdir {BUSYBOX} && /usr/bin/busybox --install -s {BUSYBOX}");
        self.runs(None, &install).await;
        self.runs(
            None,
            &format!("for tool in stat find dd mv; do [ \"$(command -v $tool)\" = {BUSYBOX}/$tool ]; done"),
        )
        .await;
        self
    }

    async fn on(server: Sandboxd, env: BTreeMap<String, String>) -> Self {
        Self::by(server, env, async |url, key| Arc::new(provider_at(url, key).await) as _).await
    }

    async fn bare_on(server: Sandboxd, env: BTreeMap<String, String>) -> Self {
        Self::by(server, env, async |url, key| {
            let bare = Engine::new(None).unwrap().load(&plugin("guests/e2b-bare")).await.unwrap();
            let program = fs::read(recorder()).unwrap();
            FilesByExec::over(Arc::new(provider_of(bare, url, key)), Some(program.into()))
        })
        .await
    }

    async fn by(
        server: Sandboxd,
        env: BTreeMap<String, String>,
        provider: impl AsyncFnOnce(&str, &str) -> Arc<dyn Provider>,
    ) -> Self {
        let way = Faults::start(&server.url).await;
        let of_agent = |path: &str| path == "/files" || path.starts_with("/filesystem.Filesystem/");
        way.begin(ALWAYS, move |_, path| of_agent(path).then_some(Fault::Refused(500)));
        let provider = provider(&way.url, &server.key).await;
        let spec = Spec { env, ttl: Duration::from_secs(600), ..Spec::default() };
        let mut sandbox = provider.create(&Call::default(), &spec).await.unwrap();
        let mut state: Value = serde_json::from_slice(&sandbox.state).unwrap();
        assert_eq!(state.as_object_mut().unwrap().remove("u"), Some(true.into()), "what `sandboxd` says");
        sandbox.state = serde_json::to_vec(&state).unwrap().into();
        Self { provider, sandbox, way, server }
    }

    /// Runs a script in the sandbox to its good end.
    async fn runs(&self, user: Option<&str>, script: &str) {
        let argv = ["/bin/sh", "-ec", script].map(str::to_owned).to_vec();
        let command =
            Command { argv, user: user.map(str::to_owned), cwd: Some("/home/user".into()), ..Command::default() };
        let (_, no_input) = mpsc::channel(1);
        let mut process = self.provider.run(&Call::default(), &self.sandbox, &command, no_input).await.unwrap();
        let mut said = Vec::new();
        while let Some(chunk) = process.stderr.recv().await {
            said.extend_from_slice(&chunk);
        }
        let exit = process.done.await.unwrap().unwrap();
        assert_eq!(exit, Exit::Code(0), "{script}: {}", String::from_utf8_lossy(&said));
    }

    async fn puts(&self, path: &str, content: Bytes) -> Result<u64, Error> {
        let (tx, data) = mpsc::channel(8);
        let (whole, complete) = oneshot::channel();
        let feed = async move {
            for start in (0..content.len()).step_by(64 << 10) {
                let chunk = content.slice(start..content.len().min(start + (64 << 10)));
                if tx.send(chunk).await.is_err() {
                    return;
                }
            }
            let _ = whole.send(Ok(()));
        };
        let (call, at, upload) = (Call::default(), at(path), Upload { size: None, data, complete });
        let (written, ()) = tokio::join!(self.provider.write(&call, &self.sandbox, &at, upload), feed);
        written.map(|entry| {
            assert_eq!((entry.kind, entry.path.as_str()), (EntryKind::File, path));
            entry.size
        })
    }

    async fn gets(&self, path: &str, offset: u64, length: Option<u64>) -> Result<Vec<u8>, Error> {
        let mut download = self.provider.read(&Call::default(), &self.sandbox, &at(path), offset, length).await?;
        let mut all = Vec::new();
        while let Some(chunk) = download.data.recv().await {
            all.extend_from_slice(&chunk);
        }
        download.done.await.unwrap().map(|()| all)
    }

    async fn names(&self, path: &str) -> Result<Vec<String>, Error> {
        let found = self.provider.list_whole_dir(&Call::default(), &self.sandbox, &at(path)).await?;
        Ok(found.into_iter().map(|entry| entry.name).collect())
    }

    /// None of the agent's own calls for files was made.
    fn acted_by_processes(&self) {
        assert!(self.way.met().is_empty(), "{:?}", self.way.met());
    }
}

fn at(path: &str) -> Location {
    Location { path: path.to_owned(), user: None }
}

/// Bytes that differ from block to block.
fn content(length: usize) -> Bytes {
    (0..length.div_ceil(8) as u64)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .take(length)
        .collect()
}

/// What may stand in a name, as far as the contract's paths can say it.
const NAMES: [&str; 9] = [
    "plain",
    "-rf",
    "--",
    "a\nb",
    "ends\n",
    "'quoted\" $(id) `id` \\",
    "*",
    "\u{fc} \u{1f600}",
    " x: Permission denied",
];

async fn every_operation(rig: Rig) {
    let call = Call::default();
    let Rig { provider, sandbox, .. } = &rig;
    for (n, name) in NAMES.iter().enumerate() {
        let (path, bytes) = (format!("/home/user/d/{n}/{name}"), content(n * 40_000));
        assert_eq!(rig.puts(&path, bytes.clone()).await.unwrap(), bytes.len() as u64, "{name:?}");
        assert!(rig.gets(&path, 0, None).await.unwrap() == bytes, "{name:?}");
        let entry = provider.stat(&call, sandbox, &at(&path)).await.unwrap();
        assert_eq!((entry.name.as_str(), entry.size, entry.mode), (*name, bytes.len() as u64, 0o644));
        assert!(entry.modified.is_some_and(|time| time.elapsed().is_ok_and(|age| age < ALWAYS)), "{entry:?}");
        assert_eq!(rig.names(&format!("/home/user/d/{n}")).await.unwrap(), [*name]);
        let moved = format!("/home/user/d/moved/{name}");
        assert_eq!(provider.rename(&call, sandbox, &at(&path), &moved).await.unwrap().path, moved);
        let e = rig.gets(&path, 0, None).await.unwrap_err();
        assert_eq!(e.code, Code::NotFound, "{e}");
    }
    let mut sorted = NAMES;
    sorted.sort_unstable();
    assert_eq!(rig.names("/home/user/d/moved").await.unwrap(), sorted);

    let bytes = content(200_001);
    let path = "/home/user/d/parts";
    rig.puts(path, bytes.clone()).await.unwrap();
    for (offset, length) in
        [(0, 1), (65_535, 2), (65_536, 65_536), (131_071, 68_930), (200_000, 5), (200_001, 3), (7, 0)]
    {
        let part = rig.gets(path, offset, Some(length)).await.unwrap();
        let end = (offset + length).min(200_001) as usize;
        assert!(part == bytes[offset as usize..end], "{offset} {length}: {}", part.len());
    }
    assert!(rig.gets(path, 131_072, None).await.unwrap() == bytes[131_072..]);
    assert_eq!(rig.gets(path, 200_002, None).await.unwrap_err().code, Code::OutOfRange);

    rig.runs(None, "cd d; ln -s parts link; ln -s none nowhere; mkfifo pipe; mkdir shut; echo x >shut/f; chmod 0 shut")
        .await;
    let found = provider.list_whole_dir(&call, sandbox, &at("/home/user/d")).await.unwrap();
    let kind = |name: &str| found.iter().find(|entry| entry.name == name).map(|entry| (entry.kind, entry.size));
    assert_eq!(kind("link"), Some((EntryKind::File, 200_001)));
    assert_eq!(kind("nowhere"), Some((EntryKind::Symlink, 0)));
    assert_eq!(kind("moved"), Some((EntryKind::Directory, 0)));
    assert_eq!(kind("pipe"), Some((EntryKind::Other, 0)));
    let code = |result: Result<Vec<u8>, Error>| result.unwrap_err().code;
    assert_eq!(code(rig.gets("/home/user/d/pipe", 0, None).await), Code::InvalidArgument);
    assert_eq!(code(rig.gets("/home/user/d/moved", 0, None).await), Code::InvalidArgument);
    assert_eq!(code(rig.gets("/home/user/d/shut/f", 0, None).await), Code::PermissionDenied);
    assert_eq!(rig.names("/home/user/d/shut").await.unwrap_err().code, Code::PermissionDenied);
    assert_eq!(rig.names("/home/user/d/none").await.unwrap_err().code, Code::NotFound);
    assert_eq!(rig.puts("/etc/mine", content(1)).await.unwrap_err().code, Code::PermissionDenied);

    assert_eq!(provider.make_dir(&call, sandbox, &at("/home/user/m/n")).await.unwrap().kind, EntryKind::Directory);
    assert_eq!(provider.make_dir(&call, sandbox, &at("/home/user/m/n")).await.unwrap_err().code, Code::AlreadyExists);
    provider.remove(&call, sandbox, &at("/home/user/m")).await.unwrap();
    provider.remove(&call, sandbox, &at("/home/user/m")).await.unwrap();
    assert_eq!(provider.stat(&call, sandbox, &at("/home/user/m")).await.unwrap_err().code, Code::NotFound);
    rig.acted_by_processes();
}

#[tokio::test]
async fn every_operation_is_a_process_of_the_user() {
    every_operation(Rig::new().await).await;
}

#[tokio::test]
async fn every_operation_works_with_busybox() {
    every_operation(Rig::of_busybox().await).await;
}

#[tokio::test]
async fn every_operation_works_where_a_plugin_only_runs_processes() {
    every_operation(Rig::bare().await).await;
}

/// The recorder is brought in by them too.
#[tokio::test]
async fn every_operation_works_where_a_plugin_only_runs_the_processes_of_busybox() {
    every_operation(Rig::bare_on(Sandboxd::start().await, Rig::path()).await.with_busybox().await).await;
}

#[tokio::test]
async fn a_large_file_streams_both_ways_and_is_replaced_at_once() {
    a_large_file(Rig::new().await).await;
}

#[tokio::test]
async fn a_large_file_streams_both_ways_where_a_plugin_only_runs_processes() {
    a_large_file(Rig::bare().await).await;
}

async fn a_large_file(rig: Rig) {
    let bytes = content(64 << 20);
    assert_eq!(rig.puts("/home/user/large", bytes.clone()).await.unwrap(), 64 << 20);
    assert!(rig.gets("/home/user/large", 0, None).await.unwrap() == bytes);

    // One whose source breaks leaves the old file and nothing else.
    let (tx, data) = mpsc::channel(8);
    let (whole, complete) = oneshot::channel();
    let feed = async move {
        tx.send(content(60_000)).await.unwrap();
        drop((tx, whole));
    };
    let (call, at) = (Call::default(), at("/home/user/large"));
    let upload = Upload { size: Some(1 << 20), data, complete };
    let (written, ()) = tokio::join!(rig.provider.write(&call, &rig.sandbox, &at, upload), feed);
    assert_eq!(written.unwrap_err().code, Code::Cancelled);
    assert_eq!(rig.provider.stat(&call, &rig.sandbox, &at).await.unwrap().size, 64 << 20);
    let names = rig.names("/home/user").await.unwrap();
    assert!(!names.iter().any(|name| name.starts_with(".upload-")), "{names:?}");
    rig.acted_by_processes();
}

#[tokio::test]
async fn a_large_directory_is_listed_whole_with_names_that_are_no_text() {
    a_large_directory(Rig::new().await).await;
}

#[tokio::test]
async fn a_large_directory_is_listed_whole_where_a_plugin_only_runs_processes() {
    a_large_directory(Rig::bare().await).await;
}

async fn a_large_directory(rig: Rig) {
    rig.runs(
        None,
        "mkdir many; cd many; seq -f 'a file with a name of some length %05g' 5000 | tr '\\n' '\\0' | xargs -0 touch",
    )
    .await;
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff");
    fs::write(rig.server.root(&rig.sandbox.id).join("home/user/many").join(odd), "x").unwrap();
    let names = rig.names("/home/user/many").await.unwrap();
    assert_eq!(names.len(), 5001);
    assert_eq!((names[0].as_str(), names[5000].as_str()), ("a file with a name of some length 00001", "odd\u{fffd}"));
    rig.acted_by_processes();
}

#[tokio::test]
async fn an_upload_on_a_full_disk_is_refused_before_it_is_over() {
    let rig = Rig::on(Sandboxd::start_on_disk(2 << 20).await, BTreeMap::new()).await;
    for _ in 0..3 {
        let (tx, data) = mpsc::channel(8);
        let (whole, complete) = oneshot::channel::<Result<(), Error>>();
        // As much as anybody takes.
        let feed = async move { while tx.send(content(64 << 10)).await.is_ok() {} };
        let (call, at) = (Call::default(), at("/home/user/large"));
        let upload = Upload { size: None, data, complete };
        let (written, ()) = tokio::join!(rig.provider.write(&call, &rig.sandbox, &at, upload), feed);
        let e = written.unwrap_err();
        assert_eq!((e.code, e.message.contains("disk")), (Code::ResourceExhausted, true), "{e}");
        drop(whole);
    }
    assert_eq!(rig.puts("/home/user/small", content(9)).await.unwrap(), 9, "its place is free again");
    rig.acted_by_processes();
}

/// Exchanges two names until it is told to stop; counts.
fn exchange(one: std::path::PathBuf, other: std::path::PathBuf) -> (Arc<AtomicBool>, Arc<AtomicU64>) {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
    std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            std::thread::yield_now();
        }
    });
    (stop, count)
}

/// A directory of the user and a link to one that only root may enter change
/// places meanwhile.
#[tokio::test]
async fn no_race_with_a_link_lends_the_rights_of_root() {
    const RACES: u64 = 2000;
    let rig = Rig::new().await;
    rig.runs(
        Some("root"),
        "mkdir -m 700 /var/vault; cd /var/vault; echo 'of root alone' >secret; touch only-here; chmod 600 *",
    )
    .await;
    rig.runs(None, "cd; mkdir e; echo mine >e/secret; ln -s /var/vault link").await;
    let root = rig.server.root(&rig.sandbox.id);
    let vault = root.join("var/vault");
    let before = |path: &Path| (fs::read(path.join("secret")).unwrap(), fs::read_dir(path).unwrap().count());
    let kept = before(&vault);
    assert_eq!(kept, (b"of root alone\n".to_vec(), 2));
    let (stop, count) = exchange(root.join("home/user/e"), root.join("home/user/link"));
    let (mut done, mut refused, call) = (0, 0, Call::default());
    let [only_here, deep, secret] =
        ["only-here", "made/deep", "secret"].map(|name| at(&format!("/home/user/e/{name}")));
    while count.load(Ordering::Relaxed) < RACES || done == 0 || refused == 0 || done + refused < 100 {
        let (read, written, names, entry, made, moved) = tokio::join!(
            rig.gets("/home/user/e/secret", 0, None),
            rig.puts("/home/user/e/secret", Bytes::from_static(b"raced\n")),
            rig.names("/home/user/e"),
            rig.provider.stat(&call, &rig.sandbox, &only_here),
            rig.provider.make_dir(&call, &rig.sandbox, &deep),
            rig.provider.rename(&call, &rig.sandbox, &secret, "/home/user/e/away"),
        );
        if let Ok(read) = &read {
            assert!([&b"mine\n"[..], b"raced\n"].contains(&read.as_slice()), "{:?}", String::from_utf8_lossy(read));
        }
        if let Ok(names) = &names {
            assert!(!names.iter().any(|name| name == "only-here"), "{names:?}");
        }
        assert!(entry.is_err(), "{entry:?}");
        for went in [read.is_ok(), written.is_ok(), names.is_ok(), made.is_ok(), moved.is_ok()] {
            *(if went { &mut done } else { &mut refused }) += 1;
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert_eq!(before(&vault), kept, "after {done} that went and {refused} that did not");
    rig.acted_by_processes();
}
