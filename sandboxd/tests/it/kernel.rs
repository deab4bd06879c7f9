//! What a sandbox reaches of the host's kernel: no setting of it, and no system call that is not for it.

use serde_json::{Value, json};

use crate::client::{Api, Sandbox, TestProgram, is_root};
use crate::fuse;

/// Sandboxes of every kind that this machine can have, each with the user that acts in it and a name for messages.
struct Kinds {
    _servers: Vec<TestProgram>,
    all: Vec<(String, Sandbox, &'static str)>,
}

async fn kinds() -> Kinds {
    let arguments = ["--fuse-template", "fuse"];
    let mut servers = vec![TestProgram::start(&arguments).await];
    if is_root() {
        servers.push(TestProgram::start_without_root(&arguments).await);
    }
    let mut all = Vec::new();
    for server in &servers {
        let users: &[&str] = if server.has_root() { &["root", "user"] } else { &["user"] };
        // Without root the device is not open to the server here; `fuse` has a test of such a server.
        let templates: &[&str] =
            if server.has_root() == is_root() && fuse::can_mount() { &["base", "fuse"] } else { &["base"] };
        for template in templates {
            let sandbox = create(&server.api, template).await;
            for user in users {
                let name = format!("{user} of {template}, server of root: {}", server.has_root());
                all.push((name, sandbox.clone(), *user));
            }
        }
    }
    Kinds { _servers: servers, all }
}

async fn create(api: &Api, template: &str) -> Sandbox {
    api.create(json!({ "templateID": template })).await
}

/// Runs a program of Python that prints JSON.
async fn tells(sandbox: &Sandbox, user: &str, program: &str) -> Value {
    let output = sandbox.python_as(user, program).await.events.rest().await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)))
}

/// Promise: nobody in a sandbox, not even root, opens a setting of the kernel for writing, whatever it mounts before; and
/// what tells of the machine or of others is not there to read.
#[tokio::test(flavor = "multi_thread")]
async fn no_setting_of_the_kernel_can_be_changed() {
    let opens = "import json, os
opened, seen = [], 0
for top in sorted(os.listdir('/proc')):
    if top.isdigit() or top in ('self', 'thread-self', 'net', 'mounts'): continue
    top = '/proc/' + top
    paths = [top] if not os.path.isdir(top) else [os.path.join(d, f) for d, _, files in os.walk(top) for f in files]
    for path in paths:
        seen += 1
        try: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError: continue
        opened.append(path)
secret = []
for name in 'kallsyms kcore key-users keys kmsg sched_debug slabinfo timer_list interrupts latency_stats'.split():
    try:
        if os.read(os.open('/proc/' + name, os.O_RDONLY | os.O_NONBLOCK), 1): secret.append(name)
    except OSError: pass
shown = [name for name in ('acpi', 'asound', 'scsi', 'bus', 'fs', 'irq') if os.path.isdir('/proc/' + name) and os.listdir('/proc/' + name)]
print(json.dumps({'opened': opened, 'secret': secret, 'shown': shown, 'many': seen > 300,
    'named': all(os.path.exists('/proc/sys/' + f) for f in ('kernel/core_pattern', 'vm/drop_caches', 'fs/protected_hardlinks'))}))";
    let wanted = json!({ "opened": [], "secret": [], "shown": [], "many": true, "named": true });
    let kinds = kinds().await;
    for (name, sandbox, user) in &kinds.all {
        assert_eq!(tells(sandbox, user, opens).await, wanted, "{name}");
        let setting = "sys/kernel/core_pattern";
        for attempt in [
            format!("mount -o remount,rw /proc/sys; : >>/proc/{setting}"),
            format!("mount -o remount,rw,bind /proc/sys; : >>/proc/{setting}"),
            format!("umount /proc/sys; : >>/proc/{setting}"),
            format!("umount -l /proc; mount -t proc proc /proc; : >>/proc/{setting}"),
            format!("mkdir -p /tmp/a; mount -t proc proc /tmp/a; : >>/tmp/a/{setting}"),
            format!("mkdir -p /tmp/b; unshare --pid --fork mount -t proc proc /tmp/b; : >>/tmp/b/{setting}"),
            format!("unshare --user --map-root-user --pid --fork --mount-proc sh -c ': >>/proc/{setting}'"),
            format!("mkdir -p /tmp/c; mount --bind /proc /tmp/c; : >>/tmp/c/{setting}"),
            format!("mkdir -p /tmp/d; mount --rbind /proc /tmp/d; umount /tmp/d/sys; : >>/tmp/d/{setting}"),
            "mkdir -p /tmp/e; mount --bind /proc/sys /tmp/e; mount -o remount,rw,bind /tmp/e; : >>/tmp/e/kernel/core_pattern"
                .to_owned(),
            "mkdir -p /tmp/f; mount -t cgroup2 none /tmp/f".to_owned(),
            "mkdir -p /tmp/g; mount -t sysfs none /tmp/g".to_owned(),
        ] {
            let (code, _, _) = sandbox.run_as(user, &format!("exec 2>/dev/null; {attempt}")).await;
            assert_ne!(code, 0, "{name}: {attempt}");
        }
    }
}

