//! Sandboxes that may mount file systems in user space: which may, what that gives them, and how they end.
//!
//! The file system is `slow_store.py`, which tells the test what reaches it and when: over the host's loopback, so the
//! sandboxes here share the host's network.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::client::{
    Api, DEADLINE, PROGRAM, Process, Sandbox, TestProgram, TestServer, is_root, json_of, most_mighty, processes_with,
    until,
};

const TEMPLATE: &str = "fuse";

/// That of the system, which sandboxes see.
const PYTHON: &str = "/usr/bin/python3";

/// Where the sandboxes here mount.
const FILES: &str = "/workspace/files";

/// Whether this machine can mount; else the test is skipped with words, but not in CI.
pub(crate) fn can_mount() -> bool {
    let opened = std::fs::File::options().read(true).write(true).open("/dev/fuse");
    let missing = match opened {
        Err(error) => format!("/dev/fuse cannot be opened: {error}"),
        Ok(_) if !Path::new("/usr/bin/fusermount3").exists() => "fusermount3 (package fuse3)".to_owned(),
        Ok(_) if !Path::new(PYTHON).exists() => format!("{PYTHON} (package python3)"),
        Ok(_) => return true,
    };
    let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    assert!(!ci, "missing: {missing}");
    println!("skipped: missing: {missing}");
    false
}

async fn server() -> TestServer {
    let change = |options: &mut sandboxd::Options| {
        options.fuse_templates = vec![TEMPLATE.to_owned()];
        options.network = Some(sandboxd::Network::Shared);
    };
    TestServer::start_with(change).await
}

async fn create(api: &Api) -> Sandbox {
    api.create(json!({ "templateID": TEMPLATE })).await
}

/// A mounted file system: what it tells, and the process that serves it.
struct Mounted {
    events: tokio::io::Lines<BufReader<TcpStream>>,
    /// What tells its daemon from others on this machine.
    mark: String,
    _daemon: Process,
}

impl Mounted {
    /// Mounts one whose closes take that long.
    async fn mount(sandbox: &Sandbox, seconds: f32) -> Self {
        let request = sandbox.request(Method::POST, "/files").query(&[("path", "/tmp/slow_store.py")]);
        let script = include_bytes!("slow_store.py").to_vec();
        assert_eq!(json_of(request.header("content-type", "application/octet-stream").body(script)).await.0, 200);
        assert_eq!(sandbox.run(&format!("mkdir -p {FILES}")).await.0, 0);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let daemon = sandbox
            .start_as(
                most_mighty(),
                json!({
                    "process": { "cmd": PYTHON, "args": ["/tmp/slow_store.py", FILES, port, seconds.to_string()] },
                    "stdin": false,
                }),
            )
            .await;
        let accepted = tokio::time::timeout(DEADLINE, listener.accept()).await.expect("it calls");
        let events = BufReader::new(accepted.unwrap().0).lines();
        let mut mounted = Self { events, mark: format!("{FILES}\0{port}"), _daemon: daemon };
        assert_eq!(mounted.next().await, Some(json!({ "mounted": true })));
        mounted
    }

    /// What it tells next; none when it has ended.
    async fn next(&mut self) -> Option<Value> {
        // A daemon that is killed may reset its connection.
        let line = tokio::time::timeout(DEADLINE, self.events.next_line()).await.expect("it tells").unwrap_or(None);
        line.map(|line| serde_json::from_str(&line).unwrap())
    }

