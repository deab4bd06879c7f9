//! How long it takes to start: the broker, and one instance of a plugin.

use std::time::Instant;

use super::support::{self, Broker};
use super::{CONFIG, end, median};

/// Starts of which the median counts.
const STARTS: usize = 5;
/// Calls of which the mean counts.
const CALLS: u32 = 1000;

pub async fn start() {
    println!("\nstart to listening, compiled plugins cached: {:.0} ms", serving().await);
    println!("plugin instance and one call: {:.0} µs", instantiate().await);
}

/// Milliseconds from `exec` to the announcement, the embedded server started
/// anew each time.
async fn serving() -> f64 {
    let mut directory = tempfile::tempdir().unwrap();
    let mut times = Vec::new();
    for round in 0..=STARTS {
        let began = Instant::now();
        let broker = Broker::start_in(directory, CONFIG).await;
        if round > 0 {
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        directory = end(broker).await;
    }
    median(times)
}

/// Microseconds of a fresh instance and one pure call.
async fn instantiate() -> f64 {
    let engine = sandbox_broker_plugin::Engine::new(None).unwrap();
    let plugin = engine.load(&support::plugin("e2b")).await.unwrap();
    let began = Instant::now();
    for _ in 0..CALLS {
        plugin.validate("{}").await.unwrap();
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
}
