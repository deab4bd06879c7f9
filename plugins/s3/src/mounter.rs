//! The interface `mounter`: hands each call to the code that serves it.

use jiff::Timestamp;
use sandbox_broker_sdk::mounter::{Answer, Grant, Guest, MountTarget, Planning, Preparing, Releasing, Renewing};
use sandbox_broker_sdk::{Call, Code, Error};

use crate::Plugin;
use crate::config::Config;
use crate::conversation::Turn;
use crate::host::Broker;
use crate::{plan, prepare};

impl Guest for Plugin {
    async fn prepare(
        _call: Call,
        config: String,
        target: MountTarget,
        now_unix_ms: u64,
        answers: Vec<Answer>,
    ) -> Result<Preparing, Error> {
        let turn = prepare::prepare(&Broker, &Config::checked(&config)?, &target, time(now_unix_ms)?, &answers)?;
        Ok(match turn {
            Turn::Send(request) => Preparing::Send(request),
            Turn::Done(grant) => Preparing::Done(grant),
        })
    }

    async fn plan(
        _call: Call,
        config: String,
        target: MountTarget,
        now_unix_ms: u64,
        grant: Grant,
        answers: Vec<Answer>,
    ) -> Result<Planning, Error> {
        let turn = plan::plan(&Broker, &Config::checked(&config)?, &target, time(now_unix_ms)?, &grant, &answers)?;
        Ok(match turn {
            Turn::Send(request) => Planning::Send(request),
            Turn::Done(plan) => Planning::Done(plan),
        })
    }

    async fn renew(
        _call: Call,
        config: String,
        target: MountTarget,
        now_unix_ms: u64,
        grant: Grant,
        answers: Vec<Answer>,
    ) -> Result<Renewing, Error> {
        let turn = plan::renew(&Broker, &Config::checked(&config)?, &target, time(now_unix_ms)?, &grant, &answers)?;
        Ok(match turn {
            Turn::Send(request) => Renewing::Send(request),
            Turn::Done(renewal) => Renewing::Done(renewal),
        })
    }

    /// Temporary credentials cannot be taken back: they end by themselves.
    async fn release(
        _call: Call,
        _config: String,
        _target: MountTarget,
        _now_unix_ms: u64,
        _grant: Grant,
        _answers: Vec<Answer>,
    ) -> Result<Releasing, Error> {
        Ok(Releasing::Done)
    }
}

/// The host's clock. Beyond the calendar it is broken.
fn time(unix_ms: u64) -> Result<Timestamp, Error> {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .ok_or_else(|| Error::new(Code::InvalidArgument, "the broker's clock is beyond the calendar"))
}