    async fn rest(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

/// A program that holds a file open with something in it, to which SIGTERM adds `last`, or nothing at all.
async fn hold_open(sandbox: &Sandbox, name: &str, last: Option<&str>) -> Process {
    let program = "import os, signal, sys
path, last = sys.argv[1:]
file = os.open(path, os.O_CREAT | os.O_WRONLY)
os.write(file, b'begun ')
signal.signal(signal.SIGTERM, lambda *_: (os.write(file, last.encode()), sys.exit()) if last else None)
print('holds', flush=True)
while True: signal.pause()";
    let args = json!(["-c", program, format!("{FILES}/{name}"), last.unwrap_or_default()]);
    let mut process = sandbox.start(json!({ "process": { "cmd": PYTHON, "args": args }, "stdin": false })).await;
    let event = process.events.next().await.unwrap();
    assert!(event["event"]["data"]["stdout"].is_string(), "{event}");
    process
}

/// A program that holds a file open in its second thread, and whose first one has ended.
async fn hold_open_by_a_thread(sandbox: &Sandbox, name: &str) -> Process {
    let program = "import ctypes, os, signal, sys, threading
def hold():
    main = f'/proc/{os.getpid()}/stat'
    while ') Z ' not in open(main).read(): os.sched_yield()
    file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
    os.write(file, b'begun ')
    print('holds', flush=True)
    while True: signal.sigwait([signal.SIGUSR1])
threading.Thread(target=hold).start()
ctypes.CDLL(None).pthread_exit(None)";
    let args = json!(["-c", program, format!("{FILES}/{name}")]);
    let mut process = sandbox.start(json!({ "process": { "cmd": PYTHON, "args": args }, "stdin": false })).await;
    let event = process.events.next().await.unwrap();
    assert!(event["event"]["data"]["stdout"].is_string(), "{event}");
    process
}

/// Promise: only sandboxes of the templates named for it get the device and the right to mount, and such a template is one
/// of the server's.
#[tokio::test(flavor = "multi_thread")]
async fn only_named_templates_may_mount() {
    if !can_mount() {
        return;
    }
    let named = |options: &mut sandboxd::Options| {
        options.templates = vec!["plain".to_owned()];
        options.fuse_templates = vec![TEMPLATE.to_owned()];
    };
    let server = TestServer::start_with(named).await;
    for template in ["base", "plain"] {
        let sandbox = server.create(json!({ "templateID": template })).await;
        assert!(!sandbox.exists("/dev/fuse").await, "{template}");
        assert_ne!(sandbox.run_as_root("mount -t tmpfs none /mnt 2>/dev/null").await.0, 0, "{template}");
    }
    let sandbox = create(&server).await;
    assert!(sandbox.exists("/dev/fuse").await);
    assert_eq!(sandbox.run("cat /etc/fuse.conf; readlink /etc/mtab").await.1, "user_allow_other\n/proc/self/mounts\n");
    let (status, answer) = json_of(server.post("/v2/sandboxes", &json!({ "templateID": "other" }))).await;
    assert_eq!(status, 404);
    assert_eq!(answer["message"], "template 'other' not found: this server has base, plain, fuse");
    server.end().await;
}

/// Promise: a file system that root mounts serves every user of its sandbox, and is unmounted by the usual program.
#[tokio::test(flavor = "multi_thread")]
async fn a_mount_serves_the_sandbox() {
    if !can_mount() {
        return;
    }
    let server = server().await;
    let (sandbox, other) = (create(&server).await, create(&server).await);
    let mut mounted = Mounted::mount(&sandbox, 0.0).await;
    let write =
        format!("echo mine > {FILES}/a && cat {FILES}/a && ls {FILES} && grep -c ' {FILES} fuse.store ' /etc/mtab");
    assert_eq!(sandbox.run(&write).await.1, "mine\na\n1\n");
    assert_eq!(mounted.next().await, Some(json!({ "stored": "a", "content": "mine\n" })));
    assert!(sandbox.exists(&format!("{FILES}/a")).await, "the API sees it too");
    assert!(!other.exists(&format!("{FILES}/a")).await);
    let here = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!here.contains("fuse.store"), "the host does not have the mount");
    assert_eq!(sandbox.run_as_root(&format!("fusermount3 -u {FILES}")).await, (0, String::new(), String::new()));
    assert_eq!(mounted.rest().await, [json!({ "unmounted": true })]);
    assert_eq!(sandbox.run(&format!("ls {FILES}")).await.1, "");
    server.end().await;
}

/// Promise: root that may mount cannot make the host's directories writable, nor take them away, nor reach devices, nor
/// the init.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_mount_keeps_the_walls() {
    if !can_mount() {
        return;
    }
    let server = server().await;
    let sandbox = create(&server).await;
    assert_eq!(sandbox.run_as_root("mount -t tmpfs none /mnt && touch /mnt/x && umount /mnt").await.0, 0);
    for forbidden in [
        "mount -o remount,rw,bind /usr",
        "umount /usr",
        "umount -l /usr",
        "umount /proc/sys",
        "touch /usr/bin/x",
        "mknod /tmp/null c 1 3",
        "hostname other",
        "ip link add x type dummy",
        "readlink /proc/1/exe",
        "ls /proc/1/root/",
        "kill -9 1; kill -0 1 && exit 5",
    ] {
        assert_ne!(sandbox.run_as_root(&format!("{forbidden} 2>/dev/null")).await.0, 0, "{forbidden}");
    }
    // Its ten capabilities and no more, whatever was had on the way there.
    let (_, sets, _) = sandbox.run_as_root("grep -E 'CapPrm|CapBnd' /proc/self/status | cut -f2").await;
    assert_eq!(sets, "00000000002404fb\n00000000002404fb\n");
    let identity = if is_root() { "user 1000\nuser 1000\n" } else { "root 0\nroot 0\n" };
    assert_eq!(sandbox.run("echo $(id -un) $(id -u); touch x; stat -c '%U %u' x").await.1, identity);
    server.end().await;
}

