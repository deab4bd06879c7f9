//! `[sandbox]`: the sandbox that a terminal gets. Owns the bounds of its values; deliberately does not know what makes
//! one.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::findings::Rules;
use crate::raw;
use crate::types::{Provider, Sandbox};
use crate::value;
use sandbox_broker_core::sandbox::Choices;
use sandbox_broker_core::secret::Secret;

/// From one second, because nobody can type faster, to 30 days, so that sums of times stay far from overflow.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

/// From the shortest age that a test needs to a year, after which nobody remembers what a session was for.
const MAX_AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 3600);

/// At least 3 s, so that a renewal every third of it survives a slow request. At most 24 h, the longest that providers
/// grant.
const LEASE: RangeInclusive<Duration> = Duration::from_secs(3)..=Duration::from_secs(24 * 3600);

/// Not longer than the longest lease, which ends the sandbox of a broker that never returns.
const KEEP: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3600);

/// In MiB. From what a process needs to more than most machines have.
const MIB: RangeInclusive<u32> = 1..=1 << 20;

/// Entries of the environment, and bytes of all names and texts. The contract of plugins has 64 and 128 KiB; the broker adds
/// a few of its own.
const ENV: (usize, usize) = (60, 96 * 1024);

/// Unless the file says otherwise, one person may have one of this many parts of all sessions.
const SHARE: usize = 4;

impl Rules<'_> {
    pub(super) fn sandbox(
        &mut self,
        sandbox: raw::Sandbox,
        providers: &BTreeMap<String, Provider>,
        people: usize,
    ) -> Sandbox {
        let timeout =
            self.within("/sandbox/timeout", &sandbox.timeout, value::duration, &TIMEOUT, "a duration of 1s to 720h");
        let max_age = sandbox
            .max_age
            .as_deref()
            .map(|text| self.within("/sandbox/max_age", text, value::duration, &MAX_AGE, "a duration of 1s to 8760h"));
        let lease = self.within("/sandbox/lease", &sandbox.lease, value::duration, &LEASE, "a duration of 3s to 24h");
        let keep = ("/sandbox/keep_after_disconnect", &sandbox.keep_after_disconnect);
        let keep = self.within(keep.0, keep.1, value::duration, &KEEP, "a duration of 0s to 24h");
        let provider = sandbox.provider.unwrap_or_default();
        self.use_provider("/sandbox/provider", &provider, providers);
        let env: BTreeMap<_, _> = sandbox.env.into_iter().filter(|(_, text)| !text.is_empty()).collect();
        let bytes: usize = env.iter().map(|(name, text)| name.len() + text.len()).sum();
        if env.len() > ENV.0 || bytes > ENV.1 {
            let found = format!("{} entries with {bytes} bytes", env.len());
            self.mistake("/sandbox/env", format!("found {found}, expected at most 60 entries with 96 KiB together"));
        }
        let raw::Choices { image, cpu_millis, memory, disk, region } = sandbox.choices;
        let mut mib = |key: &str, text: Option<String>| {
            let (at, words) = (format!("/sandbox/choices/{key}"), "a size of 1MiB to 1024GiB in whole MiB");
            text.map(|text| self.within(&at, &text, value::mebibytes, &MIB, words))
        };
        let (memory_mib, disk_mib) = (mib("memory", memory), mib("disk", disk));
        let choices = Choices { image, cpu_millis, memory_mib, disk_mib, region, volumes: Vec::new() };
        Sandbox {
            provider,
            timeout,
            max_age,
            lease,
            max_sessions: sandbox.max_sessions,
            max_sessions_per_user: sandbox.max_sessions_per_user.unwrap_or(match people {
                0 | 1 => sandbox.max_sessions,
                _ => sandbox.max_sessions.div_ceil(SHARE),
            }),
            workdir: sandbox.workdir,
            shell: sandbox.shell,
            env: env.into_iter().map(|(name, text)| (name, Secret::new(text))).collect(),
            user: sandbox.user,
            keep_after_disconnect: keep,
            pause_for_slow_driver: matches!(sandbox.on_slow_client, raw::SlowClient::Pause),
            smallest_size: matches!(sandbox.size, raw::SizeRule::Smallest),
            choices,
        }
    }
}
