//! How long a client that lost its connection waits for the next live byte.

use std::time::Instant;

use super::support::Broker;
use super::support::level1::{Told, Visit, Window};
use super::{CONFIG, end, percentile};

/// Connections that are lost.
const ROUNDS: usize = 200;

/// Prints all the time, so that there is always a live byte to wait for.
const PRINTS: &str = "stty -echo; while :; do printf x; sleep 0.001; done\n";

pub async fn resume() {
    let broker = Broker::start_quiet(CONFIG).await;
    let mut window = Window::open(&broker.url, Visit::default().client("bench")).await;
    let ready = window.ready().await;
    window.input(PRINTS).await;
    window.expect("xxxx").await;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let since = window.end.unwrap();
        window.cut();
        let began = Instant::now();
        let visit = Visit::to(&ready.session).client("bench").since(since, ready.epoch);
        window = Window::open(&broker.url, visit).await;
        let live = window.ready().await.live;
        while window.end <= Some(live) {
            assert!(matches!(window.next().await, Ok(Told::Output(..) | Told::Said(_))));
        }
        times.push(began.elapsed());
    }
    println!(
        "\nresume, from the loss of the connection to the next live byte: p50 {:.1} ms, p99 {:.1} ms",
        percentile(&times, 50),
        percentile(&times, 99)
    );
    window.cut();
    end(broker).await;
}