/// Promise: when a lease ends, programs end first, what they had open is stored, the file system is unmounted, and its
/// daemon ends by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_in_order() {
    if !can_mount() {
        return;
    }
    let server = server().await;
    let sandbox = create(&server).await;
    let mut mounted = Mounted::mount(&sandbox, 0.3).await;
    let mut shell = sandbox.shell().await;
    shell.input(format!("cd {FILES} && echo in:$((1+1))\n")).await;
    shell.shows("in:2").await;
    let _saves = hold_open(&sandbox, "saves", Some("saved")).await;
    let _stubborn = hold_open(&sandbox, "stubborn", None).await;
    let (status, _) =
        json_of(server.post(&format!("/sandboxes/{}/timeout", sandbox.id), &json!({ "timeout": 0 }))).await;
    assert_eq!(status, 204);
    let told = mounted.rest().await;
    assert_eq!(
        told,
        [
            json!({ "stored": "saves", "content": "begun saved" }),
            json!({ "stored": "stubborn", "content": "begun " }),
            json!({ "unmounted": true }),
        ]
    );
    until("it is gone", || async { (server.server.sandboxes() == 0).then_some(()) }).await;
    server.end().await;
}

/// Promise: a program whose first thread has ended lives, and is ended before the file system is unmounted.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_has_lost_its_first_thread_is_ended_in_order() {
    if !can_mount() {
        return;
    }
    let server = server().await;
    let sandbox = create(&server).await;
    let mut mounted = Mounted::mount(&sandbox, 0.3).await;
    let _holds = hold_open_by_a_thread(&sandbox, "held").await;
    json_of(server.post(&format!("/sandboxes/{}/timeout", sandbox.id), &json!({ "timeout": 0 }))).await;
    assert_eq!(mounted.rest().await, [json!({ "stored": "held", "content": "begun " }), json!({ "unmounted": true })]);
    until("it is gone", || async { (server.server.sandboxes() == 0).then_some(()) }).await;
    server.end().await;
}

/// Promise: the same when the server is told to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_ends_in_order() {
    if !can_mount() {
        return;
    }
    let mut program = TestProgram::start(&["--network", "shared", "--fuse-template", TEMPLATE]).await;
    let sandbox = create(&program.api).await;
    let mut mounted = Mounted::mount(&sandbox, 0.1).await;
    let _saves = hold_open(&sandbox, "saves", Some("saved")).await;
    let pid = i32::try_from(program.child.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let told = mounted.rest().await;
    assert_eq!(told, [json!({ "stored": "saves", "content": "begun saved" }), json!({ "unmounted": true })]);
    let status = tokio::time::timeout(DEADLINE, program.child.wait()).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}");
}

