//! `prepare`: gets credentials for the sandbox and tries them.

use jiff::Timestamp;
use sandbox_broker_sdk::Error;
use sandbox_broker_sdk::mounter::{Answer, Grant, MountTarget};

use crate::config::Config;
use crate::conversation::{Conversation, Turn};
use crate::grant;
use crate::host::Host;

/// The next request, or the grant.
pub fn prepare(
    host: &dyn Host,
    config: &Config,
    target: &MountTarget,
    now: Timestamp,
    answers: &[Answer],
) -> Result<Turn<Grant>, Error> {
    Conversation::new(host, config, target, now, answers)?.run(|talk| {
        let credentials = talk.credentials()?;
        talk.prove(&credentials)?;
        Ok(grant::of(&credentials))
    })
}
