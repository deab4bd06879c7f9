//! Storage mounted in sandboxes, the whole path: a terminal, a broker, a
//! sandbox server, the program that mounts, and a real service: Azure Blob
//! Storage or S3. What every storage promises is shown for each kind.

mod ends;
mod faults;
mod files;
mod people;
mod s3;
mod secrets;
mod tokens;

use std::time::Duration;

use crate::support::Broker;
use crate::support::eventually;
use crate::support::store::{FILES, Shell, Store};

/// No fault may hold anybody up for longer.
const NO_HANG: Duration = Duration::from_secs(15);

/// Makes tests of functions that take a kind of storage: one for each kind, in
/// modules of the kinds' names.
macro_rules! each_kind {
    ($($name:ident),* $(,)?) => {
        mod azure {
            $(#[tokio::test] async fn $name() { super::$name(crate::support::service::Kind::Azure).await; })*
        }
        mod s3 {
            $(#[tokio::test] async fn $name() { super::$name(crate::support::service::Kind::S3).await; })*
        }
    };
}
use each_kind;

/// Waits until a broker has let go of its storage so often.
async fn released(broker: &Broker, times: usize) {
    eventually(&format!("{times} releases of storage"), async || {
        (broker.log().matches("storage released").count() >= times).then_some(())
    })
    .await;
}
