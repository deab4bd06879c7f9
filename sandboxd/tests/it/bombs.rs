//! What one sandbox may take of the machine: it hits a bound of its own, while its neighbour goes on.
//!
//! Each attempt is made beside a neighbour that echoes all the while, and a sandbox can still be made afterwards. The bounds
//! are set low. How long an echo takes beside a bomb is for `cargo bench -p sandboxd --bench bombs` to tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::json;

use crate::client::{Api, Process, Sandbox, TestProgram, is_root, until};

const LIMITS: [&str; 6] = ["--max-processes", "100", "--max-memory", "160", "--max-disk", "96"];

/// Servers with low bounds: one as this user, and where that is root, one as somebody without rights.
async fn servers() -> Vec<TestProgram> {
    let mut servers = vec![TestProgram::start(&LIMITS).await];
    if is_root() {
        servers.push(TestProgram::start_without_root(&LIMITS).await);
    }
    servers
}

/// A sandbox whose terminal echoes until it is asked how it went.
struct Neighbour {
    sandbox: Sandbox,
    echoes: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Neighbour {
    async fn of(api: &Api) -> Self {
        let sandbox = api.create(json!({})).await;
        let (echoes, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let mut shell = sandbox.shell().await;
        let (counted, stopped) = (echoes.clone(), stop.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                echo(&mut shell, counted.load(Ordering::Relaxed)).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { sandbox, echoes, stop, task }
    }

    /// Waits for an echo of input sent from now on.
    async fn goes_on(&self) {
        let before = self.echoes.load(Ordering::Relaxed);
        until("two more echoes", || async { (self.echoes.load(Ordering::Relaxed) >= before + 2).then_some(()) }).await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("every echo came");
    }
}

async fn echo(shell: &mut Process, number: u32) {
    shell.input(format!("echo is:$(({number}+1))\n")).await;
    shell.shows(&format!("is:{}", number + 1)).await;
}

/// Runs a program of Python in a sandbox with a neighbour, on each server, and judges what it printed. It should not end
/// before it hears so, and prints `done` when the harm is done.
async fn beside_a_neighbour(program: &str, judge: impl Fn(&str, &str)) {
    for server in servers().await {
        let neighbour = Neighbour::of(&server.api).await;
        neighbour.goes_on().await;
        for user in if server.has_root() { &["user", "root"][..] } else { &["user"] } {
            let sandbox = server.api.create(json!({})).await;
            let mut bomb = sandbox.python_as(user, program).await;
            let printed = bomb.prints("done").await;
            judge(user, &printed);
            neighbour.goes_on().await;
            let new = server.api.create(json!({})).await;
            assert_eq!(new.run("echo works").await.1, "works\n");
            for ended in [&sandbox, &new] {
                assert_eq!(server.api.kill(&ended.id).await, 204);
            }
        }
        neighbour.end().await;
    }
}

/// The number after `name=` in what was printed.
fn number(printed: &str, name: &str) -> u64 {
    let found = printed.split_whitespace().find_map(|word| word.strip_prefix(&format!("{name}=")));
    found.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {printed}"))
}

/// Promise: a sandbox that forks without end has no more processes than it may.
#[tokio::test(flavor = "multi_thread")]
async fn processes_have_a_bound() {
    let program = "import os, signal
made = 0
try:
    while made < 2000:
        if os.fork() == 0: signal.pause()
        made += 1
except OSError as error: print(f'error={error.errno}')
print(f'made={made} done', flush=True)
signal.pause()";
    beside_a_neighbour(program, |user, printed| {
        let made = number(printed, "made");
        assert!((10..100).contains(&made), "{user}: {printed}");
        assert_eq!(number(printed, "error"), 11, "{user}: {printed}");
    })
    .await;
}

/// Promise: a sandbox that takes memory without end loses the process that does, by itself or in files of memory.
#[tokio::test(flavor = "multi_thread")]
async fn memory_has_a_bound() {
    let program = "import os, signal
def take():
    kept = bytearray(1500 << 20)
    for page in range(0, len(kept), 4096): kept[page] = 1
def memory_file():
    file = os.memfd_create('x')
    for _ in range(1500): os.write(file, b'x' * (1 << 20))
for attempt in take, memory_file:
    child = os.fork()
    if child == 0:
        try: attempt()
        except (MemoryError, OSError): os._exit(7)
        os._exit(0)
    print(f'{attempt.__name__}={os.waitpid(child, 0)[1]}')
print('done', flush=True)
signal.pause()";
    beside_a_neighbour(program, |user, printed| {
        for attempt in ["take", "memory_file"] {
            assert_ne!(number(printed, attempt), 0, "{user}: {printed}");
        }
    })
    .await;
}

/// Promise: no file system of memory can be filled: none can be mounted, and the one of devices cannot be written.
#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_memory_to_write_files_to() {
    let program = "import os, signal, subprocess
mounted = subprocess.run(['unshare', '-Urm', 'mount', '-t', 'tmpfs', 'none', '/mnt'], stderr=subprocess.DEVNULL).returncode
print(f'mounted={int(mounted == 0)}')
try:
    open('/dev/filled', 'wb').write(b'x')
    print('written=1')
except OSError: print('written=0')
types = {line.split(' - ')[1].split()[0] for line in open('/proc/self/mountinfo') if ' rw,' in line.split(' - ')[0]}
print('tmpfs=%d' % ('tmpfs' in types))
print('done', flush=True)
signal.pause()";
    beside_a_neighbour(program, |user, printed| {
        for what in ["mounted", "written", "tmpfs"] {
            assert_eq!(number(printed, what), 0, "{user}: {printed}");
        }
    })
    .await;
}

/// Promise: a sandbox that opens terminals without end leaves the others theirs.
#[tokio::test(flavor = "multi_thread")]
async fn terminals_have_a_bound() {
    let program = "import os, resource, signal
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
made = 0
try:
    while made < 1500:
        os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY)
        made += 1
except OSError as error: print(f'error={error.errno}')
print(f'made={made} done', flush=True)
signal.pause()";
    beside_a_neighbour(program, |user, printed| {
        assert!((200..=256).contains(&number(printed, "made")), "{user}: {printed}");
    })
    .await;
}

/// Promise: a sandbox that makes inotify instances without end leaves the others theirs.
#[tokio::test(flavor = "multi_thread")]
async fn inotify_instances_have_a_bound() {
    let program = "import ctypes, signal
libc = ctypes.CDLL(None, use_errno=True)
made = 0
while made < 1000 and libc.inotify_init() >= 0: made += 1
print(f'made={made} error={ctypes.get_errno()} done', flush=True)
signal.pause()";
    let most: u64 = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap().trim().parse().unwrap();
    beside_a_neighbour(program, |user, printed| {
        assert_eq!(number(printed, "made"), most.div_ceil(4).min(1000), "{user}: {printed}");
    })
    .await;
}

/// Promise: a file that is larger than the sandbox may be is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_has_a_bound() {
    let program = "import errno, os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = os.open('/tmp/large', os.O_CREAT | os.O_WRONLY)
try:
    os.posix_fallocate(file, 0, 2 << 30)
    print('error=0')
except OSError as error: print(f'error={error.errno}')
print('done', flush=True)
signal.pause()";
    beside_a_neighbour(program, |user, printed| {
        assert_eq!(number(printed, "error"), 27, "{user}: {printed}");
    })
    .await;
}

