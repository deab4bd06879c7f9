//! The interface `mounter`: hands each call to the code that serves it.

use jiff::Timestamp;
use sandbox_broker_sdk::mounter::{Answer, Exchange, Guest, MountPlan, MountTarget, Renewal};
use sandbox_broker_sdk::{Call, Code, Error};

use crate::Plugin;
use crate::config::Config;
use crate::host::Broker;
use crate::{plan, prepare, release};

impl Guest for Plugin {
    async fn prepare(
        _call: Call,
        config: String,
        target: MountTarget,
        now_unix_ms: u64,
        answers: Vec<Answer>,
    ) -> Result<Exchange, Error> {
        prepare::prepare(&Broker, &Config::checked(&config)?, &target, time(now_unix_ms)?, &answers)
    }

    async fn plan(
        _call: Call,
        config: String,
        target: MountTarget,
        now_unix_ms: u64,
        grant: Vec<u8>,
    ) -> Result<MountPlan, Error> {
        plan::plan(&Broker, &Config::checked(&config)?, &target, time(now_unix_ms)?, &grant)
    }

    async fn renew(
        _call: Call,
        config: String,
        target: MountTarget,
        now_unix_ms: u64,
        grant: Vec<u8>,
    ) -> Result<Renewal, Error> {
        plan::renew(&Broker, &Config::checked(&config)?, &target, time(now_unix_ms)?, &grant)
    }

    async fn release(
        _call: Call,
        config: String,
        target: MountTarget,
        now_unix_ms: u64,
        grant: Vec<u8>,
        answers: Vec<Answer>,
    ) -> Result<Exchange, Error> {
        release::release(&Broker, &Config::checked(&config)?, &target, time(now_unix_ms)?, &grant, &answers)
    }
}

/// The host's clock. Beyond the calendar it is broken.
fn time(unix_ms: u64) -> Result<Timestamp, Error> {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .ok_or_else(|| Error::new(Code::InvalidArgument, "the broker's clock is beyond the calendar"))
}