/// Promise: a file system whose daemon does not answer holds up the end of a lease for a bounded time only.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_hangs_is_killed() {
    if !can_mount() {
        return;
    }
    let server = server().await;
    let sandbox = create(&server).await;
    let mut mounted = Mounted::mount(&sandbox, 1000.0).await;
    let _holds = hold_open(&sandbox, "never", Some("late")).await;
    let begun = std::time::Instant::now();
    json_of(server.post(&format!("/sandboxes/{}/timeout", sandbox.id), &json!({ "timeout": 0 }))).await;
    until("it is gone", || async { (server.server.sandboxes() == 0).then_some(()) }).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(mounted.rest().await, [Value::Null; 0], "it was killed in the middle of it");
    server.end().await;
}

/// Promise: a kill does not wait for a file system, ends its daemon, and removing the sandbox's files removes none of
/// those that were mounted.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_leaves_mounted_files_alone() {
    if !can_mount() {
        return;
    }
    let server = server().await;
    let sandbox = create(&server).await;
    let mut mounted = Mounted::mount(&sandbox, 0.0).await;
    sandbox.run(&format!("echo kept > {FILES}/kept")).await;
    assert_eq!(mounted.next().await, Some(json!({ "stored": "kept", "content": "kept\n" })));
    assert_eq!(processes_with(&mounted.mark).len(), 1);
    assert_eq!(server.kill(&sandbox.id).await, 204);
    assert_eq!(processes_with(&mounted.mark), [0_u32; 0]);
    until("its files are gone", || async {
        let gone = ["sandboxes", "trash"].map(|place| !server.directory.path().join(place).join(&sandbox.id).exists());
        (gone == [true, true]).then_some(())
    })
    .await;
    assert_eq!(mounted.rest().await, [Value::Null; 0], "nothing was removed, nothing else done");
    server.end().await;
}

/// Promise: a server without root whose user may open the device makes such sandboxes too; their one user mounts, and their
/// leases end in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_root_has_them_too() {
    if !can_mount() || !is_root() {
        println!("skipped: needs root to become another user; without it every other test shows this");
        return;
    }
    // The fourth argument of the program is its state directory.
    let script = "mount -t tmpfs tmpfs /mnt && mknod /mnt/fuse c 10 229 && chmod 666 /mnt/fuse \
        && mount --bind /mnt/fuse /dev/fuse && install -m 755 \"$0\" \"$4/program\" && chown 65534:65534 \"$4\" \
        && exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$4/program\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, PROGRAM]);
    let (program, _) = TestProgram::start_by(command, &["--network", "shared", "--fuse-template", TEMPLATE]).await;
    assert_eq!(program.api.create(json!({})).await.run("id -u").await.1, "1000\n");
    let sandbox = create(&program.api).await;
    let mut mounted = Mounted::mount(&sandbox, 0.1).await;
    assert_eq!(sandbox.run(&format!("id -u; echo a > {FILES}/a; cat {FILES}/a")).await.1, "0\na\n");
    assert_eq!(mounted.next().await, Some(json!({ "stored": "a", "content": "a\n" })));
    let _saves = hold_open(&sandbox, "saves", Some("saved")).await;
    let path = format!("/sandboxes/{}/timeout", sandbox.id);
    assert_eq!(json_of(program.api.post(&path, &json!({ "timeout": 0 }))).await.0, 204);
    let wanted = [json!({ "stored": "saves", "content": "begun saved" }), json!({ "unmounted": true })];
    assert_eq!(mounted.rest().await, wanted);
}

/// Promise: where no sandbox could mount, none is made, and the answer says what to do; others are.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_device_it_is_refused() {
    // A /dev that has what programs need and nothing else.
    let mut command = Command::new("bwrap");
    command.args(["--dev-bind", "/", "/", "--dev", "/dev", "--die-with-parent", "--", PROGRAM]);
    let (program, _) = TestProgram::start_by(command, &["--fuse-template", TEMPLATE]).await;
    let (status, answer) = json_of(program.api.post("/v2/sandboxes", &json!({ "templateID": TEMPLATE }))).await;
    assert_eq!(
        (status, answer["message"].as_str().unwrap()),
        (
            400,
            "this server cannot make sandboxes that mount file systems: /dev/fuse is missing: load the kernel's module fuse, \
             or give the device to the container that the server runs in"
        )
    );
    assert_eq!(program.api.create(json!({})).await.run("echo works").await.1, "works\n");
}
