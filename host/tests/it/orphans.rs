//! R7 over the wire: a create whose answer was lost leaves no sandbox behind,
//! and a sandbox of somebody else's is never touched.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::future::join_all;
use http::Method;
use serde_json::json;

use crate::support::faults::{Fault, Faults};
use crate::support::{Broker, Client, DEADLINE, Frame, Sandboxd, eventually};

fn config(server: &Sandboxd, faults: &Faults) -> String {
    let section = server.section_by(&faults.url, "box");
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n{section}")
}

fn creates(method: &Method, path: &str) -> bool {
    method == Method::POST && path.ends_with("/sandboxes")
}

/// A terminal, or none where the provider's failure was told.
async fn open(broker: &Broker) -> Option<Client> {
    let mut client = broker.connect().await;
    loop {
        match client.next().await {
            Ok(Frame::Ready(_)) => return Some(client),
            Ok(_) => {}
            Err(closed) => {
                assert_eq!(closed.code, 4500, "{closed:?}");
                return None;
            }
        }
    }
}

/// Sandboxes of nobody's, of another program's and of another broker's.
async fn foreign(server: &Sandboxd) -> BTreeSet<String> {
    let labels = [json!({}), json!({ "app": "theirs" }), json!({ "sandbox-broker": "another" })];
    join_all(labels.map(|labels| server.create(labels))).await.into_iter().collect()
}

async fn sandboxes(server: &Sandboxd) -> BTreeSet<String> {
    server.sandboxes().await.into_iter().collect()
}

/// A third of the answers is lost after the sandbox was made; another third of
/// the sandboxes is made when the broker has already looked for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_answer_was_lost_leaves_nothing_behind() {
    const SESSIONS: usize = 24;
    let server = Sandboxd::start().await;
    let foreign = foreign(&server).await;
    let faults = Faults::start(&server.url).await;
    let broker = Broker::start_quiet(&config(&server, &faults)).await;
    let count = AtomicUsize::new(0);
    faults.begin(DEADLINE, move |method, path| {
        let nth = creates(method, path).then(|| count.fetch_add(1, Ordering::Relaxed))?;
        [None, Some(Fault::Lost), Some(Fault::Late)][nth % 3]
    });
    let clients: Vec<_> = join_all((0..SESSIONS).map(|_| open(&broker))).await.into_iter().flatten().collect();
    assert_eq!(clients.len(), SESSIONS / 3);
    let told = Instant::now();
    faults.lift();

    let found = "found the sandbox of a create that failed";
    eventually("all lost sandboxes found", async || {
        (broker.log().matches(found).count() == SESSIONS / 3 * 2).then_some(())
    })
    .await;
    server.has(foreign.len() + clients.len()).await;
    println!("{} sandboxes gone {:?} after the last failure was told", SESSIONS / 3 * 2, told.elapsed());
    let status: serde_json::Value = broker.get("/api/status").await.json().await.unwrap();
    let live = status["sessions"].as_array().unwrap().iter().filter_map(|session| session["sandbox"].as_str());
    let live: BTreeSet<_> = live.map(str::to_owned).collect();
    assert_eq!(live.len(), clients.len());
    assert_eq!(sandboxes(&server).await, &live | &foreign, "of those that live none was touched");
    drop(clients);
    server.has(foreign.len()).await;
    assert_eq!(sandboxes(&server).await, foreign);
}

/// The sandbox is made when the broker that asked for it is gone. The next one
/// does not know of it, and ends it when it was seen unknown twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_comes_after_its_broker_is_ended_by_the_next() {
    let server = Sandboxd::start().await;
    let foreign = foreign(&server).await;
    let faults = Faults::start(&server.url).await;
    let config = config(&server, &faults);
    let mut broker = Broker::start_quiet(&config).await;
    faults.begin(DEADLINE, |method, path| creates(method, path).then_some(Fault::Late));
    assert!(open(&broker).await.is_none());
    broker.signal("TERM");
    assert!(broker.ended().await.success());
    faults.lift();
    server.has(foreign.len() + 1).await;

    let broker = Broker::start_in(broker.into_directory().await, &config).await;
    let mut client = open(&broker).await.unwrap();
    server.has(foreign.len() + 2).await;
    tokio::select! {
        () = broker.logs("ended a sandbox that no session knows") => {}
        closed = client.closed() => panic!("the session that lives was ended: {closed:?}"),
    }
    server.has(foreign.len() + 1).await;
    drop(client);
    server.has(foreign.len()).await;
    assert_eq!(sandboxes(&server).await, foreign);
}
