//! A flood of connections that never finish a request: what it takes of the
//! broker is bounded and comes back, and others are served meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::durable::resident;
use crate::support::{Broker, DEADLINE, Sandboxd, eventually};

const HEADS: usize = 5000;

/// Connections that come from one address each.
const ADDRESSES: usize = 5;

/// Connections that the broker has at a time, those included that were cut and
/// are yet to close.
const PLACES: usize = 4096;

/// Descriptors beside those.
const SOME: usize = 64;

/// KiB that one connection may cost.
const OF_ONE: u64 = 64;

/// A head that is never whole: a line a second, as long as anybody reads.
async fn drip(n: usize, to: SocketAddr, begun: Arc<AtomicUsize>) {
    let from = Ipv4Addr::new(127, 0, 1, 1 + u8::try_from(n % ADDRESSES).unwrap());
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let connected = socket.connect(to).await;
    begun.fetch_add(1, Ordering::Relaxed);
    let Ok(mut stream) = connected else { return };
    let mut drops = tokio::time::interval(Duration::from_secs(1));
    let mut line = &b"GET / HTTP/1.1\r\nHost: x\r\n"[..];
    while stream.write_all(line).await.is_ok() {
        drops.tick().await;
        line = b"X-A: b\r\n";
    }
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_dripping_heads_are_bounded_and_leave_nothing() {
    let most = getrlimit(Resource::Nofile).maximum;
    assert!(most.is_none_or(|most| most >= 2 * HEADS as u64), "at most {most:?} descriptors: raise `ulimit -Hn`");
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    let server = Sandboxd::start().await;
    let config =
        "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n".to_owned() + &server.section("box");
    let broker = Broker::start_quiet(&config).await;
    let mut client = broker.connect().await;
    client.ready().await;
    let (pid, address) = (broker.pid(), broker.url.strip_prefix("http://").unwrap().parse().unwrap());
    let healthy = async || {
        let answer = timeout(DEADLINE, broker.get("/health")).await.expect("an answer");
        assert_eq!(answer.status(), 200);
    };
    healthy().await;
    let (memory, open) = (resident(pid), descriptors(pid));
    let begun = Arc::new(AtomicUsize::new(0));
    let mut flood = JoinSet::new();
    for n in 0..HEADS {
        flood.spawn(drip(n, address, begun.clone()));
    }
    let (mut largest, mut answers) = (memory, 0);
    while begun.load(Ordering::Relaxed) < HEADS || answers < 25 {
        healthy().await;
        answers += 1;
        largest = largest.max(resident(pid));
        let held = descriptors(pid).saturating_sub(open);
        assert!(held <= PLACES + SOME, "{held} connections");
    }
    let all = descriptors(pid).saturating_sub(open);
    client.input("echo still he\"\"re\n").await;
    client.expect("still here").await;
    flood.shutdown().await;
    assert!(largest - memory <= OF_ONE * PLACES as u64, "{} KiB more", largest - memory);
    // Given back when the connections are gone.
    let small = async || Some(resident(pid)).filter(|now| *now <= memory + (largest - memory) / 2 + 8 * 1024);
    let after = eventually("the memory back", small).await;
    println!("KiB before, during and after: {memory}, {largest}, {after}; {all} held; {answers} answers meanwhile");
    eventually("no connection left", async || (descriptors(pid) <= open + SOME).then_some(())).await;
}