/// Promise: a sandbox that takes more of the disk than it may is ended, also when its files have no names, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn the_disk_has_a_bound() {
    // Files of holes take nothing: only what is written counts.
    let program = |remove: bool| {
        format!(
            "import os, signal
kept = []
for number in range(2048):
    file = open(f'/tmp/{{number}}', 'wb')
    file.write(b'x' * (1 << 20)); file.flush()
    if {}:
        os.unlink(file.name)
        kept.append(file)
    if number == 160: break
print('done', flush=True)
signal.pause()",
            if remove { "True" } else { "False" }
        )
    };
    for server in servers().await {
        let neighbour = Neighbour::of(&server.api).await;
        let write = "truncate -s 80M /tmp/hole && head -c 40M /dev/zero > /tmp/some && echo written";
        assert_eq!(neighbour.sandbox.run(write).await.1, "written\n");
        for remove in [false, true] {
            let sandbox = server.api.create(json!({})).await;
            let mut bomb = sandbox.python_as("user", &program(remove)).await;
            assert_eq!(bomb.events.rest().await.error.expect("an end")["code"], "unavailable");
            until("it is gone", || async { (server.api.kill(&sandbox.id).await == 404).then_some(()) }).await;
            neighbour.goes_on().await;
            let new = server.api.create(json!({})).await;
            assert_eq!(new.run("echo works").await.1, "works\n");
        }
        neighbour.end().await;
    }
}
