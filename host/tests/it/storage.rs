//! Storage mounted in sandboxes, the whole path: a terminal, a broker, a
//! sandbox server, the program that mounts, and a real Azure Blob service.

mod ends;
mod faults;
mod files;
mod people;
mod secrets;
mod tokens;

use std::time::Duration;

use crate::support::Broker;
use crate::support::eventually;
use crate::support::store::{FILES, Shell, Store};

/// No fault may hold anybody up for longer.
const NO_HANG: Duration = Duration::from_secs(15);

/// Waits until a broker has let go of its storage so often.
async fn released(broker: &Broker, times: usize) {
    eventually(&format!("{times} releases of storage"), async || {
        (broker.log().matches("storage released").count() >= times).then_some(())
    })
    .await;
}