/// Promise: what reaches over the walls is refused to everybody in a sandbox as a container refuses it, and the rights that
/// are left are the ones that are promised.
#[tokio::test(flavor = "multi_thread")]
async fn system_calls_are_refused() {
    const EPERM: i32 = libc::EPERM;
    const ENOSYS: i32 = libc::ENOSYS;
    let calls = [
        ("add_key", libc::SYS_add_key, [0, 0, 0], EPERM),
        ("keyctl", libc::SYS_keyctl, [0, -3, 0], EPERM),
        ("request_key", libc::SYS_request_key, [0, 0, 0], EPERM),
        ("bpf", libc::SYS_bpf, [0, 0, 0], EPERM),
        ("perf_event_open", libc::SYS_perf_event_open, [0, 0, 0], EPERM),
        ("userfaultfd", libc::SYS_userfaultfd, [1, 0, 0], EPERM),
        ("unshare of users", libc::SYS_unshare, [libc::CLONE_NEWUSER, 0, 0], EPERM),
        ("unshare of processes", libc::SYS_unshare, [libc::CLONE_NEWPID, 0, 0], EPERM),
        ("unshare of two", libc::SYS_unshare, [libc::CLONE_NEWUSER | libc::CLONE_NEWNS, 0, 0], EPERM),
        ("clone with users", libc::SYS_clone, [libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0], EPERM),
        ("clone3", libc::SYS_clone3, [0, 0, 0], ENOSYS),
        ("io_uring_setup", libc::SYS_io_uring_setup, [0, 0, 0], ENOSYS),
        ("setns", libc::SYS_setns, [0, 0, 0], EPERM),
        ("TIOCSTI", libc::SYS_ioctl, [0, 0x5412, 0], EPERM),
        ("a socket to the machine's host", libc::SYS_socket, [libc::AF_VSOCK, 1, 0], EPERM),
        ("the kernel's ciphers", libc::SYS_socket, [libc::AF_ALG, 5, 0], EPERM),
        ("kexec_load", libc::SYS_kexec_load, [0, 0, 0], EPERM),
        ("init_module", libc::SYS_init_module, [0, 0, 0], EPERM),
        ("delete_module", libc::SYS_delete_module, [0, 0, 0], EPERM),
        // By the other interface of the same machine.
        #[cfg(target_arch = "x86_64")]
        ("unshare of users, x32", libc::SYS_unshare | 0x4000_0000, [libc::CLONE_NEWUSER, 0, 0], EPERM),
        #[cfg(target_arch = "x86_64")]
        ("TIOCSTI, x32", 0x4000_0000 | 514, [0, 0x5412, 0], EPERM),
    ];
    let listed: Vec<Value> =
        calls.iter().map(|(name, number, arguments, _)| json!([name, number, arguments])).collect();
    let wanted: serde_json::Map<String, Value> =
        calls.iter().map(|(name, _, _, error)| ((*name).to_owned(), json!(error))).collect();
    let program = format!(
        "import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
found = {{}}
for name, number, arguments in json.loads({:?}):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
    found[name] = ctypes.get_errno() if result == -1 else f'returned {{result}}'
print(json.dumps(found))",
        serde_json::to_string(&listed).unwrap()
    );
    let kinds = kinds().await;
    for (name, sandbox, user) in &kinds.all {
        assert_eq!(tells(sandbox, user, &program).await, Value::Object(wanted.clone()), "{name}");
        let status = "grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | cut -f2 | tr '\\n' ' '";
        let bounding = if name.contains("fuse") { "00000000002404fb" } else { "00000000000404fb" };
        assert_eq!(sandbox.run_as(user, status).await.1, format!("{bounding} 1 2 "), "{name}");
    }
}

/// Promise: what programs need still works: threads, processes of every kind, tracing one's own, locks and memory files.
#[tokio::test(flavor = "multi_thread")]
async fn programs_still_work() {
    let program =
        "import ctypes, fcntl, json, multiprocessing, os, pty, signal, socket, subprocess, tempfile, threading
libc = ctypes.CDLL(None, use_errno=True)
found = {}
thread = threading.Thread(target=lambda: found.update(thread=True)); thread.start(); thread.join()
found['process'] = subprocess.run(['true']).returncode == 0
found['vfork'] = os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)[1] == 0
with multiprocessing.get_context('fork').Pool(2) as pool: found['pool'] = pool.map(abs, [-1, -2]) == [1, 2]
child = os.fork()
if child == 0:
    libc.ptrace(0, 0, 0, 0); os.kill(os.getpid(), signal.SIGSTOP); os._exit(0)
found['traced'] = os.WIFSTOPPED(os.waitpid(child, 0)[1]); os.kill(child, signal.SIGKILL)
found['memory file'] = os.write(os.memfd_create('x'), b'x') == 1
one, other = socket.socketpair(); one.send(b'x'); found['socket'] = other.recv(1) == b'x'
with tempfile.TemporaryFile() as file: fcntl.flock(file, fcntl.LOCK_EX); found['lock'] = True
child, terminal = pty.fork()
if child == 0: os.execv('/bin/echo', ['echo', 'x'])
found['terminal'] = os.read(terminal, 1) == b'x'
found['shared memory'] = os.path.ismount('/dev/shm') and open(f'/dev/shm/{os.getuid()}', 'w').write('x') == 1
found['watch'] = libc.inotify_init() >= 0
print(json.dumps([name for name, works in found.items() if not works] + [len(found)]))";
    let kinds = kinds().await;
    for (name, sandbox, user) in &kinds.all {
        assert_eq!(tells(sandbox, user, program).await, json!([11]), "{name}");
    }
}
